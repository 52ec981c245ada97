"""Tests of cacheproxy.config."""
