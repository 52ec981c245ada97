"""Tests of cacheproxy.policy."""
