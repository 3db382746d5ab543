"""A heatmap drawn for the terminal: colours for those who see them, marks for everybody."""

from collections.abc import Sequence
from itertools import groupby

from rich.text import Text

from forgetless.curator.report.heatmap import LEVELS, Level, Mark
from forgetless.curator.report.visible import one_line
from forgetless.schemas.tables import HARD_PERPLEXITY

OPEN, CLOSE = "‹", "›"  # rare in text, unlike < and >


def draw(marks: Sequence[Mark]) -> Text:
    """Prompt tokens dim, target tokens between ⟦ and ⟧ on the colour of their class, hard ones as `‹the·3.1›`."""
    drawn = Text()
    for is_target, run in groupby(marks, key=lambda m: m.is_target):
        tokens = Text().join(map(_token, run))
        drawn += Text.assemble("⟦", tokens, "⟧") if is_target else tokens
    return drawn


def legend() -> Text:
    """The scale, and what the marks mean."""
    scale = Text(" ").join(Text(f" {level.label} ", _style(level)) for level in LEVELS)
    marks = f"\n⟦target⟧   {OPEN}token·p{CLOSE} its perplexity p is above {HARD_PERPLEXITY}   ⏎ line break   "
    return Text("perplexity ") + scale + Text(marks) + Text("prompt", "dim")


def _token(m: Mark) -> Text:
    piece = one_line(m.piece)
    breaks = "\n" if "\n" in m.piece else ""
    if m.level is None:
        return Text(piece + breaks, "" if m.is_target else "dim")
    if m.is_hard:
        core = piece.lstrip(" ")
        piece = " " * (len(piece) - len(core)) + f"{OPEN}{core or '␣'}·{_figure(m.perplexity or 0)}{CLOSE}"
    return Text(piece, _style(m.level)) + Text(breaks)


def _style(level: Level) -> str:
    return f"{level.foreground} on {level.background}"


def _figure(perplexity: float) -> str:
    return f"{perplexity:.1f}" if perplexity < 99.95 else f"{perplexity:.0f}" if perplexity < 1e4 else "≫"
