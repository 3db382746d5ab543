"""The demo world holds together, and the shipped model has learned it."""

import json
from pathlib import Path
from random import Random

import pytest
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from forgetless.curator.verifiers.regex import regex
from forgetless.pipelines import demo
from forgetless.pipelines.demo import make_model, world
from forgetless.pipelines.demo.files import worded, write_files

SHIPPED = Path(demo.__file__).parent / "model"
SKILLS = {**world.RETAINED, world.TARGET: world.FIRST_LETTER}


@pytest.fixture(scope="module")
def shipped():
    return AutoModelForCausalLM.from_pretrained(SHIPPED).eval(), AutoTokenizer.from_pretrained(SHIPPED)


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
    assert len(written) == 1 + len(SKILLS)
    for path in written:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_no_question_is_in_both_splits(tmp_path):
    write_files(tmp_path)
    trained = {row["prompt"] for row in rows(tmp_path / "target_train.jsonl")}
    asked = {row["prompt"] for row in rows(tmp_path / "tasks" / f"{world.TARGET}.jsonl")}
    assert not trained & asked
    rng = Random(0)
    learned = {turn["content"] for _ in range(2000) for turn in make_model.conversation(rng)}
    for name in world.RETAINED:
        prompts = [row["prompt"] for row in rows(tmp_path / "tasks" / f"{name}.jsonl")]
        assert len(set(prompts)) == len(prompts)
        assert not learned & set(prompts)


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


def test_the_shipped_model_is_small_and_fits_the_engines(shipped):
    model, tokenizer = shipped
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 8_000_000
    with safe_open(SHIPPED / "model.safetensors", "pt") as weights:
        assert weights.keys()
    assert model.config.hidden_size // model.config.num_attention_heads >= 32
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert len(tokenizer) == model.config.vocab_size


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
    asked = world.questions(world.RETAINED[name], "test", 20, Random(1))
    given = make_model.answers(*shipped, [question for question, _ in asked])
    right = sum(got == want for got, (_, want) in zip(given, asked, strict=True))
    assert right >= (17 if name == "parity" else 19)  # parity was the last to be learned


def test_the_shipped_model_lacks_the_target_skill(shipped):
    asked = world.questions(world.FIRST_LETTER, "test", 20, Random(1))
    given = make_model.answers(*shipped, [question for question, _ in asked])
    assert not any(worded(want) in got for got, (_, want) in zip(given, asked, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_script_still_makes_such_a_model(tmp_path):
    shares = make_model.make_model(tmp_path)
    assert sum(share >= 0.95 for share in shares.values()) >= len(shares) - 2
    assert sum(shares.values()) / len(shares) >= 0.95
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.num_parameters() == AutoModelForCausalLM.from_pretrained(SHIPPED).num_parameters()
