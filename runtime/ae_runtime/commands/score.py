"""The command ae-run score: anomaly scores of the rows of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ae_runtime.commands.files import PIPE, Result, input_of, opened, work
from ae_runtime.commands.options import bundle_argument, file_options, out_option
from ae_runtime.console import common_options, print_json, say
from ae_runtime.files.jobs.job import JobOptions
from ae_runtime.files.jobs.pipe import count
from ae_runtime.files.jobs.score_summary import ScoreOptions, ScoreSummary, TopRow
from ae_runtime.files.jobs.task import Score
from ae_runtime.shards import data_files

_EPILOG = """Examples: ae-run score bundle rows.csv --out scores.csv; ae-run score bundle rows.csv
--top 10; ae-run score bundle rows.npy --out scores.npy --parts --false-alarm-rate 0.001"""

_OF_WINDOWS = (
    "time steps are judged by what windows score: the bundle does not know what ordinary steps do; "
    "train on the series themselves, with this version"
)


def add_score_command(group: click.Group) -> None:
    """Add the command score."""

    @group.command(epilog=_EPILOG)
    @bundle_argument
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
        "--top", type=click.IntRange(0), default=0, help="Print so many rows of the highest scores."
    )
    @file_options
    @common_options
    def score(
        bundle: Path,
        sources: tuple[str, ...],
        out: str | None,
        as_json: bool,
        name: str | None,
        threshold: float | None,
        false_alarm_rate: float | None,
        parts: bool,
        top: int,
        **words: Any,
    ) -> None:
        """Write anomaly scores of the rows in IN: score, probability, and whether it is an anomaly.

        IN is as in encode; of a series each time step is scored. probability is the share of
        ordinary rows that score as high or higher. Without --out the rows are counted only.
        """
        if threshold is not None and false_alarm_rate is not None:
            raise click.UsageError("--threshold and --false-alarm-rate say the same; give one")
        options = ScoreOptions(name, threshold, false_alarm_rate, parts)
        task = Score(opened(bundle, words), options, top)
        if out is None:
            result = _counted(task, sources, words)
        else:
            result = work(task, sources, out, as_json, words)
        for note in result.notes:
            say(note)
        if task.summary.is_of_windows:
            say(_OF_WINDOWS)
        _show(task.summary, result, as_json, to_stdout=out == PIPE)


def _counted(task: Score, sources: tuple[str, ...], words: dict[str, Any]) -> Result:
    """Score the rows only to count them, where no output is written."""
    if words["on_error"] == "skip":
        raise click.UsageError("--on-error skip lists rows beside the output; add --out FILE")
    if PIPE in sources and len(sources) > 1:
        raise click.UsageError("stdin goes alone, not with other inputs")
    options = JobOptions(
        id_column=words["id_column"], stride=words["stride"], source_format=words["from_"]
    )
    files, folder = [*sources], Path(sources[0])
    if len(sources) == 1 and folder.is_dir():
        files = [str(file) for file in data_files(folder, task.model.manifest.kind)] or files
    results = [count(task, input_of(file), options) for file in files]
    notes = list(dict.fromkeys(note for result in results for note in result.notes))
    return Result(notes, {"rows": sum(result.rows for result in results)}, "")


def _show(summary: ScoreSummary, result: Result, as_json: bool, to_stdout: bool) -> None:
    if as_json:
        found = {"threshold": summary.limit, "anomalies": summary.anomalies}
        print_json(result.fields | found | {"top": [_fields(row) for row in summary.top]})
        return
    echo = say if to_stdout else click.echo
    if result.line:
        echo(result.line)
    echo(f"{summary.anomalies:,} of {summary.rows:,} rows score above {summary.limit:.6g}")
    for row in summary.top:
        echo(_line(row))


def _line(row: TopRow) -> str:
    name = "" if row.id is None else f"  {row.id}"
    parts = ", ".join(f"{name} {off:.1f}" for name, off in row.parts)
    return f"row {row.row:,}{name}  score {row.score:.6g}  {parts}"


def _fields(row: TopRow) -> dict[str, Any]:
    fields: dict[str, Any] = {"row": row.row, "score": row.score}
    if row.id is not None:
        fields["id"] = row.id
    return fields | {"parts": dict(row.parts)}
