"""Rows to files, one module a format."""
