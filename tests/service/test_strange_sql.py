"""SQL from strangers: nothing they send has an effect, and each is answered by its deadline."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from asked import asked_store
from starlette.testclient import TestClient

from forgetless.curator.service.app import create_app
from forgetless.curator.service.settings import Settings
from forgetless.curator.service.sql_pool import SqlAnswer, SqlPool
from forgetless.curator.store import Store
from forgetless.curator.store.macros import MACROS
from forgetless.curator.store.views import ABOUT, EXAMPLES

SECRET = "a-secret-that-nobody-is-told"
Ask = Callable[..., SqlAnswer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, beside it a secret in several formats: nothing here may change."""
    path = tmp_path_factory.mktemp("sql")
    asked_store(path / "store")
    (path / "secret.csv").write_text(f"a\n{SECRET}\n")
    (path / "secret.json").write_text(json.dumps({"a": SECRET}))
    return path


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture(scope="module")
def pool(loop: asyncio.AbstractEventLoop) -> Iterator[SqlPool]:
    """One for the whole table: what one statement breaks, those behind it would show."""
    os.environ["FORGETLESS_TEST_SECRET"] = SECRET
    made = SqlPool(memory_bytes=700_000_000)
    loop.run_until_complete(made.start())
    yield made
    loop.run_until_complete(made.close())
    del os.environ["FORGETLESS_TEST_SECRET"]


@pytest.fixture
def ask(folder: Path, pool: SqlPool, loop: asyncio.AbstractEventLoop) -> Ask:
    def asked(sql: str, **limits: Any) -> SqlAnswer:
        return loop.run_until_complete(pool.run(folder / "store", sql, **limits))

    return asked


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


FILES = [
    "FROM '{folder}/secret.csv'", "FROM \"{folder}/secret.csv\"", "FROM 'secret.csv'", "FROM '{folder}/*.csv'",
    "FROM read_csv('{folder}/secret.csv')", "FROM read_csv_auto(['{folder}/secret.csv'])",
    "FROM read_text('{folder}/secret.csv')", "FROM read_blob('{folder}/secret.*')", "FROM read_text('/etc/passwd')",
    "FROM read_json('{folder}/secret.json')", "FROM read_json_objects('{folder}/secret.json')",
    "FROM read_ndjson_auto('{folder}/secret.json')", "FROM read_parquet('/etc/passwd')",
    "FROM parquet_scan('{folder}/store/outcomes/*.parquet')", "FROM parquet_metadata('{folder}/store/*/*.parquet')",
    "FROM parquet_schema('/etc/passwd')", "FROM sniff_csv('{folder}/secret.csv')", "FROM glob('{folder}/**')",
    "FROM glob('/proc/self/environ')", "FROM read_text('/proc/self/environ')", "FROM read_text('/proc/self/maps')",
    "FROM read_text('file://{folder}/secret.csv')", "FROM read_duckdb('{folder}/secret.csv')",
    "SELECT (SELECT content FROM read_text('{folder}/secret.csv'))",
    "SELECT (FROM read_text('{folder}/secret.csv') SELECT content) FROM records",
    "FROM records r, LATERAL (FROM read_text('{folder}/secret.csv'))",
    "SELECT 1 WHERE EXISTS (FROM '{folder}/secret.csv')", "DESCRIBE '{folder}/secret.csv'",
    "SUMMARIZE '{folder}/secret.csv'", "WITH s AS (FROM '{folder}/secret.csv') FROM s",
    "FROM (PIVOT '{folder}/secret.csv' ON a IN ('x') USING count(*))", "FROM delta_scan('{folder}/store/outcomes')",
    "FROM iceberg_scan('{folder}')", "FROM sqlite_scan('{folder}/secret.csv', 't')", "FROM st_read('{folder}')",
]  # fmt: skip
WRITES = [
    "COPY (SELECT 1) TO '{folder}/out.csv'", "COPY records TO '{folder}/out.parquet' (FORMAT parquet)",
    "COPY (SELECT 1) TO '{folder}/store/outcomes/x.parquet'", "COPY outcomes FROM '{folder}/secret.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'", "COPY (SELECT 1) TO '/proc/self/fd/1'",
    "WITH s AS (COPY (SELECT 1) TO '{folder}/out.csv') SELECT 1",
    "WITH s AS (COPY (SELECT 1) TO '{folder}/out.csv' (FORMAT json)) FROM s",
    "WITH a AS (WITH b AS (COPY (SELECT 1) TO '{folder}/out.csv') FROM b) FROM a",
    "SELECT (WITH s AS (COPY (SELECT 1) TO '{folder}/out.csv') SELECT count(*) FROM s)",
    "FROM query('COPY (SELECT 1) TO ''{folder}/out.csv''')",
    "FROM query('WITH s AS (COPY (SELECT 1) TO ''{folder}/out.csv'') SELECT 1')",
    "FROM query('FROM read_text(''{folder}/secret.csv'')')", "FROM query_table('{folder}/secret.csv')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{folder}/secret.csv'')'))",
    "SELECT json_serialize_plan('FROM read_text(''{folder}/secret.csv'')')",
    "EXPORT DATABASE '{folder}/out'", "IMPORT DATABASE '{folder}'", "ATTACH '{folder}/out.db' AS other",
    "ATTACH '{folder}/secret.csv' (READ_ONLY)", "DETACH memory", "USE memory", "CHECKPOINT", "FORCE CHECKPOINT",
    "FROM checkpoint()", "FROM force_checkpoint()", "VACUUM", "ANALYZE", "PRAGMA database_list",
    "CREATE TABLE t AS SELECT 1", "CREATE TEMP TABLE t AS FROM '{folder}/secret.csv'", "CREATE VIEW v AS SELECT 1",
    "CREATE OR REPLACE VIEW records AS SELECT 1", "CREATE SCHEMA s", "CREATE SEQUENCE s", "CREATE TYPE t AS INT",
    "CREATE MACRO f() AS 1", "CREATE OR REPLACE MACRO newest_scorer(scored_by := NULL) AS 'mine'",
    "CREATE INDEX i ON outcomes (id)", "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')", "INSERT INTO runs SELECT * FROM runs",
    "UPDATE outcomes SET text = ''", "DELETE FROM outcomes", "TRUNCATE outcomes", "DROP TABLE outcomes",
    "DROP VIEW records", "ALTER TABLE outcomes ADD COLUMN x INT", "DROP SCHEMA main CASCADE",
    "MERGE INTO runs USING runs r ON true WHEN MATCHED THEN DELETE", "COMMENT ON VIEW records IS 'x'",
    "WITH s AS (INSERT INTO runs SELECT * FROM runs RETURNING *) FROM s",
    "WITH s AS (DELETE FROM runs RETURNING *) SELECT count(*) FROM s", "EXPLAIN ANALYZE SELECT 1",
]  # fmt: skip
SETTINGS = [
    "SET enable_external_access = true", "SET GLOBAL enable_external_access = true", "SET lock_configuration = false",
    "RESET lock_configuration", "RESET ALL", "SET allowed_directories = ['/']", "SET allowed_paths = ['/etc/passwd']",
    "SET memory_limit = '99GB'", "SET threads = 99", "SET temp_directory = '{folder}'", "SET VARIABLE x = 1",
    "SET log_query_path = '{folder}/log'", "SET python_enable_replacements = true", "SET profiling_output = '{folder}/p'",
    "PRAGMA memory_limit = '99GB'", "PRAGMA enable_profiling", "PRAGMA enable_logging", "PRAGMA add_parquet_key('k', 'v')",
    "CALL enable_logging(storage = 'file', storage_path = '{folder}')",
    "FROM enable_logging(storage = 'file', storage_path = '{folder}')", "CALL pragma_version()",
    "INSTALL httpfs", "FORCE INSTALL httpfs FROM core_nightly", "LOAD httpfs", "LOAD '{folder}/secret.csv'",
    "UPDATE EXTENSIONS", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", "BEGIN", "COMMIT", "ROLLBACK",
    "FROM create_external_resource('x', MAP {{'a': 'b'}})", "FROM arrow_scan(1, 2, 3)", "FROM pandas_scan(1)",
    "FROM python_arrow_scan(1)", "SELECT 1::POINTER", "SELECT ?", "SELECT $1",
]  # fmt: skip
NETWORK = [
    "FROM 'http://127.0.0.1:{port}/x.csv'", "FROM read_csv('http://127.0.0.1:{port}/x.csv')",
    "FROM read_parquet('https://127.0.0.1:{port}/x.parquet')", "FROM 's3://bucket/x.parquet'",
    "FROM read_text('hf://datasets/a/b.csv')", "FROM postgres_scan('host=127.0.0.1 port={port}', 'a', 'b')",
    "ATTACH 'host=127.0.0.1 port={port}' AS p (TYPE postgres)", "INSTALL x FROM 'http://127.0.0.1:{port}'",
    "COPY (SELECT 1) TO 'http://127.0.0.1:{port}/x'",
]  # fmt: skip
TRICKS = [
    "", ";", "   ", "--", "/*", "SELECT 1; SELECT 2", "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.csv'; SELECT 1", "SELECT 1 --\n; COPY (SELECT 1) TO '{folder}/out.csv'",
    "SELECT 1 /* x */ ; COPY (SELECT 1) TO '{folder}/out.csv' */", "SELECT '\ud800'", "SELECT 1\u2028; SET threads = 1",
    "SELECT 1\uff1bSELECT 2", "SELECT\u00a01; SET threads = 1", "SELECT 1\x00; COPY (SELECT 1) TO '{folder}/out.csv'",
    "\uff33\uff25LECT 1", "SELECT 'a' 'b", "SELECT $$a", "/* SELECT */ COPY (SELECT 1) TO '{folder}/out.csv'",
    "FROM connection", "FROM request", "FROM store", "FROM sys", "FROM relation", "SELECT getenv('FORGETLESS_TEST_SECRET')",
    "SELECT current_setting('FORGETLESS_TEST_SECRET')",
    "FROM which_secret('s3://a', 's3')", "SELECT nextval('s')", "SELECT error(repeat('x', 5000000))",
    "SELECT * FROM pg_read_file('/etc/passwd')", "SELECT lo_import('/etc/passwd')",
]  # fmt: skip
BOMBS = [
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
    "WITH RECURSIVE t(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM t) SELECT max(len(s)) FROM t",
    "SELECT count(*) FROM range(10000000) a, range(10000000) b", "SELECT count(*) FROM records a, records b, records c,"
    " records d, records e, records f, records g, records h", "SELECT sum(i) FROM range(1000000000000) t(i)",
    "SELECT range(1000000000)", "SELECT list(i) FROM range(10000000000) t(i)", "SELECT repeat('x', 2000000000)",
    "SELECT repeat(repeat('x', 100000), 100000)", "SELECT string_agg(repeat('x', 1000), '') FROM range(100000000)",
    "SELECT repeat('x', 1000000) FROM range(1000000)", "SELECT i FROM range(1000000000) t(i) ORDER BY hash(i)",
    "SELECT DISTINCT hash(i) FROM range(1000000000) t(i)", "SELECT count(DISTINCT i) FROM range(1000000000) t(i)",
    "SELECT hash(i), count(*) FROM range(1000000000) t(i) GROUP BY 1", "SELECT regexp_matches(repeat('a', 50000000),"
    " '(a?){{500}}a{{500}}') FROM range(100)", "SELECT regexp_replace(repeat('ab', 9000000), '(a|b)*?', 'xxxxxxx', 'g')",
    "SELECT list_reduce(range(100000000), lambda a, b: a + b)", "SELECT flatten([range(100000000) FOR x IN range(1000)])",
    "SELECT lpad('x', 1999999999, 'y')", "SELECT list_resize([1], 1000000000000)", "SELECT factorial(33), 10::HUGEINT ** 99",
    "SELECT i, sum(i) OVER (ORDER BY hash(i)) FROM range(1000000000) t(i)", "SELECT sleep_ms(100000)",
    "SELECT count(*) FROM generate_series(TIMESTAMP '0001-01-01', TIMESTAMP '9999-01-01', INTERVAL 1 MICROSECOND)",
    "SELECT 1 WHERE 1 IN (" + ", ".join(map(str, range(2, 15000))) + ")", "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT " + " + ".join(["1"] * 20000), "SELECT " + "[" * 5000 + "]" * 5000, "SELECT " + "NOT " * 20000 + "true",
    "SELECT " + ", ".join(["*"] * 500) + " FROM records", "FROM " + ", ".join(f"records r{i}" for i in range(60)),
    "SELECT 1" + " UNION ALL SELECT 1" * 5000, "WITH " + ", ".join(
        f"c{i} AS (FROM c{i - 1} a, c{i - 1} b)" if i else "c0 AS (SELECT 1 AS x)" for i in range(40)
    ) + " SELECT count(*) FROM c39", "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
    "SELECT json_extract(repeat('[', 1000000), '$')", "SELECT * FROM read_csv(" + "'x'," * 10000 + "'x')",
]  # fmt: skip

TELLING = [
    "FROM duckdb_settings()", "FROM duckdb_secrets(redact = false)", "FROM duckdb_extensions()", "FROM duckdb_views()",
    "FROM duckdb_databases()", "FROM duckdb_variables()", "FROM duckdb_logs()", "FROM duckdb_temporary_files()",
    "FROM pg_catalog.pg_settings", "FROM information_schema.tables", "FROM sqlite_master", "SHOW ALL TABLES",
    "FROM duckdb_external_file_cache()", "SELECT getvariable('HOME'), current_query(), version()",
    "SELECT current_setting('secret_directory'), current_setting('extension_directory')", "FROM pragma_version()",
]  # fmt: skip
"""Queries that are answered, but have nothing to tell."""

HOSTILE = [*FILES, *WRITES, *SETTINGS, *NETWORK, *TRICKS]


@pytest.fixture(scope="module")
def calls() -> Iterator[tuple[int, list[str]]]:
    """A port, and who has called there."""
    called: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def listen() -> None:
            with suppress(OSError):
                while True:
                    caller, address = listening.accept()
                    called.append(str(address))
                    caller.close()

        threading.Thread(target=listen, daemon=True).start()
        yield listening.getsockname()[1], called


def filled(statement: str, folder: Path, port: int = 9) -> str:
    for name, value in {"{folder}": str(folder), "{port}": str(port), "{{": "{", "}}": "}"}.items():
        statement = statement.replace(name, value)
    return statement


def sql_children(parent: int) -> list[str]:
    """Process ids."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [c for c in children if "sql_child" in Path(f"/proc/{c}/cmdline").read_text()]


def test_there_are_enough_of_them() -> None:
    assert len({*HOSTILE, *BOMBS}) >= 180


@pytest.mark.parametrize("statement", HOSTILE, ids=lambda text: ascii(text)[:60])
def test_no_statement_has_an_effect(
    folder: Path, ask: Ask, calls: tuple[int, list[str]], statement: str
) -> None:
    before, started = contents(folder), time.monotonic()
    answer = ask(filled(statement, folder, calls[0]), seconds=10)
    assert time.monotonic() - started < 11
    assert answer.error and not answer.rows and not answer.late, answer
    assert "ended its process" not in answer.error
    assert SECRET not in repr(answer) and "root:" not in repr(answer) and len(answer.error) < 5000
    assert contents(folder) == before
    assert not calls[1]


@pytest.mark.parametrize("statement", TELLING)
def test_what_there_is_to_tell_is_no_secret(folder: Path, ask: Ask, statement: str) -> None:
    told = repr(ask(statement))
    for hidden in (SECRET, str(folder), str(Path.home()) + "/", "root:", os.environ["PATH"]):
        assert hidden not in told


@pytest.mark.parametrize("statement", BOMBS, ids=lambda text: text[:60])
def test_each_is_answered_within_its_deadline_and_a_second(folder: Path, ask: Ask, statement: str) -> None:
    before, started = contents(folder), time.monotonic()
    answer = ask(filled(statement, folder), seconds=2)
    assert time.monotonic() - started < 3
    assert SECRET not in repr(answer) and len(repr(answer)) < 10_000_000
    assert contents(folder) == before


def test_then_an_honest_query_is_answered_and_no_process_is_left(ask: Ask) -> None:
    assert ask("SELECT count(*) FROM runs").rows == [[2]]
    assert len(sql_children(os.getpid())) <= 1  # the spare


@pytest.mark.parametrize(
    "query", [*(f"FROM {name}" for name in ABOUT), *EXAMPLES.values(), *(macro.example for macro in MACROS)]
)
def test_honest_queries_are_answered(folder: Path, ask: Ask, query: str) -> None:
    answer, expected = ask(query), Store.open(folder / "store").query(query)
    assert not answer.error and not answer.truncated
    assert [column["name"] for column in answer.columns] == expected.column_names
    assert len(answer.rows) == expected.num_rows


def test_values_are_as_json_can_hold_them(ask: Ask) -> None:
    answer = ask(
        """SELECT 9007199254740991 AS exact, 9007199254740993 AS wide, -(2::HUGEINT ** 100)::HUGEINT AS huge,
        [1, 9007199254740993] AS list, {'a': 18446744073709551615::UBIGINT} AS struct, MAP {'k': 1} AS map,
        'nan'::FLOAT AS nan, '-inf'::DOUBLE AS inf, 1.5::DECIMAL(4, 2) AS decimal, '\\xAA'::BLOB AS bytes,
        DATE '2030-01-02' AS date, TIMESTAMPTZ '2030-01-02 03:04:05+00' AS at, INTERVAL 3 DAY AS days,
        '101'::BIT AS bits, 340282366920938463463374607431768211455::UHUGEINT AS unsigned, NULL AS nothing,
        true AS yes, 'a"b' AS text, 1 AS text"""
    )
    values = dict(zip([c["name"] for c in answer.columns][:-1], answer.rows[0], strict=False))
    assert values == {
        "exact": 9007199254740991, "wide": "9007199254740993", "huge": str(-(2**100)),
        "list": [1, "9007199254740993"], "struct": {"a": "18446744073709551615"}, "map": [["k", 1]],
        "nan": None, "inf": None, "decimal": 1.5, "bytes": "aa", "date": "2030-01-02",
        "at": "2030-01-02T03:04:05+00:00", "days": "3 days", "bits": "101", "unsigned": str(2**128 - 1),
        "nothing": None, "yes": True, "text": 'a"b',
    }  # fmt: skip
    assert answer.columns[0] == {"name": "exact", "type": "BIGINT"}
    assert [c["name"] for c in answer.columns][-2:] == ["text", "text"] and answer.rows[0][-1] == 1
    assert "cast it" in ask("SELECT DATE '99999-01-01' AS d").hint


def test_answers_have_a_limit_of_rows_and_bytes(folder: Path, ask: Ask) -> None:
    for most, truncated in ((9, True), (10, False), (11, False)):
        answer = ask("FROM range(10)", rows=most)
        assert (len(answer.rows), answer.truncated) == (min(most, 10), truncated)
    endless = ask("FROM range(1000000000000)", rows=5)
    assert (endless.rows, endless.truncated) == ([[i] for i in range(5)], True)
    wide = ask("SELECT repeat('x', 100000) FROM range(100)")
    assert wide.truncated and 30 <= len(wide.rows) < 40  # of 4 MB
    alone = ask("SELECT repeat('x', 9000000)")
    assert alone.truncated and alone.rows == []


def test_a_snapshot_can_be_asked(ask: Ask) -> None:
    assert ask("SELECT count(*) FROM snapshots", snapshot=1).rows
    assert "there is no snapshot 7" in ask("FROM records", snapshot=7).error


def test_some_at_once_and_none_is_lost(folder: Path, pool: SqlPool, loop: asyncio.AbstractEventLoop) -> None:
    async def all_of(queries: list[str], seconds: float) -> list[SqlAnswer]:
        asked = [pool.run(folder / "store", query, seconds=seconds) for query in queries]
        return list(await asyncio.gather(*asked))

    answers = loop.run_until_complete(all_of([f"SELECT {i}" for i in range(8)], 60))
    assert [answer.rows for answer in answers] == [[[i]] for i in range(8)]
    endless = "SELECT sum(i) FROM range(1000000000000) t(i)"
    started = time.monotonic()
    answers = loop.run_until_complete(all_of([endless] * 8, 3))  # six of them wait in vain
    assert all(answer.late for answer in answers) and time.monotonic() - started < 4


def test_a_query_ends_with_whoever_asked(
    folder: Path, pool: SqlPool, loop: asyncio.AbstractEventLoop
) -> None:
    async def left() -> None:
        asked = asyncio.create_task(pool.run(folder / "store", BOMBS[4], seconds=60))
        await asyncio.sleep(1)
        asked.cancel()
        with suppress(asyncio.CancelledError):
            await asked

    loop.run_until_complete(left())
    answer = loop.run_until_complete(pool.run(folder / "store", "SELECT 1"))
    assert answer.rows == [[1]]
    assert len(sql_children(os.getpid())) <= 1  # the spare


@pytest.fixture(scope="module")
def client(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The service over the same store, for somebody who has the token."""
    stores = {"asked": folder / "store", "unmade": folder / "unmade"}
    app = create_app(Settings(home=tmp_path_factory.mktemp("home"), stores=stores))
    token = {"authorization": f"Bearer {app.state.service.keys.token}"}
    with TestClient(app, base_url="http://127.0.0.1:8765", headers=token) as made:
        yield made


def test_a_query_over_http(client: TestClient) -> None:
    asked = {"store": "asked", "sql": "SELECT verb, count(*) AS n FROM runs GROUP BY verb", "snapshot": 1}
    answer = client.post("/v1/sql", json=asked)
    assert answer.status_code == 200
    found = answer.json()
    assert found.pop("seconds") < 10
    columns = [{"name": "verb", "type": "VARCHAR"}, {"name": "n", "type": "BIGINT"}]
    assert found == {"columns": columns, "rows": [["build", 2]], "truncated": False}
    few = client.post("/v1/sql", json={"store": "asked", "sql": "FROM range(9)", "rows": 2}).json()
    assert (few["rows"], few["truncated"]) == ([[0], [1]], True)


@pytest.mark.parametrize(
    ("question", "status", "said"),
    [
        ({"store": "asked", "sql": "FROM nowhere"}, 400, "nowhere does not exist"),
        ({"store": "asked", "sql": "COPY (SELECT 1) TO 'x'"}, 400, "one SELECT is taken here, not COPY"),
        ({"store": "asked", "sql": "FROM records", "snapshot": 10**30}, 400, "there is no snapshot"),
        ({"store": "nobody's", "sql": "SELECT 1"}, 404, "there is no store"),
        ({"store": "unmade", "sql": "SELECT 1"}, 404, "is empty"),
        ({"store": "asked", "sql": ""}, 422, "body/sql"),
        ({"store": "asked", "sql": "SELECT 1", "seconds": 9999}, 422, "body/seconds"),
        ({"store": "asked", "sql": "SELECT 1", "rows": 0}, 422, "body/rows"),
        ({"store": "asked", "sql": "SELECT 1", "memory": 1}, 422, "body/memory"),
    ],
)
def test_what_is_wrong_is_a_problem(
    client: TestClient, question: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/v1/sql", json=question)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_a_deadline_that_passed_is_said(client: TestClient) -> None:
    started = time.monotonic()
    answer = client.post("/v1/sql", json={"store": "asked", "sql": BOMBS[4], "seconds": 1.5})
    assert time.monotonic() - started < 2.5
    assert (answer.status_code, answer.json()["late"]) == (400, True)
    assert answer.json()["detail"] == "the query was ended after 1.5 s"


def test_the_schema_names_all_that_can_be_asked(client: TestClient) -> None:
    sources = {s["name"]: s for s in client.get("/v1/sql/schema?store=asked").json()["sources"]}
    assert list(sources) == [*ABOUT, *(macro.name for macro in MACROS)]
    assert {"name": "perplexity", "type": "DOUBLE"} in sources["perplexity"]["columns"]
    assert sources["stm_mask"]["kind"] == "value" and sources["outcomes"]["kind"] == "table"
    for source in sources.values():
        answer = client.post("/v1/sql", json={"store": "asked", "sql": source["example"]})
        assert answer.status_code == 200, source
    assert client.get("/v1/sql/schema?store=nobody").status_code == 404


def test_a_killed_service_leaves_no_query_behind(folder: Path) -> None:
    program = f"""
import asyncio, pathlib
from forgetless.curator.service.sql_pool import SqlPool

async def main():
    pool = SqlPool()
    asked = asyncio.create_task(pool.run(pathlib.Path({str(folder / "store")!r}), {BOMBS[4]!r}, seconds=60))
    await asyncio.sleep(2)
    await pool.start()
    await asyncio.sleep(1)
    print("asked", flush=True)
    await asked

asyncio.run(main())
"""
    service = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert service.stdout and service.stdout.readline() == "asked\n"
    children = sql_children(service.pid)
    assert len(children) == 2
    service.kill()
    service.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
