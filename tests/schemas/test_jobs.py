"""Jobs as arguments of the command line."""

from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import TypeAdapter, ValidationError

from forgetless.cli.main import forgetless
from forgetless.schemas.jobs import AnyJob

ANY: TypeAdapter[AnyJob] = TypeAdapter(AnyJob)

PLACED = {
    "store": "/s", "recipe": "/r.yaml", "suite": "/suite.yaml", "file": "/f", "to": "/to", "folder": "/folder",
    "model": "/m", "base": "/b", "tokenizer": "/t", "runs": ["/run", "/run2"],
}  # fmt: skip

DEEP: dict[str, Any] = {}
for _ in range(100):
    DEEP = {"a": DEEP}

JOBS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"verb": "build", "recipe": "x", "dry_run": True},
        {"recipe": Path("/r.yaml"), "dry_run": True, "as_json": True},
    ),
    ({"verb": "train", "recipe": {}}, {"recipe": Path("/r.yaml"), "dry_run": False, "as_json": True}),
    (
        {"verb": "score", "store": "a", "top_k": 3, "model": "m", "long": "windows", "batch_tokens": 64},
        {
            "store": Path("/s"),
            "top_k": 3,
            "model": "/m",
            "long": "windows",
            "batch_tokens": 64,
            "dtype": "float32",
        },
    ),
    (
        {
            "verb": "import-stats",
            "store": "a",
            "file": "f",
            "ids": "-x",
            "max_reject_share": 0.5,
            "tokenizer": "t",
        },
        {
            "store": Path("/s"),
            "file": Path("/f"),
            "ids": "-x",
            "max_reject_share": 0.5,
            "tokenizer": Path("/t"),
        },
    ),
    (
        {
            "verb": "eval",
            "model": "m",
            "suite": "s",
            "base": "b",
            "store": "a",
            "seed": -1,
            "suite_base": "x",
        },
        {
            "model": "/m",
            "suite": Path("/suite.yaml"),
            "base": "/b",
            "store": Path("/s"),
            "seed": -1,
            "as_json": True,
        },
    ),
    (
        {"verb": "study", "findings": ["1", "-2"], "file": "x", "jobs": 2, "base": "x"},
        {"findings": ("1", "-2"), "file": Path("/f"), "folder": Path("/folder"), "jobs": 2, "as_json": True},
    ),
    (
        {"verb": "export", "store": "a", "format": "trl", "where": "-- ; true", "mask_share": 0.25},
        {"store": Path("/s"), "to": Path("/to"), "form": "trl", "condition": "-- ; true", "mask_share": 0.25},
    ),
    ({"verb": "compact", "store": "a", "vacuum": True}, {"store": Path("/s"), "drop": True, "as_json": True}),
    ({"verb": "verify", "store": "a"}, {"store": Path("/s"), "as_json": True}),
    ({"verb": "report", "store": "a", "task": "t"}, {"what": (Path("/s"),), "store": None, "task": "t"}),
    (
        {"verb": "report", "store": "a", "runs": ["x", "y"], "to": "p", "examples": 2},
        {"what": (Path("/run"), Path("/run2")), "store": Path("/s"), "to": Path("/to"), "examples": 2},
    ),
    ({"verb": "demo", "overrides": ["a=1"]}, {"folder": Path("/folder"), "overrides": ("a=1",)}),
    (
        {"verb": "check", "verifier": "judge", "file": "f", "recipe": "r"},
        {"file": Path("/f"), "recipe": Path("/r.yaml")},
    ),
]


@pytest.mark.parametrize(("asked", "parsed"), JOBS, ids=lambda each: each.get("verb", ""))
def test_the_command_line_understands_it(asked: dict[str, Any], parsed: dict[str, Any]) -> None:
    job = ANY.validate_python(asked)
    placed = {
        name: PLACED[name]
        for name in job.PLACES
        if name in job.given() or (name == "to" and job.verb == "export")
    }
    verb, *arguments = job.argv(placed)
    found = forgetless.get_command(click.Context(forgetless), verb)
    assert found
    context = found.make_context(verb, arguments)
    assert {name: context.params[name] for name in parsed} == parsed


def test_groups() -> None:
    assert ANY.validate_python({"verb": "demo", "which": "targets", "overrides": ["a=1"]}).argv(
        {"folder": "/f"}
    ) == ["demo", "targets", "--set=a=1", "--folder=/f", "--"]
    assert ANY.validate_python({"verb": "bench", "what": "dedup", "rounds": 1}).argv({}) == [
        "bench", "dedup", "--rounds=1", "--json", "--",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        {"verb": "serve"},
        {"verb": "sql", "store": "a", "sql": "SELECT 1"},
        {"verb": "eval", "model": "m", "suite": "s", "allow_code_execution": True},
        {"verb": "check", "verifier": "code", "file": "f"},
        {"verb": "check", "verifier": "exact", "file": "f", "allow_code_execution": True},
        {"verb": "verify", "store": "a\0b"},
        {"verb": "verify", "store": "\ud800"},
        {"verb": "build", "recipe": {"a": float("nan")}},
        {"verb": "build", "recipe": {"a": "\ud800"}},
        {"verb": "build", "recipe": DEEP},
        {"verb": "report"},
        {"verb": "export", "store": "a", "format": "trl", "mask_share": 0.2, "mask_threshold": 2.0},
        {"verb": "report", "store": "a", "open": True},
    ],
)
def test_what_no_job_can_be(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ANY.validate_python(asked)


def test_every_option_is_there() -> None:
    """What the command line takes, a job takes, but for what would execute code or open a window."""
    without = {
        "json", "help", "allow-code-execution", "open", "set",
        "model", "records", "max-tokens", "in-flight", "dtype", "enforce-eager",  # of `bench`
    }  # fmt: skip
    for asked, _ in JOBS:
        job = ANY.validate_python(asked)
        found = forgetless.get_command(click.Context(forgetless), job.verb)
        assert found
        options = {
            option.removeprefix("--")
            for each in found.params
            if isinstance(each, click.Option)
            for option in each.opts
        }
        fields = {name.replace("_", "-") for name in type(job).model_fields}
        assert options - without <= fields, job.verb
