"""Which lines of a recipe's text a problem is about."""

import re
from collections.abc import Iterator

import yaml

_LINE = re.compile(r"\bline (\d+), column \d+")
_KEY = re.compile(r"(?<!did you mean )'([\w-]+(?:\.[\w-]+|\[\d+\])*)'")
_PART = re.compile(r"[^.\[\]]+")


def lines_of(text: str, problem: str) -> list[int]:
    """From 1; none where the problem names none. Where a key is missing, the line of what it is missing in."""
    if found := _LINE.findall(problem):
        return [int(found[-1])]
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return []
    lines = (_line(root, _PART.findall(path)) for path in _KEY.findall(problem))
    return sorted({line for line in lines if line})


def _line(root: yaml.Node | None, path: list[str]) -> int | None:
    """Of the last part of a path that is there; None if not even its first is."""
    line = None
    for node in _along(root, path):
        line = node.start_mark.line + 1
    return line


def _along(node: yaml.Node | None, path: list[str]) -> Iterator[yaml.Node]:
    """The key, or the item, of each part that is there."""
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            pair = (node.value[int(part)],) * 2
        else:
            pair = None
        if pair is None:
            return
        yield pair[0]
        node = pair[1]
