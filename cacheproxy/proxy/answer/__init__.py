"""Responses made here: pages, redirects, files and other complete representations."""
