"""nginx and the proxy side by side: ``make bench``."""
