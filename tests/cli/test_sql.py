"""SQL over a store, in three formats, and the statements for other clients."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import duckdb
import pytest
from given import COMMAND

from forgetless.cli.table import fit
from forgetless.curator.store import Store
from forgetless.curator.store.macros import HELPERS, MACROS
from forgetless.curator.store.views import ABOUT, EXAMPLES, VIEWS
from forgetless.schemas.tables import TABLES

Cli = Callable[..., subprocess.CompletedProcess[str]]
ODD = """SELECT 'nan'::FLOAT AS odd, sum(2) AS sum, NULL AS nothing, {'a': [1.5]} AS nested,
         TIMESTAMP '2030-01-02 03:04:05' AS at, '\\xAA'::BLOB AS raw, 'a,"b' AS text"""


def test_json_is_plain_json(cli: Cli, folder: Path) -> None:
    done = cli("sql", folder, ODD, "--format", "json")
    assert json.loads(done.stdout) == [
        {
            "odd": None, "sum": 2, "nothing": None, "nested": {"a": [1.5]}, "at": "2030-01-02T03:04:05",
            "raw": "aa", "text": 'a,"b',
        }
    ]  # fmt: skip


def test_json_without_rows_is_an_empty_array(cli: Cli, folder: Path) -> None:
    assert json.loads(cli("sql", folder, "FROM records WHERE false", "--format", "json").stdout) == []


def test_csv_reads_back(cli: Cli, folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(cli("sql", folder, ODD, "--format", "csv").stdout)))
    assert rows == [
        {
            "odd": "", "sum": "2", "nothing": "", "nested": '{"a": [1.5]}', "at": "2030-01-02T03:04:05",
            "raw": "aa", "text": 'a,"b',
        }
    ]  # fmt: skip


def test_table_elsewhere_is_full_width_without_colours(cli: Cli, folder: Path) -> None:
    query = "SELECT repeat('x', 300) AS long, 1/3 AS third, 123456.7 AS large, NULL AS nothing, '[bold]' AS t"
    lines = cli("sql", folder, query).stdout.splitlines()
    assert lines[0].split() == ["long", "third", "large", "nothing", "t"]
    assert lines[2].split() == ["x" * 300, "0.3333", "123457", "NULL", "[bold]"]
    assert "\x1b" not in "".join(lines)


def test_a_table_never_obeys_what_a_model_wrote(cli: Cli, folder: Path) -> None:
    done = cli("sql", folder, r"SELECT 'a' || chr(27) || '[2J' || chr(10) || 'b' AS text")
    assert done.stdout.splitlines()[2].strip() == "a␛[2J⏎b"


def test_a_terminal_gets_what_fits(cli: Cli, folder: Path) -> None:
    terminal = {"FORCE_COLOR": "1", "COLUMNS": "60"}
    cut = cli("sql", folder, "SELECT repeat('x', 99) AS long, 12345678 AS number", **terminal).stdout
    assert [len(click.unstyle(line).rstrip()) <= 60 for line in cut.splitlines()] == [True] * 3
    assert "…" in cut
    assert "12345678" in cut
    blocks = cli("sql", folder, "FROM outcomes LIMIT 2", **terminal).stdout
    assert "row 2 ─" in click.unstyle(blocks)
    assert "sampled_logprobs" in blocks
    long = cli("sql", folder, "FROM range(1234)", **terminal)
    assert long.stderr == "1,034 more rows: --format csv prints all\n"
    assert cli("sql", folder, "FROM range(1234)").stdout.count("\n") == 1236


@pytest.mark.parametrize(
    ("widths", "numeric", "room", "expected"),
    [
        ([4, 10], [True, False], 80, [4, 10]),
        ([4, 100], [True, False], 80, [4, 73]),
        ([60, 50, 5], [False, False, True], 80, [34, 35, 5]),
        ([40, 40, 100], [True, True, False], 80, None),
    ],
)
def test_text_is_cut_to_the_terminal_and_numbers_never(
    widths: list[int], numeric: list[bool], room: int, expected: list[int] | None
) -> None:
    assert fit(widths, numeric, room) == expected


def test_the_views_open_in_any_duckdb_client(cli: Cli, folder: Path) -> None:
    statements = cli("sql", folder, "--init").stdout
    assert statements.count(";\n") == len(TABLES) + len(VIEWS) + len(HELPERS) + len(MACROS)
    with duckdb.connect() as client:
        client.execute(statements)
        assert client.sql("SELECT count(*) FROM records").fetchall() == [(4,)]
        foxes = client.sql("SELECT scorer, count(*) FROM tokens WHERE piece = ' fox' GROUP BY 1 ORDER BY 1")
        assert foxes.fetchall() == [("first", 2), ("second", 2), (None, 1)]
        assert client.sql("SELECT count(*) FROM hard_tokens(2.5)").fetchall()[0][0] > 0


def test_without_a_query_every_view_and_table_is_explained(cli: Cli, folder: Path) -> None:
    assert set(ABOUT) == {*TABLES, *VIEWS}
    shown = cli("sql", folder).stdout
    for name, about in ABOUT.items():
        assert any(line.startswith(f"{name} ") for line in shown.splitlines())
        assert about.split()[0] in shown
    assert "hard_share" in shown
    assert all(f"{macro.call}: " in " ".join(shown.split()) for macro in MACROS)


def test_views_and_macros_are_explained_with_an_example_that_runs(cli: Cli, folder: Path) -> None:
    shown = " ".join(cli("sql", folder, "--explain-views").stdout.split())
    store = Store.open(folder)
    for name in VIEWS:
        assert f"{name} {ABOUT[name]} {EXAMPLES[name]}" in shown
        store.query(EXAMPLES[name])
    for macro in MACROS:
        assert f"{macro.name} {macro.about} {macro.call} {macro.example}" in shown
        store.query(macro.example)


def test_a_query_that_names_nothing_sees_everything(folder: Path) -> None:
    store = Store.open(folder)
    assert set(store.query("SHOW TABLES")["name"].to_pylist()) == {*TABLES, *VIEWS}
    macros = store.query("SELECT function_name AS name FROM duckdb_functions() WHERE NOT internal")
    assert set(macros["name"].to_pylist()) == {macro.name for macro in (*HELPERS, *MACROS)}


def test_query_from_stdin(folder: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "sql", str(folder), "-", "--format", "csv"],
        input="SELECT count(*) AS n FROM rejects", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "n\n1\n"


def test_a_snapshot_shows_what_was_there_then(cli: Cli, folder: Path) -> None:
    store = Store.open(folder)
    rows = store.query("SELECT * REPLACE ('new' AS id) FROM outcomes LIMIT 1")
    store.append("outcomes", rows)
    query = "SELECT count(*) AS n FROM outcomes"
    assert cli("sql", folder, query, "--format", "csv").stdout == "n\n6\n"
    assert cli("sql", folder, query, "--format", "csv", "--snapshot", "1").stdout == "n\n5\n"
    missing = cli("sql", folder, query, "--snapshot", "7")
    assert missing.returncode == 2
    assert missing.stderr == "error: there is no snapshot 7 → the newest is 1\n"


def test_wrong_sql_is_one_line_in_duckdbs_words(cli: Cli, folder: Path) -> None:
    done = cli("sql", folder, "SELECT * FROM recordz")
    assert done.returncode == 2
    assert "recordz" in done.stderr
    assert done.stderr.count("\n") == 1
