"""Advice: sentences on what to try next, from the figures of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ae_train.recipe import Resolved

if TYPE_CHECKING:
    from ae_train.network.bottleneck.plain import CodeSummary, Plain
    from ae_train.schema import Schema

# Validation over training error. Held-out rows are always a little harder; at 1.5 a third of the
# validation error is there only because the training rows were learned by heart.
OVERFIT = 1.5
# Share of the mean's error. Below it, a ratio of errors is one of numbers that nobody can see.
NEGLIGIBLE = 1e-3
# Share of the error that the second half of the epochs took, when the last one was the best. A
# learning rate that falls to zero makes the last epoch the best in any training; less than a tenth
# in half of the time is hardly worth as much time again.
STILL_FALLING = 0.1
# Share of the largest std of a latent; squared, a ten-thousandth of the largest variance.
UNUSED_STD = 0.01
# Share of the error that is left: spectra have small latents that are worth more than all of it.
UNUSED_OF_ERROR = 0.01
# Share of the largest std: what rounding alone makes of a latent that PCA has no use for.
ROUNDING = 1e-5
# Standard deviations from the mean; a normal column never reaches 6. At 30 the square of one value
# is as large as those of 900 rows together.
TAIL = 30.0
# Latents over numbers of a row.
NOT_COMPRESSED = 0.8
# Rows. The standard error of a mean of 20 squared errors is about a third of it.
FEW_ROWS = 20


@dataclass(frozen=True)
class Facts:
    """Figures that advice is drawn from, all known at the end of a training.

    schema: complete but for its advice. history: validation_mse of each epoch from 0 on. tails:
    (P,) largest |x - mean| of each column of a table or channel of a series over its training rows,
    in standard deviations; NaN and 0 where nothing varies. names: (P,) theirs, None where they have
    none.
    """

    recipe: Resolved
    schema: Schema
    bottleneck: Plain
    history: Sequence[float]
    tails: Sequence[float]
    names: Sequence[str | None]


def give_advice(facts: Facts) -> list[str]:
    """One sentence for each thing worth doing, what spoils the figures first; often none."""
    return [sentence for advise in _ADVICE if (sentence := advise(facts))]


def summary_of(recipe: Resolved, schema: Schema, bottleneck: Plain) -> CodeSummary:
    """The figures of a code, and which of its latents are unused."""
    share, z_std = UNUSED_STD, schema.z_std
    if recipe.arch.pca_path:  # latents are in the units of the rows there
        left = schema.quality.validation_mse * schema.form.numbers  # summed over a whole row
        error = (UNUSED_OF_ERROR * left) ** 0.5
        share = min(share, max(ROUNDING, error / max(*z_std, 1e-30)))
    return bottleneck.summary(schema.usage, z_std, share * max(z_std))


def spans(numbers: Sequence[int]) -> str:
    """Ascending numbers counted from 0 as people write them from 1: "1, 3-5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a + 1}" if a == b else f"{a + 1}-{b + 1}" for a, b in runs)


def column_label(name: str | None, at: int, noun: str = "column") -> str:
    """Name of a column or channel in a sentence. at: its place, counted from 0."""
    return f"{noun} {at + 1 if name is None else repr(name)}"


def _few_rows(facts: Facts) -> str:
    rows = facts.schema.rows["validation"]
    if facts.recipe.data.validation == "train" or rows >= FEW_ROWS:
        return ""
    noun = "row makes" if rows == 1 else "rows make"
    return (
        f"{rows} validation {noun} every figure uncertain: try more rows, or "
        "--set data.validation=0.3"
    )


def _interrupted(facts: Facts) -> str:
    if facts.schema.stopped != "interrupt":
        return ""
    return (
        f"training was interrupted after {facts.schema.epochs} of {facts.recipe.fit.epochs} "
        "epochs: train on from this run with --init RUN"
    )


def _overfit(facts: Facts) -> str:
    quality, train_mse, recipe = facts.schema.quality, facts.schema.train_mse, facts.recipe
    matters = quality.validation_mse > NEGLIGIBLE * quality.mean_mse
    if not matters or quality.validation_mse < OVERFIT * train_mse:
        return ""
    gap = (
        f"validation error is {quality.validation_mse / train_mse:.1f} times the training error"
        if train_mse > 0
        else "the training error is 0, the validation error is not"
    )
    tries = ["more rows"]
    if quality.is_pca:
        tries.append("fewer latents (--latent)")
    else:
        dropout = recipe.arch.dropout
        if dropout < 0.5:
            tries.append(f"[arch] dropout = {0.2 if dropout < 0.2 else min(dropout + 0.2, 0.5):g}")
        if recipe.corruption.name == "none":
            tries.append("[corruption] name = 'gaussian'")
    last = tries.pop()
    return (
        f"{gap}: the training rows were learned by heart in part; "
        f"try {', '.join(tries)}{',' if len(tries) > 1 else ''} or {last}"
    )


def _still_falling(facts: Facts) -> str:
    epochs, history = facts.schema.epochs, facts.history
    if facts.schema.stopped != "epochs" or facts.schema.best_epoch != epochs or epochs < 2:
        return ""
    before = history[len(history) // 2]
    gain = 1 - history[-1] / before if before > 0 else 0.0
    if gain < STILL_FALLING:
        return ""
    return (
        f"the best epoch was the last, and the second half of the epochs took {100 * gain:.0f} % "
        f"off the error: try --epochs {2 * epochs}"
    )


def _is_pca(facts: Facts) -> str:
    epochs, numbers = facts.schema.epochs, facts.schema.form.numbers
    if not facts.schema.quality.is_pca or not epochs:
        return ""
    rows = facts.schema.rows["train"]
    why = (
        f"{rows} training rows of {numbers} numbers may be too few for more"
        if rows < numbers
        else "the numbers of a row may depend on each other in straight lines only"
    )
    return (
        f"PCA is the best linear code, and none of {epochs} epochs was better by more than "
        f"chance ({why}); use it as it is, or try more rows or another --latent"
    )


def _below_pca(facts: Facts) -> str:
    quality = facts.schema.quality
    if facts.recipe.arch.pca_path or quality.validation_mse <= quality.pca_mse:
        return ""
    return (
        f"validation error is {quality.validation_mse:.3g}, above PCA's {quality.pca_mse:.3g}: try "
        "--set arch.pca_path=true"
    )


def _unused(facts: Facts) -> str:
    code = summary_of(facts.recipe, facts.schema, facts.bottleneck)
    latent_dim, unused = facts.recipe.latent_dim, code.unused
    if not unused:
        return ""
    used = max(1, latent_dim - len(unused))
    subject = f"latent {spans(unused)} is" if len(unused) == 1 else f"latents {spans(unused)} are"
    if code.why_unused:
        return (
            f"{subject} unused, {len(unused)} of {latent_dim}: {code.why_unused}, "
            f"or --latent {used}"
        )
    return f"{subject} unused: try --latent {used}"


def _heavy_tails(facts: Facts) -> str:
    recipe = facts.recipe
    tails = sorted(
        ((tail, at) for at, tail in enumerate(facts.tails) if tail > TAIL),
        key=lambda pair: -pair[0],
    )
    remedy = "data.scaling=robust" if recipe.data.scaling != "robust" else "fit.objective=huber"
    # Cross-entropy needs numbers in [0, 1], and mixed tables have their own loss.
    helps = recipe.fit.objective == "mse" or (
        recipe.fit.objective != "bce" and recipe.data.scaling != "robust"
    )
    if not tails or not helps:
        return ""
    noun = "channel" if recipe.data.kind == "series" else "column"
    tail, at = tails[0]
    others = len(tails) - 1
    more = f", and {others} other{'s' * (others > 1)} more than {TAIL:g}" if others else ""
    first = column_label(facts.names[at] if facts.names else None, at, noun)
    return f"{first} reaches {tail:.0f} standard deviations{more}: try --set {remedy}"


def _not_compressed(facts: Facts) -> str:
    latent_dim, numbers = facts.recipe.latent_dim, facts.schema.form.numbers
    dense = facts.bottleneck.is_dense and numbers > 1
    if not dense or latent_dim < NOT_COMPRESSED * numbers:
        return ""
    return (
        f"{latent_dim} latents for {numbers} numbers a row compress next to nothing: "
        f"try --latent {max(1, numbers // 2)}"
    )


# What spoils the figures first. A new sentence is a function, and its place here.
_ADVICE = (
    _few_rows,
    _interrupted,
    _overfit,
    _still_falling,
    _is_pca,
    _below_pca,
    _unused,
    _heavy_tails,
    _not_compressed,
)
