"""`forgetless eval`: a model measured by a suite."""

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from forgetless.curator.models import (
    load_tokenizer,
    model_fingerprint,
    resolve_model,
    tokenizer_fingerprint,
)
from forgetless.curator.store import Store
from forgetless.curator.store.runs import recorded_run
from forgetless.curator.verifiers.verify import verifier
from forgetless.schemas.base import Frozen, digest
from forgetless.schemas.errors import UsageError
from forgetless.schemas.model import Engine, Model
from forgetless.schemas.suite import Suite
from forgetless.train.asking import Asking
from forgetless.train.evals import Evals
from forgetless.train.evaluate import evaluate
from forgetless.train.measures.measure import Keys, Measure
from forgetless.train.report import Figure
from forgetless.train.suite import Reader


class EvalReport(Frozen):
    """What was measured of a model."""

    name: str
    """Name in the evals table."""
    model: str
    """Fingerprint."""
    base: str | None
    """The base's fingerprint, where one was given."""
    suite: str
    """Digest of what was asked for."""
    seed: int | None
    """Of the training that made the model."""
    snapshot: int | None
    """Of the store that was read and written to."""
    figures: list[Figure]


@dataclass(frozen=True)
class Evaluation:
    """A model and the suite it is to be measured by."""

    suite: Suite
    model: Model
    base: Model | None = None
    """What it was fine-tuned from."""
    store: Store | None = None
    """Read by queries, and given the figures."""
    seed: int | None = None
    """Of the training that made the model."""
    name: str = ""
    """Name in the evals table; the model folder's if not given."""
    allow_code_execution: bool = False
    """Whether the verifier `code` may run what the model writes."""
    snapshot: int | None = None
    """Of the store that queries read; the newest if not given."""

    def run(self) -> EvalReport:
        """Measure, or find in the store, what the suite asks for; new rows in `evals` where there is a store.

        Raises:
            UsageError: as `measures`.
        """
        wanted = self.measures()
        if self.store is None:
            parts = evaluate(
                self.folder, self._asking, wanted, "evaluate", self.model.trust_remote_code,
                self.base_folder, self._engine,
            )  # fmt: skip
            figures = [figure for part in parts for figure in part]
        else:
            figures = self._recorded(wanted)
        return EvalReport(
            name=self._name,
            model=model_fingerprint(self.folder),
            base=self._base_fingerprint or None,
            suite=self._digest,
            seed=self.seed,
            snapshot=self._snapshot,
            figures=figures,
        )

    def measures(self) -> list[Measure]:
        """What the suite asks for of this model, with everything read and nothing run.

        Raises:
            UsageError: a suite that asks for what is not given, a file or query that gives nothing, a base of another
                vocabulary.
        """
        self._check()
        how = (self.suite.engine.kind, self.suite.engine.dtype) if self._engine else ()
        keys = Keys.of(model_fingerprint(self.folder), self._asking, self._base_fingerprint, how)
        config = _config(self.folder, self.model)
        context = getattr(config, "max_position_embeddings", None) or sys.maxsize
        vocabulary = tokenizer_fingerprint(self._asking.tokenizer)
        reader = Reader(self._asking, vocabulary, config.vocab_size, context, self.store, self._snapshot)
        return reader.measures(self.suite, keys)

    @cached_property
    def folder(self) -> Path:
        """The model's."""
        return resolve_model(self.model)

    @cached_property
    def base_folder(self) -> Path | None:
        """The base's, its vocabulary compared with the model's."""
        if self.base is None:
            return None
        folder = resolve_model(self.base)
        pair = ((self.folder, self.model), (folder, self.base))
        words = [tokenizer_fingerprint(load_tokenizer(f, None, m.trust_remote_code)) for f, m in pair]
        sizes = [_config(f, m).vocab_size for f, m in pair]
        if words[0] != words[1] or sizes[0] != sizes[1]:
            raise UsageError(
                f"the base {self.base.path!r} has another vocabulary ({sizes[1]:,} ids) than {self.model.path!r}"
                f" ({sizes[0]:,} ids)",
                "name with --base the model that it was fine-tuned from",
            )
        return folder

    @cached_property
    def _asking(self) -> Asking:
        tokenizer = load_tokenizer(self.folder, self.model.chat_template, self.model.trust_remote_code)
        return Asking.of(self.folder, tokenizer, self.model.start_token)

    @property
    def _engine(self) -> Engine | None:
        """None: the model in this process, as it was saved, which is what a training run measures with."""
        engine = self.suite.engine
        return engine if engine.kind != "transformers" else None

    @property
    def _base_fingerprint(self) -> str:
        return model_fingerprint(self.base_folder) if self.base_folder else ""

    @property
    def _name(self) -> str:
        return self.name or self.folder.resolve().name

    @cached_property
    def _digest(self) -> str:
        return digest(self.suite.model_dump(mode="json"))

    @cached_property
    def _snapshot(self) -> int | None:
        return self.snapshot or (self.store.newest_snapshot() if self.store else None)

    def _check(self) -> None:
        """What is wrong with the request, before any file of a model is read."""
        if self.suite.kl and self.base is None:
            raise UsageError("the suite asks for `kl`, which needs a base model", "name it with --base")
        queries = [p.name for p in (*self.suite.texts, *self.suite.kl) if p.sql]
        if queries and self.store is None:
            raise UsageError(f"{queries[0]!r} is a query, and there is no store", "name one with --store")
        if queries and self._snapshot is None:
            raise UsageError(
                f"store {str(self.store and self.store.path)!r} has no snapshot",
                "run `forgetless build` to its end",
            )
        for task in self.suite.tasks:
            verifier(task.verifier, self.allow_code_execution)

    def _recorded(self, wanted: list[Measure]) -> list[Figure]:
        assert self.store
        asked = digest(self._digest, [measure.key for measure in wanted], self._name, self.seed)
        run_id = f"eval-{asked[:16]}"
        evals = Evals(self.store, run_id, self._name, self._digest, self._snapshot, self.seed)
        with recorded_run(self.store, run_id, "eval", self.suite, {}) as summary:
            figures = evals.figures(
                "eval", self.folder, self._asking, wanted, self.model.trust_remote_code,
                self.base_folder, self._engine,
            )  # fmt: skip
            summary |= {"figures": [figure.model_dump() for figure in figures]}
        return figures


def _config(folder: Path, model: Model) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=model.trust_remote_code)
    return config.get_text_config()
