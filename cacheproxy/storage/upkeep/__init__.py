"""Periodic maintenance of a zone, and purges."""
