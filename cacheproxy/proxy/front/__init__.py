"""The way of a request through its location, and the fast path beside it."""
