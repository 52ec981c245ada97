"""What a configuration comes to at load: locations, keys, variables."""
