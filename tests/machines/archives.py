"""Whether archives that one machine wrote are those of another, and are read by it.

python tests/machines/archives.py write FOLDER
python tests/machines/archives.py compare WRITTEN OWN
"""

from __future__ import annotations

import filecmp
import importlib.util
import sys
from pathlib import Path

import numpy as np

import ae_runtime
from ae_archive import Archive

GOLDEN = Path(__file__).parents[1] / "golden"
REFER = {"model": "gru", "model_mean": "gru", "model_image": "image"}  # to bundles of v1


def write(folder: Path) -> None:
    """The archives of tests/golden/make_archives.py, as this machine writes them now."""
    spec = importlib.util.spec_from_file_location("make_archives", GOLDEN / "make_archives.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(folder)


def compare(written: Path, own: Path) -> int:
    """Number of archives in `written` that are not as in `own`, or give this machine other rows.

    Archives with a model are read within its margin of what their own machine read.
    """
    wrong = []
    names = sorted(path.stem for path in written.glob("*.aez"))
    for name in names:
        path, model = written / f"{name}.aez", REFER.get(name)
        given = None if model is None else ae_runtime.load(GOLDEN / "v1" / model)
        with Archive(path, given) as archive:
            notes, found, header = archive.notes, archive[:], archive._header
        expected = np.load(written / f"{name}.npy")
        off = np.abs(found.astype(float) - expected.astype(float))
        margin = 0.0 if header.model is None else header.model.margin
        same = found.tobytes() == expected.tobytes()
        if notes or not (same or (margin and (off.reshape(len(off), -1) <= margin).all())):
            wrong.append(f"{name} is read differently: {'; '.join(notes) or np.nanmax(off)}")
        # What a decoder guesses may be rounded to other leftovers by another machine.
        if not name.startswith("model") and not filecmp.cmp(path, own / f"{name}.aez", False):
            wrong.append(f"{name} has other bytes")
    equal = sum(filecmp.cmp(written / f"{n}.aez", own / f"{n}.aez", False) for n in names)
    print(f"archives: {len(names)} of {written.name} read, {equal} byte for byte as in {own.name}")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return len(wrong) + (not names)


if __name__ == "__main__":
    verb, *folders = sys.argv[1:]
    sys.exit({"write": write, "compare": compare}[verb](*map(Path, folders)))  # type: ignore[operator]
