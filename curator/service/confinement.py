"""Settings that came over the network: read, and held against what the service may touch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from forgetless.curator.recipes import Settings as Kind
from forgetless.curator.recipes import parse, read_yaml
from forgetless.curator.service.settings import Settings
from forgetless.schemas.errors import RecipeError, UsageError


def confined(
    kind: type[Kind],
    source: str | Mapping[str, Any],
    settings: Settings,
    base: str | None = None,
    overrides: Sequence[str] = (),
) -> Kind:
    """A recipe, suite or study from YAML text or plain data; relative paths are taken from `base`.

    Raises:
        RecipeError: naming each key that is wrong, or that names what the service may not touch.
    """
    data = _data(kind, source) if isinstance(source, str) else dict(source)
    try:
        return parse(kind, data, inside(base or "", settings), overrides, settings.confinement)
    except RecursionError:
        raise RecipeError(
            f"{kind.__name__.lower()}: nested too deeply", "nothing was run; correct it"
        ) from None


def _data(kind: type[Kind], text: str) -> dict[str, Any]:
    try:
        aliased = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError):
        aliased = False  # it is told below what is wrong
    if aliased:  # a few lines of them stand for gigabytes
        raise RecipeError(f"{kind.__name__.lower()}: aliases (*name) are not taken here", "write it out")
    return read_yaml(text, kind)


def inside(path: str, settings: Settings) -> Path:
    """`path`, relative to the first root, resolved. UsageError where it lies outside of what may be touched."""
    try:
        return settings.confinement.path(settings.base / path)
    except (ValueError, OSError) as error:
        raise UsageError(f"path {path!r} {error}", "serve --root FOLDER allows more") from None


def model_path(name: str, settings: Settings) -> str:
    """A model by folder, as `inside`, or by hub id."""
    placed = inside(name, settings)
    return str(placed) if placed.exists() or name.startswith((".", "/")) else name
