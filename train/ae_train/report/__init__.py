"""report.html of a run, and the advice in it."""
