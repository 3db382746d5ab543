"""The answer is JSON; the reference is the JSON Schema it must fit, or empty."""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Verdict

_FENCED = re.compile(r"```[ \t]*(?:json\w*)?[ \t]*\r?\n(.*?)```", re.DOTALL | re.IGNORECASE)
_KEYWORDS = {
    "$schema", "$ref", "$defs", "type", "enum", "const", "properties", "required", "items", "prefixItems",
    "additionalProperties", "patternProperties", "anyOf", "allOf", "oneOf", "not", "if", "pattern", "format",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties",
}  # fmt: skip


def json_schema(answer: str, reference: str) -> Verdict:
    """Passes where the whole answer, or its one fenced block, is JSON (RFC 8259: no NaN) that fits the schema."""
    validator = _validator(reference) if reference.strip() else None
    blocks = _FENCED.findall(answer)
    try:
        value = json.loads(blocks[0] if len(blocks) == 1 else answer, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return _verdict(f"no JSON: {error}")
    return _verdict(_misfit(validator, value, reference) if validator else "")


def _verdict(reason: str) -> Verdict:
    return Verdict(verifier="json", passed=not reason, score=float(not reason), reason=reason)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _validator(reference: str) -> Any:
    """A jsonschema validator that looks nothing up outside the schema: no file, no network."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    way_out = "write a JSON Schema, with all it refers to in its own $defs; or leave it empty to ask for JSON"
    try:
        schema = json.loads(reference)
        if not isinstance(schema, dict) or not _KEYWORDS & schema.keys():
            raise UsageError(f"the reference {reference!r} is no JSON Schema", way_out)
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        _resolve_all(schema, kind.META_SCHEMA["$schema"])
    except (ValueError, RecursionError, SchemaError, Unresolvable) as error:
        if isinstance(error, UsageError):
            raise
        said = getattr(error, "message", str(error))
        raise UsageError(f"the reference {reference!r} is no JSON Schema: {said}", way_out) from None
    return kind(schema, registry=Registry())


def _resolve_all(schema: dict[str, Any], dialect: str) -> None:
    """Raise Unresolvable where a `$ref` points nowhere, whether or not an answer would meet it."""
    from jsonschema_specifications import REGISTRY
    from referencing import Resource
    from referencing.jsonschema import specification_with

    resource = Resource.from_contents(schema, default_specification=specification_with(dialect))
    resolver = REGISTRY.resolver_with_root(resource)
    for target in _targets(schema):
        resolver.lookup(target)


def _targets(schema: Any) -> Iterator[str]:
    """Every `$ref` in a schema."""
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _targets(part)
    if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        yield schema["$ref"]


def _misfit(validator: Any, value: Any, reference: str) -> str:
    """What does not fit, and where; empty if all does."""
    from jsonschema.exceptions import best_match

    try:
        error = best_match(validator.iter_errors(value))
    except (RecursionError, re.error) as problem:
        raise UsageError(
            f"the reference {reference!r} cannot be checked: {problem}", "correct the schema"
        ) from None
    return f"{error.json_path}: {error.message}" if error else ""
