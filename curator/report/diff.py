"""What an editor changed in an answer, drawn for the terminal as `git diff --word-diff` does."""

from collections.abc import Sequence

from rich.text import Text

from forgetless.curator.report.visible import safe


def draw_diff(diff: Sequence[Sequence[str]]) -> Text:
    """[tag, own text, new text] pieces in order: `[-taken out-]` red, `{+put in+}` green, the rest as it is."""
    drawn = Text()
    for tag, own, new in diff:
        if tag == "equal":
            drawn.append(safe(new))
            continue
        if own:
            drawn.append(f"[-{_visible(own)}-]", "red")
        if new:
            drawn.append(f"{{+{_visible(new)}+}}", "green")
    return drawn


def _visible(text: str) -> str:
    """Line breaks that came or went are shown."""
    return safe(text).replace("\n", "⏎\n")
