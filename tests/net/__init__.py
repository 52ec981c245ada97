"""Tests of cacheproxy.net."""
