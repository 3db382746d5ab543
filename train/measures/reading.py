"""What the model makes of text: cross entropy, and KL from the base. Both over the target tokens of passages.

Shapes: B passages of T tokens, N target tokens, D width, V vocabulary.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forgetless.curator.progress import Progress
from forgetless.schemas.errors import UsageError
from forgetless.train.asking import Answer
from forgetless.train.example import IGNORED, Example
from forgetless.train.measures.measure import Keys, Measure, Probe, Subject, Value
from forgetless.train.packing import collate, in_batches

if TYPE_CHECKING:
    from torch import Tensor

TOKENS_AT_ONCE = 8192
LOGITS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 26}
"""Numbers of an [N, V] chunk by device: 16 MiB in fp32, or 256. KL holds four such."""


@dataclass(frozen=True, eq=False)
class Reading(Probe):
    """Passages that are read."""

    passages: Sequence[Example] = ()

    @property
    def read(self) -> int:
        return len(self.passages)

    @property
    def content(self) -> str:
        """Digest of the tokens, and of which are targets."""
        content = hashlib.blake2b(digest_size=16)
        for example in self.passages:
            content.update(example.token_ids.tobytes() + example.labels.tobytes())
        return content.hexdigest()


@dataclass(frozen=True, eq=False)
class CrossEntropy(Reading):
    """Mean −log p over all target tokens, in nats."""

    def take(self, subject: Subject, answers: Sequence[Answer], progress: Progress) -> Mapping[str, Value]:
        total, count = 0.0, 0
        for batch in in_batches(self.passages, TOKENS_AT_ONCE):
            nll_N = batch_nll(subject.lm, batch)
            total, count = total + nll_N.double().sum().item(), count + len(nll_N)
            progress.advance(len(batch))
        return {"cross_entropy": Value(total / count, count)}


@dataclass(frozen=True, eq=False)
class Divergence(Reading):
    """Mean KL(base ‖ model) over all target tokens, in nats.

    At a position it is Σ_v p(v) (log p(v) − log q(v)), p the base's distribution of the next token, q the model's, over
    the whole vocabulary. The contexts are the passages': with answers that the base itself sampled (`self_output`,
    `magpie`) the mean estimates the KL between the two models' answers, per token; with a task's own answers it says
    how far the model moved on these.
    """

    def take(self, subject: Subject, answers: Sequence[Answer], progress: Progress) -> Mapping[str, Value]:
        if subject.base is None:
            raise UsageError("KL is taken from a base model, and there is none", "name it with --base")
        total, count = 0.0, 0
        for batch in in_batches(self.passages, TOKENS_AT_ONCE):
            kl_N = batch_kl(subject.base, subject.lm, batch)
            total, count = total + kl_N.double().sum().item(), count + len(kl_N)
            progress.advance(len(batch))
        return {"kl": Value(total / count, count)}


def cross_entropy(name: str, role: str, passages: Sequence[Example], keys: Keys) -> Measure:
    """The cross entropy of passages."""
    probe = CrossEntropy(passages=passages)
    return Measure(name, role, "cross_entropy", keys.reading("cross_entropy", probe.content), probe)


def divergence(name: str, role: str, passages: Sequence[Example], keys: Keys) -> Measure:
    """KL(base ‖ model) on passages."""
    probe = Divergence(passages=passages)
    return Measure(name, role, "kl", keys.reading("kl", keys.base, probe.content), probe)


def batch_nll(lm: Any, batch: Sequence[Example]) -> "Tensor":
    """−log p of every target token of the batch, fp32 [N], example after example."""
    import torch

    from forgetless.train.loss import token_nll

    with torch.no_grad():
        nll_N: Tensor = token_nll(lm, **_inputs(lm, batch))
    return nll_N


def batch_kl(base: Any, lm: Any, batch: Sequence[Example]) -> "Tensor":
    """KL(base ‖ lm) at every target token of the batch, fp32 [N], exact over the vocabulary.

    Bodies run once; both heads run over a chunk of positions at a time, so that no [N, V] of the whole batch exists.
    """
    import torch

    from forgetless.curator.head import Head
    from forgetless.train.loss import hidden_states

    ids_BT, positions_BT, labels_BT = _inputs(lm, batch).values()
    supervised_BT = labels_BT != IGNORED
    with torch.no_grad():
        base_ND, hidden_ND = (hidden_states(m, ids_BT, positions_BT)[supervised_BT] for m in (base, lm))
        base_head, head = Head(base), Head(lm)
        rows = max(1, LOGITS_AT_ONCE[lm.device.type] // head.linear.weight.shape[0])
        # Made whole at the start: small results kept between large freed blocks would keep a CPU's heap from using
        # these again, at the price of all logits at once.
        kl_N = torch.empty(len(hidden_ND), device=lm.device)
        for start in range(0, len(hidden_ND), rows):
            part = slice(start, start + rows)
            p_NV = base_head(base_ND[part]).log_softmax(1)
            ratio_NV = p_NV - head(hidden_ND[part]).log_softmax(1)
            kl_N[part] = p_NV.exp_().mul_(ratio_NV).sum(1)
    return kl_N


def _inputs(lm: Any, batch: Sequence[Example]) -> dict[str, "Tensor"]:
    """Ids, positions and labels, int64 [B, T], one example to a row."""
    fields = collate([[example] for example in batch])
    return {name: fields[name].to(lm.device) for name in ("input_ids", "position_ids", "shift_labels")}
