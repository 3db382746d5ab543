"""Replay that another checkpoint writes: its rows say so, are its own samples, and are made once."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from given import recipe_of

from forgetless.curator.models import load_model, load_tokenizer, model_fingerprint, stop_ids
from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.pipelines.build import Build, BuildReport
from forgetless.schemas.errors import RecipeError
from forgetless.schemas.recipe import Recipe

VLLM, TRANSFORMERS = {"kind": "vllm", "enforce_eager": True}, {"kind": "transformers"}
BOS = {"pipeline": "bos_replay", "count": 40, "sampling": {"max_tokens": 120}}
SHORT = {"max_tokens": 60}
MAGPIE = {
    "pipeline": "magpie", "count": 30, "turns": 2, "instruction": SHORT, "answer": SHORT,
    "filters": {"max_tokens": 48},
}  # fmt: skip
BY_PREVIOUS = [
    {**BOS, "name": "previous", "writer": "previous"},
    {**MAGPIE, "name": "previous_chats", "writer": "previous"},
]


@pytest.fixture(scope="module")
def previous(demo_model: Path) -> Path:
    """Weights of its own behind the demo model's vocabulary and template."""
    return demo_model.parent / "teacher"


def recipe(
    folder: Path,
    model: Path,
    writer: Path,
    steps: list[dict[str, Any]],
    engine: dict[str, Any] = TRANSFORMERS,
) -> Recipe:
    """`engine` is the writer's."""
    writers = {"previous": {"model": {"path": str(writer)}, "engine": engine}}
    return recipe_of(folder / "store", model, steps, engine=TRANSFORMERS, writers=writers)


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, demo_model: Path, previous: Path
) -> tuple[Recipe, BuildReport, Store]:
    """By the recipe's model, and by another checkpoint in vLLM."""
    made = recipe(tmp_path_factory.mktemp("replay"), demo_model, previous, [BOS, *BY_PREVIOUS], VLLM)
    report = Build(made).run()
    return made, report, Store.open(made.store)


def rows(store: Store, condition: str = "status = 'accepted'") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.query(f"SELECT * FROM outcomes WHERE {condition}").to_pylist()
    return found


def test_rows_say_who_wrote_them(
    built: tuple[Recipe, BuildReport, Store], demo_model: Path, previous: Path
) -> None:
    _, report, store = built
    wrote = store.query(
        "SELECT step, kind, model, count(*) AS n FROM outcomes WHERE status <> 'intermediate' GROUP BY ALL"
    )
    assert {(row["step"], row["kind"]): (row["model"], row["n"]) for row in wrote.to_pylist()} == {
        ("bos_replay", "bos_replay"): (model_fingerprint(demo_model), 40),
        ("previous", "bos_replay"): (model_fingerprint(previous), 40),
        ("previous_chats", "magpie"): (model_fingerprint(previous), 30),
    }
    assert report.engines["model"]["requests"] == 40 and report.engines["previous"]["requests"] >= 70
    assert verify(store)[0] == []
    entered = store.query(
        "SELECT step, sum(rows) AS n FROM survival WHERE stage IN ('text', 'instruction_1') GROUP BY step"
    )
    assert {row["step"]: row["n"] for row in entered.to_pylist()} == {
        "bos_replay": 40, "previous": 40, "previous_chats": 30,
    }  # fmt: skip


@pytest.mark.parametrize("step", ["previous", "previous_chats"])
def test_ids_and_logprobs_are_the_writers_as_they_were_sampled(
    built: tuple[Recipe, BuildReport, Store], demo_model: Path, previous: Path, step: str
) -> None:
    _, _, store = built
    ends = set(stop_ids(demo_model, load_tokenizer(demo_model)))
    chat_end = load_tokenizer(demo_model).convert_tokens_to_ids("<|end|>")
    models = [load_model(folder, "float32", device="cpu") for folder in (previous, demo_model)]
    off: list[list[float]] = [[], []]
    records = rows(store, f"status = 'accepted' AND step = '{step}'")
    assert len(records) >= 10
    for row in records:
        assert row["ids_from"] == "engine" and row["tokenizer"]
        ids, sampled = row["token_ids"], row["sampled_logprobs"]
        if row["finish_reason"] == "stop":  # BOS text ends as a text, a conversation as a turn
            assert ids[-1] == chat_end if row["messages"] else ids[-1] in ends
            assert sampled[-1] is not None
        where = [at for at, value in enumerate(sampled) if value is not None]
        last = row["target_spans"][-1]
        assert set(range(last["start"], last["end"])) <= set(where)
        for model, differences in zip(models, off, strict=True):
            with torch.inference_mode():
                logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            differences += [abs(logprobs[at - 1, ids[at]].item() - sampled[at]) for at in where]
    own, others = (sum(differences) / len(differences) for differences in off)
    assert own < 0.05 < 0.2 < others


def test_a_refused_question_ends_as_it_was_sampled(built: tuple[Recipe, BuildReport, Store]) -> None:
    made, _, store = built
    turn = load_tokenizer(Path(made.model.path)).convert_tokens_to_ids("<|turn|>")
    refused = rows(store, "status = 'rejected' AND stage LIKE 'instruction%' AND finish_reason = 'stop'")
    assert refused
    for row in refused:
        assert row["token_ids"][-1] == turn and row["sampled_logprobs"][-1] is not None


def test_what_is_there_is_not_made_again(built: tuple[Recipe, BuildReport, Store]) -> None:
    made, _, store = built
    assert [(plan.planned, plan.missing) for plan in Build(made).plan(store)] == [(40, 0), (40, 0), (30, 0)]
    assert Build(made).run().run_id is None


def test_another_checkpoint_makes_a_set_of_its_own(
    built: tuple[Recipe, BuildReport, Store], demo_model: Path, previous: Path, tmp_path: Path
) -> None:
    made, _, store = built
    later = shutil.copytree(previous, tmp_path / "later")
    model = load_model(later, device="cpu")
    model.get_output_embeddings().weight.data.mul_(1.01)
    model.save_pretrained(later)
    steps = [BOS, *BY_PREVIOUS]
    own, *others = Build(recipe(made.store.parent, demo_model, later, steps, VLLM)).plan(store)
    assert (own.missing, own.notes) == (0, [])
    assert [plan.missing for plan in others] == [40, 30]
    assert all("a new set" in plan.notes[0] and "(model " in plan.notes[0] for plan in others)
    copied = recipe(made.store.parent, demo_model, shutil.copytree(previous, tmp_path / "copy"), steps, VLLM)
    assert [plan.missing for plan in Build(copied).plan(store)] == [
        0,
        0,
        0,
    ]  # the content counts, not the place


def test_the_model_as_its_own_writer_makes_what_it_makes_without(tmp_path: Path, demo_model: Path) -> None:
    for step in BOS, MAGPIE:
        alone = Build(recipe_of(tmp_path / "store", demo_model, [step], engine=TRANSFORMERS)).digests()
        written = Build(recipe(tmp_path, demo_model, demo_model, [{**step, "writer": "previous"}])).digests()
        assert alone == written


def test_an_interrupted_writer_goes_on(
    tmp_path: Path, demo_model: Path, previous: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(count: int) -> None:
        Build(recipe(tmp_path, demo_model, previous, [{**BY_PREVIOUS[1], "count": count}])).run()

    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # behind the first questions, before their answers
        patch.setattr("forgetless.pipelines.magpie.Reply.ask", stop)
        with pytest.raises(KeyboardInterrupt):
            build(8)
    store = Store.open(tmp_path / "store")
    questions = {row["id"] for row in rows(store, "stage = 'instruction_1'")}
    assert len(questions) == 8
    build(12)  # and more of them is asked for at the same time
    store = Store.open(tmp_path / "store")
    assert questions < {row["id"] for row in rows(store, "stage = 'instruction_1'")}
    ended = rows(store, "status <> 'intermediate'")
    assert len(ended) == len({row["plan_id"] for row in ended}) == 12 and verify(store)[0] == []
    assert {row["model"] for row in ended} == {model_fingerprint(previous)}


@pytest.mark.parametrize("step", BY_PREVIOUS, ids=["bos_replay", "magpie"])
def test_ids_that_the_model_would_read_otherwise_are_refused(
    tmp_path: Path, demo_model: Path, previous: Path, step: dict[str, Any]
) -> None:
    with pytest.raises(RecipeError, match="writer: previous` has another vocabulary") as caught:
        Build(recipe(tmp_path, demo_model, demo_model.parent / "small", [step]))
    assert "`teacher`" in str(caught.value.hint)
    template = tmp_path / "other.jinja"
    template.write_text((demo_model / "chat_template.jinja").read_text().replace("<|turn|>", "\n"))
    other = {"model": {"path": str(previous), "chat_template": str(template)}}
    with pytest.raises(RecipeError, match="has another chat template") as caught:
        Build(recipe_of(tmp_path / "store", demo_model, [step], writers={"previous": other}))
    assert "`writers.previous.model.chat_template`" in str(caught.value.hint)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("step", BY_PREVIOUS, ids=["bos_replay", "magpie"])
@pytest.mark.parametrize("server", ["openai", "vllm"])
def test_a_server_is_no_writer_of_replay(
    tmp_path: Path, demo_model: Path, previous: Path, step: dict[str, Any], server: str
) -> None:
    engine = {"kind": "openai", "model": "m", "base_url": "http://localhost:1/v1", "server": server}
    for writer in ({"engine": engine}, {"engine": engine, "model": {"path": str(previous)}}):
        with pytest.raises(RecipeError, match=r"`writer` is 'previous', a server.*an engine of this machine"):
            recipe_of(tmp_path / "store", demo_model, [step], writers={"previous": writer})
    with pytest.raises(RecipeError, match="`writer` is 'previous'; under `writers` there are: none"):
        recipe_of(tmp_path / "store", demo_model, [step])
