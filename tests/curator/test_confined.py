"""A confined connection answers as any other does, and SQL on it touches nothing but the store's rows."""

import os
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from asked import asked_store
from given import COMMAND

from forgetless.curator.store import Store
from forgetless.curator.store.confined import connect_confined, one_select
from forgetless.curator.store.macros import MACROS
from forgetless.curator.store.views import ABOUT, EXAMPLES, VIEWS
from forgetless.schemas.errors import UsageError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """In a folder with a space and a quote in its name."""
    return asked_store(tmp_path_factory.mktemp("confined") / "a store's")


def rows(table: pa.Table) -> list[str]:
    """In an order of their own; sums of floats depend on theirs."""
    return sorted(repr([_rounded(v) for v in row.values()]) for row in table.to_pylist())


def _rounded(value: Any) -> Any:
    return round(value, 9) if isinstance(value, float) else value


QUERIES = [
    *(f"FROM {name}" for name in ABOUT),
    *EXAMPLES.values(),
    *(macro.example for macro in MACROS),
    *(f"FROM {macro.name}()" for macro in MACROS if macro.is_table),
    *(f"DESCRIBE {name}" for name in ABOUT),
    "SELECT id, stm_mask(id, 2.5, 'old') FROM records",
    "FROM hard_tokens(1.5, 'old')",
]


@pytest.mark.parametrize("query", QUERIES)
def test_the_same_rows_as_without(store: Store, query: str) -> None:
    expected = store.query(query)
    with connect_confined(store, None, query) as connection:
        one_select(connection, query)
        found = connection.sql(query).to_arrow_table()
    assert found.schema == expected.schema
    if "LIMIT" in query:
        assert found.num_rows == expected.num_rows
    else:
        assert rows(found) == rows(expected)


def test_the_store_has_something_to_say_in_every_view(store: Store) -> None:
    for name in VIEWS:
        assert store.query(f"FROM {name}").num_rows > 1 or name == "last_runs", name


CONDITIONS = [
    "perplexity > 2", "perplexity <> 'nan'::FLOAT", "perplexity < 'inf'", "perplexity BETWEEN 1 AND 9",
    "perplexity IN (1, 2)", "NOT (perplexity > 2)", "perplexity IS NOT DISTINCT FROM NULL", "isnan(perplexity)",
    "created > '2030-01-01 12:00'", "created::DATE = '2030-01-01'", "id LIKE 'g0%'", "id IN ('g01', 'a02', 'x')",
    "id > 'c' AND id < 'g05'", "starts_with(id, 'm')", "scorer = 'new' OR target_tokens > 5", "rejection IS NULL",
    "target_tokens > 2.5", "logprob[3] < -1", "lacks = []", "lacks IS NULL", "record_accepted",
    "NOT record_accepted", "record_accepted IS NULL", "sum_logprob > 9999999999999", "min_logprob < -3",
]  # fmt: skip
OF_STRUCTS = [
    "rejection IS NULL", "rejection IS NOT NULL", "rejection.reason IS NULL", "rejection.reason IS NOT NULL",
    "rejection.score IS NULL", "rejection.score = 'nan'", "rejection.score > 0.4", "rejection.score < 'inf'",
    "rejection.threshold IS NULL", "rejection.step <> 'exact'", "rejection.step IS DISTINCT FROM 'exact'",
    "target_spans[1].start IS NULL", "target_spans[1].\"end\" > 6", "fallback IS NULL", "verdicts = []",
    "metadata->>'sample' = '1'", "kind = 'self_output' AND rejection.reason IS NULL", "ordinal >= 7.5",
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "condition"),
    [*(("token_stats", each) for each in CONDITIONS), *(("outcomes", each) for each in OF_STRUCTS)],
)
def test_conditions_hold_though_pyarrow_applies_them(store: Store, table: str, condition: str) -> None:
    """Against rows in memory: DuckDB 2.0.0 reading Parquet itself says of NULL.field that it is not NULL, or is."""
    held = store.query(f"FROM {table}")
    with duckdb.connect() as plain:
        plain.register("held", held)
        plain.execute("CREATE TABLE copied AS FROM held")
        expected = plain.sql(f"SELECT id FROM copied WHERE {condition} ORDER BY ALL").fetchall()
    with connect_confined(store, None, table) as connection:
        found = connection.sql(f"SELECT id FROM {table} WHERE {condition} ORDER BY ALL").fetchall()
    assert found == expected


def test_a_snapshot_is_as_it_was(tmp_path: Path) -> None:
    store = asked_store(tmp_path / "store")
    counted = "SELECT count(*) FROM outcomes"
    with connect_confined(store, None, None) as connection:
        before = connection.sql(counted).fetchall()
    store.append("outcomes", store.query("SELECT * REPLACE ('new' AS id) FROM outcomes LIMIT 1"))
    with connect_confined(store, 1, counted) as then, connect_confined(store, None, counted) as now:
        assert then.sql(counted).fetchall() == before
        assert now.sql(counted).fetchall() != before


TAKEN = [
    "SELECT 1", "SELECT 1;", "; SELECT 1", "FROM records", "(SELECT 1)", "VALUES (1), (2)", "TABLE records",
    "DESCRIBE records", "SUMMARIZE records", "SHOW TABLES", "SHOW ALL TABLES", "FROM (DESCRIBE records)",
    "WITH s AS (SELECT 1 AS a) FROM s", "WITH s AS MATERIALIZED (SELECT 1) FROM s",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 9) FROM t",
    "SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3", "UNPIVOT records ON ordinal INTO NAME n VALUE v",
    "FROM (PIVOT records ON kind IN ('magpie', 'self_output') USING count(*))", "FROM range(3), unnest([1, 2])",
    "SELECT unnest(range(3)), json_extract('{\"a\": 1}', 'a')", "FROM hard_tokens(threshold := 3)",
    "SELECT '\"type\":\"COPY_QUERY_NODE\"', 'COPY x TO y; DROP TABLE z'", "FROM duckdb_functions() LIMIT 1",
    "SELECT * FROM records r JOIN perplexity p USING (id) WHERE r.id IN (SELECT id FROM rejects)",
    "SELECT -- a; b\n 1 /* ; DROP TABLE x */", "SELECT " + " + ".join(["1"] * 200),
]  # fmt: skip


@pytest.mark.parametrize("query", TAKEN)
def test_what_only_reads_is_taken(store: Store, query: str) -> None:
    with connect_confined(store, None, query) as connection:
        one_select(connection, query)
        assert connection.sql(query).to_arrow_table().num_columns


REFUSED = [
    "", "-- nothing", ";", "SELECT 1; SELECT 2", "SELECT", "SELECT 'a", "\ud800", "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT 1", "PRAGMA version", "CALL range(3)", "SET threads = 1", "RESET threads",
    "PREPARE p AS SELECT 1", "EXECUTE p", "BEGIN", "CREATE TABLE t AS SELECT 1", "DROP VIEW records", "UPDATE EXTENSIONS",
    "WITH s AS (COPY (SELECT 1) TO 'x.csv') SELECT 1", "WITH s AS (COPY (SELECT 1) TO 'x.csv') FROM s",
    "FROM (WITH s AS (COPY (SELECT 1) TO 'x.csv') SELECT 1)",
    "WITH a AS (WITH b AS (COPY (SELECT 1) TO 'x.csv') SELECT 1) FROM a",
    "SELECT (WITH s AS (DELETE FROM runs RETURNING *) SELECT count(*) FROM s)",
    "WITH s AS (INSERT INTO runs SELECT * FROM runs RETURNING *) FROM s",
    "WITH s AS (UPDATE runs SET verb = '' RETURNING *) FROM s", "WITH s AS (ATTACH 'x') SELECT 1",
    "FROM read_csv('/etc/passwd')", "FROM READ_TEXT('/etc/passwd')", 'FROM "read_blob"(\'/etc/passwd\')',
    "FROM system.main.query('SELECT 1')", "FROM query_table('records')", "FROM glob('/*')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "SELECT json_serialize_plan('SELECT 1')",
    "FROM records, LATERAL read_text('/etc/' || id)", "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "FROM arrow_scan(1, 2, 3)", "FROM checkpoint()", "FROM enable_logging()", "FROM sniff_csv('/etc/passwd')",
    "SELECT " + "[" * 400 + "]" * 400, "PIVOT records ON kind",
]  # fmt: skip


@pytest.mark.parametrize("query", REFUSED)
def test_anything_else_is_refused_before_it_runs(store: Store, query: str) -> None:
    with connect_confined(store, None, "records") as connection, pytest.raises(UsageError, match="SQL: "):
        one_select(connection, query)


LOCKED = [
    "WITH s AS (COPY (SELECT 1) TO '{out}') SELECT 1", "COPY (SELECT 1) TO '{out}'",
    "COPY records TO '{out}' (FORMAT parquet)", "EXPORT DATABASE '{out}'", "ATTACH '{out}'",
    "ATTACH '{secret}' (READ_ONLY)", "FROM '{secret}'", "FROM read_text('{secret}')", "FROM read_blob('{secret}')",
    "FROM read_csv('{secret}', header = false)", "FROM read_json('{secret}')", "FROM glob('{folder}/*')",
    "FROM sniff_csv('{secret}')", "FROM parquet_metadata('{secret}')", "FROM read_duckdb('{secret}')",
    "FROM query('FROM read_text(''{secret}'')')", "FROM query('COPY (SELECT 1) TO ''{out}''')",
    "CREATE TABLE t AS FROM '{secret}'", "COPY runs FROM '{secret}'", "IMPORT DATABASE '{folder}'",
    "SET enable_external_access = true", "SET lock_configuration = false", "RESET lock_configuration",
    "SET allowed_directories = ['/']", "SET allowed_paths = ['{secret}']", "SET python_enable_replacements = true",
    "SET temp_directory = '{out}'", "SET log_query_path = '{out}'", "CALL enable_logging('QueryLog')",
    "PRAGMA enable_profiling = 'json'", "SET profiling_output = '{out}'", "INSTALL httpfs", "LOAD '{secret}'",
    "LOAD httpfs", "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')", "FROM 'http://127.0.0.1:9/x.csv'",
    "FROM read_csv('https://127.0.0.1:9/x.csv')", "FROM from_python", "SELECT getenv('HOME')",
    "UPDATE EXTENSIONS", "CREATE SECRET (TYPE s3)", "FROM json_execute_serialized_sql(json_serialize_sql("
    "'WITH s AS (COPY (SELECT 1) TO ''{out}'') SELECT 1'))",
]  # fmt: skip


@pytest.mark.parametrize("query", LOCKED)
def test_the_locks_hold_without_that_check(store: Store, tmp_path: Path, query: str) -> None:
    folder = tmp_path / "held"
    folder.mkdir()
    secret, out = folder / "secret.csv", folder / "out"
    secret.write_text("hidden\n")
    from_python = pa.table({"a": ["hidden"]})
    with connect_confined(store, None, "records runs") as connection:
        with pytest.raises(duckdb.Error) as caught:
            connection.execute(query.format(out=out, secret=secret, folder=folder)).fetchall()
        assert "hidden" not in str(caught.value)
    assert [file.name for file in folder.iterdir()] == ["secret.csv"]
    assert secret.read_text() == "hidden\n" and from_python.num_rows == 1


def test_nothing_tells_where_the_store_is_or_whose_home(store: Store) -> None:
    asked = (
        "duckdb_settings()",
        "duckdb_views()",
        "duckdb_databases()",
        "duckdb_secrets()",
        "SHOW ALL TABLES",
    )
    for each in asked:
        with connect_confined(store, None, None) as connection:
            told = repr(
                connection.sql(each if "SHOW" in each else f"FROM {each}").to_arrow_table().to_pylist()
            )
        assert str(Path.home()) not in told.replace("'/'", "") and str(store.path.parent) not in told, each


def forgetless(*arguments: str | Path, confined: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], env=os.environ | {"FORGETLESS_CONFINED": confined},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "condition",
    [
        "text = (SELECT content FROM read_text('{secret}'))", "true) UNION ALL BY NAME (FROM '{secret}'",
        "text IN (FROM '{secret}')", "true); COPY (SELECT 1) TO '{out}'; SELECT (1",
        "id IN (WITH s AS (COPY (SELECT 'g01') TO '{out}') SELECT 'g01')", "true); SET threads = 1; FROM (SELECT 1",
    ],
)  # fmt: skip
def test_a_job_of_the_service_exports_by_conditions_alone(
    store: Store, tmp_path: Path, condition: str
) -> None:
    secret, out, to = tmp_path / "secret.csv", tmp_path / "out.csv", tmp_path / "data"
    secret.write_text("hidden\n")
    where = condition.format(secret=secret, out=out)
    done = forgetless("export", store.path, "--to", to, "--format", "parquet", "--where", where, confined="1")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: SQL: ") and "hidden" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["secret.csv"]


def test_the_same_export_confined_or_not(store: Store, tmp_path: Path) -> None:
    written = []
    for confined in ("0", "1"):
        to, where = tmp_path / confined, "kind = 'self_output' AND rejection.step IS NULL"
        done = forgetless(
            "export", store.path, "--to", to, "--format", "messages", "--where", where, confined=confined
        )
        assert (done.returncode, done.stderr) == (0, "")
        written.append({f.name: f.read_bytes() for f in to.rglob("*.jsonl")})
    assert written[0] == written[1] and written[0]


@pytest.mark.parametrize("query", ["FROM '{secret}'", "COPY (SELECT 1) TO '{out}'", "SELECT 1; SELECT 2"])
def test_sql_on_the_command_line_of_a_job_is_confined(store: Store, tmp_path: Path, query: str) -> None:
    secret, out = tmp_path / "secret.csv", tmp_path / "out.csv"
    secret.write_text("hidden\n")
    asked = query.format(secret=secret, out=out)
    done = forgetless("sql", store.path, asked, confined="1")
    assert done.returncode == 2 and "hidden" not in done.stdout + done.stderr
    assert (
        forgetless("sql", store.path, asked, confined="0").returncode == 0
    )  # one's own machine: anything goes
    assert out.exists() is ("COPY" in asked)
