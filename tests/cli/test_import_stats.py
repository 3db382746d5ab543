"""`forgetless import-stats`: published statistics as records and rows under a scorer of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from published import MARKER, STM, rows, target_perplexities, write

from forgetless.cli.import_stats import import_stats
from forgetless.curator.models import load_tokenizer
from forgetless.curator.store import Store
from forgetless.curator.store.summary import summarise
from forgetless.curator.store.verify import verify
from forgetless.schemas.errors import TOO_MANY_REJECTS, UsageError

AFTER = ("--answer-after", ",".join(map(str, MARKER)))


def run(*arguments: object) -> dict[str, Any]:
    shown = CliRunner().invoke(import_stats, [*map(str, arguments), "--json"], catch_exceptions=False)
    return json.loads(shown.stdout)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def query(store: Path, sql: str) -> list[dict[str, Any]]:
    return Store.open(store).query(sql).to_pylist()


def check_against_the_file(store: Path, file: Path) -> None:
    """Shares by SQL are those of a direct count; what the file does not say is null."""
    counted = np.concatenate(target_perplexities(file))
    hard, targets = int((counted > 2.5).sum()), len(counted)
    report = run(store, file, *AFTER, "--kind", "ground_truth")
    assert (report["hard_tokens"], report["target_tokens"], report["rejected"]) == (hard, targets, 0)
    sums = "SELECT sum(hard_tokens)::INT AS hard, sum(target_tokens)::INT AS targets FROM perplexity"
    assert query(store, sums) == [{"hard": hard, "targets": targets}]
    per_token = (
        "SELECT count(*) AS targets, count(*) FILTER (perplexity > 2.5) AS hard, count(piece) AS pieces,"
        " count(entropy) AS entropies, count(rank) AS ranks FROM tokens WHERE is_target"
    )
    nothing = {"pieces": 0, "entropies": 0, "ranks": 0}
    assert query(store, per_token) == [{"targets": targets, "hard": hard} | nothing]
    assert query(store, "SELECT count(logprob) AS n FROM tokens WHERE position = 0") == [{"n": 0}]
    kinds = "SELECT DISTINCT engine, dtype, lacks, windows, tokenizer, model FROM token_stats"
    assert query(store, kinds) == [
        {"engine": "imported", "dtype": None, "lacks": ["entropy", "rank"], "windows": 1,
         "tokenizer": "unknown", "model": file.stem}
    ]  # fmt: skip
    assert verify(Store.open(store))[0] == []
    assert [row["scored"] for row in summarise(Store.open(store))["scorers"]] == [report["rows"]]


def test_what_the_stm_authors_published(store: Path, shared: Path) -> None:
    check_against_the_file(store, shared / STM)


def test_a_file_of_the_same_form(store: Path, tmp_path: Path) -> None:
    check_against_the_file(store, write(tmp_path / "made.parquet", rows()))


def test_twice_adds_nothing_and_equal_rows_are_two_records(store: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "made.parquet", [*rows(), rows()[0], {**rows()[1], "ppl": [1.0]}])
    first = run(store, file, *AFTER)
    assert (first["rows"], first["rejected"], first["added"], first["scored"]) == (14, 1, 14, 13)
    second = run(store, file, *AFTER)
    assert (second["added"], second["scored"], second["snapshot"]) == (0, 0, first["snapshot"])
    assert query(store, "SELECT count(DISTINCT run_id) AS n FROM runs") == [{"n": 1}]


def test_stopped_between_records_and_scores_it_goes_on(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "made.parquet", rows())
    append = Store.append

    def stopped(self: Store, table: str, rows: Any) -> None:
        if table == "token_stats":
            raise OSError("gone")
        append(self, table, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "append", stopped)
        with pytest.raises(OSError, match="gone"):
            run(store, file, *AFTER)
    assert query(store, "SELECT count(*) AS n FROM records") == [{"n": 12}]
    report = run(store, file, *AFTER)
    assert (report["added"], report["scored"]) == (0, 12)
    assert verify(Store.open(store))[0] == []


def test_another_tokenizer_than_the_ids_is_noticed(store: Path, shared: Path) -> None:
    arguments = [store, shared / STM, "--tokenizer", shared / "gpt2_tokenizer"]
    shown = CliRunner().invoke(import_stats, [*map(str, arguments)])
    assert shown.exit_code == TOO_MANY_REJECTS
    assert "token 128000 is outside the vocabulary of 50,257" in shown.stdout
    assert "60 of 60 rows are rejects" in shown.stderr


def test_a_dry_run_reads_all_and_writes_nothing(store: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "made.parquet", rows())
    would = run(store, file, *AFTER, "--dry-run")
    assert not store.exists()
    did = run(store, file, *AFTER)
    assert would == did | {"snapshot": None}
    assert run(store, file, *AFTER, "--dry-run")["added"] == 0


def test_what_is_guessed_is_said(store: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "made.parquet", rows())
    shown = CliRunner().invoke(import_stats, [str(store), str(file), "--dry-run"], catch_exceptions=False)
    assert "ids from 'input_ids', text from 'text', perplexity from 'ppl'" in shown.stdout
    assert "all tokens but the first: no column tells prompt from answer" in shown.stdout
    assert "12 taken, 0 rejected" in shown.stdout and "would add 12 rows and 12 scores" in shown.stdout


def test_another_scorer_of_the_same_records_adds_scores_alone(store: Path, tmp_path: Path) -> None:
    run(store, write(tmp_path / "a.parquet", rows()), *AFTER, "--task", "t", "--scorer", "one")
    data = [{**row, "ppl": [2 * value for value in row["ppl"]]} for row in rows()]
    other = run(store, write(tmp_path / "b.parquet", data), *AFTER, "--task", "t", "--scorer", "two")
    assert (other["added"], other["scored"]) == (0, 12)
    means = query(
        store,
        "SELECT model, exp(-sum(sum_logprob) / sum(target_tokens)) AS ppl FROM token_stats GROUP BY ALL ORDER BY 1",
    )
    assert [mean["model"] for mean in means] == ["one", "two"]
    assert means[1]["ppl"] == pytest.approx(2 * means[0]["ppl"], rel=1e-5)


def changed(**columns: Any) -> dict[str, Any]:
    return rows()[3] | columns


def with_value(place: int, value: float | None) -> dict[str, Any]:
    """The fourth row with another perplexity at one place."""
    ppl = list(rows()[3]["ppl"])
    ppl[place] = value
    return changed(ppl=ppl)


BAD_ROWS = [
    (with_value(-2, float("nan")), "perplexity nan of token"),
    (with_value(-2, float("inf")), "perplexity inf of token"),
    (with_value(-2, -3.0), "perplexity -3 of token"),
    (with_value(2, 0.5), "perplexity 0.5 of token 2 is none"),
    (with_value(-2, None), "lacks the perplexity of a target token"),
    (changed(ppl=rows()[3]["ppl"][:-2]), "token ids and"),
    (changed(ppl=None), "has no perplexity"),
    (changed(input_ids=None), "has no token ids"),
    (changed(input_ids=[], ppl=[]), "has no token ids"),
    (changed(input_ids=[-1, *rows()[3]["input_ids"][1:]]), "token -1 is outside the vocabulary"),
    (changed(input_ids=[2**31, *rows()[3]["input_ids"][1:]]), "is outside the vocabulary"),
    (changed(input_ids=[5, 6, 7], ppl=[10.0, 1.0, 1.0]), "nowhere has the ids 128006, 78191, 128007, 271"),
    (changed(input_ids=[5, *MARKER], ppl=[10.0, 1.0, 1.0, 1.0, 1.0]), "has no target token"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS, ids=[reason for _, reason in BAD_ROWS])
def test_a_bad_row_is_a_reject_and_the_rest_is_kept(
    store: Path, tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    file = write(tmp_path / "made.parquet", [*rows()[:3], row, *rows()[4:]])
    report = run(store, file, *AFTER)
    assert (report["rows"], report["rejected"], report["scored"]) == (12, 1, 11)
    (reject,) = query(store, "SELECT reason, stage FROM rejects")
    assert reason in reject["reason"] and reject["reason"].startswith("made.parquet[3]: ")
    assert verify(Store.open(store))[0] == []


def test_rounding_is_forgiven_and_a_threshold_stays_one(store: Path, tmp_path: Path) -> None:
    """bfloat16 gives perplexities just under 1, and many that are 2.5 exactly; those are not over 2.5."""
    ppl = [None, 0.9961, 1.0, 2.5, float(np.nextafter(np.float32(2.5), np.float32(3))), None]
    data = [{"input_ids": [1, 2, 3, 4, 5, 6], "ppl": ppl, "labels": [-100, 2, 3, 4, 5, -100]}]
    report = run(store, write(tmp_path / "a.parquet", data))
    assert (report["target_tokens"], report["hard_tokens"]) == (4, 1)
    (row,) = query(store, "SELECT logprob, perplexity, hard_tokens FROM token_stats")
    assert row["logprob"][:3] == [None, 0.0, 0.0] and row["logprob"][5] is None and row["hard_tokens"] == 1
    assert query(store, "SELECT count(*) AS n FROM tokens WHERE perplexity > 2.5") == [{"n": 1}]


def test_logprobs_may_leave_the_first_token_out(store: Path, tmp_path: Path) -> None:
    data = [{"token_ids": [7, 8, 9], "logprobs": [-0.5, -2.0]}]
    assert run(store, write(tmp_path / "a.parquet", data))["target_tokens"] == 2
    (row,) = query(store, "SELECT logprob, sum_logprob FROM token_stats")
    assert row == {"logprob": [None, -0.5, -2.0], "sum_logprob": -2.5}


@pytest.mark.parametrize(
    "told",
    [
        {"labels": [-100, -100, 12, 13, -100, 15]},
        {"loss_mask": [False, False, True, True, False, True]},
        {"completion_mask": [0.0, 0.0, 1.0, 0.5, 0.0, 1.0]},
        {"target_spans": [{"start": 2, "end": 4}, {"start": 5, "end": 6}]},
    ],
    ids=lambda told: next(iter(told)),
)
def test_columns_that_tell_targets(store: Path, tmp_path: Path, told: dict[str, Any]) -> None:
    data = [{"ids": [10, 11, 12, 13, 14, 15], "logprob": [-1.0] * 6, **told}]
    run(store, write(tmp_path / "a.parquet", data))
    (row,) = query(store, "SELECT target_spans FROM records")
    assert [(span["start"], span["end"]) for span in row["target_spans"]] == [(2, 4), (5, 6)]


def test_prompt_length_and_columns_by_their_names(store: Path, tmp_path: Path) -> None:
    data = [{"a": [10, 11, 12, 13], "b": [-1.0] * 4, "c": [1.5] * 4, "d": 3}]
    file = write(tmp_path / "a.parquet", data)
    report = run(store, file, "--ids", "a", "--perplexity", "c", "--prompt-length", "d")
    assert report["target_tokens"] == 1 and report["columns"]["prompt_length"] == "d"
    assert query(store, "SELECT perplexity FROM perplexity")[0]["perplexity"] == pytest.approx(1.5)


def arrow_file(table: pa.Table, path: Path) -> None:
    pyarrow.feather.write_feather(table, path)


def arrow_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)


@pytest.mark.parametrize("form", [arrow_file, arrow_stream])
def test_arrow_gives_the_same_rows(
    store: Path, tmp_path: Path, form: Callable[[pa.Table, Path], None]
) -> None:
    file = write(tmp_path / "made.parquet", rows())
    form(pq.read_table(file), tmp_path / "made.arrow")
    run(store, file, *AFTER)
    again = run(store, tmp_path / "made.arrow", *AFTER)
    assert (again["rows"], again["rejected"], again["added"], again["scored"]) == (12, 0, 0, 0)


def test_text_and_a_tokenizer(store: Path, tmp_path: Path, demo_model: Path) -> None:
    tokenizer = load_tokenizer(demo_model)
    ids = tokenizer("a hen eats")["input_ids"]
    spelled = f"{tokenizer.bos_token}a hen eats"  # has its start token already
    data = [
        {"text": "a hen eats", "logprobs": [-1.0] * len(ids)},
        {"text": spelled, "logprobs": [-1.0] * (1 + len(tokenizer("a hen eats", add_special_tokens=False)["input_ids"]))},
        {"text": "a hen eats", "logprobs": [-1.0] * (len(ids) + 1)},
        {"text": None, "logprobs": [-1.0]},
    ]  # fmt: skip
    report = run(store, write(tmp_path / "a.parquet", data), "--model", demo_model)
    assert (report["rows"], report["rejected"]) == (4, 2)
    kept = query(store, "SELECT token_ids, text FROM records ORDER BY ordinal")
    assert kept[0]["token_ids"] == ids and kept[1]["token_ids"].count(tokenizer.bos_token_id) == 1
    assert "a hen eats" in kept[0]["text"]
    pieces = query(store, "SELECT piece FROM tokens WHERE position > 0 AND id IN (SELECT id FROM records)")
    assert all(row["piece"] for row in pieces)


WRONG = [
    ({"input_ids": [1]}, [], "log-prob or perplexity per token", "input_ids"),
    ({"ppl": [1.0]}, [], "token ids or text", "--ids"),
    ({"text": "a", "ppl": [1.0]}, [], "nothing says how it is tokenised", "--tokenizer"),
    ({"input_ids": [1], "ppl": [1.0]}, ["--ids", "gone"], "no column 'gone'", "input_ids"),
    ({"input_ids": [1], "ppl": [1.0]}, ["--ids", "ppl"], "column 'ppl' is list", "a list of integers"),
    ({"input_ids": [1], "ppl": 1.0}, ["--perplexity", "ppl"], "column 'ppl' is double", "a list of numbers"),
    ({"input_ids": [1], "ppl": [1.0]}, ["--logprob", "ppl", "--perplexity", "ppl"], "not both", ""),
    ({"input_ids": [1], "ppl": [1.0]}, ["--mask", "ppl", "--answer-after", "1"], "one way to tell", ""),
    ({"input_ids": [1], "ppl": [1.0]}, ["--kind", "human"], "--kind 'human': Input should be", "--help"),
    ({"input_ids": [1], "ppl": [1.0]}, ["--answer-after", "x"], "'x' is no list of token ids", "13,271"),
    ({"input_ids": [1], "ppl": [1.0]}, ["--tokenizer", "gone"], "'gone' does not exist", "--tokenizer"),
]


@pytest.mark.parametrize(("row", "options", "message", "hint"), WRONG, ids=[w[2] for w in WRONG])
def test_what_cannot_be_read_is_said_with_the_way_out(
    store: Path, tmp_path: Path, row: dict[str, Any], options: list[str], message: str, hint: str
) -> None:
    file = write(tmp_path / "a.parquet", [row])
    with pytest.raises(UsageError, match=message) as error:
        run(store, file, *options)
    assert hint in error.value.hint
    assert not store.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"input_ids,ppl\n1,2\n", "is neither Parquet nor Arrow"),
        (b"", "is empty"),
        (b"PAR1 and no more", "cannot be read"),
        (b"ARROW1 and no more", "cannot be read"),
        (None, "does not exist"),
    ],
)
def test_what_is_no_parquet_is_said(store: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "a.parquet"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        run(store, file)
    pq.write_table(pa.table({"input_ids": [[1]], "ppl": [[1.0]]}).slice(0, 0), file)
    with pytest.raises(UsageError, match="holds no rows"):
        run(store, file)
