"""The commands of ae-run, one module each."""
