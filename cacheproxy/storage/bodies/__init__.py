"""Bodies being written and read: cache entries, stored files, spools."""
