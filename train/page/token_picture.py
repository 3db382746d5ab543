"""The mask over example tokens as a PNG: a monospaced letter, wrapped at a width."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from forgetless.curator.report.bars import DPI, OKABE_ITO, canvas
from forgetless.curator.report.visible import tangible
from forgetless.train.page.mask import Mask, Weighed, levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTER, LINE = 12 / DPI, 0.25
"""Inches of a letter and of a line: whole pixels, to which letters are rounded."""
COLUMNS = 108
"""Letters in a line."""
SHADES = ("#ffffff", "#eaf2f8", "#d5e5f1", "#bdd6e8", "#a6c8e0", "#86b3d4")
"""Of the classes of weight."""


def draw_mask(path: Path, mask: Mask) -> None:
    """Tokens one behind another, each target in a shade by its weight, struck through where it is left out."""
    rows: list[list[tuple[int, str, Weighed | None]]] = []
    for example in mask.examples:
        rows += [[(0, f"mean weight {example.mean:.2f}", None)], *_wrapped(example.tokens), []]
    legend = [(shade, name) for shade, name in levels([mask])]
    title = f"{mask.label}: what each token counts ({', '.join(mask.objectives)})"
    note = f"Of {mask.targets:,} targets, ordered by mean weight, those in the middle of equal parts."
    width, lines = COLUMNS * LETTER + 0.4, len(rows) + 1
    height = lines * LINE + 0.8
    with canvas(path, (width, height), title, note) as figure:
        figure.set_layout_engine("none")  # letters fill their cells at this size only
        axis = figure.add_axes((0.2 / width, 0.35 / height, COLUMNS * LETTER / width, lines * LINE / height))
        axis.set(xlim=(0, COLUMNS), ylim=(len(rows) - 0.5, -1.5))
        axis.axis("off")
        start = 0
        for level, name in legend:
            _token(axis, start, -1, name, level)
            start += len(name) + 2
        for y, row in enumerate(rows):
            for x, text, token in row:
                _token(axis, x, y, text, token.level if token and token.is_target else None)


def _wrapped(tokens: Sequence[Weighed]) -> list[list[tuple[int, str, Weighed | None]]]:
    """(column, text, token) by line; a token that is longer than a line is cut."""
    rows: list[list[tuple[int, str, Weighed | None]]] = [[]]
    column = 0
    for token in tokens:
        text = tangible(token.piece)[:COLUMNS]
        width = _width(text)
        if column + width > COLUMNS:
            rows.append([])
            column = 0
        rows[-1].append((column, text, token))
        column += width
        if "\n" in token.piece:
            rows.append([])
            column = 0
    return rows


def _width(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _token(axis: "Axes", x: int, y: int, text: str, level: int | None) -> None:
    from matplotlib.patches import Rectangle

    width = _width(text)
    colour = "0.45" if not level else "black"
    if level is not None:
        edge, dash = (OKABE_ITO[0], "--") if level == 0 else ("white", "-")
        axis.add_patch(
            Rectangle(
                (x, y - 0.42),
                width,
                0.84,
                facecolor=SHADES[level],
                edgecolor=edge,
                linestyle=dash,
                linewidth=0.9,
            )
        )
        if level == 0:
            axis.plot((x + 0.1, x + width - 0.1), (y, y), color=OKABE_ITO[0], linewidth=0.9)
    font: dict[str, Any] = {"family": "monospace", "fontsize": LETTER * 72 / 0.602}
    axis.text(x, y, text, color=colour, va="center_baseline", ha="left", **font)
