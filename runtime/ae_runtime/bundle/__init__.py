"""The files of a bundle: opened, checked, and described."""
