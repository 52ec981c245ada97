"""The same configuration and the same requests through nginx and through the proxy."""
