"""Trains one of the demo's chat models from scratch on the demo world.

python -m forgetless.pipelines.demo.make_model OUT [base|medium|small|teacher]
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from transformers import PreTrainedTokenizerFast

from forgetless.pipelines.demo.documents import document
from forgetless.pipelines.demo.exams import Exam, base_exams, share_right, teacher_exams
from forgetless.pipelines.demo.lessons import BASE, TEACHER, Lesson, conversation
from forgetless.pipelines.demo.tokenizer import BOS, END, make_tokenizer
from forgetless.pipelines.demo.training import new_model, train

EXAM_QUESTIONS = 100


@dataclass(frozen=True)
class Plan:
    """What makes one model differ from the other."""

    lessons: tuple[Lesson, ...]
    exams: Callable[[int], dict[str, Exam]]
    document_share: float
    layers: int
    width: int
    steps: int


PLANS = {
    "base": Plan(BASE, base_exams, document_share=0.15, layers=5, width=160, steps=4800),
    "medium": Plan(BASE, base_exams, document_share=0.15, layers=4, width=128, steps=5400),
    "small": Plan(BASE, base_exams, document_share=0.15, layers=3, width=96, steps=6000),
    "teacher": Plan(TEACHER, teacher_exams, document_share=0.1, layers=4, width=128, steps=3000),
}


def shared_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """The one tokenizer of all models, from the texts of base and teacher."""
    rng = Random(seed)
    texts = [document(rng) for _ in range(5000)]
    for lessons in (BASE, TEACHER):
        texts += [turn["content"] for _ in range(5000) for turn in conversation(lessons, rng)]
    return make_tokenizer(texts)


def _texts(plan: Plan, tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[str]:
    """Documents and whole conversations, each with one BOS in front and the end token behind."""
    while True:
        if rng.random() < plan.document_share:
            yield BOS + document(rng) + END
        else:
            yield str(tokenizer.apply_chat_template(conversation(plan.lessons, rng), tokenize=False))


def make_model(folder: Path, plan: Plan, seed: int = 0) -> dict[str, float]:
    """Trains a model, saves it with its tokenizer to `folder` and returns its share of right answers per exam."""
    tokenizer = shared_tokenizer(seed)
    model = new_model(tokenizer, plan.layers, plan.width, seed)
    train(model, tokenizer, _texts(plan, tokenizer, Random(seed)), plan.steps, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {name: share_right(model, tokenizer, exam) for name, exam in plan.exams(EXAM_QUESTIONS).items()}


if __name__ == "__main__":
    folder, name = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "base"
    for exam, share in make_model(folder, PLANS[name]).items():
        print(f"{exam:14s}{share:7.1%}")
