"""One request and its response: what is asked, what is answered, what logs read."""
