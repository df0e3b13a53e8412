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
    """Number of differences: archives with other bytes in `own`, or other rows on this machine.

    Rows by a model count as the same within the decoder error of what their own machine read.
    """
    wrong = []
    names = sorted(path.stem for path in written.glob("*.aez"))
    for name in names:
        path, bundle = written / f"{name}.aez", REFER.get(name)
        model = None if bundle is None else ae_runtime.load(GOLDEN / "v1" / bundle)
        with Archive(path, model) as archive:
            notes, found, decoder_error = archive.notes, archive[:], archive.decoder_error
        off = difference(found, np.load(written / f"{name}.npy"))
        if notes or not (off <= (0 if decoder_error is None else decoder_error)).all():
            wrong.append(f"{name} is read differently: {'; '.join(notes) or off.max()}")
        # Another machine may round what a decoder gives otherwise, and so store other residuals.
        if not name.startswith("model") and not filecmp.cmp(path, own / f"{name}.aez", False):
            wrong.append(f"{name} has other bytes")
    equal = sum(filecmp.cmp(written / f"{n}.aez", own / f"{n}.aez", False) for n in names)
    print(f"archives: {len(names)} of {written.name} read, {equal} byte for byte as in {own.name}")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return len(wrong) + (not names)


def difference(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Absolute differences of rows (N, ...): 0 for the same bits, infinite for other NaNs."""
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return np.array([np.inf])
    bits = f"u{found.itemsize}"
    same = found.view(bits) == expected.view(bits)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite values, of raw chunks any bits
        off = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    return np.where(same, 0, np.nan_to_num(off, nan=np.inf))


if __name__ == "__main__":
    verb, *folders = sys.argv[1:]
    sys.exit({"write": write, "compare": compare}[verb](*map(Path, folders)))  # type: ignore[operator]
