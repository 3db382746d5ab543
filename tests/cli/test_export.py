"""`forgetless export` on a small store: loadable, honest about what it loses, careful with folders."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from datasets import load_dataset

from forgetless.cli.export import FORMATS as COMMANDS
from forgetless.cli.export import export
from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.outcome import Outcome, Span
from forgetless.schemas.request import Message
from forgetless.train.card import LOST
from forgetless.train.formats import FORMATS

RECIPE = '{"name": "ours", "store": "/home/me/store", "model": {"path": "/home/me/models/llama"}}'


def row(number: int, kind: str, messages: list[Message]) -> Outcome:
    return Outcome(
        id=f"{kind}{number}", plan_id="p", run_id="run", step="s", digest="d", pipeline="test", stage="test",
        kind=kind, status="accepted", ordinal=number, messages=messages, text="text",
        token_ids=[1, 10, 11, 12, 2], target_spans=[Span(start=2, end=5)], ids_from="engine",
        tokenizer="vocabulary", model="weights", sampled_logprobs=[None, None, -0.5, -1.0, -0.1],
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = Store.create(tmp_path / "store")
    chat = [Message(role="user", content="say ä"), Message(role="assistant", content='ä\n"ö"')]
    made.append("outcomes", [row(i, "magpie", chat) for i in range(7)])
    made.append("outcomes", [row(i, "bos_replay", []) for i in range(5)])
    made.append("runs", [{"run_id": "run", "verb": "build", "event": "started", "recipe": RECIPE}])
    made.take_snapshot("run")
    made.append("outcomes", [row(99, "magpie", chat)])
    return made.path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(export, [str(a) for a in arguments], catch_exceptions=False)


CHATS = ["prompt-completion", "messages", "ms-swift", "llama-factory"]
TOKENS = ["trl", "axolotl"]


@pytest.mark.parametrize(
    ("form", "count"), [*((form, 7) for form in CHATS), *((form, 12) for form in TOKENS), ("parquet", 12)]
)
def test_every_format_loads(store: Path, tmp_path: Path, form: str, count: int) -> None:
    result = run(store, "--to", tmp_path / "out", "--format", form, "--json")
    report = json.loads(result.stdout)
    assert (report["records"], report["left_out"], report["snapshot"]) == (count, 12 - count, 1)
    assert report["target_tokens"] == 3 * count
    data = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(data) == ["train"]
    assert len(data["train"]) == count
    first = data["train"][-1]
    if form in TOKENS:
        assert (first["input_ids"], first["labels"]) == ([1, 10, 11, 12, 2], [-100, -100, 11, 12, 2])
    elif form in CHATS:
        turns = first["completion"] if form == "prompt-completion" else first["messages"]
        loss = {"loss": True} if form == "ms-swift" else {}
        assert turns[-1] == {"role": "assistant", "content": 'ä\n"ö"', **loss}
    else:
        assert first["token_ids"] == [1, 10, 11, 12, 2]
        assert first["sampled_logprobs"][2] == -0.5


def test_the_command_knows_every_format() -> None:
    assert list(COMMANDS) == list(FORMATS)
    assert set(LOST) == set(FORMATS)


@pytest.mark.parametrize("form", [*CHATS, *TOKENS, "parquet"])
def test_the_card_says_what_made_it_and_what_is_lost(store: Path, tmp_path: Path, form: str) -> None:
    run(store, "--to", tmp_path / "out", "--format", form, "--where", "kind = 'magpie'")
    card = (tmp_path / "out" / "README.md").read_text()
    for part in (
        "name: ours",
        "weights",
        "snapshot 1",
        "| magpie |",
        "Survival",
        "not carry",
        "kind = 'magpie'",
    ):
        assert part in card
    assert "path: llama" in card
    assert "/home/me" not in card
    assert "bos_replay" not in card.split("## Survival")[0]


def test_trl_takes_the_rows(store: Path, tmp_path: Path) -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    run(store, "--to", tmp_path / "out", "--format", "trl")
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    batch = DataCollatorForLanguageModeling(pad_token_id=0)([rows[0], rows[11]])
    assert batch["labels"].tolist() == [[-100, -100, 11, 12, 2]] * 2


def test_where_and_snapshot(store: Path, tmp_path: Path) -> None:
    Store.open(store).take_snapshot("later")
    out = ("--to", tmp_path / "out", "--format", "trl")
    assert run(store, *out).stdout.startswith("13 records, 39 target tokens")
    assert run(store, *out, "--snapshot", 1).stdout.startswith("12 records")
    assert run(store, *out, "--where", "kind = 'magpie' -- all").stdout.startswith("8 records")
    result = run(store, "--to", tmp_path / "out", "--format", "messages")
    assert "5 left out" in result.stderr


def test_a_mask_by_the_stored_perplexity(store: Path, tmp_path: Path) -> None:
    opened = Store.open(store)
    logprob = [None, -9.0, -0.5, -1.0, -0.1]
    common = {
        "scorer": "s",
        "model": "m",
        "tokenizer": "vocabulary",
        "dtype": "float32",
        "engine": "vllm",
        "run_id": "r",
    }
    ids = opened.query("SELECT id FROM records")["id"].to_pylist()
    opened.append("token_stats", [{"id": id, "logprob": logprob, **common} for id in ids])
    opened.take_snapshot("scored")
    out = ("--to", tmp_path / "out", "--format", "axolotl")
    assert "39 target tokens (13 masked out)" in run(store, *out, "--mask-threshold", 2.5).stdout
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows[0]["labels"] == [-100, -100, 11, -100, 2]
    assert "13 of them masked out" in (tmp_path / "out" / "README.md").read_text()
    assert "(13 masked out)" in run(store, *out, "--mask-share", 0.334).stdout
    assert run(store, *out, "--mask-share", 0.3, "--mask-threshold", 2).exit_code == 2
    with pytest.raises(UsageError, match=r"topk_ids, topk_logprobs.*13 of 13 records have none") as raised:
        run(store, "--to", tmp_path / "out", "--format", "axolotl-kd")
    assert "--top-k" in raised.value.hint


def test_what_a_trainer_reads_lies_beside_the_data(store: Path, tmp_path: Path) -> None:
    run(store, "--to", tmp_path / "out", "--format", "llama-factory")
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())["forgetless"]
    assert (tmp_path / "out" / info["file_name"]).is_file()
    run(store, "--to", tmp_path / "out", "--format", "axolotl")
    assert not (tmp_path / "out" / "dataset_info.json").exists()
    config = (tmp_path / "out" / "axolotl.yaml").read_text()
    assert config in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("kind = 'none'", "none of 0 selected"),
        ("colour = 1", "SQL: .*colour"),
        ("kind = 'bos_replay'", "none of 5"),
    ],
)
def test_what_cannot_be_exported_is_said(store: Path, tmp_path: Path, where: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(store, "--to", tmp_path / "out", "--format", "messages", "--where", where)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_folders_of_others_are_left_alone(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(store, "--to", out, "--format", "trl")
    run(store, "--to", out, "--format", "messages")
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*")) == [
        "README.md", "data", "data/train.jsonl", "forgetless.json",
    ]  # fmt: skip
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"'notes.txt' among them"):
        run(store, "--to", out, "--format", "trl")
    assert (out / "notes.txt").read_text() == "mine"
    with pytest.raises(UsageError, match="no export wrote"):
        run(store, "--to", store, "--format", "trl")
