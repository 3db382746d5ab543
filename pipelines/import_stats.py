"""Published token statistics as records of the store and rows under a scorer of their own."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from forgetless.curator.arrow_file import ArrowFile
from forgetless.curator.models import load_tokenizer, model_fingerprint, resolve_model, tokenizer_fingerprint
from forgetless.curator.progress import Progress
from forgetless.curator.scoring import TokenStats
from forgetless.curator.scoring.table import stats_table
from forgetless.curator.store import Store
from forgetless.curator.store.runs import recorded_run
from forgetless.curator.store.vocab import ensure_vocab
from forgetless.pipelines.stats_columns import Columns
from forgetless.pipelines.stats_row import LARGEST_ID, BadRow, RowReader, StatsRow
from forgetless.schemas.base import Frozen, digest
from forgetless.schemas.errors import UsageError
from forgetless.schemas.foreign import ForeignStats
from forgetless.schemas.model import Model
from forgetless.schemas.outcome import UNKNOWN_TOKENIZER, Outcome, Rejection
from forgetless.schemas.tables import HARD_PERPLEXITY

CHUNK_TOKENS = 500_000
CHUNK_ROWS = 10_000
SHOWN_REASONS = 3


class StatsReport(Frozen):
    """What a file of statistics gave, or would give."""

    scorer: str
    """The fingerprint its statistics stand under."""
    model: str
    """What made them: a fingerprint, or a name where the model was not given."""
    tokenizer: str
    columns: dict[str, str]
    """Column names by what was read from them."""
    targets: str
    """Which tokens are targets, in words."""
    rows: int
    rejected: int
    reasons: list[str]
    """Of the first rejects."""
    tokens: int
    target_tokens: int
    hard_tokens: int
    """Target tokens with a perplexity over 2.5."""
    added: int
    """Rows of `outcomes` that were not there before."""
    scored: int
    """Rows of `token_stats` that were not there before."""
    snapshot: int | None = None


@dataclass
class _Counts:
    """What was met on the way through a file."""

    rows: int = 0
    rejected: int = 0
    tokens: int = 0
    target_tokens: int = 0
    hard_tokens: int = 0
    added: int = 0
    scored: int = 0
    reasons: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome, stats: TokenStats | None) -> None:
        self.rows += 1
        if stats is None:
            self.rejected += 1
            if outcome.rejection and len(self.reasons) < SHOWN_REASONS:
                self.reasons.append(outcome.rejection.reason)
            return
        targets = np.concatenate([stats.logprob[s.start - 1 : s.end - 1] for s in outcome.target_spans])
        self.tokens += len(outcome.token_ids)
        self.target_tokens += len(targets)
        self.hard_tokens += int((targets < -np.log(HARD_PERPLEXITY)).sum())


@dataclass
class _Chunk:
    """New rows that are committed together."""

    outcomes: list[Outcome] = field(default_factory=list)
    stats: list[tuple[dict[str, Any], TokenStats]] = field(default_factory=list)

    def full(self) -> bool:
        tokens = sum(len(stats.logprob) + 1 for _, stats in self.stats)
        return tokens >= CHUNK_TOKENS or len(self.outcomes) >= CHUNK_ROWS


class StatsImport:
    """A file of published statistics, checked as far as that is possible without reading its rows.

    Raises:
        UsageError: it cannot be read, or its columns are not what is needed.
        ModelError: model or tokenizer files that cannot be loaded.
    """

    def __init__(self, asked: ForeignStats) -> None:
        self.asked = asked
        self.run_id = uuid.uuid4().hex
        self._file = ArrowFile(asked.path)
        self._columns = Columns.of(asked, self._file.schema)
        if self._tokenizer is None and "ids" not in self._columns.names:
            raise UsageError(
                f"{str(asked.path)!r} has text, and nothing says how it is tokenised",
                "name the tokenizer's folder with --tokenizer, or a column of token ids with --ids",
            )
        if not self._file.rows:
            raise UsageError(f"{str(asked.path)!r} holds no rows", "name another file")

    @cached_property
    def _model_folder(self) -> Path | None:
        return resolve_model(Model(path=self.asked.model)) if self.asked.model else None

    @cached_property
    def _tokenizer(self) -> Any | None:
        folder = self.asked.tokenizer or self._model_folder
        if folder is not None and not folder.is_dir():
            raise UsageError(f"tokenizer folder {str(folder)!r} does not exist", "correct --tokenizer")
        return None if folder is None else load_tokenizer(folder)

    @cached_property
    def _vocabulary(self) -> str:
        return tokenizer_fingerprint(self._tokenizer) if self._tokenizer else UNKNOWN_TOKENIZER

    @cached_property
    def _model(self) -> str:
        return model_fingerprint(self._model_folder) if self._model_folder else self.asked.name

    @cached_property
    def scorer(self) -> str:
        """Fingerprint of what the statistics say, and of what."""
        parts = ("imported", self.asked.name, self._model, self.asked.dtype, self._columns.meaning)
        return digest(*parts)

    @cached_property
    def _set(self) -> dict[str, Any]:
        """What the records depend on beside their tokens: a second scorer of the same ones finds them there."""
        task = self.asked.task or self.asked.path.stem
        return {
            "pipeline": "import_stats", "kind": self.asked.kind, "task": task, "tokenizer": self._vocabulary,
        }  # fmt: skip

    def look(self, store: Store | None = None) -> StatsReport:
        """Read every row and write none; what is in `store` already is not counted as added."""
        counts = _Counts()
        for _ in self._chunks(store, counts):
            pass
        return self._report(counts, None)

    def run(self, store: Store) -> StatsReport:
        """Add what is not there yet, a chunk at a time, and take a snapshot. What is committed stays."""
        counts = _Counts()
        with store.lock():
            chunks = self._chunks(store, counts)
            first = next(chunks, None)
            if first is not None:
                steps = {digest(self._set): {"name": self.asked.name} | self._set}
                with recorded_run(store, self.run_id, "import-stats", self.asked, steps) as summary:
                    if self._tokenizer:
                        ensure_vocab(store, self._tokenizer, self._vocabulary)
                    self._commit(store, first)
                    for chunk in chunks:
                        self._commit(store, chunk)
                    summary |= {"scorer": self.scorer, "name": self.asked.name}
            if first is not None or not store.newest_is_current():
                store.take_snapshot(self.run_id)
        return self._report(counts, store.newest_snapshot())

    def _commit(self, store: Store, chunk: _Chunk) -> None:
        common = {
            "scorer": self.scorer, "model": self._model, "tokenizer": self._vocabulary,
            "dtype": self.asked.dtype, "engine": "imported", "run_id": self.run_id,
        }  # fmt: skip
        store.append("outcomes", chunk.outcomes)
        store.append("token_stats", stats_table(chunk.stats, common))

    def _chunks(self, store: Store | None, counts: _Counts) -> Iterator[_Chunk]:
        """Rows that `store` lacks, and in `counts` what the file holds."""
        known, scored = self._there(store)
        chunk = _Chunk()
        with Progress(self.asked.path.name, self._file.rows) as progress:
            for outcome, stats in self._rows():
                counts.count(outcome, stats)
                if outcome.id not in known:
                    chunk.outcomes.append(outcome)
                    counts.added += 1
                if stats is not None and outcome.id not in scored:
                    spans = [span.model_dump() for span in outcome.target_spans]
                    chunk.stats.append(({"id": outcome.id, "target_spans": spans}, stats))
                    counts.scored += 1
                progress.advance(1)
                if chunk.full():
                    yield chunk
                    chunk = _Chunk()
        if chunk.outcomes or chunk.stats:
            yield chunk

    def _there(self, store: Store | None) -> tuple[set[str], set[str]]:
        """Ids of this set's rows in the store, and those that this scorer has scored."""
        if store is None:
            return set(), set()
        known = store.query(f"SELECT id FROM outcomes WHERE digest = '{digest(self._set)}'")
        scored = store.query(f"SELECT id FROM token_stats WHERE scorer = '{self.scorer}'")
        return set(known["id"].to_pylist()), set(scored["id"].to_pylist())

    def _rows(self) -> Iterator[tuple[Outcome, TokenStats | None]]:
        """Every row of the file as it would be stored; a row without statistics is a reject."""
        largest = max(self._tokenizer.get_vocab().values()) if self._tokenizer else LARGEST_ID
        reader = RowReader(self._columns, self.asked.answer_after, self._tokenizer, largest + 1)
        times: dict[str, int] = {}
        ordinal = 0
        found: StatsRow | str
        for batch in self._file.batches(list(self._columns.names.values())):
            for row in batch.to_pylist():
                try:
                    found = good = reader.read(row)
                    key = digest(digest(self._set), good.token_ids, [[s.start, s.end] for s in good.spans])
                    stats = TokenStats(good.logprob, None, None, None, None, None)
                except BadRow as error:
                    found, stats = f"{self.asked.path.name}[{ordinal}]: {error}", None
                    key = digest(digest(self._set), self.scorer, json.dumps(row, default=str))
                # The same tokens twice are two records, told apart by how often they came before.
                times[key] = times.get(key, -1) + 1
                yield self._outcome(digest(key, times[key]), ordinal, found), stats
                ordinal += 1

    def _outcome(self, row_id: str, ordinal: int, found: StatsRow | str) -> Outcome:
        """The row of a record, or of a reject with its reason."""
        common = {
            "id": row_id, "plan_id": row_id, "run_id": self.run_id, "step": self.asked.name,
            "digest": digest(self._set), "pipeline": "import_stats", "stage": "import", "ordinal": ordinal,
            "kind": self.asked.kind, "task": self._set["task"], "tokenizer": self._vocabulary,
            "ids_from": "tokenizer", "metadata": json.dumps({"source": f"{self.asked.path.name}[{ordinal}]"}),
        }  # fmt: skip
        if isinstance(found, str):
            rejection = Rejection(step="source", reason=found)
            return Outcome(
                **common, status="rejected", rejection=rejection, text="", token_ids=[], target_spans=[]
            )
        return Outcome(
            **common, status="accepted", text=found.text, token_ids=found.token_ids, target_spans=found.spans
        )

    def _report(self, counts: _Counts, snapshot: int | None) -> StatsReport:
        return StatsReport(
            scorer=self.scorer, model=self._model, tokenizer=self._vocabulary,
            columns=self._columns.names, targets=self._targets(), snapshot=snapshot, **vars(counts),
        )  # fmt: skip

    def _targets(self) -> str:
        """Which tokens are targets, in words."""
        if column := self._columns.targets:
            return f"as column {self._columns.names[column]!r} says"
        if self.asked.answer_after:
            return f"what follows the ids {', '.join(map(str, self.asked.answer_after))}"
        return "all tokens but the first: no column tells prompt from answer"
