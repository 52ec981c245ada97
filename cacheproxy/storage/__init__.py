"""Cache zones: entries on disk and in memory, and spools for bodies in passing."""
