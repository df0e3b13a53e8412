"""`python -m ae_export` is the command ae-export."""

from ae_export.cli import main

main()
