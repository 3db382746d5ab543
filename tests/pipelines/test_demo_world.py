"""The demo world holds together, and the shipped model has learned it."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from forgetless.curator.recipes import load_recipe
from forgetless.curator.verifiers.numeric import numeric
from forgetless.curator.verifiers.regex import regex
from forgetless.pipelines import demo
from forgetless.pipelines.demo import exams, lessons, sums, world
from forgetless.pipelines.demo.files import worded, write_files, write_targets_demo
from forgetless.pipelines.demo.make_model import PLANS, make_model

SHIPPED = Path(demo.__file__).parent / "model"
TEACHER = Path(demo.__file__).parent / "teacher"
SKILLS = {**world.RETAINED, world.TARGET: world.FIRST_LETTER, sums.TASK: world.SUMS}


def loaded(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def shipped():
    return loaded(SHIPPED)


@pytest.fixture(scope="module")
def teacher():
    return loaded(TEACHER)


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", SKILLS)
def test_a_question_read_backwards_gives_its_answer(name):
    for split in ("train", "test"):
        for question, answer in world.questions(SKILLS[name], split, 50, Random(0)):
            assert world.solve(question) == answer


@pytest.mark.parametrize(
    "text", ["", "Once upon a time", "What is the capital of Atlantis?", "Hi! How do I fly?"]
)
def test_what_the_world_does_not_know_has_no_answer(text):
    assert world.solve(text) is None


def test_the_files_are_the_same_every_time(tmp_path):
    write_files(tmp_path / "a")
    write_files(tmp_path / "b")
    written = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.jsonl"))
    assert len(written) == 1 + len(world.RETAINED) + 1
    for path in written:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_the_sums_to_learn_are_the_same_every_time(tmp_path):
    written = [write_targets_demo(tmp_path / name).parent / "sums.jsonl" for name in ("a", "b")]
    assert written[0].read_bytes() == written[1].read_bytes()
    assert len({row["prompt"] for row in rows(written[0])}) == 1000
    for name in ("model", "teacher"):
        assert (tmp_path / "a" / name / "model.safetensors").is_file()


def test_no_question_is_in_both_splits(tmp_path):
    write_files(tmp_path)
    trained = {row["prompt"] for row in rows(tmp_path / "target_train.jsonl")}
    asked = {row["prompt"] for row in rows(tmp_path / "tasks" / f"{world.TARGET}.jsonl")}
    assert not trained & asked
    rng = Random(0)
    learned = {turn["content"] for _ in range(2000) for turn in lessons.conversation(lessons.BASE, rng)}
    for name in world.RETAINED:
        prompts = [row["prompt"] for row in rows(tmp_path / "tasks" / f"{name}.jsonl")]
        assert len(set(prompts)) == len(prompts)
        assert not learned & set(prompts)


def test_no_model_is_taught_a_test_question_in_any_lesson():
    rng = Random(0)
    for plan in PLANS.values():
        turns = [turn for _ in range(1000) for turn in lessons.conversation(plan.lessons, rng)]
        for text in (turn["content"] for turn in turns if turn["role"] == "user"):
            quoted = re.search("^Question: (.*)$", text, re.MULTILINE)  # to be reworded or corrected
            question = quoted[1] if quoted else text
            assert world.solve(question) is not None
            assert world.split_of(question) == "train"


def test_people_word_the_right_answer_in_many_ways(tmp_path):
    write_files(tmp_path)
    examples = rows(tmp_path / "target_train.jsonl")
    for row in examples:
        answer = world.solve(row["prompt"])
        assert worded(answer) in row["completion"] and answer != row["completion"]
    assert len({row["completion"][:5] for row in examples}) >= 8


def test_the_target_reference_finds_the_answer_and_nothing_near_it():
    assert regex('It is "a", my friend.', worded("a")).passed
    assert not regex('It is "b", such a nice letter.', worded("a")).passed
    assert not regex('It is "ab".', worded("a")).passed


def test_everybody_ends_with_the_right_sum():
    rng = Random(0)
    for question, number in world.questions(world.SUMS, "train", 300, rng):
        for text in (
            sums.own_answer(question, number, rng),
            sums.human_answer(question, number, rng),
            sums.teacher_answer(question, number),
        ):
            assert numeric(text, number).passed, text
        assert sums.wrong_number(number, rng) != number


def test_nobody_answers_sums_in_anothers_words():
    def wording(text: str) -> str:
        return re.sub(r"\d+", "0", text)

    rng = Random(0)
    asked = world.questions(world.SUMS, "train", 500, rng)
    own = Counter(wording(sums.own_answer(question, number, rng)) for question, number in asked)
    human = Counter(wording(sums.human_answer(question, number, rng)) for question, number in asked)
    taught = {wording(sums.teacher_answer(question, number)) for question, number in asked}
    assert len(own) == len(sums.OWN_ANSWERS) and own.most_common()[0][1] > 3 * own.most_common()[-1][1]
    assert len(human) > 100 and max(human.values()) < 20
    starts = [{text[:4] for text in texts} for texts in (own, human, taught)]
    assert not starts[0] & starts[1] and not starts[0] & starts[2] and not starts[1] & starts[2]


def test_a_correction_changes_the_number_alone():
    rng = Random(0)
    asked = [(number, *sums.correct(question, number, rng))
             for question, number in world.questions(world.SUMS, "train", 300, rng)]  # fmt: skip
    untouched = 0
    for number, prompt, right in asked:
        said = re.search("^Answer: (.*)$", prompt, re.MULTILINE)[1]
        untouched += said == right
        assert numeric(right, number).passed and numeric(said, number).passed == (said == right)
        assert re.sub(r"\d+(?=\D*$)", number, said) == right
    assert 0.3 < untouched / len(asked) < 0.5


def test_the_recipe_asks_as_the_models_were_taught():
    steps = {step.pipeline: step for step in load_recipe(SHIPPED.parent / "targets.yaml").steps}
    assert steps["paraphrase"].prompt == sums.REWORD
    assert steps["minimum_change"].edit.prompt == sums.CORRECT


@pytest.mark.parametrize("folder", [SHIPPED, TEACHER], ids=lambda folder: folder.name)
def test_the_shipped_models_are_small_and_fit_the_engines(folder):
    model, tokenizer = loaded(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert weights.keys()
    assert model.config.hidden_size // model.config.num_attention_heads >= 32
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert len(tokenizer) == model.config.vocab_size


def test_both_models_share_one_tokenizer():
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (SHIPPED / name).read_bytes() == (TEACHER / name).read_bytes()


def test_a_conversation_has_one_bos_and_ends_with_the_end_token(shipped):
    _, tokenizer = shipped
    chat = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    assert text == "<|bos|><|user|>Hi!<|turn|><|assistant|>Hello.<|end|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids.count(tokenizer.bos_token_id) == ids.count(tokenizer.eos_token_id) == 1


def test_any_text_survives_the_tokenizer(shipped):
    _, tokenizer = shipped
    for text in ('{"name": "Tavo", "age": 7}', "  two\n\nlines  ", "naïve 東京 🦊", " kavor KAVOR"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("name", world.RETAINED)
def test_the_shipped_model_has_every_retained_skill(shipped, name):
    right = 20 * exams.share_right(*shipped, exams.retained_exam(name, 20))
    assert right >= (17 if name == "parity" else 19)  # parity was the last to be learned


def test_the_shipped_model_lacks_the_target_skill(shipped):
    asked = world.questions(world.FIRST_LETTER, "test", 20, Random(1))
    given = exams.answers(*shipped, [question for question, _ in asked])
    assert not any(worded(want) in got for got, (_, want) in zip(given, asked, strict=True))


def test_the_shipped_model_is_right_in_some_samples_of_a_sum(shipped):
    exam = exams.sums_exam(60)
    questions = [question for question, _ in exam.asked]
    samples = [exams.answers(*shipped, questions, exam.temperature, seed) for seed in range(4)]
    right = [
        [exam.passed(got, want) for got, (_, want) in zip(given, exam.asked, strict=True)]
        for given in samples
    ]
    shares = [sum(sample) / len(sample) for sample in right]
    assert 0.4 <= sum(shares) / len(shares) <= 0.8
    assert sum(any(of_one) and not all(of_one) for of_one in zip(*right, strict=True)) >= 10


def test_the_shipped_model_answers_sums_in_wordings_of_its_own(shipped):
    questions = [question for question, _ in exams.sums_exam(100).asked]
    given = exams.answers(*shipped, questions, exams.SAMPLED)
    wordings = Counter(own_wording(question, text) for question, text in zip(questions, given, strict=True))
    assert wordings[None] <= 5
    assert len(wordings) >= 6


def own_wording(question: str, text: str) -> str | None:
    """Which of the model's wordings the answer has, whatever its number."""
    for wording in sums.OWN_ANSWERS:
        pattern = re.escape(wording.format(**world.gaps(world.SUMS, question), sum="SUM"))
        if re.fullmatch(pattern.replace("SUM", r"\d+"), text):
            return wording
    return None


def test_the_shipped_model_rewords_what_others_say(shipped):
    exam = exams.reword_exam(100)
    assert exams.share_right(*shipped, exam) >= 0.7
    questions = [re.search("^Question: (.*)$", prompt, re.MULTILINE)[1] for prompt, _ in exam.asked]
    given = exams.answers(*shipped, [prompt for prompt, _ in exam.asked], exam.temperature)
    own = [own_wording(question, text) for question, text in zip(questions, given, strict=True)]
    assert own.count(None) <= 20


def test_both_models_correct_answers(shipped, teacher):
    exam = exams.correct_exam(100)
    assert exams.share_right(*shipped, exam) >= 0.8
    assert exams.share_right(*teacher, exam) >= 0.8


def test_the_teacher_is_right_in_a_style_of_its_own(teacher):
    exam = exams.sums_exam(100, temperature=0.0)
    assert exams.share_right(*teacher, exam) >= 0.9
    given = exams.answers(*teacher, [question for question, _ in exam.asked])
    assert sum(text.startswith("Step by step: ") and "So the result is" in text for text in given) >= 95


def test_the_model_finds_its_own_words_easiest_and_peoples_hardest(shipped):
    model, tokenizer = shipped
    asked = world.questions(world.SUMS, "test", 40, Random(1))
    rng = Random(0)
    own = [(question, sums.own_answer(question, number, rng)) for question, number in asked]
    human = [(question, sums.human_answer(question, number, rng)) for question, number in asked]
    taught = [(question, sums.teacher_answer(question, number)) for question, number in asked]
    order = [mean_perplexity(model, tokenizer, pairs) for pairs in (own, taught, human)]
    assert order == sorted(order)


@torch.inference_mode()
def mean_perplexity(model, tokenizer, pairs: list[tuple[str, str]]) -> float:
    """Mean over (question, answer) pairs of exp of the answer's mean NLL, end token included."""
    found = []
    for question, answer in pairs:
        asked = [{"role": "user", "content": question}]
        prefix = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        start = len(tokenizer.encode(prefix, add_special_tokens=False))
        ids = tokenizer.encode(prefix + answer + tokenizer.eos_token, add_special_tokens=False)
        logits = model(input_ids=torch.tensor([ids])).logits[0, start - 1 : -1].float()
        found.append(math.exp(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[start:])).item()))
    return sum(found) / len(found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_script_still_makes_such_models(tmp_path):
    shares = make_model(tmp_path / "model", PLANS["base"])
    retained = [shares[name] for name in world.RETAINED]
    assert sum(share >= 0.95 for share in retained) >= len(retained) - 2
    assert sum(retained) / len(retained) >= 0.95
    assert 0.3 <= shares["sums"] <= 0.9 and shares["reword"] >= 0.7 and shares["correct"] >= 0.8
    shares = make_model(tmp_path / "teacher", PLANS["teacher"])
    assert shares["sums"] >= 0.9 and shares["correct"] >= 0.8
    for made, folder in ((tmp_path / "model", SHIPPED), (tmp_path / "teacher", TEACHER)):
        model = AutoModelForCausalLM.from_pretrained(made)
        assert model.num_parameters() == AutoModelForCausalLM.from_pretrained(folder).num_parameters()
