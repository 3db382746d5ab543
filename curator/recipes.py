"""Reading a recipe or a suite: YAML and `--set` in, validated settings or one clear error out."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Tag, ValidationError

from forgetless.schemas.confinement import Confinement
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.study import Study
from forgetless.schemas.suite import Suite

Settings = TypeVar("Settings", Recipe, Suite, Study)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the YAML file `path`, with `a.b=value` overrides (values are YAML) put on top.

    Relative paths inside are taken from the recipe's folder. A list item is named by its position or,
    for steps and tasks, by its name: `steps.bos.count=600`.

    Raises:
        RecipeError: naming each wrong key with its path and the nearest valid name.
    """
    return parse(Recipe, _read(path, Recipe), path.resolve().parent, overrides)


def load_suite(path: Path) -> Suite:
    """The suite in the YAML file `path`; relative paths inside are taken from its folder. RecipeError as for recipes."""
    return parse(Suite, _read(path, Suite), path.resolve().parent)


def load_study(path: Path) -> Study:
    """The study in the YAML file `path`; relative paths inside are taken from its folder. RecipeError as for recipes."""
    return parse(Study, _read(path, Study), path.resolve().parent)


def parse_recipe(data: dict[str, Any], base: Path) -> Recipe:
    """Validate plain data as a recipe; relative paths are taken from `base`."""
    return parse(Recipe, data, base)


_BEGINNINGS = {
    Recipe: "begin with `store:` and `model:`",
    Suite: "begin with `tasks:`",
    Study: "begin with `experiments:`",
}


def read_yaml(text: str, kind: type[Settings], where: str = "") -> dict[str, Any]:
    """Plain data from YAML text that `where` names. RecipeError where it is none, or not a mapping."""
    what = f"{kind.__name__.lower()} {where}".rstrip()
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
        raise RecipeError(f"{what} is not YAML: {problem}", "nothing was run; correct it") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{what} is not a mapping", _BEGINNINGS[kind])
    return data


def _read(path: Path, kind: type[Settings]) -> dict[str, Any]:
    try:
        return read_yaml(path.read_text(), kind, repr(str(path)))
    except OSError as error:
        what = f"{kind.__name__.lower()} {str(path)!r}"
        raise RecipeError(f"{what} cannot be read: {error.strerror}", "check the path") from None
    except UnicodeDecodeError as error:
        what = f"{kind.__name__.lower()} {str(path)!r}"
        raise RecipeError(f"{what} is not YAML: {error}", "nothing was run; correct it") from None


def parse(
    kind: type[Settings],
    data: dict[str, Any],
    base: Path,
    overrides: Sequence[str] = (),
    confinement: Confinement | None = None,
) -> Settings:
    """Validate plain data as a recipe, suite or study, with `overrides` on top; relative paths are taken from `base`.

    With a `confinement` paths must lie in its roots, and no code can be allowed. RecipeError as for recipes.
    """
    for override in overrides:
        _override(data, override)
    try:
        return kind.model_validate(data, context={"base": base, "confinement": confinement})
    except ValidationError as error:
        problems = [_describe(kind, e["loc"], e["type"], e["msg"], e["input"]) for e in error.errors()]
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        said = f"{kind.__name__.lower()}: {'; '.join(problems[:3])}{more}"
        raise RecipeError(said, "nothing was run; correct it") from None


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise RecipeError(f"--set {override!r} has no value", "write --set a.b=value")
    *parents, last = key.split(".")
    place: Any = data
    for name in parents:
        if isinstance(place, list):
            place = place[_position(place, name, key)]
        else:
            if place.get(name) is None:
                place[name] = {}
            place = place[name]
        if not isinstance(place, dict | list):
            raise RecipeError(
                f"--set {key!r}: {name!r} is a value, not a group of keys", f"set {name!r} itself"
            )
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise RecipeError(
            f"--set {key!r}: {value!r} is not YAML", "quote it, or close its brackets"
        ) from None
    if isinstance(place, list):
        place[_position(place, last, key)] = parsed
    else:
        place[last] = parsed


def _position(items: list[Any], name: str, key: str) -> int:
    names = [str(i.get("name") or i.get("pipeline")) if isinstance(i, dict) else "" for i in items]
    if name in names:
        return names.index(name)
    if name.isdigit() and int(name) < len(items):
        return int(name)
    raise RecipeError(f"--set {key!r}: no item {name!r}", f"there are {', '.join(names) or 'none'}")


def _describe(root: type[BaseModel], loc: tuple[int | str, ...], kind: str, message: str, given: Any) -> str:
    path, known = _walk(root, loc)
    message = message.removeprefix("Value error, ")
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.4)
        advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        return f"unknown key {path!r}, {advice}"
    if kind == "missing":
        return f"{path!r} is missing"
    if kind == "union_tag_not_found":
        return f"{path!r} needs `pipeline`"
    if not path:  # what the settings as a whole get wrong names its own keys
        return message
    if isinstance(given, str | int | float | bool):
        return f"{path!r} is {given!r}: {message}"
    return f"{path!r}: {message}"


def _walk(root: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """The key's path as a user writes it, and the valid names where it stands."""
    places: list[tuple[str, Any]] = [("", root)]
    known: list[str] = []
    path = ""
    for part in loc:
        tagged = [("", place) for tag, place in places if tag == part]
        if tagged:  # pydantic puts the union's tag into the location; users do not write it
            places = tagged
            continue
        models = [place for _, place in places if isinstance(place, type) and issubclass(place, BaseModel)]
        known = list(dict.fromkeys(name for model in models for name in model.model_fields))
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
        places = [inner for _, place in places for inner in _under(place, part)]
    return path, known


def _under(place: Any, part: int | str) -> Iterator[tuple[str, Any]]:
    """The types, with their tags, that may stand at `part` of a model, a list or a mapping."""
    if isinstance(place, type) and issubclass(place, BaseModel):
        if part in place.model_fields:
            yield from _members(place.model_fields[str(part)].annotation)
    elif get_origin(place) in (list, tuple, dict):
        yield from _members([a for a in get_args(place) if a is not ...][-1])


def _members(annotation: Any) -> Iterator[tuple[str, Any]]:
    """The members of a union, or the one type there is, each with the tag that tells it from the others."""
    if get_origin(annotation) is Annotated:
        tags = [mark.tag for mark in annotation.__metadata__ if isinstance(mark, Tag)]
        for tag, member in _members(get_args(annotation)[0]):
            yield (tags[0] if tags else tag), member
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        field = getattr(annotation, "model_fields", {}).get("pipeline")
        yield (get_args(field.annotation)[0] if field else ""), annotation
