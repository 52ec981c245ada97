"""Tests of cacheproxy.storage."""
