"""Imports point backwards along schemas ← curator ← {pipelines, train} ← cli, and only there."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "schemas": {"schemas"},
    "curator": {"schemas", "curator"},
    "pipelines": {"schemas", "curator", "pipelines"},
    "train": {"schemas", "curator", "train"},
    "cli": {"schemas", "curator", "pipelines", "train", "cli", "benchmarks"},
}
FILES = [file for folder in ALLOWED for file in sorted((ROOT / folder).rglob("*.py"))]


def imported(file: Path) -> list[str]:
    """Every module a file imports, at module level or inside functions; relative imports as `.name`."""
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_backwards(file: Path) -> None:
    folder = file.relative_to(ROOT).parts[0]
    for name in imported(file):
        first, *rest = name.split(".")
        assert first not in ALLOWED, f"{name}: import it as forgetless.{name}"
        if first == "forgetless":
            assert rest and rest[0] in ALLOWED[folder], f"{folder} must not import {name}"
        assert not name.startswith("."), f"{name}: import it in full, as forgetless.…"


def test_the_rule_sees_every_folder() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in FILES} == set(ALLOWED)
