"""The one place where a record becomes training data, whatever made it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import UNKNOWN_TOKENIZER
from forgetless.schemas.training import HeldOut, Replay, Training
from forgetless.train.example import Example
from forgetless.train.scores import Scores, with_objective
from forgetless.train.weighting import tokens_in_play


@dataclass(frozen=True)
class Base:
    """What the reader must know of the model that is to be trained."""

    model: str
    """Fingerprint; scores of another model do not count."""
    tokenizer: str
    """Fingerprint; records of another vocabulary are refused."""
    end_ids: list[int]
    """Ids that end a turn or a text."""
    limit: int
    """Positions that the model has; no record can be longer."""
    vocabulary: int
    """Ids that the model has, from 0."""


@dataclass(frozen=True)
class TrainingData:
    """Everything one run trains on and measures with."""

    snapshot: int | None
    targets: list[Example]
    replay: list[Example] = field(default_factory=list)
    held_out: list[Example] = field(default_factory=list)
    in_play: int = 0
    """Target tokens that a mask could have dropped."""
    warnings: list[str] = field(default_factory=list)

    @property
    def examples(self) -> list[Example]:
        """Targets, then replay."""
        return self.targets + self.replay

    @property
    def masked(self) -> int:
        """Target tokens of weight 0."""
        return sum(int((example.is_target & (example.weights == 0)).sum()) for example in self.targets)


def read_training(store: Store, training: Training, snapshot: int | None, base: Base) -> TrainingData:
    """Targets, replay and held-out records of a snapshot, weighted as the recipe says.

    Held-out records are never trained on, and no record comes twice, as target or in two sources of replay. Which
    replay records are taken follows from the seed and their ids.

    Raises:
        UsageError: no targets, another vocabulary, or an objective without the scores that it reads.
    """
    longest = min(training.max_length, base.limit)
    held_out = _held_out(store, training.held_out, snapshot, longest)
    taken = {example.id for example in held_out}
    found = [e for e in read_examples(store, training.targets, snapshot) if e.id not in taken]
    targets, warnings = _cut(found, longest)
    if not targets:
        raise UsageError(f"`train.targets` finds no record: {training.targets!r}", "correct the query")
    replay: list[Example] = []
    for number, source in enumerate(training.replay, 1):
        taken |= {example.id for example in [*targets, *replay]}
        pool = [e for e in read_examples(store, source.sql, snapshot) if e.id not in taken]
        usable, _ = _cut(pool, longest)
        chosen = choose_replay(usable, targets, source, training.seed)
        replay += [replace(example, source=number) for example in chosen]
        warnings += _shortage(chosen, targets, source)
    scores = Scores(store, snapshot, base.model)
    warnings += _check_vocabulary(store, [*targets, *replay, *held_out], snapshot, base)
    in_play = sum(int(tokens_in_play(example, base.end_ids).sum()) for example in targets)
    for objective in training.objectives:
        targets, replay = with_objective(objective, targets, replay, scores, base.end_ids, training.seed)
    return TrainingData(snapshot, targets, replay, held_out, in_play, warnings)


def read_examples(store: Store, sql: str, snapshot: int | None) -> list[Example]:
    """The records whose ids `sql` gives, in id order."""
    rows = store.query(
        "SELECT id, kind, token_ids, target_spans FROM records"
        f" SEMI JOIN ({_bare(sql)}) USING (id) ORDER BY id",
        snapshot,
    )
    return [
        Example.of(
            row["id"],
            row["kind"],
            row["token_ids"],
            [(span["start"], span["end"]) for span in row["target_spans"]],
        )
        for batch in rows.to_batches(max_chunksize=4096)
        for row in batch.to_pylist()
    ]


def choose_replay(
    pool: Sequence[Example], targets: Sequence[Example], replay: Replay, seed: int
) -> list[Example]:
    """⌈share · n⌉ of the pool, n the targets or their target tokens; all of it where there are fewer.

    Each record has its place in a random order by hash of seed and id: a larger share takes the same
    records and more.
    """
    order = sorted(pool, key=lambda e: hashlib.blake2b(f"{seed}:{e.id}".encode()).digest())
    if replay.unit == "examples":
        return order[: wanted_replay(targets, replay)]
    before = np.cumsum([0, *(example.target_tokens for example in order)])[:-1]
    return [e for e, n in zip(order, before, strict=True) if n < wanted_replay(targets, replay)]


def wanted_replay(targets: Sequence[Example], replay: Replay) -> int:
    """Examples or target tokens of replay asked for."""
    n = len(targets) if replay.unit == "examples" else sum(example.target_tokens for example in targets)
    # 0.05 * 100 is a little more than 5 in floating point: a share must not gain one by rounding.
    return ceil(round(replay.share * n, 6))


def _shortage(replay: Sequence[Example], targets: Sequence[Example], settings: Replay) -> list[str]:
    count = len(replay) if settings.unit == "examples" else sum(example.target_tokens for example in replay)
    wanted = wanted_replay(targets, settings)
    if count >= wanted:
        return []
    return [
        f"{settings.name}: {wanted:,} {settings.unit} wanted, {count:,} there beside what is held out; all used"
    ]


def _held_out(store: Store, settings: HeldOut | None, snapshot: int | None, longest: int) -> list[Example]:
    if settings is None or not settings.count:
        return []
    first = f"SELECT DISTINCT id FROM ({_bare(settings.sql)}) ORDER BY id LIMIT {settings.count}"
    return _cut(read_examples(store, first, snapshot), longest)[0]


def _cut(examples: Sequence[Example], longest: int) -> tuple[list[Example], list[str]]:
    """The examples' first `longest` tokens, those without a target there left out, and what was lost in words."""
    cut = [example.cut(longest) for example in examples]
    kept = [example for example in cut if example.target_tokens]
    long = sum(len(example) > longest for example in examples)
    lost = len(cut) - len(kept)
    warnings = [f"{long:,} targets are longer than {longest:,} tokens and cut"] if long else []
    if lost:
        warnings.append(f"{lost:,} targets left out: no target token in the first {longest:,}")
    return kept, warnings


def _check_vocabulary(
    store: Store, examples: Sequence[Example], snapshot: int | None, base: Base
) -> list[str]:
    """Refuse ids of another vocabulary; say which records are only believed to be of this one."""
    foreign = store.query(
        f"SELECT id, tokenizer FROM records WHERE tokenizer <> '{base.tokenizer}'", snapshot
    )
    tokenizer_of = dict(zip(*(foreign[name].to_pylist() for name in ("id", "tokenizer")), strict=True))
    unknown = [e for e in examples if tokenizer_of.get(e.id) == UNKNOWN_TOKENIZER]
    wrong = {e.id for e in examples if e.id in tokenizer_of} - {e.id for e in unknown}
    if wrong:
        raise UsageError(
            f"{len(wrong)} records were made with another vocabulary than the model's, {min(wrong)!r} first",
            "leave them out in the recipe's SQL, or train the model that made them",
        )
    outside = [e.id for e in unknown if e.token_ids.max() >= base.vocabulary]
    if outside:
        raise UsageError(
            f"{len(outside)} records of an unknown tokenizer have ids beyond the model's {base.vocabulary:,},"
            f" {outside[0]!r} first",
            "train the model whose ids they are, or leave them out in the recipe's SQL",
        )
    if not unknown:
        return []
    return [
        f"{len(unknown):,} records were imported without a tokenizer: their ids are taken for this model's"
        " (`forgetless import-stats --tokenizer` would check that)"
    ]


def _bare(sql: str) -> str:
    """A query that can stand in brackets."""
    return sql.strip().rstrip(";") + "\n"  # a comment at its end must not swallow the bracket
