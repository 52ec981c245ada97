"""Fetching a large response in byte ranges, each cached by itself (``slice``)."""
