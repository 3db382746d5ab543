"""What each token of a few targets counts in the loss, where the store alone decides over that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forgetless.curator.models import load_tokenizer, tokenizer_fingerprint
from forgetless.curator.report.examples import SHOWN_TOKENS, spread
from forgetless.curator.store.vocab import pieces
from forgetless.schemas.errors import ForgetlessError
from forgetless.schemas.objectives import Dft, Eaft, EaftStored, Flow, Rho1, Stm, StmLowBoth, Stored, Talr
from forgetless.train.asking import Asking
from forgetless.train.example import Example
from forgetless.train.page.groups import Group, said
from forgetless.train.page.runs import Run
from forgetless.train.reader import Base, read_training
from forgetless.train.scores import Scores

WEIGHING = (Stm, StmLowBoth, Flow, EaftStored)
"""Objectives whose weights are known before training."""
CURRENT = (Eaft, Dft, Talr, Rho1)
"""Those whose weights follow from the model in training."""
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Upper ends of the classes that weights are shown in; the last class is open."""
BEFORE = 40
"""Tokens shown before the first target."""


@dataclass(frozen=True)
class Weighed:
    """One token."""

    position: int
    token_id: int
    piece: str
    is_target: bool
    weight: float
    logprob: float | None
    """Natural, under the scorer that the objective reads; None where there is none."""

    @property
    def level(self) -> int:
        """Place of its class among `LEVELS`; behind them above 1."""
        return next((i for i, upper in enumerate(LEVELS) if self.weight <= upper + 1e-6), len(LEVELS))


@dataclass(frozen=True)
class Masked:
    """A target."""

    id: str
    percentile: int
    """Of all targets, those of a lower mean weight, in percent."""
    mean: float
    """Mean weight of its target tokens."""
    tokens: list[Weighed]
    cut_before: bool
    """Whether tokens in front of these are not shown."""
    left_out: int
    """Tokens behind these."""


@dataclass(frozen=True)
class Mask:
    """A run's targets under its stored objectives."""

    label: str
    objectives: list[str]
    targets: int
    examples: list[Masked]


def weighing(run: Run) -> list[Stored]:
    """The objectives of a run that set weights before training."""
    return [objective for objective in run.settings.objectives if isinstance(objective, WEIGHING)]


def undecided(group: Group) -> str | None:
    """Which of a group's objectives weigh tokens as they find them while training; None if there are none."""
    found = [o.objective for o in group.runs[0].settings.objectives if isinstance(o, CURRENT)]
    if not found:
        return None
    return f"{group.label}: {', '.join(found)} weighs tokens by what the model in training makes of them: not drawn."


def mask(label: str, run: Run, count: int) -> Mask | str:
    """`count` targets, evenly spread over all by the mean weight of their tokens; or why there are none to show."""
    objectives = weighing(run)
    if run.store is None:
        return f"{label}: its store is not there, and with it the tokens; `--store` names another place."
    try:
        examples, tokenizer = _examples(run, objectives)
    except (
        ForgetlessError,
        OSError,
        ValueError,
    ) as error:  # the last two from reading the checkpoint's files
        return f"{label}: the targets cannot be read: {error}"
    order = sorted(examples, key=lambda e: (_mean(e), e.id))
    texts = pieces(tokenizer)
    shown = [_masked(order[place], percent, texts) for percent, place in spread(len(order), count)]
    return Mask(label, [said(o.model_dump()) for o in objectives], len(order), shown)


def levels(masks: Sequence[Mask]) -> list[tuple[int, str]]:
    """Classes of weight that occur, and what they are called."""
    tokens = [w for m in masks for e in m.examples for w in e.tokens if w.is_target]
    seen = {level: {w.weight for w in tokens if w.level == level} for level in {w.level for w in tokens}}
    names = ["0, left out", *(f"up to {upper:g}" for upper in LEVELS[1:]), f"above {LEVELS[-1]:g}"]
    return [(level, "1" if found == {1.0} else names[level]) for level, found in sorted(seen.items())]


def _examples(run: Run, objectives: Sequence[Stored]) -> tuple[list[Example], Any]:
    """All targets with their weights and the log-probs that belong to them; the tokenizer."""
    from transformers import AutoConfig

    assert run.store
    trust, start = (run.base.trust_remote_code, run.base.start_token) if run.base else (False, None)
    tokenizer = load_tokenizer(run.folder, None, trust)
    config = AutoConfig.from_pretrained(run.folder, trust_remote_code=trust).get_text_config()
    limit = getattr(config, "max_position_embeddings", None) or run.settings.max_length
    base = Base(
        run.report.base, tokenizer_fingerprint(tokenizer), Asking.of(run.folder, tokenizer, start).end_ids, limit,
        config.vocab_size,
    )  # fmt: skip
    snapshot = run.report.plan.snapshot
    alone = run.settings.model_copy(update={"objectives": list(objectives), "replay": []})
    targets = read_training(run.store, alone, snapshot, base).targets
    scores = Scores(run.store, snapshot, run.report.base)
    return scores.attached(Stm(threshold=2.5, scorer=objectives[0].scorer), targets), tokenizer


def _masked(example: Example, percentile: int, texts: Sequence[str]) -> Masked:
    start = max(0, int(np.flatnonzero(example.is_target)[0]) - BEFORE)
    end = min(len(example), start + BEFORE + SHOWN_TOKENS)
    logprobs = example.stats["logprob"]
    tokens = [
        Weighed(
            i,
            int(example.token_ids[i]),
            texts[example.token_ids[i]] if example.token_ids[i] < len(texts) else f"<{example.token_ids[i]}>",
            bool(example.is_target[i]),
            float(example.weights[i]),
            None if np.isnan(logprobs[i]) else float(logprobs[i]),
        )
        for i in range(start, end)
    ]
    return Masked(example.id, percentile, _mean(example), tokens, start > 0, len(example) - end)


def _mean(example: Example) -> float:
    return float(example.weights.sum()) / example.target_tokens
