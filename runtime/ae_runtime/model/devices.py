"""Which device runs the graphs, and how onnxruntime is set up for it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ae_runtime.errors import BundleRefused, DeviceUnavailable, MissingExtra

if TYPE_CHECKING:
    import onnxruntime

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_NAMES = {"cpu": CPU, "cuda": CUDA}
_LONGEST = 1000  # characters of a message of onnxruntime
TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"
# Lines that onnxruntime 1.32 writes on stderr, whatever its settings, where it does not know the
# processor (on ARM without /sys, 9 lines). It works there, perhaps more slowly; `doctor` says so.
_OF_PROCESSORS = (
    b"Error in cpuinfo: ",
    b"onnxruntime cpuid_info warning: ",
    b"onnxruntime warning: cpu",
)
unknown_processor: list[str] = []  # the lines that were held back so far
_holding_back = False
# Held while a session is opened or onnxruntime imported, and waited for by a fork: else the child
# could wait for ever for a lock that a thread of the parent holds.
OPENING = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=OPENING.acquire,
        after_in_parent=OPENING.release,
        after_in_child=OPENING.release,
    )


def telemetry_state() -> str:
    """State of onnxruntime's telemetry in this process, in words."""
    if os.environ.get(TELEMETRY_VARIABLE) == "1":
        return "off"
    if "onnxruntime" in sys.modules:
        return f"not switched off: set {TELEMETRY_VARIABLE}=1 before onnxruntime is imported"
    return "off once a bundle is loaded"


def import_onnxruntime() -> Any:
    """Import onnxruntime, with its telemetry off unless somebody imported it before.

    Raises MissingExtra if it is not installed.
    """
    if "onnxruntime" not in sys.modules:
        # onnxruntime reads this when it is imported; 1.29 and newer send telemetry by default.
        os.environ[TELEMETRY_VARIABLE] = "1"
    try:
        with OPENING, _held_back() if _holding_back else contextlib.nullcontext():
            import onnxruntime
    except ImportError as error:
        raise MissingExtra(
            f'onnxruntime cannot be imported ({error}); pip install "ae-toolkit[cpu]"'
        ) from None
    return onnxruntime


def hold_back_processor_lines() -> None:
    """Keep lines about an unknown processor off stderr when onnxruntime is imported.

    For commands only, because this redirects the stderr of the whole process.
    """
    global _holding_back
    _holding_back = hasattr(os, "memfd_create")  # on Linux, where such lines were met


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Keep lines about the processor in unknown_processor; pass all others on to stderr."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed: nothing is said anyway
        yield
        return
    sys.stderr.flush()
    with open(os.memfd_create("stderr"), "w+b") as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if line.startswith(_OF_PROCESSORS):
                    unknown_processor.append(line.decode(errors="replace").strip())
                else:
                    os.write(2, line)


def resolve(device: str) -> str | None:
    """The provider of onnxruntime that `device` asks for; None for "auto", where sessions find out.

    device: "auto", "cpu", "cuda", or a provider's name, such as "OpenVINOExecutionProvider".
    Raises DeviceUnavailable if this onnxruntime is built without it, and says what to install.
    """
    if device == "auto":
        return None
    provider = _NAMES.get(device, device)
    if provider == CPU:
        return CPU  # every build has it: onnxruntime need not be imported
    offered = import_onnxruntime().get_available_providers()
    if not provider.endswith("ExecutionProvider"):
        raise DeviceUnavailable(
            f"device {device!r} is not known; use 'auto', 'cpu', 'cuda', or a provider of "
            f"onnxruntime: {', '.join(offered)}"
        )
    reason = "" if provider in offered else f"onnxruntime offers only {', '.join(offered)}; "
    reason += _what_to_install(provider) if reason else ""
    if provider == CUDA and not reason:
        reason = why_cuda_does_not_load()
    if reason:
        raise DeviceUnavailable(f"asked for {provider}: {reason}")
    return provider


def _what_to_install(provider: str) -> str:
    found = installed("onnxruntime", "onnxruntime-gpu")
    if len(found) > 1:
        return (
            f"both {' and '.join(found)} are installed, and one hides the other: pip uninstall "
            'onnxruntime onnxruntime-gpu; pip install "ae-toolkit[gpu]"'
        )
    if provider == CUDA:
        return 'pip uninstall onnxruntime; pip install "ae-toolkit[gpu]"'
    return "install the build of onnxruntime that has it, in place of this one"


def installed(*names: str) -> list[str]:
    """Which of the packages `names` are installed, each with its version."""
    import importlib.metadata  # slow to import, and wanted by a diagnosis alone

    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def open_session(
    graph: bytes, *, optimised: bool = True, provider: str | None = CPU, lean: bool = False
) -> onnxruntime.InferenceSession:
    """Return a session for one graph: one thread inside a call, no spinning, no log.

    optimised: False runs the graph's operators as they stand, which verification compares with.
    provider: the name of one of onnxruntime's; None: CUDA where it loads, else the CPU.
    lean: takes half the memory, and some microseconds more for a call.
    Raises BundleRefused for a graph that onnxruntime does not take, DeviceUnavailable where the
    provider asked for does not start: nothing runs elsewhere in silence.

    Parallelism is over rows, in engine.py: with one thread inside a call the results do not depend
    on the thread count, and no thread pool collapses beside a busy neighbour.
    """
    ort = import_onnxruntime()
    if provider is None and CUDA in ort.get_available_providers() and not why_cuda_does_not_load():
        try:
            return open_session(graph, optimised=optimised, provider=CUDA, lean=lean)
        except DeviceUnavailable:  # the libraries are there, a device is not
            provider = CPU
    provider = provider or CPU
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # below fatal: every error is raised, and said once
    # With it, the second call takes all the memory that the first one needed again, in one piece.
    options.enable_mem_pattern = not lean
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # ARM processors with SME: KleidiAI's kernels take a 2-d convolution of one row only, whose
    # bits are then others than in a batch (by 3e-6, of outputs about 1). Heeded by onnxruntime
    # 1.25 and newer; 1.24 always uses these kernels, 1.23 and other processors have none of them.
    options.add_session_config_entry("mlas.disable_kleidiai", "1")
    try:
        # onnxruntime's own fallback prints on stdout, tries again, and hides the error.
        with OPENING:
            session = ort.InferenceSession(graph, options, providers=[provider], enable_fallback=0)
    except Exception as error:
        if provider == CUDA and "CUDA failure" in str(error):  # its libraries, and no device
            raise DeviceUnavailable(f"asked for {provider}: {_one_line(error)}") from None
        raise _reason(error, "onnxruntime does not take the graph") from None
    if provider_of(session) != provider:  # one that does not start is left out without a word
        raise DeviceUnavailable(f"asked for {provider}, got {', '.join(session.get_providers())}")
    return session


def provider_of(session: onnxruntime.InferenceSession) -> str:
    """Name of the provider that runs the session; the CPU may run operators that it lacks."""
    first, *rest = session.get_providers()
    return str(first) if rest in ([], [CPU]) else ", ".join([first, *rest])


def why_cuda_does_not_load() -> str:
    """What keeps onnxruntime's CUDA provider from loading, and what to do; "" if nothing does.

    onnxruntime itself only logs the failure, and goes on without the provider.
    """
    ort = import_onnxruntime()
    import ctypes

    with contextlib.redirect_stdout(None):
        ort.preload_dlls()  # those that came by pip, where no loader would look; it prints
    ending = ".dll" if os.name == "nt" else ".so"
    capi = os.path.join(os.path.dirname(ort.__file__), "capi", "" if os.name == "nt" else "lib")
    try:
        # In the order that onnxruntime loads them: the second calls functions of the first.
        ctypes.CDLL(f"{capi}onnxruntime_providers_shared{ending}", ctypes.RTLD_GLOBAL)
        ctypes.CDLL(f"{capi}onnxruntime_providers_cuda{ending}")
    except OSError as error:
        return (
            f'{_one_line(error)}; pip install "onnxruntime-gpu[cuda,cudnn]" brings the libraries '
            "of CUDA, the driver comes with the system"
        )
    return ""


def compute(
    session: onnxruntime.InferenceSession, fetches: Sequence[str], feeds: Mapping[str, Any]
) -> list[Any]:
    """Run the session on `feeds`, arrays by input name; returns the outputs named `fetches`.

    Raises BundleRefused if the graph does not work for them, MemoryError if there is too little.
    """
    try:
        found: list[Any] = session.run(fetches, feeds)
        return found
    except Exception as error:
        raise _reason(error, "onnxruntime cannot run the graph") from None


def compute_into(
    session: onnxruntime.InferenceSession, feeds: Mapping[str, Any], outs: Mapping[str, Any]
) -> None:
    """Like compute, but write outputs into the contiguous arrays `outs`, without a copy.

    On a GPU rows and results go straight between the device and the caller's arrays.
    """
    try:
        binding = session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for name, out in outs.items():
            binding.bind_output(name, "cpu", 0, out.dtype.type, out.shape, out.ctypes.data)
        session.run_with_iobinding(binding)
    except Exception as error:
        raise _reason(error, "onnxruntime cannot run the graph") from None


def _reason(error: Exception, what: str) -> BundleRefused | MemoryError:
    """The error to raise in place of onnxruntime's own, whose types have no public base."""
    reason = _one_line(error)
    if "allocate memory" in reason or "bad_alloc" in reason:
        return MemoryError(f"{what}: {reason}")
    return BundleRefused(f"{what}: {reason}")


def _one_line(error: Exception) -> str:
    """The error's text without control characters: a hostile graph chooses names in it."""
    text = " ".join(str(error).split())[:_LONGEST]
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
