"""Arrays in, arrays out: a bundle's graphs computed, scored, and drawn from."""
