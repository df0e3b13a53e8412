"""How many files a reader opens to follow rows through the runtime: by the calls that are made."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime import console
from ae_runtime.cli import ae_run

HOME = Path(ae_runtime.__file__).parent
ARCHITECTURE = Path(__file__).parents[2] / "docs/architecture.md"
ENDS = {"read", "readinto", "write"}  # of files


def _file(frame: FrameType) -> str | None:
    """The module's path below ae_runtime; None for other packages."""
    path = Path(frame.f_code.co_filename)
    return path.relative_to(HOME).as_posix() if path.is_relative_to(HOME) else None


def called(work: Callable[[], object]) -> set[str]:
    """The files of which something is called."""
    found: set[str | None] = set()

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            found.add(_file(frame))

    traced(work, look)
    return {name for name in found if name is not None}


def road(work: Callable[[], object]) -> set[str]:
    """The files on the way to each end: session.run, the input's bytes, and those of the output.

    A file is on the way where one of its calls has not returned yet when an end is reached. What
    runs every command (console.py) is not counted.
    """
    found: set[str] = set()

    def note(frame: FrameType | None) -> None:
        while frame is not None:
            name = _file(frame)
            if name not in (None, "console.py"):
                found.add(name)
            frame = frame.f_back

    def look(frame: FrameType, event: str, what: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == "run" and "onnxruntime" in code.co_filename:
            note(frame)
        name = _file(frame) or ""
        ends = event == "c_call" and what.__name__ in ENDS
        if ends and name.startswith(("files/readers/", "files/writers/")):
            note(frame)

    traced(work, look)
    return found


def traced(work: Callable[[], object], look: Callable[[FrameType, str, Any], object]) -> None:
    """Do the work, in this thread and in new ones under the eyes of `look`."""
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def listed(heading: str) -> list[str]:
    """The files that docs/architecture.md names for a road."""
    lines = ARCHITECTURE.read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(heading))
    return sorted(name for name in line.split("`") if name.endswith(".py"))


@pytest.mark.parametrize("rows", [1, 1000])
def test_arrays_pass_five_files(table_bundle: Path, rows: int) -> None:
    with ae_runtime.load(table_bundle, threads=2) as ae:
        ae.encode(np.ones((2, 6), np.float32))  # the session is opened once
        found = called(lambda: ae.encode(np.ones((rows, 6), np.float32)))
    assert len(found) <= 5, sorted(found)
    if rows > 1:
        assert sorted(found) == listed("* `encode` of an array:")


def test_a_csv_passes_fourteen_files(
    table_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["far", "tiny", "gaps", "constant", "empty", "count"]
    lines = [",".join(names), *(["1.5,2,3,4,5,6"] * 3000)]
    Path("x.csv").write_text("\n".join(lines))
    words = ["encode", str(table_bundle), "x.csv", "--out", "z.npy", "--quiet"]
    codes = []
    found = road(lambda: codes.append(console.run(ae_run, "ae-run", words)))
    assert codes == [0]
    assert len(found) <= 14, sorted(found)
    assert sorted(found) == listed("* `ae-run encode` of a CSV file to a .npy file:")
