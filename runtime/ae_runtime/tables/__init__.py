"""Columns of numbers, dates and categories, and what a bundle's graphs take of them."""
