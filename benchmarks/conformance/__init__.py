"""The public suite of HTTP cache tests, run against the proxy: ``make conformance``."""
