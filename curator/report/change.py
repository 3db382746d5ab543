"""Cells that say how much an accuracy changed: classes of colour, whoever draws them."""

STEPS = (0.05, 0.2, 0.5)
"""Changes of accuracy from which on a class begins, up and down."""
CLASSES = range(-len(STEPS), len(STEPS) + 1)


def change_class(change: float) -> int:
    """From -3, lost half or more, over 0, the same within 5 points, to 3."""
    size = sum(abs(change) + 1e-9 >= step for step in STEPS)
    return size if change > 0 else -size


def class_label(number: int) -> str:
    """For the legend, in points."""
    sign = "±" if not number else "+" if number > 0 else "\N{MINUS SIGN}"
    return f"{sign}{100 * STEPS[max(abs(number) - 1, 0)]:.0f}"
