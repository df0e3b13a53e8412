"""The runtime's speed and memory: rows in memory, one row, file to file, and beside other work.

python benchmarks/runtime.py [--only memory|one_row|files|neighbour]... [--gigabytes G]

Each part is a script of benchmarks/runtime and runs in a process of its own. Ratios are within one
run, of passes in turn. Targets that were missed are said so; the exit code is 0 all the same.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

SCRIPTS = Path(__file__).parent / "runtime"
PARTS = "memory", "one_row", "files", "neighbour"


@click.command()
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Parts.  [default: all]")
@click.option("--gigabytes", default=4.0, show_default=True, help="Size of a file's rows.")
def main(only: tuple[str, ...], gigabytes: float) -> None:
    """Make what is missing in build/bench, then measure part by part."""
    script("models")
    script("report")
    for part in only or PARTS:
        script(part, *(("--gigabytes", str(gigabytes)) if part == "files" else ()))


def script(name: str, *words: str) -> None:
    subprocess.run([sys.executable, SCRIPTS / f"{name}.py", *words], check=True)


if __name__ == "__main__":
    main()
