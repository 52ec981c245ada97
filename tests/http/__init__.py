"""Tests of cacheproxy.http."""
