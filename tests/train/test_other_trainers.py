"""Exports in the hands of the trainers they are for: each tool's own loader, in a process of its own.

The loaders come from `.trainers/`, which `make test` fills; they patch transformers and TRL as they are imported.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_dataset
from training_records import outcome

from forgetless.curator.chat.format import ChatFormat
from forgetless.curator.models import load_tokenizer, model_fingerprint, tokenizer_fingerprint
from forgetless.curator.store import Store
from forgetless.curator.store.vocab import ensure_vocab
from forgetless.schemas.errors import UsageError
from forgetless.schemas.objectives import Stm
from forgetless.schemas.request import Message
from forgetless.train.export import export

TRAINERS = Path(__file__).parents[2] / ".trainers"
TALKS = {
    "a-one": ("user: what is 1 and 1?", "assistant: it is 2"),
    "b-all": ("system: be short", "user: hi ä", "assistant: hi", "user: bye", "assistant: bye"),
    "c-last": ("user: hi", "assistant: human words", "user: bye", "assistant: own words"),
}
TOP = 5


@pytest.fixture
def store(tiny: Path, tiny_model: Any, tmp_path: Path) -> Store:
    """Three conversations, of the last of which only the last answer is a target, and a text; with the model's top 5."""
    import torch

    tokenizer = load_tokenizer(tiny)
    vocabulary, chat = tokenizer_fingerprint(tokenizer), ChatFormat.of(tokenizer)
    rows = [outcome("d-text", "bos_replay", [0, *tokenizer("a text")["input_ids"], 1], [(1, 8)], vocabulary)]
    for id, turns in TALKS.items():
        messages = [
            Message(**dict(zip(("role", "content"), turn.split(": "), strict=True))) for turn in turns
        ]
        ids, spans = chat.render(messages)
        targets = [(s.start, s.end) for s in (spans[-1:] if id == "c-last" else spans)]
        rows.append(outcome(id, "magpie", ids, targets, vocabulary).model_copy(update={"messages": messages}))
    stats = []
    for row in rows:
        with torch.no_grad():
            logprobs = tiny_model(torch.tensor([row.token_ids])).logits[0].log_softmax(-1)
        top = logprobs.topk(TOP)
        own = logprobs[:-1].gather(1, torch.tensor(row.token_ids)[1:, None])[:, 0]
        stats.append(
            {
                "id": row.id, "scorer": "s", "model": model_fingerprint(tiny), "tokenizer": vocabulary,
                "dtype": "float32", "engine": "transformers", "run_id": "run", "logprob": [None, *own.tolist()],
                "topk_ids": [None, *top.indices[:-1].tolist()], "topk_logprobs": [None, *top.values[:-1].tolist()],
            }
        )  # fmt: skip
    made = Store.create(tmp_path / "store")
    made.append("outcomes", rows)
    made.append("token_stats", stats)
    ensure_vocab(made, tokenizer, vocabulary)
    made.take_snapshot("run")
    return made


@pytest.fixture
def exported(store: Store, tmp_path: Path) -> Callable[..., Path]:
    """Exports the store; gives the folder."""

    def write(format: str, **more: Any) -> Path:
        export(store, tmp_path / "out", format, **more)
        return tmp_path / "out"

    return write


def child(script: str, tool: str, folder: Path, *arguments: object) -> Any:
    """What a script prints last, as JSON; it runs in `folder`, where only there the other trainers are importable."""
    if not (TRAINERS / tool).is_dir():
        pytest.skip(f"{tool} is not installed: run `make .trainers/.ready`")
    environment = os.environ | {
        "PYTHONPATH": str(TRAINERS), "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder.parent / "cache"),
        "AXOLOTL_DO_NOT_TRACK": "1", "DISABLE_VERSION_CHECK": "1", "MODELSCOPE_CACHE": str(folder.parent / "cache"),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def token_rows(store: Store) -> list[dict[str, list[int]]]:
    """What rows of tokens must hold, from the store alone."""
    rows = store.query("SELECT token_ids, target_spans FROM records ORDER BY id").to_pylist()
    return [
        {
            "input_ids": row["token_ids"],
            "labels": [
                token if any(s["start"] <= i < s["end"] for s in row["target_spans"]) else -100
                for i, token in enumerate(row["token_ids"])
            ],
        }
        for row in rows
    ]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return list(load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "cache")))


@pytest.mark.parametrize("format", ["trl", "axolotl", "axolotl-kd"])
def test_token_rows_are_the_stores(store: Store, exported: Callable[..., Path], format: str) -> None:
    found = rows_of(exported(format))
    assert [{name: row[name] for name in ("input_ids", "labels")} for row in found] == token_rows(store)
    if format != "trl":
        assert all(row["attention_mask"] == [1] * len(row["input_ids"]) for row in found)


def test_teacher_rows_predict_the_next_token(store: Store, exported: Callable[..., Path]) -> None:
    stats = store.query("SELECT topk_ids, topk_logprobs FROM token_stats ORDER BY id").to_pylist()
    for row, stat in zip(rows_of(exported("axolotl-kd")), stats, strict=True):
        assert row["target_token_ids"][:-1] == stat["topk_ids"][1:]
        stored = np.exp(np.array(stat["topk_logprobs"][1:], dtype=float))
        expected = stored / stored.sum(1, keepdims=True)
        assert np.exp(row["target_logprobs"][:-1]) == pytest.approx(expected, rel=1e-5)
        assert row["target_mask"] == [[int(label != -100)] * TOP for label in [*row["labels"][1:], -100]]


@pytest.mark.parametrize(
    ("format", "ids"),
    [
        ("messages", "abc"),
        ("ms-swift", "abc"),
        ("llama-factory", "ab"),
        ("prompt-completion", "ac"),
    ],
)
def test_conversations_keep_their_words(exported: Callable[..., Path], format: str, ids: str) -> None:
    found = rows_of(exported(format))
    assert "".join(row["id"][0] for row in found) == ids
    for row in found:
        turns = row.get("messages") or row["prompt"] + row["completion"]
        assert tuple(f"{turn['role']}: {turn['content']}" for turn in turns) == TALKS[row["id"]]


@pytest.mark.parametrize("format", ["trl", "axolotl", "axolotl-kd"])
def test_masked_tokens_have_no_label(store: Store, exported: Callable[..., Path], format: str) -> None:
    found = rows_of(exported(format, mask=Stm(share=0.4)))
    logprobs = [stat["logprob"] for stat in store.query("FROM token_stats ORDER BY id").to_pylist()]
    ends = set(range(6))  # the special tokens
    in_play, dropped = [], []
    for row, plain, logprob in zip(found, token_rows(store), logprobs, strict=True):
        for after, before, value in zip(row["labels"], plain["labels"], logprob, strict=True):
            if before in ends:
                assert after == before
            elif before != -100:
                in_play.append(value)
                dropped += [value] if after == -100 else []
    assert sorted(dropped) == sorted(in_play)[: round(0.4 * len(in_play))]


def test_a_mask_needs_labels_and_one_scorer(store: Store, exported: Callable[..., Path], tiny: Path) -> None:
    with pytest.raises(UsageError, match="no labels to mask"):
        exported("ms-swift", mask=Stm(threshold=2.5))
    with pytest.raises(UsageError, match="reads no scores"):
        exported("axolotl", scorer="s")
    row = store.query("FROM token_stats LIMIT 1").to_pylist()[0]
    store.append("token_stats", [{**row, "scorer": "t", "model": "other"}])
    store.take_snapshot("two")
    with pytest.raises(UsageError, match="2 models have scored"):
        exported("axolotl-kd")
    assert len(rows_of(exported("axolotl-kd", scorer="s"))) == 4
    with pytest.raises(UsageError, match=r"3 of 4 records have none"):
        exported("axolotl-kd", scorer="t")


AXOLOTL = """
import json, sys, yaml, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from axolotl.utils.data.shared import load_dataset_with_config
from axolotl.utils.data.wrappers import get_dataset_wrapper
from axolotl.utils.dict import DictDefault
config = DictDefault(yaml.safe_load(open("axolotl.yaml")))
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
tokenizer.pad_token = tokenizer.eos_token
loaded = load_dataset_with_config(config.datasets[0], use_auth_token=False)
rows, _ = get_dataset_wrapper(config.datasets[0], tokenizer, config, None, loaded)
found = {"rows": [{k: row[k] for k in ("input_ids", "attention_mask", "labels")} for row in rows]}
if config.kd_trainer:
    from axolotl.integrations.kd.collator import DataCollatorForKD
    from axolotl.integrations.kd.kernels.liger import LigerFusedLinearKLTopKLogprobLoss
    batch = DataCollatorForKD(tokenizer)([dict(row) for row in rows])
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
    hidden = model(batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
    loss = LigerFusedLinearKLTopKLogprobLoss(
        0.0, 1.0, config.kd_temperature, 0.0, compiled=False, compute_ce_loss=False,
        normalize_topk=config.kd_normalize_topk)
    def kl(shift):
        turned = [batch[name].roll(shift, 1) for name in ("target_token_ids", "target_logprobs", "target_mask")]
        return float(loss(model.lm_head.weight, hidden.hidden_states[-1], *turned, batch["labels"]))
    found["kl"] = [kl(0), kl(1), kl(-1)]
print(json.dumps(found))
"""


@pytest.mark.parametrize("format", ["axolotl", "axolotl-kd"])
def test_axolotl_takes_the_rows(store: Store, exported: Callable[..., Path], tiny: Path, format: str) -> None:
    found = child(AXOLOTL, "axolotl", exported(format), tiny)
    ones = [{"attention_mask": [1] * len(row["input_ids"]), **row} for row in token_rows(store)]
    assert found["rows"] == ones
    if format == "axolotl-kd":
        own, late, early = found[
            "kl"
        ]  # of the teacher itself: nought, where rows stand as its kernel reads them
        assert abs(own) < 1e-4
        assert min(late, early) > 0.01


SWIFT = """
import json, sys
from swift.dataset import load_dataset
from swift.model import get_processor
from swift.template import get_template
rows, _ = load_dataset(["data/train.jsonl"], load_from_cache_file=False)
found = {"rows": [row["messages"] for row in rows]}
processor = get_processor(sys.argv[1], model_type="llama")
template = get_template(processor, template_type="chatml")
template.set_mode("train")
encoded = [template.encode({"messages": row["messages"]}) for row in rows]
found["trained"] = [processor.decode([i for i in row["labels"] if i != -100]) for row in encoded]
print(json.dumps(found))
"""


def test_ms_swift_trains_the_target_turns(exported: Callable[..., Path], tiny: Path) -> None:
    found = child(SWIFT, "swift", exported("ms-swift"), tiny)
    turns = [tuple(f"{turn['role']}: {turn['content']}" for turn in row) for row in found["rows"]]
    assert turns == list(TALKS.values())
    one, both, last = found["trained"]
    assert "it is 2" in one
    assert "what" not in one
    assert "hi" in both
    assert "bye" in both
    assert "own words" in last
    assert "human" not in last


LLAMA_FACTORY = """
import json, sys, types
import peft  # asks whether there is a torchaudio before one is made up
sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # imported for sound, which text has none of
from llamafactory.data.loader import _load_single_dataset
from llamafactory.data.parser import get_dataset_list
class Settings(types.SimpleNamespace):  # its own want omegaconf, which wants another antlr4 than math-verify
    def __getattr__(self, name): return None
data = Settings(dataset_dir=".", streaming=False)
model, training = Settings(), Settings(local_process_index=0)
[attributes] = get_dataset_list(["forgetless"], data.dataset_dir)
rows = _load_single_dataset(attributes, model, data, training)
print(json.dumps([{k: row[k] for k in ("_system", "_prompt", "_response")} for row in rows]))
"""


def test_llama_factory_takes_the_conversations(exported: Callable[..., Path]) -> None:
    found = child(LLAMA_FACTORY, "llamafactory", exported("llama-factory"))
    assert [row["_system"] for row in found] == ["", "be short"]
    assert found[0]["_response"] == [{"role": "assistant", "content": "it is 2"}]
    turns = found[1]["_prompt"] + found[1]["_response"]
    assert [f"{turn['role']}: {turn['content']}" for turn in turns] == list(TALKS["b-all"][1:])


def test_trl_trains_the_completion_alone(exported: Callable[..., Path], tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer = load_tokenizer(tiny)
    rows = load_dataset(str(exported("prompt-completion")), split="train", cache_dir=str(tmp_path / "cache"))
    settings = SFTConfig(output_dir=str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to="none")
    model = AutoModelForCausalLM.from_pretrained(tiny)
    trainer = SFTTrainer(model=model, args=settings, train_dataset=rows, processing_class=tokenizer)
    labels = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])["labels"]
    trained = [tokenizer.decode([i for i in row if i != -100]) for row in labels.tolist()]
    assert trained == ["it is 2<|end|>", "own words<|end|>"]
