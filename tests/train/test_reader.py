"""From records to training data: selection, replay, masks, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forgetless.curator.models import load_tokenizer, model_fingerprint, tokenizer_fingerprint
from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.objectives import Stm
from forgetless.schemas.training import HeldOut, Replay, Training
from forgetless.train.asking import Asking
from forgetless.train.reader import Base, read_examples, read_training

MakeStore = Callable[[], Store]
NO_REPLAY = {"replay": None, "held_out": None}


@pytest.fixture
def base(tiny: Path) -> Base:
    tokenizer = load_tokenizer(tiny)
    return Base(
        model_fingerprint(tiny),
        tokenizer_fingerprint(tokenizer),
        Asking.of(tiny, tokenizer).end_ids,
        256,
        len(tokenizer),
    )


def training(**settings: object) -> Training:
    return Training.model_validate({"output": "out", **settings})


def test_labels_are_the_answers_and_their_end(make_store: MakeStore, tiny: Path, base: Base) -> None:
    data = read_training(make_store(), training(**NO_REPLAY), 1, base)
    tokenizer = load_tokenizer(tiny)
    assert len(data.targets) == 40
    for i, example in enumerate(data.targets):
        assert example.id == f"g{i:02}"
        assert tokenizer.decode(example.token_ids[example.is_target]) == f"it is {2 * i}<|end|>"
        assert (example.weights == example.is_target).all()


def test_the_start_token_is_never_a_label(make_store: MakeStore) -> None:
    sql = "SELECT id FROM records WHERE kind = 'bos_replay' -- all of it;"
    for example in read_examples(make_store(), sql, 1):
        assert not example.is_target[0]
        assert example.is_target[1:].all()


@pytest.mark.parametrize(("share", "count"), [(0.05, 2), (0.051, 3), (0.5, 20), (0, 0)])
def test_replay_by_examples(make_store: MakeStore, base: Base, share: float, count: int) -> None:
    data = read_training(make_store(), training(replay=Replay(share=share), held_out=None), 1, base)
    assert len(data.replay) == count
    assert {example.kind for example in data.replay} <= {"bos_replay"}
    assert not data.warnings


def test_replay_by_tokens_reaches_the_share_with_the_last_record(make_store: MakeStore, base: Base) -> None:
    settings = training(replay=Replay(share=0.4, unit="tokens"), held_out=None)
    data = read_training(make_store(), settings, 1, base)
    wanted = 0.4 * sum(example.target_tokens for example in data.targets)
    sizes = [example.target_tokens for example in data.replay]
    assert sum(sizes) >= wanted > sum(sizes[:-1])


def test_the_choice_of_replay_follows_from_the_seed_and_grows(make_store: MakeStore, base: Base) -> None:
    store = make_store()

    def chosen(seed: int, share: float) -> list[str]:
        settings = training(replay=Replay(share=share), held_out=None, seed=seed)
        return [example.id for example in read_training(store, settings, 1, base).replay]

    assert chosen(0, 0.25) == chosen(0, 0.25)
    assert chosen(0, 0.5)[:10] == chosen(0, 0.25)
    assert set(chosen(1, 0.25)) != set(chosen(0, 0.25))


def test_too_little_replay_uses_all_and_warns(make_store: MakeStore, base: Base) -> None:
    settings = training(replay=Replay(share=1.0), held_out=HeldOut(count=10))
    data = read_training(make_store(), settings, 1, base)
    assert len(data.replay) == 30
    assert data.warnings == ["replay: 40 examples wanted, 30 there beside what is held out; all used"]


def test_held_out_records_are_not_trained_on(make_store: MakeStore, base: Base) -> None:
    settings = training(held_out=HeldOut(sql="SELECT id FROM records", count=30), replay=Replay(share=9))
    data = read_training(make_store(), settings, 1, base)
    assert [example.id for example in data.held_out] == [f"g{i:02}" for i in range(30)]
    assert [example.id for example in data.targets] == [f"g{i:02}" for i in range(30, 40)]
    assert {example.id for example in data.replay} == {f"r{i:02}" for i in range(40)}


def test_targets_are_not_replayed_too(make_store: MakeStore, base: Base) -> None:
    settings = training(
        targets="SELECT id FROM records WHERE id < 'r10'", replay=Replay(share=9), held_out=None
    )
    data = read_training(make_store(), settings, 1, base)
    assert not {example.id for example in data.targets} & {example.id for example in data.replay}
    assert (len(data.targets), len(data.replay)) == (50, 30)


@pytest.mark.parametrize("mask", [Stm(threshold=2.5), Stm(share=0.25)])
def test_a_mask_takes_the_stored_scores_and_leaves_replay_alone(
    make_store: MakeStore, base: Base, mask: Stm
) -> None:
    store = make_store()
    data = read_training(
        store, training(objectives=[mask], replay=[Replay(share=0.5)], held_out=None), 1, base
    )
    table = store.query(
        "SELECT r.id, t.position, t.logprob, t.token_id FROM tokens t JOIN records r USING (id) "
        "WHERE r.kind = 'ground_truth' AND t.is_target AND t.token_id <> 5"
    ).to_pylist()
    if mask.threshold:
        hard = {(row["id"], row["position"]) for row in table if np.exp(-row["logprob"]) > mask.threshold}
        assert {
            (e.id, int(t)) for e in data.targets for t in np.flatnonzero(e.is_target & (e.weights == 0))
        } == hard
    assert data.in_play == len(table)
    assert data.masked == (len(hard) if mask.threshold else round(0.25 * len(table)))
    assert all((example.weights == example.is_target).all() for example in data.replay)


def test_a_mask_without_scores_names_the_command(make_store: MakeStore, base: Base) -> None:
    other = replace(base, model="another model")
    settings = training(objectives=[Stm(threshold=2.5)])
    with pytest.raises(UsageError, match=r"40 of 40 records have none.*'g00' first.*forgetless score"):
        read_training(make_store(), settings, 1, other)


def test_records_of_another_vocabulary_are_refused(make_store: MakeStore, base: Base) -> None:
    with pytest.raises(UsageError, match="another vocabulary"):
        read_training(make_store(), training(), 1, replace(base, tokenizer="another"))


def test_a_query_that_finds_nothing_is_refused(make_store: MakeStore, base: Base) -> None:
    with pytest.raises(UsageError, match=r"`train.targets` finds no record"):
        read_training(make_store(), training(targets="SELECT id FROM records WHERE false"), 1, base)


def test_long_records_are_cut_and_those_without_a_target_left_out(make_store: MakeStore, base: Base) -> None:
    longest = 21  # <s><|user|>what is 9 and 9?<|end|><|assistant|> are 20 tokens, with 10 they are 22
    settings = training(max_length=longest, held_out=None, replay=Replay(share=1))
    data = read_training(make_store(), settings, 1, base)
    assert [example.id for example in data.targets] == [f"g{i:02}" for i in range(10)]
    assert {len(example) for example in data.examples} == {longest}
    assert data.warnings[:2] == [
        f"40 targets are longer than {longest} tokens and cut",
        f"30 targets left out: no target token in the first {longest}",
    ]


def test_no_record_is_longer_than_the_model(make_store: MakeStore, base: Base) -> None:
    settings = training(replay=Replay(share=1), held_out=None)
    data = read_training(make_store(), settings, 1, replace(base, limit=30))
    assert max(map(len, data.examples)) == 30
