"""The comparison on the command line: table, sentences, picture, JSON, what goes wrong."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from given import versions_recipe

from forgetless.curator.report.comparison import compare
from forgetless.curator.report.order import interval_text, order
from forgetless.curator.store import Store
from forgetless.pipelines.build import Build

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    """Folder of a store with all versions of nine answers; its name wants quotes."""
    folder = tmp_path_factory.mktemp("a store's")
    Build(versions_recipe(folder, demo_model, 6, 3)).run()
    return folder / "store"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures go into the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table_of(stdout: str) -> dict[str, list[str]]:
    """Cells behind each label."""
    lines = stdout.split("\n\n")[0].splitlines()[3:]
    return {
        cells[0]: cells[1:] for cells in ([c.strip() for c in row.split("   ") if c.strip()] for row in lines)
    }


def test_table_sentences_and_picture(cli: Cli, built: Path, here: Path) -> None:
    done = cli("compare", built)
    assert (done.returncode, done.stderr) == (0, "")
    comparison = compare(Store.open(built))
    table = table_of(done.stdout)
    assert list(table) == [line.label for line in comparison.lines]
    for line in comparison.lines:
        cells = table[line.label]
        assert line.equal and line.equal.perplexity
        assert cells[:3] == [str(line.own), str(line.fallbacks), f"{line.accepted_share:.1%}"]
        assert interval_text(line.equal.perplexity) in cells
        assert f"{line.equal.hard_share:.1%}" in cells
    for sentence in order(comparison):
        assert sentence in done.stdout
    assert (
        f"over the {comparison.prompts} prompts that have an own, scored answer in every line" in done.stdout
    )
    assert done.stdout.endswith("picture: compare-sums.png\n")
    assert (here / "compare-sums.png").read_bytes().startswith(b"\x89PNG")


def test_json_holds_everything_and_draws_only_where_it_is_told(cli: Cli, built: Path, here: Path) -> None:
    said: dict[str, Any] = json.loads(cli("compare", built, "--task", "sums", "--json").stdout)
    comparison = compare(Store.open(built))
    assert said.pop("order") == order(comparison)
    assert said.pop("picture") is None
    assert said == comparison.model_dump()
    assert list(here.iterdir()) == []
    drawn = json.loads(cli("compare", built, "--json", "--to", "bars.svg").stdout)
    assert drawn["picture"] == "bars.svg"
    assert "ground truth" in (here / "bars.svg").read_text()


def test_a_snapshot_is_compared_as_it_was(cli: Cli, built: Path) -> None:
    assert cli("compare", built, "--snapshot", "1").stdout == cli("compare", built).stdout
    missing = cli("compare", built, "--snapshot", "9")
    assert (missing.returncode, missing.stderr) == (2, "error: there is no snapshot 9 → the newest is 1\n")


def test_what_is_not_scored_is_counted_with_the_command_that_scores_it(
    cli: Cli, built: Path, here: Path
) -> None:
    store = Store.create(here / "un scored")
    store.append("outcomes", Store.open(built).query("SELECT * FROM outcomes"))
    done = cli("compare", "un scored")
    own = sum(line.own for line in compare(store).lines)
    assert f"{own} own rows are not scored: `forgetless score 'un scored'` scores them." in done.stdout
    assert "no picture: nothing is scored" in done.stdout
    assert not list(here.glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "nosuch"], "there is no task 'nosuch' → one of 'sums'"),
        (
            ["--scorer", "zz"],
            "no record of task 'sums' is scored by one that begins with 'zz' → its scorers: ",
        ),
        (["--to", "bars.gif"], "'bars.gif' is no name of a picture → let it end in .png, .svg, .pdf"),
    ],
)
def test_wrong_use_is_said_and_leaves_nothing(
    cli: Cli, built: Path, here: Path, arguments: list[str], message: str
) -> None:
    done = cli("compare", built, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(here.iterdir()) == []


def test_a_store_without_a_task_says_so(cli: Cli, here: Path) -> None:
    Store.create(here / "empty")
    done = cli("compare", "empty")
    assert done.returncode == 2
    assert "store 'empty' has no task whose answers could be compared" in done.stderr
