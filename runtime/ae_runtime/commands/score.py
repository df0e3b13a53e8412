"""The command ae-run score: how strange the rows of a file are, and which are the strangest."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from ae_runtime.autoencoder import Autoencoder
from ae_runtime.commands.files import PIPE, Result, file_options, opened, out_option, work
from ae_runtime.console import common_options, print_json, say
from ae_runtime.files.jobs.pipe import process_to_pipe
from ae_runtime.files.jobs.score_summary import Asked, Judge, Strange

_EPILOG = """Examples: ae-run score bundle rows.csv --out scores.csv; ae-run score bundle rows.csv
--top 10; ae-run score bundle rows.npy --out scores.npy --parts --false-alarm-rate 0.001"""

_OF_WINDOWS = (
    "time steps are judged by what windows score: the bundle does not know what ordinary steps do; "
    "train on the series themselves, with this version"
)


def add_score_command(group: click.Group) -> None:
    """Add the command score."""

    @group.command(epilog=_EPILOG)
    @click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
    @click.argument("sources", metavar="IN...", nargs=-1, required=True)
    @out_option(required=False)
    @click.option("--score", "name", metavar="NAME", help="Which score.  [default: the bundle's]")
    @click.option(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="A row that scores higher is an anomaly.  [default: the bundle's]",
    )
    @click.option(
        "--false-alarm-rate",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="SHARE",
        help="Instead: the threshold that this share of ordinary rows exceeds.",
    )
    @click.option("--parts", is_flag=True, help="Also write by how much each column is off.")
    @click.option(
        "--top", type=click.IntRange(0), default=0, help="Print so many of the strangest rows."
    )
    @file_options
    @common_options
    def score(
        bundle: Path,
        as_json: bool,
        name: str | None,
        threshold: float | None,
        false_alarm_rate: float | None,
        parts: bool,
        top: int,
        **words: Any,
    ) -> None:
        """Write how strange the rows in IN are: score, probability, and whether it is an anomaly.

        IN is as in encode; of a series each time step is scored. probability is the share of
        ordinary rows that score as high or higher. Without --out the rows are counted only.
        """
        if threshold is not None and false_alarm_rate is not None:
            raise click.UsageError("--threshold and --false-alarm-rate say the same; give one")
        ae = opened(bundle, words)
        judge = Judge(ae.manifest, Asked(name, threshold, false_alarm_rate, parts), top)
        result = _result(ae, judge, as_json, words)
        for note in result.notes:
            say(note)
        if judge.is_of_windows:
            say(_OF_WINDOWS)
        _show(judge, result, as_json, to_stdout=words.get("out") == PIPE)


def _result(ae: Autoencoder, judge: Judge, as_json: bool, words: dict[str, Any]) -> Result:
    if words["out"] is not None:
        return work("score", ae, as_json, dict(words), judge)
    sources, source = words["sources"], words["sources"][0]
    if len(sources) > 1 or (Path(source).is_dir() and ae.manifest.kind != "image"):
        raise click.UsageError("several inputs need a folder: --out FOLDER")
    if words["on_error"] == "skip":
        raise click.UsageError("--on-error skip lists rows beside the output; add --out FILE")
    with Path(os.devnull).open("wb") as nowhere:
        done = process_to_pipe(
            ae.model,
            "score",
            sys.stdin.buffer if source == PIPE else source,
            nowhere,
            out_format="csv",
            source_format=words["from_"],
            id_column=words["id_column"],
            stride=words["stride"],
            judge=judge,
        )
    return Result(done.notes, {"rows": done.rows}, "")


def _show(judge: Judge, result: Result, as_json: bool, to_stdout: bool) -> None:
    if as_json:
        found = {"threshold": judge.limit, "anomalies": judge.anomalies}
        print_json(result.fields | found | {"top": [_fields(strange) for strange in judge.top]})
        return
    echo = say if to_stdout else click.echo
    if result.line:
        echo(result.line)
    echo(f"{judge.anomalies:,} of {judge.rows:,} rows score above {judge.limit:.6g}")
    for strange in judge.top:
        echo(_line(strange))


def _line(strange: Strange) -> str:
    name = "" if strange.id is None else f"  {strange.id}"
    parts = ", ".join(f"{name} {off:.1f}" for name, off in strange.parts)
    return f"row {strange.row:,}{name}  score {strange.score:.6g}  {parts}"


def _fields(strange: Strange) -> dict[str, Any]:
    fields: dict[str, Any] = {"row": strange.row, "score": strange.score}
    if strange.id is not None:
        fields["id"] = strange.id
    return fields | {"parts": dict(strange.parts)}
