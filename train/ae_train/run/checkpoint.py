"""The folder of an unfinished run: it survives kills and is renamed to OUT when finished."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.torch
import tomli_w

from ae_runtime import outputs
from ae_runtime.errors import OutputExists, RunError
from ae_train.fit.fitting import State
from ae_train.recipe import Recipe, make_recipe, read_recipe, to_fields
from ae_train.run.folder import RECIPE, Run, is_run
from ae_train.schema import Size

METRICS, STATE = "metrics.jsonl", "state.safetensors"
# Tensors of a state that are in no group.
_APART = ("random", "device_random", "block_errors")
SIZES, REPORT = "sizes.json", "report.html"


class Checkpoint:
    """The folder of an unfinished run, OUT.part, which becomes OUT when the training is finished.

    Raises OutputExists, before anything is written, where OUT or an unfinished run stands in the
    way and neither resume nor overwrite was asked for.
    """

    def __init__(self, out: str | Path, resume: bool, overwrite: bool) -> None:
        self.out = Path(out)
        self.part = outputs.part_of(self.out)
        unfinished = (self.part / RECIPE).is_file()
        if not outputs.is_empty_folder(self.out):
            # An unfinished run beside a finished one was begun with overwrite.
            replace = overwrite or (resume and unfinished)
            outputs.check_free(self.out, is_run(self.out), replace, "a run of ae-train")
        if os.path.lexists(self.part) and not unfinished and not _is_barely_begun(self.part):
            raise OutputExists(f"{self.part} is in the way and not ours; move it")
        if unfinished and not (resume or overwrite):
            raise OutputExists(
                f"{self.part} holds an unfinished run; --resume goes on with it, "
                "--overwrite starts anew"
            )
        if resume and not unfinished:
            raise RunError(f"there is no unfinished run {self.part} to resume; leave out --resume")

    def start(self, recipe: Recipe) -> None:
        """Make an empty folder that names its recipe."""
        with outputs.said_in_one_line(self.out):
            shutil.rmtree(self.part, ignore_errors=True)
            self.part.mkdir()
            self._write(RECIPE, tomli_w.dumps(to_fields(recipe)).encode())

    def restore(self, recipe: Recipe, data_id: str) -> State | None:
        """The state to go on from, None if the kill came before the first was saved.

        Raises RunError if the recipe or the data are not those of the unfinished run.
        """
        stored = make_recipe(read_recipe(self.part / RECIPE), str(self.part / RECIPE))
        changed = differences(stored, recipe)
        if changed:
            raise RunError(
                f"{self.part} was started with another {', '.join(changed)}; resume with the same "
                "settings, or start anew with --overwrite"
            )
        path = self.part / STATE
        if not path.is_file():
            (self.part / METRICS).unlink(missing_ok=True)  # these epochs are done again
            return None
        try:
            with safetensors.safe_open(path, "pt") as file:
                meta = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except safetensors.SafetensorError as error:
            raise RunError(f"{path} is damaged ({error}); start anew with --overwrite") from None
        self._check_data(meta["data_id"], data_id)
        fields = json.loads(meta["state"])
        with outputs.said_in_one_line(self.out):
            self._cut_metrics(fields["epoch"])
        apart = {name: tensors.pop(name, None) for name in _APART}
        if apart["block_errors"] is None:
            raise RunError(
                f"{self.part} was started by an older version, which did not keep what its epochs "
                "are judged by; start anew with --overwrite"
            )
        state = State(**fields, **apart)
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            getattr(state, group)[rest] = tensor
        return state

    def save_state(self, state: State, data_id: str) -> None:
        """Save a state, so that a kill from now on costs only what comes after it."""
        tensors = {
            f"{group}/{name}": tensor.contiguous()
            for group in ("model", "best", "optimizer")
            for name, tensor in getattr(state, group).items()
        }
        apart = {name: getattr(state, name) for name in _APART}
        tensors |= {name: tensor for name, tensor in apart.items() if tensor is not None}
        names = ("epoch", "best_epoch", "best_loss")
        fields = {name: getattr(state, name) for name in names}
        meta = {"data_id": data_id, "state": json.dumps(fields)}
        # One file holds both, so that no kill can leave weights and counters of two epochs.
        self._write(STATE, safetensors.torch.save(tensors, meta))

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with outputs.said_in_one_line(self.out), (self.part / METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        path = self.part / METRICS
        return [json.loads(line) for line in path.read_text().splitlines()]

    def save_sizes(self, sizes: list[Size], data_id: str) -> None:
        """Save the curve of latent sizes so far."""
        self._write(SIZES, msgspec.json.encode((data_id, sizes)))

    def sizes(self, data_id: str) -> list[Size]:
        """The curve of latent sizes that was saved, if any. Raises RunError for other data's."""
        path = self.part / SIZES
        if not path.is_file():
            return []
        stored_id, sizes = msgspec.json.decode(path.read_bytes(), type=tuple[str, list[Size]])
        self._check_data(stored_id, data_id)
        return sizes

    def finish(self, run: Run, report: str) -> None:
        """Save the run and its report, and put them where OUT is."""
        with outputs.said_in_one_line(self.out):
            self._write(REPORT, report.encode())
            run.save(self.part)
            # A kill while a file was being written leaves its unfinished half.
            for done_with in (self.part / STATE, self.part / SIZES, *self.part.glob("*.part")):
                done_with.unlink(missing_ok=True)
            if outputs.is_empty_folder(self.out):
                self.out.rmdir()
            outputs.replace_folder(self.part, self.out)
        run.folder = self.out

    @property
    def has_state(self) -> bool:
        """Whether there is more than the recipe to resume from."""
        return (self.part / STATE).is_file()

    def abandon(self) -> None:
        """Remove the unfinished run."""
        shutil.rmtree(self.part, ignore_errors=True)

    def _check_data(self, stored_id: str, data_id: str) -> None:
        if stored_id != data_id:
            raise RunError(f"{self.part} was started on other data; start anew with --overwrite")

    def _cut_metrics(self, epoch: int) -> None:
        path = self.part / METRICS
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        self._write(METRICS, "".join(lines[: epoch + 1]).encode())  # epoch 0 has a line too

    def _write(self, name: str, raw: bytes) -> None:
        with outputs.said_in_one_line(self.out):
            outputs.write_atomic(self.part / name, raw)


def _is_barely_begun(part: Path) -> bool:
    """Whether a kill left this folder while its very first file was being written."""
    if part.is_symlink() or not part.is_dir():
        return False
    return {path.name for path in part.iterdir()} <= {outputs.part_of(Path(RECIPE)).name}


def differences(a: Recipe, b: Recipe) -> list[str]:
    """Names of the settings in which two recipes differ."""
    left, right = _flat(to_fields(a)), _flat(to_fields(b))
    return sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        inner = value if isinstance(value, dict) else {"": value}
        flat |= {f"{key}.{name}".rstrip("."): content for name, content in inner.items()}
    return flat
