"""What a model can do, and how it behaves: figures of a checkpoint, or of a model in training."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from forgetless.curator.models import load_model, model_fingerprint
from forgetless.curator.progress import Progress
from forgetless.schemas.base import digest
from forgetless.schemas.model import Engine
from forgetless.schemas.training import Task
from forgetless.train.answering import Answers, answers_here, answers_of_engine, greedy
from forgetless.train.asking import Asking
from forgetless.train.example import Example
from forgetless.train.measures.accuracy import accuracy
from forgetless.train.measures.measure import Keys, Measure, Probe, Subject
from forgetless.train.measures.reading import cross_entropy
from forgetless.train.report import Figure
from forgetless.train.untouched import untouched

__all__ = ["Measure", "evaluate", "figures_of", "greedy", "measures"]


def measures(
    folder: Path, asking: Asking, tasks: Sequence[Task], held_out: Sequence[Example]
) -> list[Measure]:
    """What is to be measured of the checkpoint in `folder`.

    Raises:
        UsageError: a task file that cannot be read, or a reference that its verifier cannot use.
    """
    keys = Keys.of(model_fingerprint(folder), asking)
    text = [cross_entropy("held-out text", "retained", held_out, keys)] if held_out else []
    return [accuracy(task, asking, keys) for task in tasks] + text


def evaluate(
    folder: Path,
    asking: Asking,
    wanted: Sequence[Measure],
    label: str,
    trust_remote_code: bool = False,
    base: Path | None = None,
    engine: Engine | None = None,
) -> Iterator[list[Figure]]:
    """The wanted figures of the checkpoint in `folder`, as it was saved, in its own dtype; some as soon as they are
    there, in the order of `wanted`.

    Args:
        base: folder of the model that it came from, for KL and coherence.
        engine: what writes the answers; the model in this process if not given.
    """
    load = partial(_load, trust=trust_remote_code)
    subject = Subject(asking, partial(load, folder), partial(load, base) if base else None)
    with Progress(label, _work(wanted)) as progress:
        asked = [probe for probe in _probes(wanted) if probe.prompts]
        answers = {}
        if engine and asked:  # first, and all at once: its memory is free again when the models are loaded
            answers = answers_of_engine(engine, folder, asking, asked, progress, trust_remote_code)
        yield from _figures(subject, wanted, answers, progress)


def figures_of(
    lm: Any, asking: Asking, wanted: Sequence[Measure], at: str, base: Any | None = None
) -> list[Figure]:
    """The wanted figures of a model that is being trained; nothing of it, nor of any random state, is changed.

    Args:
        lm: a causal language model of transformers, or one with adapters; on one device, whole.
        wanted: as measured of any checkpoint; a `Suite.subset` is cheap.
        at: what tells these weights from all others, such as run and step: the figures' keys are made of it.
        base: the model that it came from, in eval mode, for KL and coherence.
    """
    # Lines, if it takes long: the bar is the training's.
    progress = Progress("evaluate while training", _work(wanted))
    with untouched(lm) as model:
        parts = list(_figures(Subject(asking, lambda: model, lambda: base), wanted, {}, progress))
    progress.end()
    return [f.model_copy(update={"key": digest("at", at, f.key)}) for part in parts for f in part]


def _figures(
    subject: Subject, wanted: Sequence[Measure], answers: Answers, progress: Progress
) -> Iterator[list[Figure]]:
    """Those of one probe after another; what `answers` does not hold is asked of the subject."""
    for probe in _probes(wanted):
        if probe.prompts and probe not in answers:
            said = answers_here(subject.lm, subject.asking, probe, progress)
        else:
            said = answers.get(probe, [])
        taken = probe.take(subject, said, progress)
        yield [
            Figure(task=m.name, role=m.role, metric=m.metric, key=m.key, **asdict(taken[m.metric]))
            for m in wanted
            if m.probe is probe
        ]


def _probes(wanted: Sequence[Measure]) -> list[Probe]:
    """Each once."""
    return list(dict.fromkeys(m.probe for m in wanted))


def _work(wanted: Sequence[Measure]) -> int:
    """Prompts and passages."""
    return sum(len(probe.prompts) + probe.read for probe in _probes(wanted))


def _load(folder: Path, trust: bool) -> Any:
    lm = load_model(folder, "auto", trust)
    # A checkpoint's own generation settings (temperature, repetition penalty) would make it another measure.
    lm.generation_config = type(lm.generation_config)()
    return lm
