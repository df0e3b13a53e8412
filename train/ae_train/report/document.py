"""report.html of a run: one page that shows how good a model is, complete in itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import tomli_w

from ae_runtime.bundle.describe import alarms, gain_over_pca
from ae_runtime.model.tails import exceeded_by
from ae_train.recipe import to_fields
from ae_train.report import figures, report_rows
from ae_train.report.advice import spans, summary_of
from ae_train.report.gallery import MAP_ROWS, Gallery
from ae_train.report.report_rows import Bar, percent
from ae_train.schema import Schema

if TYPE_CHECKING:
    from ae_train.network.bottleneck.plain import CodeSummary
    from ae_train.run.folder import Run


def report_html(run: Run, metrics: Sequence[dict[str, Any]], gallery: Gallery) -> str:
    """The page: at most 2 MB, no scripts, nothing to fetch, the same bytes for the same arguments.

    metrics: the lines of metrics.jsonl. Its sections are in report.html.j2, which escapes all that
    is no figure.
    """
    schema, recipe = run.schema, run.recipe
    code = summary_of(recipe, schema, run.model.bottleneck)
    title, lead = _headline(run, code.stands)
    return _template().render(
        schema=schema,
        title=title,
        lead=lead,
        latent_dim=recipe.latent_dim,
        errors=_errors(schema),
        training=figures.curves(metrics, schema.best_epoch),
        categories=report_rows.categories(schema, gallery),
        columns=report_rows.columns(schema, gallery),
        part=gallery.part,
        worst_rows=report_rows.worst_rows(schema, gallery.worst),
        galleries=report_rows.galleries(schema, gallery),
        latents=_latents(code, gallery),
        sizes=figures.sizes(
            "Validation error against latent size",
            [(size.latent_dim, size.mse, size.pca_mse) for size in schema.sizes or ()],
            recipe.latent_dim,
        ),
        curve=figures.sizes(
            "Error against latents kept",
            [(prefix.keep, prefix.mse, prefix.pca_mse) for prefix in schema.curve or ()],
        ),
        score_shares=_score_shares(schema),
        trim=recipe.score.trim,
        alarms=alarms,
        exceeded_by=exceeded_by,
        recipe=tomli_w.dumps(to_fields(recipe)),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    path = Path(__file__).with_name("report.html.j2")
    return environment.from_string(path.read_text(encoding="utf-8"))


def _headline(run: Run, stands: str) -> tuple[str, str]:
    """The title and the sentences below it: how good the model is."""
    schema, q = run.schema, run.schema.quality
    part, ours, pca, mean = "test", q.test_mse, q.test_pca_mse, q.test_mean_mse
    if ours is None or pca is None or mean is None:
        part, ours, pca, mean = "validation", q.validation_mse, q.pca_mse, q.mean_mse
    seen = part == "validation" and run.recipe.data.validation == "train"
    where = f"On {schema.rows[part]:,} {'training rows' if seen else 'rows it has not seen'}"
    beside = "" if q.is_pca else f", PCA of the same size {_kept(pca, mean)}"
    errors = f"{ours:.3g}" if q.is_pca else f"{ours:.3g} and {pca:.3g}"
    verb = "stands" if stands.startswith("One") else "stand"
    what = "value" if schema.levels else "number"
    sentences = [
        f"{stands} {verb} for the {math.prod(schema.row_shape) + len(schema.levels):,} "
        f"{what}s of a row.",
        f"{where} the model keeps {_kept(ours, mean)} of the variance{beside} (mean squared "
        f"error{'' if q.is_pca else 's'} {errors}, against {mean:.3g} for the mean of the training "
        "rows).",
    ]
    if q.gain is not None and (gain := gain_over_pca(q)):
        sentences.append(f"{gain[0].upper()}{gain[1:]}.")
    mixed = (schema.mixed or {}).get(part)
    if mixed is not None:
        sentences.append(
            f"{percent(mixed.accuracy)} of the categories come back right (PCA "
            f"{percent(mixed.pca_accuracy)}, always the most frequent category "
            f"{percent(mixed.frequent_accuracy)})."
        )
    title = "PCA: training found nothing better" if q.is_pca else f"{_change(ours, pca)} PCA"
    return title, " ".join(sentences)


def _kept(error: float, mean: float) -> str:
    """Share of the variance that an error leaves, as text; near 100 % with more digits."""
    share = 1 - error / mean if mean > 0 else 0.0
    if share <= 0:
        return "none"
    return f"{100 * share:.2f} %" if share > 0.99 else percent(share)


def _change(ours: float, other: float) -> str:
    """Comparison of an error with PCA's, as text: "12 % less error than", to go before "PCA"."""
    if other <= 0:
        return "As good as" if ours <= 0 else "Worse than"
    ratio = ours / other
    if abs(ratio - 1) < 0.005:
        return "As good as"
    if ratio > 2:
        return f"{ratio:.1f} times the error of"
    return f"{100 * abs(1 - ratio):.0f} % {'less' if ratio < 1 else 'more'} error than"


def _errors(schema: Schema) -> list[tuple[str, list[Bar]]]:
    """(name, bars of the errors) of each held-out part."""
    q, parts = schema.quality, []
    names = ("model", f"PCA, {len(schema.z_std)} components", "mean of training rows")
    for part, errors in (
        ("validation", (q.validation_mse, q.pca_mse, q.mean_mse)),
        ("test", (q.test_mse, q.test_pca_mse, q.test_mean_mse)),
    ):
        known = [error for error in errors if error is not None]
        if len(known) < len(errors):
            continue
        # The mean's bar may leave the page: the difference to PCA is the one to be seen.
        most = min(max(known), 2.5 * max(known[:2])) or 1.0
        bars = [
            Bar(name, error / most, f"{error:.4g}", css)
            for name, error, css in zip(names, known, ("model", "pca", "mean"), strict=True)
        ]
        parts.append((f"{part}, {schema.rows[part]:,} rows", bars))
    return parts


def _latents(code: CodeSummary, gallery: Gallery) -> dict[str, str]:
    """The map of latents, the figures of each of them, and the note above."""
    idle = f"Unused, in orange: {spans(code.unused)}." if code.unused else "None is unused."
    return {
        "note": f"{code.note} {idle}".strip(),
        "map": figures.latent_map(gallery.z[:MAP_ROWS], gallery.errors[:MAP_ROWS]),
        "usage": figures.usage(code.values, code.unused, code.label, code.limit),
    }


def _score_shares(schema: Schema) -> list[float]:
    """The shares of rows above a score that there are enough held-out rows to estimate."""
    least = min((score.rows or 1 for score in schema.scores or ()), default=0)
    return [share for share in (0.5, 0.1, 0.01, 0.001) if share * (least + 1) >= 1]
