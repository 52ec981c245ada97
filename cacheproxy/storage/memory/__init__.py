"""The memory tier of a zone."""
