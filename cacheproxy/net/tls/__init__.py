"""TLS on both sides, over memory BIOs."""
