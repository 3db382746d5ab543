"""Targets in the model's own words: every prompt ends once, samples are all kept, nothing is asked for twice."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from given import recipe_of, task_file

from forgetless.curator.engines import ChildEngine, Engine, EngineStats
from forgetless.curator.models import load_tokenizer
from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.pipelines.build import Build
from forgetless.pipelines.demo import world
from forgetless.schemas.errors import RecipeError, TemplateError, UsageError
from forgetless.schemas.model import Engine as EngineConfig
from forgetless.schemas.request import Request, Result

KNOWN, UNKNOWN = 12, 8
"""Prompts of a skill the model has, and of one it lacks."""
DRAWN = {"temperature": 0.7, "max_tokens": 40}
ENGINE = {"kind": "transformers"}


def task(folder: Path) -> Path:
    """With a line that is no row."""
    path = task_file(folder / "task.jsonl", KNOWN, UNKNOWN)
    path.write_text(path.read_text() + "no JSON\n")
    return path


def steps(path: Path, *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"pipeline": "import", "name": "human", "path": str(path), "reference": "reference"}, *more]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Store:
    """Every pipeline once, the model being its own teacher, editor and judge."""
    folder = tmp_path_factory.mktemp("derived")
    own = {"pipeline": "self_output", "samples": 3, "verifier": "exact", "sampling": DRAWN}
    answer, echo = (
        {"max_tokens": 40},
        {"writer": "other", "prompt": "{{ prompt }}", "sampling": {"max_tokens": 40}},
    )
    made = steps(
        task(folder),
        {**own, "name": "best"},
        {**own, "name": "two", "keep": 2, "choose": "random_correct", "none_right": "reference"},
        {**own, "name": "edited", "none_right": "minimum_change", "edit": echo},
        {"pipeline": "paraphrase", "verifier": "exact", "sampling": answer, "prompt": "{{ prompt }}"},
        {
            "pipeline": "paraphrase",
            "name": "silent",
            "sampling": answer,
            "prompt": "{{ prompt }}",
            "forbidden": ["S"],
        },
        {"pipeline": "minimum_change", "verifier": "exact", "sampling": answer, "edit": echo},
        {"pipeline": "teacher", "writer": "other", "verifier": "exact", "sampling": answer},
        {"pipeline": "self_output", "name": "judged", "samples": 2, "verifier": "judge", "sampling": DRAWN},
        {"pipeline": "score"},
    )
    writers = {"other": {"model": {"path": str(demo_model)}, "engine": ENGINE}}
    Build(recipe_of(folder / "store", demo_model, made, engine=ENGINE, writers=writers)).run()
    return Store.open(folder / "store")


def rows(store: Store, step: str, condition: str = "status <> 'intermediate'") -> list[dict[str, Any]]:
    found = store.query(f"SELECT * FROM outcomes WHERE step = '{step}' AND {condition} ORDER BY ordinal")
    return found.to_pylist()


ALL = ["best", "two", "edited", "paraphrase", "silent", "minimum_change", "teacher", "judged"]


def test_the_store_is_whole(store: Store) -> None:
    assert verify(store)[0] == []
    imported = store.query("SELECT status, count(*) AS n FROM outcomes WHERE step = 'human' GROUP BY status")
    assert {row["status"]: row["n"] for row in imported.to_pylist()} == {
        "accepted": KNOWN + UNKNOWN,
        "rejected": 1,
    }


@pytest.mark.parametrize("step", ALL)
def test_every_prompt_ends_as_accepted_or_rejected(store: Store, step: str) -> None:
    parents = {row["id"] for row in rows(store, "human", "status = 'accepted'")}
    ended = rows(store, step)
    assert {row["parent_id"] for row in ended} == parents
    assert len({row["plan_id"] for row in ended}) == len(parents)
    assert len(ended) == len(parents)


@pytest.mark.parametrize("step", ALL)
def test_a_record_begins_with_the_prompt_it_is_trained_under(store: Store, step: str) -> None:
    truths = {row["id"]: row for row in rows(store, "human", "status = 'accepted'")}
    for row in rows(store, step, "status = 'accepted'"):
        truth = truths[row["parent_id"]]
        start = truth["target_spans"][0]["start"]
        assert row["token_ids"][:start] == truth["token_ids"][:start]
        assert row["target_spans"] == [{"start": start, "end": len(row["token_ids"])}]
        assert row["token_ids"][-1] == truth["token_ids"][-1]
        assert row["messages"][:-1] == truth["messages"][:-1]


def test_all_samples_are_kept_and_the_chosen_one_is_told(store: Store) -> None:
    samples = rows(store, "best", "stage = 'sample'")
    assert len(samples) == 3 * (KNOWN + UNKNOWN) == len({row["seed"] for row in samples})
    for row in rows(store, "best", "status = 'accepted'"):
        siblings = [s for s in samples if s["parent_id"] == row["parent_id"]]
        chosen = next(s for s in siblings if s["id"] == row["previous_id"])
        assert [v["passed"] for v in chosen["verdicts"]] == [True]
        assert chosen["token_ids"] == row["token_ids"] and chosen["seed"] == row["seed"]
        right = [s for s in siblings if s["rejection"] is None]
        assert mean(chosen) == max(map(mean, right))


def mean(row: dict[str, Any]) -> float:
    given = [value for value in row["sampled_logprobs"] if value is not None]
    return sum(given) / len(given)


def test_wrong_answers_are_refused_with_the_verdict(store: Store) -> None:
    refused = [row for row in rows(store, "best") if row["status"] == "rejected"]
    assert len(refused) >= UNKNOWN / 2
    for row in refused:
        assert (
            row["rejection"]["step"] == "exact" and "none of 3 answers is right" in row["rejection"]["reason"]
        )


def test_the_reference_as_fallback(store: Store) -> None:
    ended = rows(store, "two")
    assert {row["status"] for row in ended} == {"accepted"}
    instead = [row for row in ended if row["fallback"] == "reference"]
    assert len(instead) >= UNKNOWN / 2
    truths = {row["id"]: row for row in rows(store, "human", "status = 'accepted'")}
    for row in instead:
        assert row["token_ids"] == truths[row["parent_id"]]["token_ids"]
        assert (row["ids_from"], row["model"], row["seed"]) == ("tokenizer", None, None)


def test_the_same_answer_is_kept_once(store: Store) -> None:
    """A length has one right answer, however often it is given."""
    assert len(rows(store, "two")) == KNOWN + UNKNOWN


def test_k_best_are_different_answers_best_first(tmp_path: Path, demo_model: Path) -> None:
    asked = world.questions(world.SUMS, "train", 8, Random(0))
    task = [{"prompt": q, "completion": f"Hmm, {a}!", "reference": a} for q, a in asked]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in task))
    own = {"pipeline": "self_output", "samples": 8, "keep": 3, "verifier": "numeric", "sampling": DRAWN}
    recipe = recipe_of(tmp_path / "store", demo_model, steps(tmp_path / "task.jsonl", own), engine=ENGINE)
    Build(recipe).run()
    there = Store.open(tmp_path / "store")
    assert verify(there)[0] == []
    kept: dict[str, list[dict[str, Any]]] = {}
    for row in rows(there, "self_output", "status = 'accepted'"):
        kept.setdefault(row["parent_id"], []).append(row)
    assert {len(answers) for answers in kept.values()} <= {1, 2, 3} and max(map(len, kept.values())) > 1
    for answers in kept.values():
        answers.sort(key=lambda row: json.loads(row["metadata"])["place"])
        assert len({row["text"] for row in answers}) == len(answers)
        assert [mean(row) for row in answers] == sorted(map(mean, answers), reverse=True)


def test_an_edit_is_held_against_its_limits(store: Store) -> None:
    """The editor here only answers the question again, so that what was wrong stays wrong."""
    for step in ("edited", "minimum_change"):
        edits = rows(store, step, "stage = 'correct'")
        assert len(edits) >= UNKNOWN / 2
        for row in edits:
            edit = json.loads(row["metadata"])["edit"]
            assert "".join(old for _, old, _ in edit["diff"]) == edit["own"]
            assert "".join(new for _, _, new in edit["diff"]) == row["messages"][-1]["content"]
            assert {v["verifier"] for v in row["verdicts"]} == {"exact", "edit_distance"}
    untouched = [row for row in rows(store, "minimum_change") if row["status"] == "accepted"]
    assert len(untouched) >= KNOWN / 2
    assert all("edit" not in json.loads(row["metadata"]) for row in untouched)


def test_a_refused_reply_is_kept_as_what_it_was(tmp_path: Path, demo_model: Path) -> None:
    """Whatever filter refuses it: behind the prompt, a target, and an edit instead of the answer it was made of."""
    own = {"verifier": "exact", "filters": {"max_tokens": 3}}
    made = steps(
        task(tmp_path),
        {"pipeline": "self_output", "samples": 2, "sampling": DRAWN, **own},
        {"pipeline": "minimum_change", "sampling": {"max_tokens": 40}, "edit": {"prompt": "How do I make tea?"}, **own},
    )  # fmt: skip
    Build(recipe_of(tmp_path / "store", demo_model, made, engine=ENGINE)).run()
    there = Store.open(tmp_path / "store")
    truths = {row["id"]: row for row in rows(there, "human", "status = 'accepted'")}
    refused = there.query("SELECT * FROM outcomes WHERE rejection.step = 'length'").to_pylist()
    tokenizer = load_tokenizer(demo_model)
    assert {row["stage"] for row in refused} >= {"correct", "choose"} and verify(there)[0] == []
    for row in refused:
        prompt = truths[row["parent_id"]]
        start = prompt["target_spans"][0]["start"]
        assert row["token_ids"][:start] == prompt["token_ids"][:start]
        assert row["target_spans"] == [{"start": start, "end": len(row["token_ids"])}]
        said = tokenizer.decode(row["token_ids"][start:], skip_special_tokens=True)
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert row["messages"][-1]["content"] == said


def test_what_talks_about_its_task_is_no_paraphrase(store: Store) -> None:
    said = rows(store, "silent", "stage = 'reword'")
    for row in said:
        assert ("s" in row["messages"][-1]["content"].casefold()) == (row["rejection"] is not None)


def test_a_judge_says_yes_or_no(store: Store) -> None:
    judged = rows(store, "judged", "stage = 'judge'")
    assert len(judged) == 2 * (KNOWN + UNKNOWN)
    assert {row["verdicts"][-1]["reason"] for row in judged} <= {
        "the judge says 'yes'",
        "the judge says 'no'",
    }
    samples = {row["id"]: row for row in rows(store, "judged", "stage = 'sample'")}
    assert all(row["token_ids"] == samples[row["previous_id"]]["token_ids"] for row in judged)


def test_one_join_compares_all_versions(store: Store) -> None:
    versions = store.query(
        "SELECT g.id, count(DISTINCT r.kind) AS kinds FROM records g JOIN records r ON r.parent_id = g.id "
        "WHERE g.kind = 'ground_truth' GROUP BY g.id"
    )
    assert max(versions["kinds"].to_pylist()) == 4


class Interrupted:
    """The real engine, stopped after so many results."""

    def __init__(self, folder: Path, log: Path, results: int) -> None:
        self._engine: Engine = ChildEngine(folder, EngineConfig(kind="transformers", in_flight=8), log)
        self._left = results
        self.asked: list[str] = []

    @property
    def stats(self) -> EngineStats:
        return self._engine.stats

    def generate(self, requests: Iterable[Request]) -> Iterator[Result]:
        for result in self._engine.generate(self._noted(requests)):
            yield result
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt

    def _noted(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.asked.append(request.id)
            yield request

    def close(self) -> None:
        self._engine.close()


def test_samples_that_are_paid_for_are_not_asked_for_again(tmp_path: Path, demo_model: Path) -> None:
    own = {"pipeline": "self_output", "samples": 4, "verifier": "judge", "sampling": DRAWN}
    recipe = recipe_of(tmp_path / "store", demo_model, steps(task(tmp_path), own))
    paid: set[str] = set()
    for results in (30, 30, 60, -1):
        engine = Interrupted(demo_model, tmp_path / "engine.log", results)
        try:
            Build(recipe, engine).run()
        except KeyboardInterrupt:
            assert results > 0
        assert not paid & set(engine.asked)
        there = Store.open(tmp_path / "store")
        paid = set(there.query("SELECT id FROM outcomes")["id"].to_pylist())
        assert verify(there)[0] == []
    assert len(rows(there, "self_output", "stage = 'sample'")) == 4 * (KNOWN + UNKNOWN)
    assert len(rows(there, "self_output")) == KNOWN + UNKNOWN


def test_an_interrupted_plan_goes_on_behind_rows_imported_before_it(tmp_path: Path, demo_model: Path) -> None:
    """Places in the plan shift; samples of both runs still come together."""
    own = {"pipeline": "self_output", "samples": 4, "verifier": "exact", "sampling": DRAWN}
    made = steps(task_file(tmp_path / "task.jsonl", 6, 0), own)
    with pytest.raises(KeyboardInterrupt):
        Build(
            recipe_of(tmp_path / "store", demo_model, made),
            Interrupted(demo_model, tmp_path / "engine.log", 10),
        ).run()
    earlier = {**made[0], "name": "earlier", "path": str(task_file(tmp_path / "more.jsonl", 0, 3))}
    engine = Interrupted(demo_model, tmp_path / "engine.log", -1)
    Build(recipe_of(tmp_path / "store", demo_model, [earlier, *made]), engine).run()
    there = Store.open(tmp_path / "store")
    assert len(rows(there, "self_output", "stage = 'sample'")) == 4 * (6 + 3) == len(engine.asked) + 10
    assert len({row["plan_id"] for row in rows(there, "self_output")}) == 6 + 3


def test_a_template_that_refuses_a_conversation_refuses_only_that(tmp_path: Path, demo_model: Path) -> None:
    other = tmp_path / "other.jinja"
    own = (demo_model / "chat_template.jinja").read_text()
    other.write_text(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + own
    )
    turns = [("system", "Be brief."), ("user", "What is 1 + 1?"), ("assistant", "2")]
    rows_ = [{"messages": [{"role": r, "content": c} for r, c in said]} for said in (turns, turns[1:])]
    path = tmp_path / "task.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_))
    writers = {"other": {"model": {"path": str(demo_model), "chat_template": str(other)}, "engine": ENGINE}}
    step = {"pipeline": "teacher", "writer": "other", "sampling": {"max_tokens": 40}}
    made = [{"pipeline": "import", "name": "human", "path": str(path)}, step]
    Build(recipe_of(tmp_path / "store", demo_model, made, engine=ENGINE, writers=writers)).run()
    refused, asked = rows(Store.open(tmp_path / "store"), "teacher")
    assert (refused["status"], refused["rejection"]["step"]) == ("rejected", "template")
    assert asked["rejection"] is None or asked["rejection"]["step"] != "template"


@pytest.mark.parametrize("sources", ["SELECT parent_id FROM records", "SELECT 1", "no SQL"])
def test_sources_that_name_no_ids(tmp_path: Path, demo_model: Path, sources: str) -> None:
    own = {"pipeline": "self_output", "sources": sources}
    with pytest.raises(UsageError, match="SQL: "):
        Build(recipe_of(tmp_path / "store", demo_model, steps(task(tmp_path), own))).run()


def test_a_model_without_template_answers_but_takes_no_instructions(tmp_path: Path) -> None:
    model = Path(__file__).parents[3] / "shared" / "data" / "stories260k"
    if not model.is_dir():
        pytest.skip("../shared is absent")
    path = tmp_path / "task.jsonl"
    path.write_text(json.dumps({"prompt": "Once upon a time", "completion": " a dog ran."}) + "\n")
    own = {
        "pipeline": "self_output",
        "samples": 2,
        "filters": {"finished": False},
        "sampling": {"max_tokens": 8},
    }
    Build(recipe_of(tmp_path / "store", model, steps(path, own)[1:])).plan(None)
    for step in ({"pipeline": "paraphrase"}, {**own, "verifier": "judge"}):
        with pytest.raises(TemplateError, match="no chat template"):
            Build(recipe_of(tmp_path / "store", model, [step]))


def test_a_reference_of_no_use_costs_nothing(tmp_path: Path, demo_model: Path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text(
        json.dumps({"prompt": "How many?", "completion": "None that I know.", "reference": "None"}) + "\n"
    )
    own = {"pipeline": "self_output", "verifier": "numeric", "sampling": DRAWN}
    engine = Interrupted(demo_model, tmp_path / "engine.log", -1)
    Build(recipe_of(tmp_path / "store", demo_model, steps(path, own)), engine).run()
    (row,) = rows(Store.open(tmp_path / "store"), "self_output")
    assert (row["status"], row["rejection"]["step"], engine.asked) == ("rejected", "reference", [])


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"pipeline": "paraphrase", "prompt": "{{ prompt.__class__.__mro__ }}"}, "no usable prompt"),
        ({"pipeline": "paraphrase", "prompt": "{{ nothing }}"}, "'nothing' is undefined"),
        ({"pipeline": "paraphrase", "prompt": "{% if %}"}, "no usable prompt"),
        ({"pipeline": "minimum_change"}, "needs to know what is wrong"),
        ({"pipeline": "teacher", "writer": "nobody"}, "under `writers` there are: none"),
        ({"pipeline": "self_output", "verifier": "code"}, "allow_code_execution"),
        ({"pipeline": "self_output", "keep": 9}, "there are 8 `samples`"),
        ({"pipeline": "self_output", "sampling": {"temperature": 0}}, "the same answer"),
        ({"pipeline": "self_output", "filters": {"near_duplicate": 0.8}}, "not for answers"),
        ({"pipeline": "self_output", "filters": {"languages": ["eng"]}}, "did you mean 'en'"),
    ],
)
def test_mistakes_are_found_before_anything_runs(
    tmp_path: Path, demo_model: Path, step: dict[str, Any], words: str
) -> None:
    with pytest.raises((RecipeError, ValueError), match=words):
        Build(recipe_of(tmp_path / "store", demo_model, steps(task(tmp_path), step)))
    assert not (tmp_path / "store").exists()
