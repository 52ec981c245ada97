"""Tests of cacheproxy.proxy."""
