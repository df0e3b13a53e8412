"""Data files to rows and rows to data files: streamed, resumed, complete or not there."""
