"""Scores fitted on training rows, and thresholds from rows that they have not seen."""
