"""A tiny random Llama with a chat template, and a store of records for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_records import outcome, scores

from forgetless.curator.models import load_tokenizer, model_fingerprint, tokenizer_fingerprint
from forgetless.curator.recipes import load_suite
from forgetless.curator.store import Store
from forgetless.schemas.suite import Suite

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny tensors: on a busy machine a second thread makes them ten times slower, not faster."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer Llama over bytes, with a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate(SPECIAL + alphabet)}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, bos_token="<s>", eos_token="</s>", additional_special_tokens=SPECIAL[2:]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_model(tiny: Path) -> Any:
    """The random Llama, in fp32."""
    from forgetless.curator.models import load_model

    return load_model(tiny, "float32")


@pytest.fixture
def make_store(tiny: Path, tmp_path: Path) -> Callable[[], Store]:
    """Makes a store of 40 question-answer records, 40 BOS texts, all scored, and a snapshot."""

    def make() -> Store:
        from forgetless.curator.chat.format import ChatFormat
        from forgetless.schemas.request import Message

        tokenizer = load_tokenizer(tiny)
        vocabulary, chat = tokenizer_fingerprint(tokenizer), ChatFormat.of(tokenizer)
        rows = []
        for i in range(40):
            question, answer = f"what is {i} and {i}?", f"it is {2 * i}"
            ids, spans = chat.render(
                [Message(role="user", content=question), Message(role="assistant", content=answer)]
            )
            rows.append(
                outcome(f"g{i:02}", "ground_truth", ids, [(s.start, s.end) for s in spans], vocabulary)
            )
            text = [0, *tokenizer(f"a text, the {i}th of forty" * (1 + i % 3))["input_ids"], 1]
            rows.append(outcome(f"r{i:02}", "bos_replay", text, [(1, len(text))], vocabulary))
        store = Store.create(tmp_path / "store")
        store.append("outcomes", rows)
        store.append("token_stats", [scores(row, model_fingerprint(tiny), vocabulary) for row in rows])
        store.take_snapshot("run")
        return store

    return make


@pytest.fixture
def suite(tmp_path: Path) -> Callable[..., Suite]:
    """Reads a suite from YAML, its files beside it."""

    def make(**sections: Any) -> Suite:
        (tmp_path / "suite.yaml").write_text(json.dumps(sections))  # JSON is YAML
        return load_suite(tmp_path / "suite.yaml")

    return make
