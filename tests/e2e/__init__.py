"""The proxy as users run it: whole processes, real origins, real clients."""
