"""What a model can do: accuracy on task files, cross entropy on held-out records."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgetless.curator.models import load_model, model_fingerprint
from forgetless.curator.progress import Progress
from forgetless.curator.verifiers.verify import Verifier, verifier
from forgetless.schemas.base import digest
from forgetless.schemas.errors import UsageError
from forgetless.schemas.training import Task
from forgetless.train.asking import Asking
from forgetless.train.example import Example
from forgetless.train.packing import collate, in_batches
from forgetless.train.report import Figure

QUESTIONS_AT_ONCE = 64
TOKENS_AT_ONCE = 8192


@dataclass(frozen=True)
class Question:
    """A prompt, and what its answer is held against."""

    prompt: str
    reference: str


@dataclass(frozen=True)
class Measure:
    """One figure that is wanted of a model: of a task's questions, or of held-out examples."""

    name: str
    role: str
    metric: str
    key: str
    """Digest of all that decides the value."""
    task: Task | None = None
    questions: Sequence[Question] = ()
    examples: Sequence[Example] = ()


def measures(
    folder: Path, asking: Asking, tasks: Sequence[Task], held_out: Sequence[Example]
) -> list[Measure]:
    """What is to be measured of the checkpoint in `folder`.

    Raises:
        UsageError: a task file that cannot be read, or a reference that its verifier cannot use.
    """
    weights = model_fingerprint(folder)
    form = digest(asking.start, asking.end_ids, asking.tokenizer.chat_template)
    wanted = []
    for task in tasks:
        questions = read_task(task)
        asked = digest([[q.prompt, q.reference] for q in questions], task.verifier, task.max_tokens)
        key = digest("accuracy", weights, form, asked)
        wanted.append(Measure(task.name, task.role, "accuracy", key, task, questions))
    if held_out:
        content = hashlib.blake2b(digest_size=16)
        for example in held_out:
            content.update(example.token_ids.tobytes() + example.labels.tobytes())
        key = digest("cross_entropy", weights, content.hexdigest())
        wanted.append(Measure("held-out text", "retained", "cross_entropy", key, examples=held_out))
    return wanted


def read_task(task: Task) -> list[Question]:
    """The questions of a task file, every reference tried on its verifier."""
    try:
        lines = task.path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"task {task.name!r}: {error}", "correct its path") from None
    judge = verifier(task.verifier, allow_code_execution=True)  # asked for when the run is prepared
    questions = [
        _question(line, f"task {task.name!r}: line {number} of {str(task.path)!r}", judge)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not questions:
        raise UsageError(f"task {task.name!r}: {str(task.path)!r} holds no question", "correct its path")
    return questions[: task.limit]


def _question(line: str, where: str, judge: Verifier) -> Question:
    try:
        row = json.loads(line)
        question = Question(str(row["prompt"]), str(row["reference"]))
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{where} is no question", 'write {"prompt": …, "reference": …}') from None
    try:
        judge("", question.reference)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", error.hint) from None
    return question


def evaluate(
    folder: Path, asking: Asking, wanted: Sequence[Measure], label: str, trust_remote_code: bool = False
) -> list[Figure]:
    """The wanted figures of the checkpoint in `folder`, as it was saved, in its own dtype."""
    lm = load_model(folder, "auto", trust_remote_code)
    # A checkpoint's own generation settings (temperature, repetition penalty) would make it another measure.
    lm.generation_config = type(lm.generation_config)()
    figures = []
    with Progress(label, sum(len(m.questions) + len(m.examples) for m in wanted)) as progress:
        for m in wanted:
            if m.task:
                value, count = accuracy(lm, asking, m.task, m.questions, progress), len(m.questions)
            else:
                value, count = cross_entropy(lm, m.examples, progress)
            figures.append(
                Figure(task=m.name, role=m.role, metric=m.metric, value=value, count=count, key=m.key)
            )
    return figures


def cross_entropy(lm: Any, examples: Sequence[Example], progress: Progress) -> tuple[float, int]:
    """Mean −log p over all target tokens in nats, and how many there are."""
    import torch

    from forgetless.train.loss import token_nll

    total, count = 0.0, 0
    for batch in in_batches(examples, TOKENS_AT_ONCE):
        fields = collate([[example] for example in batch])
        names = ("input_ids", "position_ids", "shift_labels")
        with torch.no_grad():
            nll_N = token_nll(lm, **{name: fields[name].to(lm.device) for name in names})
        total, count = total + nll_N.double().sum().item(), count + len(nll_N)
        progress.advance(len(batch))
    return total / count, count


def accuracy(lm: Any, asking: Asking, task: Task, questions: Sequence[Question], progress: Progress) -> float:
    """Share of questions whose greedy answer the task's verifier accepts."""
    asked = sorted(((asking.ids(q.prompt), q.reference) for q in questions), key=lambda pair: len(pair[0]))
    judge = verifier(task.verifier, allow_code_execution=True)
    passed = 0
    for first in range(0, len(asked), QUESTIONS_AT_ONCE):
        batch = asked[first : first + QUESTIONS_AT_ONCE]
        continuations = greedy(lm, [ids for ids, _ in batch], task.max_tokens, asking.end_ids)
        for ids, (_, reference) in zip(continuations, batch, strict=True):
            passed += judge(asking.answer(ids), reference).passed
        progress.advance(len(batch), task.name)
    return passed / len(questions)


def greedy(lm: Any, prompts: Sequence[list[int]], max_tokens: int, stop: Sequence[int]) -> list[list[int]]:
    """The most probable continuation of each prompt; prompts are padded on the left."""
    import torch
    from transformers import GenerationConfig

    width = max(map(len, prompts))
    input_ids = torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts], device=lm.device)
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=lm.device)
    settings = GenerationConfig(
        max_new_tokens=max_tokens, do_sample=False, eos_token_id=list(stop) or None, pad_token_id=0
    )
    with torch.no_grad():
        output = lm.generate(input_ids, attention_mask=mask, generation_config=settings)
    return output[:, width:].tolist()
