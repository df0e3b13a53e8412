"""`python -m ae_train` is the command ae-train."""

from ae_train.cli import main

main()
