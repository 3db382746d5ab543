"""Accuracy: the share of questions whose answer a verifier accepts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forgetless.curator.progress import Progress
from forgetless.curator.verifiers.verify import Verifier, verifier
from forgetless.schemas.base import digest
from forgetless.schemas.errors import UsageError
from forgetless.schemas.training import Task
from forgetless.train.asking import Answer, Asking
from forgetless.train.measures.measure import Keys, Measure, Probe, Subject, Value


@dataclass(frozen=True)
class Question:
    """A prompt, and what its answer is held against."""

    prompt: str
    reference: str


@dataclass(frozen=True, eq=False)
class Accuracy(Probe):
    """Questions with known answers."""

    verifier: str = "exact"
    """Its name."""
    references: Sequence[str] = ()
    """One per prompt."""

    def take(self, subject: Subject, answers: Sequence[Answer], progress: Progress) -> Mapping[str, Value]:
        judge = verifier(self.verifier, allow_code_execution=True)  # asked for when the run is prepared
        pairs = zip(answers, self.references, strict=True)
        passed = sum(judge(answer.text, reference).passed for answer, reference in pairs)
        return {"accuracy": Value(passed / len(answers), len(answers))}


def accuracy(task: Task, asking: Asking, keys: Keys) -> Measure:
    """The accuracy on a task; UsageError for a file that cannot be read, or a reference that cannot be used."""
    questions = read_task(task)
    asked = digest([[q.prompt, q.reference] for q in questions], task.verifier, task.max_tokens)
    probe = Accuracy(
        [asking.ids(q.prompt) for q in questions],
        task.max_tokens,
        task.verifier,
        [q.reference for q in questions],
    )
    return Measure(task.name, task.role, "accuracy", keys.answers("accuracy", asked), probe)


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
