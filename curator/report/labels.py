"""Where the label of a point can stand without covering another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Place:
    """A label's place beside its point."""

    x: float
    """To the right of the point, in the unit that the canvas is measured in."""
    y: float
    """Below the point; of the text's baseline."""
    anchor: Literal["start", "middle", "end"]


def places(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    sizes: Sequence[tuple[float, float]],
    others: Sequence[tuple[float, float]] = (),
    letter: float = 6.8,
    line: float = 12.0,
) -> list[Place | None]:
    """A place for each text, or None where it would cover another or a point; first and last have the first choice.

    Args:
        points: from the left and from the top, as shares of the canvas.
        sizes: width and height of every canvas that it must be right on.
        others: points without a label, not to be covered either.
        letter: width of a letter.
        line: height of one.
    """
    found: list[Place | None] = [None] * len(points)
    order = sorted(range(len(points)), key=lambda i: (i not in (0, len(points) - 1), i))
    taken = [[(x * w - 4, y * h - 4, x * w + 4, y * h + 4) for x, y in [*points, *others]] for w, h in sizes]
    for i in order:
        for place in _choices(line):
            width = letter * len(texts[i])
            boxes = [
                _box(points[i][0] * w + place.x, points[i][1] * h + place.y, place.anchor, width, line)
                for w, h in sizes
            ]
            if all(_free(box, there, size) for box, there, size in zip(boxes, taken, sizes, strict=True)):
                found[i] = place
                for box, there in zip(boxes, taken, strict=True):
                    there.append(box)
                break
    return found


def _choices(line: float) -> Iterator[Place]:
    yield Place(8, line / 3, "start")
    yield Place(-8, line / 3, "end")
    yield Place(0, -8, "middle")
    yield Place(0, 6 + line, "middle")


def _box(x: float, y: float, anchor: str, width: float, line: float) -> tuple[float, float, float, float]:
    left = x - {"start": 0, "middle": width / 2, "end": width}[anchor]
    return left, y - 0.8 * line, left + width, y + 0.2 * line


def _free(
    box: tuple[float, float, float, float],
    others: Sequence[tuple[float, float, float, float]],
    size: tuple[float, float],
) -> bool:
    left, top, right, bottom = box
    inside = left >= -2 and right <= size[0] + 2 and top >= -14 and bottom <= size[1] + 4
    return inside and all(right <= o[0] or o[2] <= left or bottom <= o[1] or o[3] <= top for o in others)
