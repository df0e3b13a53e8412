"""What a training's figures say to do next, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ae_runtime.bundle.manifest import Quality
from ae_train.recipe import Resolved

if TYPE_CHECKING:
    from ae_train.network.bottleneck.plain import Plain

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
    """What advice is drawn from, all known at the end of a training.

    train_mse: of the kept model as used, on the training rows, in scaled space. history:
    validation_mse of each epoch from 0 on. z_std: (K,), over the training rows. usage: what the
    bottleneck's describe said. rows: how many are in "train", "validation" and "test". numbers: of
    a row in scaled space. tails: (P,) largest |x - mean| of each column of a table or channel of a
    series over its training rows, in standard deviations; NaN and 0 where nothing varies. names:
    (P,) theirs, None where they have none.
    """

    recipe: Resolved
    bottleneck: Plain
    train_mse: float
    quality: Quality
    epochs: int
    best_epoch: int
    stopped: Literal["epochs", "patience", "interrupt"]
    history: Sequence[float]
    z_std: Sequence[float]
    usage: Mapping[str, Any]
    rows: Mapping[str, int]
    numbers: int
    tails: Sequence[float] = ()
    names: Sequence[str | None] = field(default=())


def give_advice(facts: Facts) -> list[str]:
    """One sentence for each thing worth doing, what spoils the figures first; often none."""
    return [sentence for advise in _ADVICE if (sentence := advise(facts))]


def unused_latents(
    recipe: Resolved,
    bottleneck: Plain,
    usage: Mapping[str, Any],
    z_std: Sequence[float],
    left: float,
) -> list[int]:
    """Which latents, counted from 0, say next to nothing of a row.

    usage, z_std: as in Facts. left: mean squared error of a whole row, summed over its numbers in
    scaled space.
    """
    share = UNUSED_STD
    if recipe.arch.pca_path:  # latents are in the units of the rows there
        error = (UNUSED_OF_ERROR * left) ** 0.5
        share = min(share, max(ROUNDING, error / max(*z_std, 1e-30)))
    return bottleneck.unused(usage, z_std, share * max(z_std))


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
    """What a column or channel is called in a sentence; at: its place, counted from 0."""
    return f"{noun} {at + 1 if name is None else repr(name)}"


def _few_rows(facts: Facts) -> str:
    rows = facts.rows["validation"]
    if facts.recipe.data.validation == "train" or rows >= FEW_ROWS:
        return ""
    noun = "row makes" if rows == 1 else "rows make"
    return (
        f"{rows} validation {noun} every figure uncertain: try more rows, or "
        "--set data.validation=0.3"
    )


def _interrupted(facts: Facts) -> str:
    if facts.stopped != "interrupt":
        return ""
    return (
        f"training was interrupted after {facts.epochs} of {facts.recipe.fit.epochs} epochs: "
        "train on from this run with --init RUN"
    )


def _overfit(facts: Facts) -> str:
    quality, recipe = facts.quality, facts.recipe
    matters = quality.validation_mse > NEGLIGIBLE * quality.mean_mse
    if not matters or quality.validation_mse < OVERFIT * facts.train_mse:
        return ""
    gap = (
        f"validation error is {quality.validation_mse / facts.train_mse:.1f} times the training "
        "error"
        if facts.train_mse > 0
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
    epochs, history = facts.epochs, facts.history
    if facts.stopped != "epochs" or facts.best_epoch != epochs or epochs < 2:
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
    if not facts.quality.is_pca or not facts.epochs:
        return ""
    rows = facts.rows["train"]
    why = (
        f"{rows} training rows of {facts.numbers} numbers may be too few for more"
        if rows < facts.numbers
        else "the numbers of a row may depend on each other in straight lines only"
    )
    return (
        f"PCA is the best linear code, and none of {facts.epochs} epochs was better by more than "
        f"chance ({why}); use it as it is, or try more rows or another --latent"
    )


def _below_pca(facts: Facts) -> str:
    quality = facts.quality
    if facts.recipe.arch.pca_path or quality.validation_mse <= quality.pca_mse:
        return ""
    return (
        f"validation error is {quality.validation_mse:.3g}, above PCA's {quality.pca_mse:.3g}: try "
        "--set arch.pca_path=true"
    )


def _unused(facts: Facts) -> str:
    latent_dim, bottleneck = len(facts.z_std), facts.bottleneck
    left = facts.quality.validation_mse * facts.numbers
    unused = unused_latents(facts.recipe, bottleneck, facts.usage, facts.z_std, left)
    if not unused:
        return ""
    used = max(1, latent_dim - len(unused))
    subject = f"latent {spans(unused)} is" if len(unused) == 1 else f"latents {spans(unused)} are"
    if why := bottleneck.why_unused(len(unused)):
        return f"{subject} unused, {len(unused)} of {latent_dim}: {why}, or --latent {used}"
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
    latent_dim = len(facts.z_std)
    dense = facts.bottleneck.is_dense and facts.numbers > 1
    if not dense or latent_dim < NOT_COMPRESSED * facts.numbers:
        return ""
    return (
        f"{latent_dim} latents for {facts.numbers} numbers a row compress next to nothing: "
        f"try --latent {max(1, facts.numbers // 2)}"
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
