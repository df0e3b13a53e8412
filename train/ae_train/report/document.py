"""report.html of a run: one page that shows how good a model is, complete in itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

from ae_runtime.bundle.describe import alarms, gain_over_pca
from ae_runtime.model.tails import exceeded_by
from ae_train.recipe import to_fields
from ae_train.report import figures, report_rows
from ae_train.report.advice import spans, unused_latents
from ae_train.report.gallery import MAP_ROWS, Gallery, Shown, rows_to_show
from ae_train.report.page import CSS, bars, percent, section
from ae_train.schema import Schema

if TYPE_CHECKING:
    from ae_train.run.folder import Run

__all__ = ["Gallery", "Shown", "report_html", "rows_to_show"]


def report_html(run: Run, metrics: Sequence[dict[str, Any]], gallery: Gallery) -> str:
    """The page: at most 2 MB, no scripts, nothing to fetch, the same bytes for the same arguments.

    metrics: the lines of metrics.jsonl.
    """
    schema, recipe = run.schema, run.recipe
    title, sentences = _headline(run)
    noun = "Columns" if schema.kind == "table" else "Channels"
    pages = [
        f"<h1>{escape(title)}</h1><p class=lead>{escape(sentences)}</p>",
        section("Beside PCA and the mean", _comparison(schema)),
        section("Advice", _advice(schema.advice)),
        section("Training", figures.curves(metrics, schema.best_epoch)),
        section("Categories that come back right", report_rows.categories(schema, gallery)),
        section(f"{noun}, the worst first", report_rows.columns(schema, gallery)),
        *report_rows.galleries(schema, gallery),
        section("Latents", _latents(run, gallery)),
        section("Choosing the size", _sizes(run)),
        section("Keeping the first latents alone", _curve(run)),
        section("What is strange", _scores(run)),
        section("Facts", _facts(run)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - {recipe.latent_dim} latents</title><style>{CSS}</style>"
        f"</head><body><main>\n{''.join(pages)}</main></body></html>\n"
    )


def _headline(run: Run) -> tuple[str, str]:
    """The title and the sentences below it: how good the model is."""
    schema, q = run.schema, run.schema.quality
    part, ours, pca, mean = "test", q.test_mse, q.test_pca_mse, q.test_mean_mse
    if ours is None or pca is None or mean is None:
        part, ours, pca, mean = "validation", q.validation_mse, q.pca_mse, q.mean_mse
    seen = part == "validation" and run.recipe.data.validation == "train"
    where = f"On {schema.rows[part]:,} {'training rows' if seen else 'rows it has not seen'}"
    beside = "" if q.is_pca else f", PCA of the same size {_kept(pca, mean)}"
    errors = f"{ours:.3g}" if q.is_pca else f"{ours:.3g} and {pca:.3g}"
    sentences = [
        _code_words(run),
        f"{where} the model keeps {_kept(ours, mean)} of the variance{beside} (mean squared "
        f"error{'' if q.is_pca else 's'} {errors}, against {mean:.3g} for the mean of the training "
        "rows).",
    ]
    found = gain_over_pca(q) if q.gain is not None else ""
    if found:
        sentences.append(f"{found[0].upper()}{found[1:]}.")
    mixed = (schema.mixed or {}).get(part)
    if mixed is not None:
        sentences.append(
            f"{percent(mixed.accuracy)} of the categories come back right (PCA "
            f"{percent(mixed.pca_accuracy)}, always the most frequent word "
            f"{percent(mixed.frequent_accuracy)})."
        )
    title = "PCA: training found nothing better" if q.is_pca else f"{_change(ours, pca)} PCA"
    return title, " ".join(sentences)


def _kept(error: float, mean: float) -> str:
    """Share of the variance that an error leaves, in words; near 100 % with more digits."""
    share = 1 - error / mean if mean > 0 else 0.0
    if share <= 0:
        return "none"
    return f"{100 * share:.2f} %" if share > 0.99 else percent(share)


def _code_words(run: Run) -> str:
    """The sentence that says what stands for what."""
    schema, usage, name = run.schema, run.schema.usage, run.recipe.bottleneck.name
    latent_dim = len(schema.z_deviation)
    code = f"{latent_dim} latents stand" if latent_dim > 1 else "One latent stands"
    if name == "quantized":
        code = f"{usage['bits']:.0f} bits in {latent_dim} latents stand"
    elif name == "sparse":
        code = f"{usage['active']} of {latent_dim} latents stand"
    numbers = math.prod(schema.row_shape) + len(schema.levels)
    what = "value" if schema.levels else "number"
    return f"{code} for the {numbers:,} {what}s of a row."


def _change(ours: float, other: float) -> str:
    """How an error compares with another, as the start of "... PCA"."""
    if other <= 0:
        return "As good as" if ours <= 0 else "Worse than"
    ratio = ours / other
    if abs(ratio - 1) < 0.005:
        return "As good as"
    if ratio > 2:
        return f"{ratio:.1f} times the error of"
    return f"{100 * abs(1 - ratio):.0f} % {'less' if ratio < 1 else 'more'} error than"


def _comparison(schema: Schema) -> str:
    """Bars of the errors on each held-out part."""
    q, parts = schema.quality, []
    for part, errors in (
        ("validation", (q.validation_mse, q.pca_mse, q.mean_mse)),
        ("test", (q.test_mse, q.test_pca_mse, q.test_mean_mse)),
    ):
        known = [error for error in errors if error is not None]
        if len(known) < len(errors):
            continue
        names = ("model", f"PCA, {len(schema.z_deviation)} components", "mean of training rows")
        # The mean's bar may leave the page: the difference to PCA is the one to be seen.
        most = min(max(known), 2.5 * max(known[:2])) or 1.0
        lengths = [
            (name, error / most, f"{error:.4g}", css)
            for name, error, css in zip(names, known, ("model", "pca", "mean"), strict=True)
        ]
        heading = f"{part}, {schema.rows[part]:,} rows"
        parts.append(f"<div><h3>{heading}</h3>{bars(lengths)}</div>")
    note = "<p class=note>Mean squared error in scaled space. A bar that fades is longer.</p>"
    return f"<div class=two>{''.join(parts)}</div>{note}"


def _advice(lines: Sequence[str]) -> str:
    if not lines:
        return "<p>Nothing stands out.</p>"
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _latents(run: Run, gallery: Gallery) -> str:
    schema, usage, name = run.schema, run.schema.usage, run.recipe.bottleneck.name
    left = schema.quality.validation_mse * schema.form.numbers
    unused = unused_latents(run.recipe, usage, schema.z_deviation, left)
    limit, words = None, ""
    values: Sequence[float] = schema.z_deviation
    label = "standard deviation over the training rows"
    if name == "variational":
        values, label = usage["kl"], "KL divergence of a row in nats"
        words = f"KL divergence of a whole row: {sum(values):.3g} nats."
    elif name == "quantized":
        values, label, limit = usage["entropy"], "entropy in bits", math.log2(usage["levels"])
        words = (
            f"{usage['levels']} values each, {usage['bits']:.4g} bits a row; entropy on average "
            f"{100 * float(np.mean(values)) / limit:.0f} % of what they hold; perplexity of whole "
            f"codes {usage['perplexity']:.4g}."
        )
    elif name == "sparse":
        values, label = usage["usage"], "share of rows that use it"
        words = f"{usage['active']} of {len(values)} latents are used by each row."
    idle = f" Unused, in orange: {spans(unused)}." if unused else " None is unused."
    pictures = (
        figures.latent_map(gallery.z[:MAP_ROWS], gallery.errors[:MAP_ROWS]),
        figures.usage(values, unused, label, limit),
    )
    note = f"<p class=note>{escape((words + idle).strip())}</p>"
    return f"{note}<div class=two>{''.join(f'<div>{p}</div>' for p in pictures)}</div>"


def _sizes(run: Run) -> str:
    points = run.schema.sizes
    if not points or not isinstance(run.recipe.latent_dim, int):
        return ""
    note = "<p class=note>Validation error after short trainings at each size.</p>"
    ours, pca = [p.mse for p in points], [p.pca_mse for p in points]
    tried, kept = [p.latent_dim for p in points], run.recipe.latent_dim
    return note + figures.sizes("Validation error against latent size", tried, ours, pca, kept)


def _curve(run: Run) -> str:
    points = run.schema.curve
    if not points:
        return ""
    part = "test" if run.schema.rows["test"] else "validation"
    note = f"<p class=note>Error of the {part} rows by how many latents of a code are kept.</p>"
    ours, pca = [p.mse for p in points], [p.pca_mse for p in points]
    return note + figures.sizes("Error against latents kept", [p.keep for p in points], ours, pca)


def _scores(run: Run) -> str:
    """Quantiles of the scores over the held-out rows, and the threshold."""
    scores, limit, settings = run.schema.scores, run.schema.threshold, run.recipe.score
    if scores is None or limit is None:
        return ""
    least = min(score.rows or 1 for score in scores)
    shown = [share for share in (0.5, 0.1, 0.01, 0.001) if share * (least + 1) >= 1]
    head = "".join(f"<th>{100 * (1 - share):g} %</th>" for share in shown)
    lines = ""
    for score in scores:
        cells = "".join(f"<td>{exceeded_by(score, share):.4g}</td>" for share in shown)
        lines += f"<tr><th>{escape(score.name)}</th>{cells}</tr>"
    note = (
        f"A row is called strange above {limit.value:.4g} of {limit.score}: {alarms(limit)}, as "
        "rows have them that scores were not fitted on. Below, what so many of these score at most."
    )
    if run.schema.step_threshold is not None:
        steps = run.schema.step_threshold
        note += f" Time steps are strange above {steps.value:.4g}: {alarms(steps)}."
    if settings.trim:
        note += (
            f" Fitted without the {100 * settings.trim:g} % of the rows that are strangest, "
            "as [score] trim says."
        )
    table = f"<table class=rows><tr><th></th>{head}</tr>{lines}</table>"
    return f"<p class=note>{escape(note)}</p>{table}"


def _facts(run: Run) -> str:
    schema = run.schema
    why = {"epochs": "all of them", "patience": "no better for a while", "interrupt": "interrupted"}
    facts = {
        "model_id": schema.model_id,
        "rows": ", ".join(f"{count:,} {part}" for part, count in schema.rows.items()),
        "a row": f"{schema.kind} {' x '.join(map(str, schema.row_shape))}, {schema.dtype}"
        + (f", {len(schema.levels)} categories" if schema.levels else ""),
        "epochs": f"{schema.epochs} ({why[schema.stopped]}); kept is {schema.best_epoch}",
        "training error": f"{schema.train_mse:.4g}",
    }
    lines = "".join(f"<tr><th>{k}</th><td>{escape(str(v))}</td></tr>" for k, v in facts.items())
    recipe = escape(tomli_w.dumps(to_fields(run.recipe)))
    details = f"<details><summary>recipe</summary><pre>{recipe}</pre></details>"
    return f"<table class=facts>{lines}</table>{details}"
