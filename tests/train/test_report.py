"""The report: one page, complete in itself, that says and shows what the figures say."""

from __future__ import annotations

import base64
import functools
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from msgspec.structs import replace

from ae_runtime.bundle.manifest import Column, Quality
from ae_train.network.bottleneck import BOTTLENECKS
from ae_train.recipe import make_recipe
from ae_train.report import figures, report_rows
from ae_train.report.document import report_html
from ae_train.report.gallery import TYPICAL, WORST, Gallery, Shown, rows_to_show
from ae_train.schema import MixedQuality, Schema, Size

B = 200
K = 4
QUALITY = Quality(0.05, 0.1, 1.0, 0.04, 0.08, 0.8)
COLUMNS = [
    Column("age", rmse=2.5),
    Column("<script>alert(1)</script>", rmse=0.7),
    Column("$x_1^$ \N{SNOWMAN} \N{CJK UNIFIED IDEOGRAPH-9AD8}", rmse=0.1),
]
WORDS = [*COLUMNS, Column("job", type="category", levels=["admin", "<b>other</b>"])]


def metrics(epochs: int = 30, shift: float = 0.0) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl; the loss is the error plus shift."""
    errors = [0.05 + 0.05 * np.exp(-epoch / 5) for epoch in range(epochs + 1)]
    return [
        {
            "epoch": epoch,
            "train_loss": None if epoch == 0 else 0.9 * error + shift,
            "validation_loss": error + shift,
            "validation_mse": error,
            "pca_mse": 0.1,
            "lr": 1e-3,
        }
        for epoch, error in enumerate(errors)
    ]


def run(kind: str = "table", row_shape: tuple[int, ...] = (3,), **changes: Any) -> Any:
    """What report_html reads of a Run. bottleneck: the section of the recipe."""
    bottleneck = changes.pop("bottleneck", {"name": "plain"})
    recipe = make_recipe({"latent_dim": K, "bottleneck": bottleneck, "data": {"kind": kind}})
    recipe = replace(recipe, arch=replace(recipe.arch, name="dense", width=8, depth=1, dropout=0.0))
    latent_dim = len(changes.get("z_std", [0.0] * K))
    settings = recipe.bottleneck.settings(latent_dim)
    model = SimpleNamespace(bottleneck=BOTTLENECKS[recipe.bottleneck.name](latent_dim, **settings))
    schema = Schema(
        model_id="a" * 64,
        kind=kind,
        dtype="uint8" if kind == "image" else "float64",
        row_shape=row_shape,
        columns=COLUMNS if kind == "table" else None,
        quality=QUALITY,
        x_std=[10.0, 1.0, 0.0] if kind == "table" else [1.0] * row_shape[-1],
        z_mean=[0.0] * K,
        z_std=[2.0, 1.0, 0.5, 0.25],
        rows={"train": 1600, "validation": 200, "test": 200},
        epochs=30,
        best_epoch=28,
        stopped="epochs",
        train_mse=0.045,
    )
    return SimpleNamespace(recipe=recipe, schema=replace(schema, **changes), model=model)


def gallery(
    row_shape: tuple[int, ...] = (3,), dtype: Any = float, most: int = 100, **more: Any
) -> Gallery:
    """Rows from 0 to below `most`."""
    random = np.random.default_rng(0)
    errors = random.lognormal(size=B)
    typical, worst = rows_to_show(errors)
    x = (most * random.random((B, *row_shape))).astype(dtype)
    x_hat = (x * 0.9).astype(dtype)
    if dtype is np.uint8:
        channels = row_shape[2] if len(row_shape) == 3 else 1
        more.setdefault("extremes", np.repeat([[0.0], [most - 1.0]], channels, axis=1))
    parts = [Shown(rows, x[rows], x_hat[rows], errors[rows]) for rows in (typical, worst)]
    z = random.standard_normal((B, K)).astype(np.float32)
    return Gallery("test", errors, z, *parts, **more)


TABLE = {"column_error": np.array([0.25, 0.7, np.nan])}
PAGES = {
    "table": lambda: report_html(run(), metrics(), gallery(**TABLE)),
    "image": lambda: report_html(run("image", (8, 8)), metrics(), gallery((8, 8), np.uint8)),
    "colour": lambda: report_html(run("image", (9, 6, 3)), metrics(), gallery((9, 6, 3), np.uint8)),
    "series": lambda: report_html(
        run("series", (24, 6), channels=[column.name for column in COLUMNS * 2]),
        metrics(shift=-3.0),
        gallery((24, 6), column_error=np.linspace(0.1, 0.6, 6)),
    ),
}


@functools.cache
def page_of(kind: str) -> str:
    """A page, made once for all tests that read it."""
    return PAGES[kind]()


class Checker(HTMLParser):
    """Tags, ids and references of a page; complains where tags are not balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def text_of(page: str) -> str:
    """What a reader sees of a page."""
    page = re.sub(r"<(style|svg).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_complete_in_itself(kind: str) -> None:
    page = page_of(kind)
    assert len(page.encode()) < 2_000_000
    found = Checker(page)
    tags = {tag for tag, _, _ in found.attributes}
    assert not tags & {"script", "link", "iframe", "object"}
    for _, name, value in found.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/png;base64,", "#"))
        assert not name.startswith("on")
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


@pytest.mark.parametrize("kind", PAGES)
def test_figures_of_a_page_do_not_take_each_others_parts(kind: str) -> None:
    page = page_of(kind)
    ids = [value for _, name, value in Checker(page).attributes if name == "id"]
    assert len(set(ids)) == len(ids) > 0
    referred = re.findall(r'(?:url\(|href=")#([^")]+)', page)
    assert set(referred) <= set(ids)


@pytest.mark.parametrize("kind", PAGES)
def test_every_figure_says_what_it_shows(kind: str) -> None:
    found = Checker(page_of(kind)).attributes
    pictures = [
        tag for tag, name, _ in found if (tag, name) in {("svg", "viewbox"), ("img", "src")}
    ]
    texts = [
        value
        for tag, name, value in found
        if (tag, name) in {("svg", "aria-label"), ("img", "alt")}
    ]
    assert len(texts) == len(pictures) >= 3
    assert all(len(text) > 20 for text in texts)


def test_the_same_run_gives_the_same_bytes_whatever_the_settings() -> None:
    for kind, page in PAGES.items():
        first = page_of(kind)
        with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
            assert page() == first


def test_what_users_wrote_is_never_html() -> None:
    columns = replace(WORDS[0], name="<i>age</i>"), *WORDS[1:]
    shown = gallery(accuracy=np.array([[0.9], [0.8], [0.6]]), **TABLE)
    codes = np.zeros((len(shown.worst.rows), 1), np.int32)
    worst = Shown(**{**vars(shown.worst), "codes": codes, "codes_hat": codes + 1})
    shown = Gallery(**{**vars(shown), "worst": worst})
    described = run(columns=list(columns), advice=["drop '<u>'"])
    described.recipe = replace(
        described.recipe, data=replace(described.recipe.data, drop=["</pre><s>"])
    )
    page = report_html(described, metrics(), shown)
    for tag in ("script", "i", "b", "u", "s"):
        assert f"<{tag}>" not in page
        assert f"&lt;{tag}&gt;" in page
    Checker(page)


def test_long_names_and_names_of_any_script_stand_in_the_page() -> None:
    columns = [replace(COLUMNS[0], name="n" * 500), *COLUMNS[1:]]
    page = report_html(run(columns=columns), metrics(), gallery(**TABLE))
    assert "n" * 59 + "\N{HORIZONTAL ELLIPSIS}" in page
    assert "n" * 60 not in page
    assert "$x_1^$ \N{SNOWMAN} \N{CJK UNIFIED IDEOGRAPH-9AD8}" in page


@pytest.mark.parametrize(
    ("test_mse", "title"),
    [
        (0.04, "50 % less error than PCA"),
        (0.08, "As good as PCA"),
        (0.1, "25 % more error than PCA"),
        (0.24, "3.0 times the error of PCA"),
    ],
)
def test_the_title_compares_with_pca(test_mse: float, title: str) -> None:
    quality = replace(QUALITY, test_mse=test_mse)
    page = report_html(run(quality=quality), metrics(), gallery(**TABLE))
    assert f"<h1>{title}</h1>" in page
    assert f"<title>{title} - 4 latents</title>" in page


def lead(described: Any) -> str:
    page = report_html(described, metrics(), gallery(**TABLE))
    return page.split("<p class=lead>")[1].split("</p>")[0]


def test_the_sentences_say_how_good_it_is() -> None:
    assert lead(run()) == (
        "4 latents stand for the 3 numbers of a row. On 200 rows it has not seen the model keeps "
        "95.0 % of the variance, PCA of the same size 90.0 % (mean squared errors 0.04 and 0.08, "
        "against 0.8 for the mean of the training rows)."
    )
    same = Quality(0.001, 0.001, 1.0, is_pca=True)
    assert lead(run(quality=same, rows={"train": 9, "validation": 8, "test": 0})) == (
        "4 latents stand for the 3 numbers of a row. On 8 rows it has not seen the model keeps "
        "99.90 % of the variance (mean squared error 0.001, against 1 for the mean of the training "
        "rows)."
    )
    quantized = {"bottleneck": {"name": "quantized"}}
    usage = {"levels": 8, "entropy": [3.0, 3.0, 3.0, 0.0], "bits": 12.0, "perplexity": 150.0}
    assert lead(run(usage=usage, **quantized)).startswith("12 bits in 4 latents stand for the 3 ")


def test_a_mixed_table_shows_its_categories_beside_pca() -> None:
    mixed = {"test": MixedQuality(0.04, 0.08, 0.931, 0.9, 0.61)}
    described = run(columns=WORDS, mixed=mixed)
    shown = gallery(accuracy=np.array([[0.931], [0.9], [0.61]]), **TABLE)
    page = report_html(described, metrics(), shown)
    assert (
        "93.1 % of the categories come back right (PCA 90.0 %, always the most frequent category "
        "61.0 %)."
    ) in page
    found = "job model 93.1 % PCA 90.0 % most frequent category 61.0 %"
    assert f"Categories that come back right {found}" in text_of(page)


def test_bars_are_as_long_as_their_numbers() -> None:
    page = page_of("table")
    bars = re.findall(r'<div class="bar (\w+)( fades)?" style="width:([\d.]+)%">', page)
    errors = [(css, bool(fades), float(width)) for css, fades, width in bars[:3]]
    # PCA is twice the model; the mean, ten times PCA, is cut where PCA still has 40 %.
    assert errors == [("model", False, 20.0), ("pca", False, 40.0), ("mean", True, 100.0)]


def test_columns_stand_by_error_with_their_units() -> None:
    text = text_of(page_of("table"))
    column = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert f"{column} 0.700 (\N{PLUS-MINUS SIGN}0.7) age 0.250 (\N{PLUS-MINUS SIGN}2.5)" in text


def test_worst_rows_say_what_is_furthest_off() -> None:
    shown = gallery(**TABLE)
    one = Shown(
        np.array([41]),
        np.array([[71.0, 86400.0, np.nan]]),
        np.array([[48.25, 86403.0, 5.0]]),
        np.array([2.345]),
        np.array([[0]]),
        np.array([[1]]),
    )
    described = run(columns=[COLUMNS[0], replace(COLUMNS[1], name="time", type="date"), *WORDS[2:]])
    page = report_html(described, metrics(), Gallery(**{**vars(shown), "worst": one}))
    arrow = "\N{RIGHTWARDS ARROW}"
    assert (
        f"row error original {arrow} reconstruction 42 2.35 "
        f"time: 1970-01-02 {arrow} 1970-01-02 00:00:03 (3.0 std); age: 71.0 {arrow} 48.2 "
        f"(2.3 std); job: &#39;admin&#39; {arrow} &#39;&lt;b&gt;other&lt;/b&gt;&#39;"
    ) in text_of(page)


def pictures(shown: Gallery, *row_shape: int) -> str:
    """The sections of a page that show images."""
    sections = report_rows.galleries(run("image", row_shape).schema, shown)
    return "".join(
        f"<h2>{title}</h2><p>{note}</p>{''.join(figure for _, figure in figures)}"
        for title, note, _, figures in sections
    )


def sheets_of(page: str) -> list[np.ndarray]:
    """The pictures of a page, (H, W, 3) uint8."""
    found = re.findall(r"data:image/png;base64,([^\"]+)", page)
    sheets = [image.imread(io.BytesIO(base64.b64decode(one))) for one in found]
    return [(sheet[..., :3] * 255).round().astype(np.uint8) for sheet in sheets]


def drawn(sheets: list[np.ndarray], at: int, size: tuple[int, int]) -> np.ndarray:
    """The first row of originals and their reconstructions: (2, n, H, W, 3)."""
    (height, width), gap = size, 3
    n = sheets[at].shape[1] // (width + gap)
    rows = sheets[at][: 2 * (height + gap)].reshape(2, height + gap, n, width + gap, 3)
    return rows[:, :height, :, :width].transpose(0, 2, 1, 3, 4)


@pytest.mark.parametrize("most", [17, 100, 256])
@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
def test_images_are_drawn_on_the_range_of_the_training_rows(
    channels: tuple[int, ...], most: int
) -> None:
    """From black to white, and an original and its reconstruction alike."""
    shown = gallery((9, 7, *channels), np.uint8, most)
    sheets = sheets_of(pictures(shown, 9, 7, *channels))
    colours = 3 if channels in ((3,), (4,)) else 1
    for at, part in enumerate((shown.typical, shown.worst)):
        found = drawn(sheets, at, (9, 7))
        assert (found.min(), found.max()) == (0, 255)
        for x, picture in zip((part.x, part.x_hat), found, strict=True):
            values = x.reshape(TYPICAL, 9, 7, -1)[..., :colours] * (255 / (most - 1))
            assert np.abs(picture - values).max() <= 0.51


def test_the_words_say_what_black_and_white_are() -> None:
    def note(*channels: int) -> str:
        page = pictures(gallery((4, 5, *channels), np.uint8, 17), 4, 5, *channels)
        return text_of(page).split("Reconstructions ")[1].split(" The worst ")[0]

    least = (
        "Each image above its reconstruction. Black is 0 and white 16, the least and the most of "
    )
    assert note() == note(1) == note(3) == f"{least}the training rows."
    assert note(2) == f"{least}the training rows. Of 2 channels the first is drawn."
    assert note(4) == f"{least}the training rows. Of 4 channels the first three are drawn."


def test_images_that_do_not_vary_and_values_beyond_the_training_rows() -> None:
    extremes = np.array([[10.0], [20.0]])
    shown = gallery((4, 5), np.uint8, 100, extremes=extremes)
    found = drawn(sheets_of(pictures(shown, 4, 5)), 0, (4, 5))[0, ..., 0]
    x = shown.typical.x
    assert (found[x <= 10] == 0).all()
    assert (found[x >= 20] == 255).all()
    same = gallery((4, 5), np.uint8, 1)
    assert (drawn(sheets_of(pictures(same, 4, 5)), 0, (4, 5)) == 0).all()


def test_large_noisy_images_and_long_windows_stay_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (B, 170, 230, 3)).astype(np.uint8)
    part = Shown(np.arange(WORST), noise[:WORST], noise[WORST : 2 * WORST], np.ones(WORST))
    shown = gallery()
    extremes = np.repeat([[0.0], [255.0]], 3, axis=1)
    images = Gallery(**{**vars(shown), "typical": part, "worst": part, "extremes": extremes})
    assert len(report_html(run("image", (170, 230, 3)), metrics(5000), images)) < 2_000_000
    windows = gallery((4000, 5))
    assert len(report_html(run("series", (4000, 5)), metrics(), windows)) < 2_000_000


USAGE = {
    "variational": ({"kl": [2.0, 1.0, 0.5, 0.001]}, "KL divergence of a whole row: 3.5 nats."),
    "sparse": (
        {"active": 1, "usage": [0.5, 0.3, 0.2, 0.0], "dead": [3]},
        "1 of 4 latents are used by each row.",
    ),
    "quantized": (
        {"levels": 8, "entropy": [3.0, 3.0, 3.0, 0.0], "bits": 12.0, "perplexity": 150.0},
        "8 values each, 12 bits a row; entropy on average 75 % of what they hold; perplexity of "
        "whole codes 150.",
    ),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage_of_latents_is_said_and_drawn(name: str) -> None:
    usage, words = USAGE[name]
    described = run(usage=usage, bottleneck={"name": name})
    page = report_html(described, metrics(), gallery(**TABLE))
    assert f"{words} Unused, in orange: 4." in page
    assert "of each of 4 latents" in page


def test_curves_say_where_they_end_and_show_the_loss_apart_where_it_is_another() -> None:
    page = page_of("table")
    assert "0.1 before the first, 0.0502 at the kept epoch 28, 0.0501 after the last" in page
    assert "loss that training brings down" not in page
    assert "loss that training brings down" in page_of("series")


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 200])
def test_epochs_are_whole_numbers(epochs: int) -> None:
    found = re.findall(r"<text[^>]*>([^<]*)</text>", figures.curves(metrics(epochs), epochs))
    ticks = [float(word) for word in found[: found.index("epoch")]]
    assert len(ticks) > 1
    assert all(tick == int(tick) for tick in ticks)


@pytest.mark.parametrize("least", [1e-5, 0.3])
def test_labels_of_the_map_are_inside_the_figure(
    least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "_svg", lambda name, alt, size, draw: (size, draw))
    z, errors = np.random.default_rng(0).standard_normal((200, 5)), np.geomspace(least, 1, 200)
    size, draw = figures.latent_map(z, errors)
    with matplotlib.style.context(["default", figures._STYLE]):
        figure = Figure(figsize=size)  # type: ignore[arg-type]
        draw(figure)  # type: ignore[operator]
        box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    assert box.min.min() >= 0
    assert (box.max <= size).all()


@pytest.mark.parametrize("kind", PAGES)
def test_figures_are_moved_on_a_narrow_page_and_not_shrunk_past_reading(kind: str) -> None:
    page = page_of(kind)
    figures_there = len(re.findall(r"<svg|<img", page))
    assert len(re.findall(r"<div class=wide><(?:svg|img)", page)) == figures_there > 0


def test_the_curve_of_sizes_is_there_if_sizes_were_tried() -> None:
    sizes = [Size(1, 0.5, 0.6), Size(2, 0.2, 0.4), Size(4, 0.05, 0.1)]
    page = report_html(run(sizes=sizes), metrics(), gallery(**TABLE))
    assert "1 latents: 0.5, PCA 0.6; 2 latents: 0.2, PCA 0.4; 4 latents: 0.05, PCA 0.1" in page
    assert "Choosing the size" not in page_of("table")


def test_advice_is_listed_or_said_to_be_none() -> None:
    page = report_html(run(advice=["try --latent 4"]), metrics(), gallery(**TABLE))
    assert "<li>try --latent 4</li>" in page
    assert "Advice Nothing stands out." in text_of(page_of("table"))


def test_the_smallest_training_has_a_report() -> None:
    """One held-out row, one latent, no epoch, errors of 0."""
    nothing = Quality(0.0, 0.0, 0.0, is_pca=True)
    described = run(
        quality=nothing,
        epochs=0,
        best_epoch=0,
        z_std=[1.0],
        rows={"train": 9, "validation": 1},
    )
    part = Shown(np.array([0]), np.zeros((1, 3)), np.zeros((1, 3)), np.zeros(1))
    shown = Gallery("validation", np.zeros(1), np.zeros((1, 1)), part, part, np.zeros(3))
    line = {**metrics(0)[0], "validation_loss": 0.0, "validation_mse": 0.0, "pca_mse": 0.0}
    page = report_html(described, [line], shown)
    assert "<h1>PCA: training found nothing better</h1>" in page
    assert "One latent stands for the 3 numbers of a row." in page
    Checker(page)


def test_rows_to_show_are_the_worst_and_some_others() -> None:
    errors = np.random.default_rng(1).random(100)
    errors[:50] = np.nan
    typical, worst = rows_to_show(errors)
    assert len(set(typical.tolist())) == TYPICAL
    np.testing.assert_array_equal(errors[worst], np.sort(errors[50:])[::-1][:WORST])
    np.testing.assert_array_equal(rows_to_show(errors)[0], typical)
    few, all_of_them = rows_to_show(errors[50:53])
    assert sorted(few) == sorted(all_of_them) == [0, 1, 2]
