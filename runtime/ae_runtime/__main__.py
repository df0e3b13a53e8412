"""`python -m ae_runtime` is the command ae-run."""

from ae_runtime.cli import main

main()
