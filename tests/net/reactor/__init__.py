"""Tests of cacheproxy.net.reactor."""
