"""The store: made, appended to, pinned, locked, and checked."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.schemas.errors import StoreError, UsageError
from forgetless.schemas.outcome import Outcome, Rejection, Span
from forgetless.schemas.tables import FORMAT, TABLES


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def row(id: str, **given: Any) -> Outcome:
    """An accepted row of four tokens, the last three targets."""
    settings: dict[str, Any] = {
        "status": "accepted", "token_ids": [0, 5, 6, 7], "target_spans": [Span(start=1, end=4)],
        "ordinal": 0,
    } | given  # fmt: skip
    return Outcome(
        id=id, plan_id=id, run_id="run", step="bos", digest="d", pipeline="bos_replay", stage="sample",
        kind="bos_replay", text="text", ids_from="engine", tokenizer="t", **settings,
    )  # fmt: skip


def score(id: str, size: int = 4, scorer: str = "s") -> dict[str, Any]:
    lists = {"logprob": [None] + [-1.0] * (size - 1), "entropy": [None] * size, "rank": [None] * size}
    return {"id": id, "scorer": scorer, **lists}


def ids(store: Store, snapshot: int | None = None) -> list[str]:
    return sorted(store.query("SELECT id FROM outcomes", snapshot)["id"].to_pylist())


def test_a_new_store_has_every_table_and_no_row(store: Store) -> None:
    for table in TABLES:
        assert store.query(f"FROM {table}").num_rows == 0
        assert store.query(f"FROM {table}").schema.names == TABLES[table].names
    assert verify(store) == ([], dict.fromkeys(TABLES, 0))
    assert store.newest_snapshot() is None


def test_what_is_appended_is_what_is_read(store: Store) -> None:
    rejected = row("b", status="rejected", rejection=Rejection(step="length", reason="short", score=1))
    store.append("outcomes", [row("a", sampled_logprobs=[None, -0.5, -1, -2]), rejected])
    read = {r["id"]: r for r in Store.open(store.path).query("FROM outcomes").to_pylist()}
    assert Outcome.model_validate(read["a"]).sampled_logprobs == [None, -0.5, -1, -2]
    assert read["a"]["target_spans"] == [{"start": 1, "end": 4}]
    assert read["b"]["rejection"]["reason"] == "short"
    assert store.query("SELECT id FROM records")["id"].to_pylist() == ["a"]
    assert store.query("SELECT id, reason FROM rejects").to_pylist() == [{"id": "b", "reason": "short"}]


def test_appending_nothing_commits_nothing(store: Store) -> None:
    before = store.tables["outcomes"].version()
    store.append("outcomes", [])
    assert store.tables["outcomes"].version() == before


def test_a_snapshot_stays_as_it_was(store: Store) -> None:
    store.append("outcomes", [row("a")])
    assert store.take_snapshot("run") == 1
    store.append("outcomes", [row("b")])
    assert store.take_snapshot("run") == 2
    store.append("outcomes", [row("c")])
    assert (ids(store, 1), ids(store, 2), ids(store)) == (["a"], ["a", "b"], ["a", "b", "c"])
    assert len(store.files(1)["outcomes"]) < len(store.files()["outcomes"])
    with pytest.raises(UsageError, match="no snapshot 3 → the newest is 2"):
        store.query("FROM records", 3)


def test_a_folder_of_any_name_can_hold_a_store(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "o'brien's 100% café, #1?")
    store.append("outcomes", [row("a")])
    assert ids(store) == ["a"]
    assert verify(store)[0] == []


def test_creating_again_opens(store: Store) -> None:
    store.append("outcomes", [row("a")])
    assert ids(Store.create(store.path)) == ["a"]


def test_a_creation_cut_short_can_be_completed(store: Store) -> None:
    (store.path / "forgetless.json").unlink()
    with pytest.raises(StoreError, match="is no store"):
        Store.open(store.path)
    assert verify(Store.create(store.path))[0] == []


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="neither a store nor an empty folder"):
        Store.create(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_newer_format_is_refused(store: Store) -> None:
    (store.path / "forgetless.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(StoreError, match=f"has format {FORMAT + 1}.*pip install --upgrade"):
        Store.open(store.path)


def test_a_damaged_manifest_is_named(store: Store) -> None:
    (store.path / "forgetless.json").write_text("{")
    with pytest.raises(StoreError, match=r"forgetless\.json' is damaged"):
        Store.open(store.path)


def test_a_second_process_cannot_write(store: Store) -> None:
    program = (
        "import sys; from pathlib import Path; from forgetless.curator.store import Store\n"
        "with Store.open(Path(sys.argv[1])).lock(): print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(store.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(StoreError, match="written by another process"), store.lock():
        pass
    other.kill()
    other.communicate()
    with store.lock():
        assert store.query("FROM records").num_rows == 0


def test_verify_finds_a_flipped_byte(store: Store) -> None:
    store.append("outcomes", [row("a")])
    part = Path(store.files()["outcomes"][-1])
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 1
    part.write_bytes(data)
    assert verify(store)[0] == [f"outcomes/{part.name}: its bytes are not those that were committed"]


def test_verify_finds_a_lost_part(store: Store) -> None:
    store.append("outcomes", [row("a")])
    part = Path(store.files()["outcomes"][-1])
    part.unlink()
    (problem,) = verify(store)[0]
    assert part.name in problem
    assert "No such file" in problem


BROKEN = {
    "an id twice": ([row("a")], [row("a", ordinal=1)], [], "1 ids occur twice in outcomes: a"),
    "uneven log-probs": (
        [row("a", sampled_logprobs=[None, -1.0])], [], [],
        "1 rows have sampled log-probs that do not match their token ids: a",
    ),
    "a span outside": (
        [row("a", target_spans=[Span(start=2, end=5)])], [], [],
        "1 rows have target spans outside their tokens: a",
    ),
    "no reason": ([row("a", status="rejected")], [], [], "1 rejected rows give no reason, or records one: a"),
    "uneven scores": ([row("a")], [], [score("a", 3)], "1 scores have lists of unequal length: a"),
    "scores of nothing": ([row("a")], [], [score("b")], "1 scores belong to no row: b"),
    "scored twice": (
        [row("a")], [], [score("a"), score("a")], "1 records are scored twice by one scorer: a",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_verify_finds_what_does_not_fit(store: Store, name: str) -> None:
    first, second, scores, problem = BROKEN[name]
    for rows in (first, second):
        store.append("outcomes", rows)
    store.append("token_stats", scores)
    assert verify(store)[0] == [problem]


def test_verify_is_content_with_two_scorers(store: Store) -> None:
    store.append("outcomes", [row("a")])
    store.append("token_stats", [score("a"), score("a", scorer="other")])
    problems, rows = verify(store)
    assert problems == []
    assert (rows["outcomes"], rows["token_stats"]) == (1, 2)


def test_scores_say_what_their_rows_are(store: Store) -> None:
    store.append("outcomes", [row("a", task="sums"), row("b", status="intermediate")])
    store.append("token_stats", [score("a"), score("b"), score("c")])
    columns = "id, record_kind, record_task, record_step, record_accepted"
    assert [list(r.values()) for r in store.query(f"SELECT {columns} FROM token_stats ORDER BY id").to_pylist()] == [
        ["a", "bos_replay", "sums", "bos", True], ["b", "bos_replay", None, "bos", False], ["c", None, None, None, None]
    ]  # fmt: skip
    assert store.query("SELECT id FROM perplexity")["id"].to_pylist() == ["a"]


def test_parts_are_written_as_was_measured_best(store: Store) -> None:
    store.append("outcomes", [row(f"r{i}") for i in range(1500)])
    store.append("token_stats", [score(f"r{i}") for i in range(1500)])
    for table, column, encoding, groups in (
        ("outcomes", "token_ids", "RLE_DICTIONARY", 2), ("token_stats", "logprob", "BYTE_STREAM_SPLIT", 3),
    ):  # fmt: skip
        footer = pq.read_metadata(store.files()[table][0])
        chunks = {
            footer.row_group(0).column(i).path_in_schema: footer.row_group(0).column(i)
            for i in range(footer.num_columns)
        }
        chunk = chunks[f"{column}.list.element"]
        assert encoding in chunk.encodings and chunk.compression == "ZSTD"
        assert footer.num_row_groups == groups


def test_a_snapshot_outlives_old_log_files(store: Store) -> None:
    """deltalake writes a checkpoint every 100 commits, and by itself then drops log files older than 30 days."""
    store.append("outcomes", [row("first")])
    pinned = store.take_snapshot("run")
    month = time.time() - 40 * 24 * 3600
    for file in (store.path / "outcomes" / "_delta_log").iterdir():
        os.utime(file, (month, month))
    for i in range(110):
        store.append("outcomes", [row(f"later{i}")])
    assert ids(store, pinned) == ["first"] and len(ids(store)) == 111
