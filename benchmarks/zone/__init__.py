"""A zone of a million entries, and an object of 5 GB: ``make bench-zone``."""
