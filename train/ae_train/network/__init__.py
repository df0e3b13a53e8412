"""The modules of torch that are trained and exported."""
