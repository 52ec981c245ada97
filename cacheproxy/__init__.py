"""A caching, TLS-terminating HTTP reverse proxy on Twisted, configured in nginx's syntax."""

__all__ = ["__version__"]

__version__ = "0.1.0"
