"""SQL for people: which tokens are hard, what a mask drops, and what scorers refused."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from forgetless.curator.store import Store
from forgetless.schemas.objectives import Stm
from forgetless.schemas.outcome import Outcome, Span
from forgetless.train.example import Example
from forgetless.train.weighting import tokens_in_play, weighted_examples

END = 1
"""The one special token of the vocabulary, 0 aside."""
RECORDS = 60


def outcome(index: int, rng: Random) -> Outcome:
    """A record of one to three target spans, some of which end a turn, some side by side."""
    ids, spans = [0], []
    for _ in range(rng.randint(1, 3)):
        ids += [rng.randint(2, 19) for _ in range(rng.randint(0, 4))]
        start = len(ids)
        ids += [rng.randint(2, 19) for _ in range(rng.randint(1, 9))] + [END] * rng.randint(0, 2)
        spans.append(Span(start=start, end=len(ids)))
    ids += [rng.randint(2, 19)] * rng.randint(0, 2)
    return Outcome(
        id=f"{index:04}", plan_id="p", run_id="run", step="made", digest="d", pipeline="magpie", stage="answer",
        kind="magpie" if index % 2 else "self_output", text="text", ids_from="engine", tokenizer="t", ordinal=index,
        status="intermediate" if index % 10 == 0 else "accepted", token_ids=ids, target_spans=spans,
    )  # fmt: skip


def scores(row: Outcome, rng: Random, scorer: str, day: int) -> dict[str, Any]:
    logprob = [None, *(round(-rng.expovariate(1), 4) for _ in row.token_ids[1:])]
    values = [logprob[i] for span in row.target_spans for i in range(span.start, span.end)]
    known = [value for value in values if value is not None]
    return {
        "id": row.id, "scorer": scorer, "tokenizer": "t", "engine": "transformers", "windows": 1, "lacks": [],
        "logprob": logprob, "entropy": [None] + [0.5] * (len(logprob) - 1), "rank": [None] + [1] * (len(logprob) - 1),
        "target_tokens": len(known), "sum_logprob": sum(known), "min_logprob": min(known),
        "sum_entropy": 0.5 * len(known), "perplexity": math.exp(-sum(known) / len(known)),
        "hard_tokens": sum(value < -math.log(2.5) for value in known), "created": datetime(2030, 1, day, tzinfo=UTC),
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[Outcome]:
    rng = Random(0)
    return [outcome(index, rng) for index in range(RECORDS)]


@pytest.fixture(scope="module")
def store(rows: list[Outcome], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two scorers, of which `new` scored last; `0001` was refused by it, `0003` by neither scored."""
    rng, made = Random(1), Store.create(tmp_path_factory.mktemp("macros") / "store")
    made.append("outcomes", rows)
    made.append("token_stats", [scores(row, rng, "old", 1) for row in rows if row.id != "0003"])
    made.append("token_stats", [scores(row, rng, "new", 2) for row in rows if row.id not in ("0001", "0003")])
    refused = {
        "id": "0001",
        "scorer": "new",
        "rejection": "too long",
        "created": datetime(2030, 1, 3, tzinfo=UTC),
    }
    made.append("token_stats", [refused])
    pieces = [
        {"tokenizer": "t", "token_id": i, "piece": f"p{i}", "special": i in (0, END)} for i in range(19)
    ]
    made.append("vocab", pieces)
    return made


def by_hand(store: Store, scorer: str = "new") -> list[tuple[float, str, int]]:
    """(log-prob, id, position) of every target token of every scored record, hardest first."""
    found = store.query(
        "SELECT id, target_spans, logprob FROM records JOIN token_stats USING (id) "
        f"WHERE scorer = '{scorer}' AND token_stats.rejection IS NULL"
    ).to_pylist()
    return sorted(
        (row["logprob"][i], row["id"], i)
        for row in found
        for span in row["target_spans"]
        for i in range(span["start"], span["end"])
    )


def test_hardest_tokens_are_those_of_all_lists(store: Store) -> None:
    for scorer, call in (("new", "hardest_tokens(7)"), ("old", "hardest_tokens(7, scored_by := 'o')")):
        found = store.query(f"SELECT logprob, id, position FROM {call}").to_pylist()
        expected = by_hand(store, scorer)[:7]
        assert [(row["id"], row["position"]) for row in found] == [token[1:] for token in expected]
    assert store.query("FROM hardest_tokens()").num_rows == 20
    assert store.query("FROM hardest_tokens(9999)").num_rows == len(by_hand(store))


def test_the_view_of_tokens_agrees(store: Store) -> None:
    sql = "SELECT id, position, piece, token_id FROM {} ORDER BY perplexity DESC, id, position LIMIT 20"
    view = store.query(sql.format("tokens WHERE scorer = 'new' AND is_target")).to_pylist()
    assert view == store.query(sql.format("hardest_tokens(20)")).to_pylist()
    assert all(row["piece"] == (f"p{row['token_id']}" if row["token_id"] < 19 else None) for row in view)


def test_hard_tokens_are_those_above_the_threshold(store: Store) -> None:
    for threshold in (1.5, 2.5, 20):
        expected = {token[1:] for token in by_hand(store) if token[0] < -math.log(threshold)}
        found = store.query(f"SELECT id, position FROM hard_tokens({threshold})").to_pylist()
        assert {(row["id"], row["position"]) for row in found} == expected and len(found) == len(expected)


@pytest.mark.parametrize("threshold", [1.2, 2.5])
def test_the_mask_is_the_trainers(store: Store, rows: list[Outcome], threshold: float) -> None:
    masks = store.query(f"SELECT id, stm_mask(id, {threshold}) AS mask FROM records ORDER BY id").to_pylist()
    logprobs = {
        r["id"]: r["logprob"] for r in store.query("FROM token_stats WHERE scorer = 'new'").to_pylist()
    }
    assert [m["id"] for m in masks if m["mask"] is None] == ["0001", "0003"], "not scored: no mask"
    examples = {
        row.id: Example.of(row.id, row.kind, row.token_ids, [(s.start, s.end) for s in row.target_spans])
        for row in rows
    }
    dropped = in_play = 0
    for mask in (m for m in masks if m["mask"] is not None):
        example, known = examples[mask["id"]], np.array(logprobs[mask["id"]], float)
        scored = replace(example, stats={"logprob": known})
        (masked,) = weighted_examples([scored], Stm(threshold=threshold), [END])
        assert mask["mask"] == (masked.weights > 0).tolist()
        in_play += int(tokens_in_play(example, [END]).sum())
        dropped += int((example.is_target & (masked.weights == 0)).sum())
        assert (
            mask["mask"] == store.query(f"SELECT stm_mask('{mask['id']}', {threshold}) AS m")["m"][0].as_py()
        )
    alone = store.query(f"SELECT stm_mask('{mask['id']}', {threshold}) AS mask")["mask"][0].as_py()
    assert alone == mask["mask"]
    share = store.query(f"FROM stm_share({threshold}) WHERE scorer = 'new'").to_pylist()
    assert (sum(row["dropped"] for row in share), sum(row["in_play"] for row in share)) == (dropped, in_play)
    assert 0 < dropped < in_play < sum(row["target_tokens"] for row in share)


def test_histograms_count_everything_once(store: Store) -> None:
    tokens = store.query("FROM token_histogram() WHERE scorer = 'new'").to_pylist()
    values = [math.exp(-token[0]) for token in by_hand(store)]
    for upper in (1.1, 1.5, 2.5, 6.0, 20.0):
        below = sum(row["tokens"] for row in tokens if row["up_to"] is not None and row["up_to"] <= upper)
        assert below == sum(value <= upper for value in values)
    for macro, counted in (("token_histogram", "tokens"), ("record_histogram", "records")):
        shares = store.query(f"SELECT sum(share) AS share FROM {macro}() GROUP BY kind, scorer")
        assert shares["share"].to_pylist() == pytest.approx([1.0] * 4)
        assert store.query(f"SELECT min({counted}) AS n FROM {macro}()")["n"][0].as_py() > 0


def test_perplexity_leaves_out_what_was_refused_and_what_is_no_record(store: Store) -> None:
    found = store.query("FROM perplexity WHERE scorer = 'new'").to_pylist()
    accepted = {
        i for i in store.query("SELECT id FROM records")["id"].to_pylist() if i not in ("0001", "0003")
    }
    assert {row["id"] for row in found} == accepted
    assert {row["mean_entropy"] for row in found} == {0.5} and {row["windows"] for row in found} == {1}
    tokens = by_hand(store)
    for row in found:
        direct = [token[0] for token in tokens if token[1] == row["id"]]
        assert row["perplexity"] == pytest.approx(math.exp(-sum(direct) / len(direct)))


def test_what_a_scorer_refused_is_a_reject_of_its_own(store: Store) -> None:
    assert store.query("SELECT id, stage, filter, reason, scorer FROM rejects").to_pylist() == [
        {"id": "0001", "stage": "score", "filter": "score", "reason": "too long", "scorer": "new"}
    ]
    survival = store.query(
        "SELECT scorer, ended, rows, share FROM survival WHERE stage = 'score'"
    ).to_pylist()
    assert [(row["scorer"], row["ended"], row["rows"]) for row in survival] == [
        ("new", "passed", RECORDS - 2), ("new", "too long", 1), ("old", "passed", RECORDS - 1)
    ]  # fmt: skip
    assert [row["share"] for row in survival] == pytest.approx([58 / 59, 1 / 59, 1])
    assert store.query("SELECT DISTINCT scorer FROM tokens WHERE id = '0001'")["scorer"].to_pylist() == [
        "old"
    ]


def test_a_store_without_scores_answers_with_nothing(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    store.append("outcomes", [outcome(1, Random(0))])
    for call in (
        "hard_tokens()",
        "hardest_tokens()",
        "stm_share()",
        "token_histogram()",
        "record_histogram()",
    ):
        assert store.query(f"FROM {call}").num_rows == 0
    row = store.query("SELECT newest_scorer() AS scorer, stm_mask(id) AS mask FROM records").to_pylist()
    assert row == [{"scorer": None, "mask": None}]
    assert store.query("SELECT DISTINCT piece FROM tokens")["piece"].to_pylist() == [None]
