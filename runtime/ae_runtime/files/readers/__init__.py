"""Files, folders and pipes as blocks of rows, one module a format."""
