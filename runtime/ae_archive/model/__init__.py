"""A bundle as archives use it: its decoder, and how far this may be off elsewhere."""
