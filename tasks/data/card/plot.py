"""The picture of a data card: lengths, languages, drops by reason, sources by tokens. The same bytes for the same data."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data.card.text import most_first

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.typing import RcKeyType

BLUE, ORANGE, GREY = "#1f77b4", "#d9822b", "#8a8f98"
MAX_BARS = 8
MAX_LABEL = 32
"""Characters of a name beside its bar."""
STYLE: "dict[RcKeyType, Any]" = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True, "svg.hashsalt": "", "text.parse_math": False,
}  # fmt: skip
"""DejaVu Sans comes with matplotlib, so that the picture does not depend on the machine's fonts."""
FIRST_KIBI = 14
"""2^13 is written as 8,192, 2^14 as 16Ki."""
BINARY_UNITS = ("", "Ki", "Mi", "Gi", "Ti")
UNITS = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))


def draw_card(path: Path, metrics: Mapping[str, float | int | None], details: Mapping[str, Any]) -> None:
    """Write a PNG of 1200 x 800 pixels from the metrics and details of a data set's manifest."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    read = int(metrics["read_documents"] or 0)
    drops = dict(details["dropped"]) | {f"quarantined: {reason}": n for reason, n in details["quarantined"].items()}
    languages = {language: number for language, number in details["languages"].items() if language}
    whose = "a sample of kept documents" if "" in details["languages"] else "kept documents"
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15, wspace=0.04, hspace=0.04)
        figure = Figure(figsize=(12, 8), dpi=100, layout=layout)
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, 2).flat
        draw_lengths(next(panels), {int(digits): number for digits, number in details["lengths"].items()})
        draw_bars(next(panels), f"Languages of {whose}", "documents", languages, BLUE)
        draw_bars(next(panels), f"Dropped, of {short(read)} documents read", "documents", drops, ORANGE, read)
        tokens = {source["name"]: source["tokens"] for source in details["sources"]}
        draw_bars(next(panels), "Sources of kept documents", "tokens", tokens, BLUE)
        figure.savefig(path, format="png", dpi=100, metadata={"Software": None})


def draw_lengths(axes: "Axes", lengths: Mapping[int, int]) -> None:
    """Documents by the number of binary digits of their length: each bar stands between two powers of two."""
    axes.set_title("Lengths of kept documents", loc="left", fontweight="bold")
    if not any(lengths.values()):
        none(axes)
        return
    axes.bar([digits - 0.5 for digits in lengths], list(lengths.values()), width=0.9, color=BLUE)
    middle = (min(lengths) + max(lengths)) / 2
    first, last = (round(place) for place in (min(min(lengths) - 1, middle - 4), max(max(lengths), middle + 4)))
    ticks = range(first, last + 1, -(-(last - first) // 8))
    axes.set_xticks(ticks, [power(digits) for digits in ticks])
    axes.set_xlim(first - 0.3, last + 0.3)
    axes.set_xlabel("characters (from one power of two to the next)")
    axes.set_ylabel("documents")
    whole_numbers(axes.yaxis)
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    axes.grid(axis="y", alpha=0.3)


def power(exponent: int) -> str:
    """A power of two, in Ki and Mi where that is shorter."""
    if exponent < FIRST_KIBI:
        return f"{1 << max(0, exponent):,}"
    return f"{1 << exponent % 10}{BINARY_UNITS[exponent // 10]}"


def draw_bars(axes: "Axes", title: str, unit: str, numbers: Mapping[str, int], colour: str, total: int = 0) -> None:
    """The largest first, with its share of `total` (default: of all); what does not fit is one bar of its own."""
    axes.set_title(title, loc="left", fontweight="bold")
    ranked = [(name, number) for name, number in most_first(numbers) if number]
    if not ranked:
        none(axes)
        return
    bars = ranked if len(ranked) <= MAX_BARS else ranked[: MAX_BARS - 1]
    rest = ranked[len(bars) :]
    names = [label(name) for name, _ in bars] + ([f"{len(rest)} others"] if rest else [])
    values = [number for _, number in bars] + ([sum(number for _, number in rest)] if rest else [])
    drawn = axes.barh(range(len(values)), values, height=0.72, color=[colour] * len(bars) + [GREY] * bool(rest))
    axes.set_yticks(range(len(values)), names)
    axes.set_ylim(MAX_BARS - 0.4, -0.6)
    axes.set_xlim(0, 1.3 * max(values))
    axes.bar_label(drawn, labels=[f"{short(value)} ({share(value / (total or sum(values)))})" for value in values], padding=4)
    axes.set_xlabel(unit)
    whole_numbers(axes.xaxis, nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.grid(axis="x", alpha=0.3)


def whole_numbers(axis: "Axis", **settings: int) -> None:
    """Have ticks at whole numbers only."""
    from matplotlib.ticker import AutoLocator

    locator = axis.get_major_locator()
    assert isinstance(locator, AutoLocator), "no other was set"
    locator.set_params(integer=True, **settings)


def none(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "none", ha="center", va="center", color=GREY, fontsize=12, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def share(value: float) -> str:
    return "<0.1%" if value < 0.001 else f"{value:.1%}"


def label(name: str) -> str:
    """At most two lines: the rules for quality are called GROUP.RULE."""
    lines = [part if len(part) <= MAX_LABEL else f"{part[: MAX_LABEL - 1]}…" for part in name.split(".", 1)]
    return ".\n".join(lines) if len(name) > MAX_LABEL else name


def short(value: float) -> str:
    """At most four characters and a unit: `950`, `12.3k`, `4.56M`."""
    for size, unit in UNITS:
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.4g}"
