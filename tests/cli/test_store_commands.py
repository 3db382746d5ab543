"""`forgetless compact` and `forgetless bench store`, as people and programs call them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from forgetless.curator.store import Store

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_compact_says_what_it_did(cli: Cli, folder: Path) -> None:
    before = Store.open(folder).query("FROM token_stats ORDER BY id, scorer")
    told = cli("compact", folder)
    assert told.returncode == 0
    lines = [line.split() for line in told.stdout.splitlines()]
    assert [line[0] for line in lines] == ["outcomes", "token_stats", "vocab", "runs", "evals", "snapshots"]
    assert lines[1][1:3] == ["3", "files"] and "→ 1 of" in told.stdout
    assert cli("compact", folder).stdout.startswith("nothing to join")
    assert Store.open(folder).query("FROM token_stats ORDER BY id, scorer").equals(before)
    assert cli("verify", folder).returncode == 0
    assert (
        cli("sql", folder, "SELECT count(*) AS n FROM outcomes", "--snapshot", "1", "--format", "csv").stdout
        == "n\n5\n"
    )


def test_compact_for_programs(cli: Cli, folder: Path) -> None:
    told = json.loads(cli("compact", folder, "--vacuum", "--json").stdout)
    stats = next(table for table in told["tables"] if table["table"] == "token_stats")
    assert (stats["parts_before"], stats["parts"]) == (3, 1)
    assert told["vacuum"]["files"] > 0
    assert json.loads(cli("compact", folder, "--json").stdout) == {"tables": [], "vacuum": None}


def test_compact_waits_for_no_writer(cli: Cli, folder: Path) -> None:
    with Store.open(folder).lock():
        refused = cli("compact", folder)
    assert refused.returncode == 1
    assert "is being written by another process → wait for it" in refused.stderr


def test_bench_store_prints_figures(cli: Cli) -> None:
    small = ("--records", "300", "--tokens", "40", "--rounds", "1")
    shown = cli("bench", "store", *small).stdout
    assert "bytes per token" in shown and "hardest_tokens(20)" in shown
    assert "bytes/token for ids and log-prob" in shown.splitlines()[-1]
    figures = json.loads(cli("bench", "store", *small, "--json").stdout)
    assert figures["records"] == 300
    assert figures["ids_and_logprob"] < figures["with_entropy_and_rank"]
    assert set(figures["seconds"]) == {"mean perplexity by kind", "hardest twenty tokens"}
