"""What may be imported from ae_train and ae_export, pinned: a name that goes breaks programs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ae_export
import ae_runtime
import ae_train


def test_names_of_training() -> None:
    assert ae_train.__all__ == [
        "Arch",
        "AutoencoderDetector",
        "AutoencoderTransformer",
        "Bottleneck",
        "Corruption",
        "Data",
        "Fit",
        "Model",
        "Recipe",
        "Resolved",
        "Run",
        "Schema",
        "Scoring",
        "__version__",
        "make_recipe",
        "train",
    ]


def test_names_of_export() -> None:
    assert ae_export.__all__ == [
        "Agreement",
        "Exported",
        "Weighed",
        "__version__",
        "export",
        "export_modules",
    ]


@pytest.mark.parametrize("package", [ae_train, ae_export])
def test_each_name_is_there(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None
    assert package.__version__ == ae_runtime.__version__  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("package", ["ae_train", "ae_export"])
def test_a_package_is_its_command(package: str) -> None:
    command = [sys.executable, "-m", package, "--help"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(f"Usage: {package.replace('_', '-')} [OPTIONS] ")
