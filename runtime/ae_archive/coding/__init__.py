"""Whole numbers to bytes and back, the same on every machine."""
