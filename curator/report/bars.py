"""Bars with intervals as a picture: what any report draws its figures with."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetless.schemas.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#D55E00", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#CC79A7", "#F0E442", "#000000")
"""Colours told apart with every kind of colour vision (Okabe, Ito 2008)."""
FORMATS = (".png", ".svg", ".pdf")
LOGARITHMIC_FROM = 30.0
"""A panel whose largest value is this many times its smallest has a logarithmic axis."""
WIDTH, ROW, FRAME = 8.0, 0.5, 1.75
"""Inches: of the picture, of one bar, of what stands above and below the bars."""
DPI = 150
_STYLE: dict[Any, Any] = {
    "font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "forgetless",
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One value; without one its place is left empty and says so."""

    value: float | None
    text: str
    """What stands behind it."""
    low: float | None = None
    """Ends of its interval, drawn as a whisker."""
    high: float | None = None

    @property
    def end(self) -> float | None:
        """How far it reaches, its whisker included."""
        return self.value if self.value is None or self.high is None else max(self.value, self.high)


@dataclass(frozen=True)
class Panel:
    """Bars of one measure, one per label."""

    title: str
    bars: Sequence[Bar]
    least: float = 0.0
    """The lowest value there can be, where bars of a logarithmic axis begin; 0: the axis is never logarithmic."""

    @property
    def logarithmic(self) -> bool:
        """Whether the values are too far apart for a linear axis."""
        known = [bar.value for bar in self.bars if bar.value is not None]
        return bool(known) and 0 < self.least <= min(known) and max(known) > LOGARITHMIC_FROM * min(known)


def picture_path(path: Path) -> Path:
    """`path`, if a picture can be written there. UsageError otherwise."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{str(path)!r} is no name of a picture", f"let it end in {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {str(path.absolute().parent)!r}", "make it first")
    if path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder", "name a file in it")
    return path


def draw(
    path: Path,
    title: str,
    labels: Sequence[str],
    colours: Sequence[str],
    panels: Sequence[Panel],
    note: str = "",
) -> None:
    """Write the panels side by side, one row per label from top to bottom, as the kind of file `path` names.

    Equal figures make equal files. UsageError where writing is not allowed.
    """
    with canvas(path, (WIDTH, FRAME + ROW * len(labels)), title, note) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _draw_panel(axis, panel, colours)
        axes[0].set_yticks(range(len(labels)), labels)
        axes[0].invert_yaxis()


@contextmanager
def canvas(path: Path, size: tuple[float, float], title: str, note: str = "") -> Iterator["Figure"]:
    """A figure to draw on, of a size in inches, written as the kind of file that `path` names.

    Equal figures make equal files. UsageError where writing is not allowed.
    """
    # It says on stderr that it builds its cache of fonts, and warns of letters that none of them has.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=size)
        figure.set_layout_engine("constrained", wspace=0.08)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        if note:
            figure.supxlabel(note, x=0.01, ha="left", fontsize=8.5, color="0.35")
        yield figure
        try:
            figure.savefig(path, dpi=DPI, metadata=_undated(path))
        except PermissionError:
            raise UsageError(
                f"{str(path)!r} must not be written", "name another place for the picture"
            ) from None


def _undated(path: Path) -> dict[str, Any]:
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower(), {})


def _draw_panel(axis: "Axes", panel: Panel, colours: Sequence[str]) -> None:
    base = panel.least if panel.logarithmic else 0.0
    _scale(axis, panel, base)
    for place, (bar, colour) in enumerate(zip(panel.bars, colours, strict=True)):
        if bar.value is not None:
            axis.barh(place, bar.value - base, left=base, height=0.62, color=colour)
            _whisker(axis, place, bar)
        behind = (base if bar.end is None else bar.end, place)
        axis.annotate(
            bar.text, behind, va="center", fontsize=10, xytext=(5, 0), textcoords="offset points"
        )  # fmt: skip


def _scale(axis: "Axes", panel: Panel, base: float) -> None:
    """Title, axis and grid; the axis ends far enough behind the longest bar for the text that stands there."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    end = max((bar.end for bar in panel.bars if bar.end), default=1.0)
    axis.set_title(panel.title + (" (log axis)" if panel.logarithmic else ""), loc="left", fontsize=11)
    if panel.logarithmic:
        axis.set_xscale("log")
        axis.set_xlim(base, base * (end / base) ** 1.45)
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xlim(base, end * 1.35)
        axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)


def _whisker(axis: "Axes", place: int, bar: Bar) -> None:
    if bar.value is None or bar.low is None or bar.high is None:
        return
    lengths = [[bar.value - bar.low], [bar.high - bar.value]]
    axis.errorbar(bar.value, place, xerr=lengths, fmt="none", ecolor="black", elinewidth=1.4, capsize=4)
