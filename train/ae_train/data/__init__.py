"""From what a user brings to checked rows: files, tables, series, and their split."""
