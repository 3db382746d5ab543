"""What the demo's models must be able to do, asked on questions that they were not taught."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from forgetless.curator.verifiers.numeric import numeric
from forgetless.pipelines.demo import sums, world

SAMPLED = 0.7
"""The temperature at which sums are answered and reworded when targets are made."""


@dataclass(frozen=True)
class Exam:
    """Questions with their references, and what counts as right."""

    asked: list[tuple[str, str]]
    passed: Callable[[str, str], bool]
    """Of an answer and the reference."""
    temperature: float = 0.0


def _exact(answer: str, reference: str) -> bool:
    return answer == reference


def _numeric(answer: str, reference: str) -> bool:
    return numeric(answer, reference).passed


def retained_exam(name: str, count: int) -> Exam:
    """A retained skill, greedy, by exact answer."""
    return Exam(world.questions(world.RETAINED[name], "test", count, Random(1)), _exact)


def sums_exam(count: int, temperature: float = SAMPLED) -> Exam:
    """Sums, by their number."""
    return Exam(world.questions(world.SUMS, "test", count, Random(1)), _numeric, temperature)


def reword_exam(count: int) -> Exam:
    """People's and the teacher's answers to reword, sampled, by their number."""
    rng, asked = Random(2), world.questions(world.SUMS, "test", count, Random(1))
    return Exam(
        [(sums.reword(question, number, rng)[0], number) for question, number in asked], _numeric, SAMPLED
    )


def correct_exam(count: int) -> Exam:
    """Answers to correct, greedy, by the exact text."""
    rng, asked = Random(3), world.questions(world.SUMS, "test", count, Random(1))
    return Exam([sums.correct(question, number, rng) for question, number in asked], _exact)


def base_exams(count: int) -> dict[str, Exam]:
    """All that the base can do; sums are the one that it does not do well."""
    exams = {name: retained_exam(name, count) for name in world.RETAINED}
    return exams | {"sums": sums_exam(count), "reword": reword_exam(count), "correct": correct_exam(count)}


def teacher_exams(count: int) -> dict[str, Exam]:
    """All that the teacher can do."""
    return {"sums": sums_exam(count, temperature=0.0), "correct": correct_exam(count)}


@torch.inference_mode()
def answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    questions: list[str],
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Answers to questions, one conversation each; greedy at temperature 0."""
    chats = [[{"role": "user", "content": question}] for question in questions]
    tokenizer.padding_side = "left"
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    torch.manual_seed(seed)
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    out = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=64,
        **sampling,
    )
    return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def share_right(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, exam: Exam) -> float:
    """Share of right answers."""
    given = answers(model, tokenizer, [question for question, _ in exam.asked], exam.temperature)
    right = [exam.passed(got, want) for got, (_, want) in zip(given, exam.asked, strict=True)]
    return sum(right) / len(right)
