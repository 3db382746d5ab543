"""Few large parts in the place of many small ones: the same rows, at every snapshot, whatever happens."""

import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from forgetless.curator.store import Store
from forgetless.curator.store.compact import compact, vacuum
from forgetless.curator.store.verify import verify
from forgetless.schemas.errors import StoreError
from forgetless.schemas.outcome import Outcome, Span

KILLED = """
import os, signal, sys
from pathlib import Path
from forgetless.curator.store import Store
from forgetless.curator.store.compact import compact
from forgetless.curator.store.delta import Table

def killed(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

Table._commit = killed
compact(Store.open(Path(sys.argv[1])))
"""


def row(id: str) -> Outcome:
    return Outcome(
        id=id, plan_id=id, run_id="run", step="bos", digest="d", pipeline="bos_replay", stage="sample",
        kind="bos_replay", status="accepted", text="text", ids_from="engine", tokenizer="t", ordinal=0,
        token_ids=[0, 5, 6], target_spans=[Span(start=1, end=3)],
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five commits with a score each, a snapshot after the second."""
    made = Store.create(tmp_path / "a store's")
    for i in range(5):
        made.append("outcomes", [row(f"r{i}")])
        made.append(
            "token_stats", [{"id": f"r{i}", "scorer": "s", "logprob": [None, -i, -1], "min_logprob": -i}]
        )
        if i == 1:
            made.take_snapshot("run")
    return made


def ids(store: Store, snapshot: int | None = None, table: str = "outcomes") -> list[str]:
    return sorted(store.query(f"SELECT id FROM {table}", snapshot)["id"].to_pylist())


def test_rows_stay_and_parts_become_few(store: Store) -> None:
    before = store.query("FROM outcomes ORDER BY id")
    changed = {done.table: (done.parts_before, done.parts) for done in compact(store)}
    assert changed == {"outcomes": (6, 1), "token_stats": (6, 1), "snapshots": (2, 1)}
    assert store.query("FROM outcomes ORDER BY id").equals(before)
    assert (ids(store), ids(store, 1)) == ([f"r{i}" for i in range(5)], ["r0", "r1"])
    assert ids(store, 1, "token_stats") == ["r0", "r1"]
    assert verify(store) == ([], verify(store)[1])
    assert compact(store) == [], "nothing is left to join"


def test_work_goes_on_after_it(store: Store) -> None:
    compact(store)
    store.append("outcomes", [row("later")])
    assert store.take_snapshot("run") == 2
    compact(store)
    store.append("outcomes", [row("last")])
    assert [len(ids(store, at)) for at in (1, 2, None)] == [2, 6, 7]
    assert verify(store)[0] == []


def test_any_delta_reader_sees_the_same(store: Store) -> None:
    compact(store)
    table = DeltaTable(store.path / "outcomes")
    assert [Path(uri).name for uri in table.file_uris()] == [
        Path(part).name for part in store.files()["outcomes"]
    ]
    assert table.history(1)[0]["operation"] == "OPTIMIZE"
    assert len(DeltaTable(store.path / "outcomes", version=2).file_uris()) == 3


def test_scores_are_sorted_and_in_small_row_groups(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    for i in range(3):
        rows = [
            {"id": f"{i}/{j}", "scorer": "s", "min_logprob": -float((j * 7 + i) % 401)} for j in range(400)
        ]
        store.append("token_stats", rows)
    compact(store)
    (part,) = store.files()["token_stats"]
    assert [pq.read_metadata(part).row_group(i).num_rows for i in range(3)] == [500, 500, 200]
    minima = pq.read_table(part, partitioning=None)["min_logprob"].to_pylist()
    assert minima == sorted(minima)


def test_vacuum_keeps_what_a_snapshot_names(store: Store) -> None:
    compact(store)
    (store.path / "outcomes" / ".0123.parquet.99").write_text("what a killed writer leaves")
    dropped = vacuum(store)
    # The snapshot needs the empty first part and two rows of both tables. Three parts of each, the empty one of
    # the snapshots (the other has the bytes, and so the name, of both together) and a killed writer's go.
    assert dropped.files == 3 + 3 + 1 + 1
    assert (len(ids(store)), ids(store, 1), ids(store, 1, "token_stats")) == (5, ["r0", "r1"], ["r0", "r1"])
    assert verify(store)[0] == []
    assert vacuum(store).files == 0


def test_large_parts_are_left_alone(store: Store) -> None:
    size = Path(store.files()["outcomes"][1]).stat().st_size
    assert not any(done.table == "outcomes" for done in compact(store, large=size))
    after = compact(store, large=4 * size)[0]
    assert (after.table, after.parts) == ("outcomes", 2)
    assert ids(store) == [f"r{i}" for i in range(5)]


def test_killed_before_its_commit_it_has_changed_nothing(store: Store) -> None:
    before = store.files()
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert store.files() == before and verify(store)[0] == []
    compact(store)
    assert len(store.files()["outcomes"]) == 1 and ids(store) == [f"r{i}" for i in range(5)]


def test_a_version_that_is_there_is_never_overwritten(store: Store) -> None:
    table = store.tables["outcomes"]
    log = table.path / "_delta_log" / f"{table.version():020}.json"
    written = log.read_text()
    with pytest.raises(FileExistsError):
        table._commit(table.version(), [])
    assert log.read_text() == written
    assert not list(log.parent.glob(".*"))


def test_the_other_writer_goes_first(store: Store) -> None:
    with store.lock(), pytest.raises(StoreError, match="written by another process"), store.lock():
        compact(store)


def test_plain_duckdb_reads_the_parts(store: Store) -> None:
    compact(store)
    (part,) = store.files()["token_stats"]
    with duckdb.connect() as client:
        assert client.read_parquet(part).aggregate("count(*), sum(logprob[2])").fetchall() == [(5, -10.0)]
