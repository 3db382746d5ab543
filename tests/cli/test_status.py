"""What status and verify say of a store."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from forgetless.curator.store import Store
from forgetless.schemas.tables import FORMAT

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_status_counts_everything(cli: Cli, folder: Path) -> None:
    status = json.loads(cli("status", folder, "--json").stdout)
    assert status["format"] == FORMAT
    kinds = {row.pop("kind"): row for row in status["kinds"]}
    assert kinds["magpie"] == {"accepted": 2, "rejected": 1, "intermediate": 0}
    steps = {row["step"]: row for row in status["steps"]}
    assert (steps["chat"]["tokens"], steps["chat"]["target_tokens"]) == (14, 3)
    assert steps["rejected"]["tokens"] == 0
    assert status["tokens"] == sum(step["tokens"] for step in steps.values())
    scorers = {row["scorer"]: (row["scored"], row["not_scored"]) for row in status["scorers"]}
    assert scorers == {"first": (2, 2), "second": (1, 3)}
    assert [(run["verb"], run["state"]) for run in status["runs"]] == [("build", "done")]
    assert [row["snapshot"] for row in status["snapshots"]] == [1]
    assert [row["name"] for row in status["evals"]] == ["tuned"]
    assert status["bytes"] == sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def test_status_fits_80_columns_and_names_what_is_missing(cli: Cli, folder: Path, tmp_path: Path) -> None:
    shown = cli("status", folder).stdout
    assert max(map(len, shown.splitlines()[1:])) <= 80
    assert "dddddddd " in shown
    assert "…" not in shown
    Store.create(tmp_path / "empty")
    empty = cli("status", tmp_path / "empty").stdout
    for part in ("kinds", "steps", "scorers", "runs", "snapshots", "evals"):
        assert f"no {part} yet" in empty


def test_verify_says_ok_and_how_many_rows(cli: Cli, folder: Path) -> None:
    done = cli("verify", folder)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["outcomes", "5", "rows"]
    assert lines[-1] == "ok"


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_verify_finds_damage_and_fails(cli: Cli, folder: Path, form: tuple[str, ...]) -> None:
    part = Path(Store.open(folder).files()["outcomes"][-1])
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    done = cli("verify", folder, *form)
    assert done.returncode == 1
    assert f"outcomes/{part.name}: its bytes are not those that were committed" in done.stdout
    if form:
        assert json.loads(done.stdout)["ok"] is False
