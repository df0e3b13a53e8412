"""What importing and using the runtime brings into a process, and the names that it offers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

import ae_runtime

Python = Callable[..., str]
# Packages that were not there when Python had started, without the standard library.
NEW = """
import sys
before = set(sys.modules)

def new():
    tops = {name.partition(".")[0] for name in set(sys.modules) - before}
    # msgspec takes typing_extensions where another package has brought it.
    return " ".join(sorted(tops - sys.stdlib_module_names - {"typing_extensions"}))
"""


def test_the_public_names() -> None:
    assert ae_runtime.__all__ == [
        "AeError",
        "Autoencoder",
        "BundleDetector",
        "BundleTransformer",
        "Contribution",
        "DataWarning",
        "Drift",
        "JobResult",
        "Manifest",
        "Pushed",
        "Stream",
        "__version__",
        "decode_shard",
        "encode_shard",
        "errors",
        "load",
        "reconstruct_shard",
        "score_shard",
    ]
    lazy = set(ae_runtime.__all__) - {"__version__", "errors"}
    if importlib.util.find_spec("sklearn") is None:
        lazy -= {"BundleDetector", "BundleTransformer"}
    assert {getattr(ae_runtime, name).__name__ for name in lazy} == lazy
    assert ae_runtime.load.__module__ == ae_runtime.Autoencoder.__module__
    with pytest.raises(AttributeError) as caught:
        ae_runtime.laod  # noqa: B018
    assert str(caught.value) == "module 'ae_runtime' has no attribute 'laod'"


def test_a_name_that_needs_an_extra_says_which(python: Python) -> None:
    script = (
        "import sys; sys.modules['sklearn.base'] = None\n"
        "import ae_runtime\n"
        "try:\n"
        "    ae_runtime.BundleTransformer\n"
        "except ae_runtime.errors.MissingExtra as error:\n"
        "    print(str(error).rpartition('; ')[2])\n"
    )
    assert python(script) == 'pip install "ae-toolkit[sklearn]"\n'


def test_the_version_is_that_of_the_distribution() -> None:
    assert ae_runtime.__version__ == importlib.metadata.version("ae-toolkit")


def test_importing_costs_an_application_nothing(python: Python) -> None:
    assert python(NEW + "import ae_runtime; print(new())") == "ae_runtime\n"


def test_loading_needs_no_onnxruntime_yet(python: Python, digits_bundle: Path) -> None:
    script = NEW + "import ae_runtime; ae_runtime.load(sys.argv[1]); print(new())"
    assert python(script, digits_bundle) == "ae_runtime msgspec numpy\n"


def test_reconstructing_brings_only_what_it_needs(python: Python, digits_bundle: Path) -> None:
    script = NEW + (
        "import ae_runtime\n"
        "ae = ae_runtime.load(sys.argv[1], threads=2, tile=1)\n"
        "ae.reconstruct([[[1] * 8] * 8] * 3)\n"
        "print(new())\n"
        "print(*sorted(name for name in sys.modules if name.startswith('ae_runtime.')))\n"
    )
    packages, modules = python(script, digits_bundle).splitlines()
    assert set(packages.split()) == {"ae_runtime", "msgspec", "numpy", "onnxruntime"}
    # No click, and nothing of files: an application has its own ways to read them.
    assert modules.replace("ae_runtime.", "").split() == [
        *("autoencoder", "bundle", "bundle.manifest", "bundle.opening", "errors", "graphs"),
        *("graphs.admission", "graphs.graph", "graphs.memory", "graphs.operators"),
        *("graphs.operators.elementwise", "graphs.operators.images", "graphs.operators.op"),
        *("graphs.operators.products", "graphs.operators.reductions", "graphs.operators.shapes"),
        *("graphs.protobuf", "graphs.shape_inference", "graphs.values", "model", "model.arrays"),
        *("model.cpus", "model.devices", "model.engine", "model.model", "model.plan"),
        *("model.prefix", "notices"),
    ]


SPY = """
import os, sys

class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("telemetry variable:", os.environ.get("ORT_DISABLE_TELEMETRY"))

sys.meta_path.insert(0, Spy())
from ae_runtime.model import devices
from ae_runtime.machine import doctor
from ae_runtime import load
ae = load(sys.argv[1])
"""


def test_telemetry_is_off_before_onnxruntime_is_imported(
    python: Python, digits_bundle: Path
) -> None:
    script = SPY + (
        "print(devices.telemetry_state())\n"
        "ae.encode([[[1] * 8] * 8])\n"
        "print(devices.telemetry_state())\n"
        "print(doctor.examine(ae.model)[5])\n"
    )
    assert python(script, digits_bundle).splitlines() == [
        "off once a bundle is loaded",
        "telemetry variable: 1",
        "off",
        "Check(name='telemetry', found='off', ok=True)",
    ]


def test_telemetry_that_another_left_on_is_said(python: Python, digits_bundle: Path) -> None:
    # `import onnxruntime` alone sends nothing in this test: the variable is set while it runs.
    script = (
        "import os\n"
        "os.environ['ORT_DISABLE_TELEMETRY'] = '1'\n"
        "import onnxruntime\n"
        "del os.environ['ORT_DISABLE_TELEMETRY']\n" + SPY + "print(doctor.examine(ae.model)[5])\n"
        "print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
    )
    assert python(script, digits_bundle).splitlines() == [
        "Check(name='telemetry', found='not switched off: set ORT_DISABLE_TELEMETRY=1 before "
        "onnxruntime is imported', ok=False)",
        "None",
    ]


def test_onnxruntime_that_cannot_be_imported(python: Python, digits_bundle: Path) -> None:
    script = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "import ae_runtime\n"
        "ae = ae_runtime.load(sys.argv[1])\n"
        "try:\n"
        "    ae.encode([[[1] * 8] * 8])\n"
        "except ImportError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    assert python(script, digits_bundle) == (
        "MissingExtra onnxruntime cannot be imported (No module named 'onnxruntime'); "
        'pip install "ae-toolkit[cpu]"\n'
    )
