"""Pure decisions: each function returns a value with its reason, and reads no clock."""
