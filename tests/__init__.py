"""Tests of cacheproxy."""
