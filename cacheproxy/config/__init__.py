"""nginx configuration text to a frozen model."""
