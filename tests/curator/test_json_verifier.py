"""JSON, and JSON that fits a schema."""

import json

import pytest

from forgetless.curator.verifiers.verify import verifier
from forgetless.schemas.errors import UsageError

judge = verifier("json")
PERSON = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
        "required": ["name"],
        "$defs": {"age": {"type": "integer", "minimum": 0}},
    }
)


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        ('{"a": [1, null]}', True),
        ("  3\n", True),
        ('```json\n{"a": 1}\n```', True),
        ('Here it is:\n```\n{"a": 1}\n```\nAs asked.', True),
        ('Here it is: {"a": 1}', False),
        ('{"a": 1,}', False),
        ("{'a': 1}", False),
        ('{"a": NaN}', False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_validity(answer: str, passed: bool) -> None:
    verdict = judge(answer, "")
    assert (verdict.passed, verdict.verifier) == (passed, "json")
    assert verdict.reason.startswith("" if passed else "no JSON: ")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"name": "Ada", "age": 36}', ""),
        ('{"age": 36}', "$: 'name' is a required property"),
        ('{"name": "Ada", "age": -1}', "$.age: -1 is less than the minimum of 0"),
        ('["Ada"]', "$: ['Ada'] is not of type 'object'"),
    ],
)
def test_schema(answer: str, reason: str) -> None:
    verdict = judge(answer, PERSON)
    assert (verdict.passed, verdict.reason) == (not reason, reason)


@pytest.mark.parametrize(
    "reference",
    [
        "no JSON",
        "[]",
        "{}",
        '{"name": "Ada"}',
        '{"type": "person"}',
        '{"$ref": "#/$defs/nowhere"}',
        '{"$ref": "http://localhost:9/schema.json"}',
        '{"$ref": "file:///etc/hostname"}',
        '{"properties": {"a": {"$ref": "https://example.org/a.json"}}}',
    ],
)
def test_a_reference_that_is_no_schema_of_its_own(reference: str) -> None:
    with pytest.raises(UsageError, match="is no JSON Schema"):
        judge("1", reference)


def test_a_schema_that_never_ends_is_unusable() -> None:
    with pytest.raises(UsageError, match="cannot be checked"):
        judge("1", '{"$ref": "#"}')
