"""Answering through a cache zone: look-up, fetching, collapsing, purging."""
