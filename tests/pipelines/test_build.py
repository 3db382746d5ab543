"""Whole builds with real engines: every planned id ends, ids are the engine's, sets never mix."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from given import recipe_of

from forgetless.curator.engines import ChildEngine, EngineStats
from forgetless.curator.models import load_tokenizer
from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.pipelines.author import Author
from forgetless.pipelines.build import Build, BuildReport
from forgetless.pipelines.draft import Ask
from forgetless.schemas.model import Engine, Model
from forgetless.schemas.recipe import Recipe
from forgetless.schemas.request import Request, Result, Sampling

VLLM = {"kind": "vllm", "enforce_eager": True}
TRANSFORMERS = {"kind": "transformers"}


class RecordingEngine:
    """The recipe's own engine, with everything that crosses its boundary kept."""

    def __init__(self, recipe: Recipe, log: Path) -> None:
        self._engine = ChildEngine(Path(recipe.model.path), recipe.engine, log)
        self.requests: dict[str, Request] = {}
        self.results: dict[str, Result] = {}

    @property
    def stats(self) -> EngineStats:
        return self._engine.stats

    def generate(self, requests: Iterable[Request]) -> Iterator[Result]:
        for result in self._engine.generate(self._kept(requests)):
            assert result.id not in self.results
            self.results[result.id] = result
            yield result

    def _kept(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.requests[request.id] = request
            yield request

    def close(self) -> None:
        self._engine.close()


def run(recipe: Recipe, tmp: Path) -> tuple[BuildReport, RecordingEngine, Store]:
    engine = RecordingEngine(recipe, tmp / "engine.log")
    report = Build(recipe, engine).run()
    return report, engine, Store.open(recipe.store)


def check_boundary(store: Store, engine: RecordingEngine, bos: int) -> None:
    """Rows hold exactly the ids that the engine was given and gave back, with one leading BOS and own seeds."""
    rows = store.query("SELECT * FROM outcomes").to_pylist()
    seeds = [request.seed for request in engine.requests.values()]
    assert len(set(seeds)) == len(seeds) == len(rows) == len(engine.results)
    tokenizer = load_tokenizer(Path(engine._engine.folder))
    by_seed = {request.seed: request for request in engine.requests.values()}
    for row in rows:
        request = by_seed[row["seed"]]
        result = engine.results[request.id]
        assert result.prompt_ids == request.prompt_ids
        sampled = result.prompt_ids + result.token_ids
        if (
            row["status"] == "intermediate"
        ):  # the turn's end is the template's, and the answer's markup follows
            end = len(sampled) - 1
            assert row["token_ids"][:end] == sampled[:end]
            assert tokenizer.decode(row["token_ids"][end:]) == "<|turn|><|assistant|>"
        else:
            assert row["token_ids"] == sampled
        if row["status"] == "accepted":
            span = row["target_spans"][-1]
            assert row["token_ids"][span["start"] : span["end"]] == result.token_ids
            assert row["sampled_logprobs"][span["start"] : span["end"]] == pytest.approx(
                result.logprobs, rel=1e-6
            )
        assert row["token_ids"][0] == bos
        # A model may end its text with the id it begins with (stories260k does); amid a text it is refused.
        amid = bos in row["token_ids"][1:-1]
        assert amid == ((row["rejection"] or {}).get("step") == "start_token")


def test_demo_model_with_vllm(tmp_path: Path, demo_model: Path) -> None:
    steps = [
        {"pipeline": "bos_replay", "name": "bos", "count": 300, "sampling": {"max_tokens": 200}},
        {"pipeline": "magpie", "count": 300, "instruction": {"max_tokens": 100}, "answer": {"temperature": 0, "max_tokens": 100}},
    ]  # fmt: skip
    recipe = recipe_of(tmp_path / "store", demo_model, steps, engine=VLLM)
    report, engine, store = run(recipe, tmp_path)
    ended = {step["name"]: step["accepted"] + step["rejected"] for step in report.steps}
    assert ended == {"bos": 300, "magpie": 300}
    ids = store.query("SELECT id FROM outcomes WHERE status <> 'intermediate'")["id"].to_pylist()
    assert len(set(ids)) == 600
    check_boundary(store, engine, bos=load_tokenizer(demo_model).bos_token_id)
    assert verify(store)[0] == []
    survival = store.query("SELECT sum(rows) AS n FROM survival WHERE stage IN ('text', 'instruction_1')")
    assert survival["n"][0].as_py() == 600


def test_stories_with_vllm(tmp_path: Path, shared: Path) -> None:
    steps = [{"pipeline": "bos_replay", "name": "bos", "count": 300, "sampling": {"max_tokens": 256}}]
    recipe = recipe_of(tmp_path / "store", shared / "stories260k", steps, engine=VLLM)
    report, engine, store = run(recipe, tmp_path)
    assert report.steps[0]["accepted"] + report.steps[0]["rejected"] == 300
    check_boundary(store, engine, bos=1)
    words = store.query("SELECT count(*) AS n FROM records WHERE contains(text, ' the ')")["n"][0].as_py()
    assert words > 250  # English stories


def test_more_of_the_same_adds_and_a_change_makes_a_new_set(
    tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(count: int, max_tokens: int) -> tuple[BuildReport, int]:
        steps = [{"pipeline": "bos_replay", "count": count, "sampling": {"max_tokens": max_tokens}}]
        report, engine, _ = run(
            recipe_of(tmp_path / "store", demo_model, steps, engine=TRANSFORMERS), tmp_path
        )
        return report, len(engine.requests)

    assert build(30, 24)[1] == 30
    first = set(Store.open(tmp_path / "store").query("SELECT id FROM outcomes")["id"].to_pylist())
    assert build(60, 24)[1] == 30
    more = set(Store.open(tmp_path / "store").query("SELECT id FROM outcomes")["id"].to_pylist())
    assert first < more and len(more) == 60
    again, asked = build(60, 24)
    assert asked == 0 and again.run_id is None
    assert "new set" not in capsys.readouterr().err
    assert build(60, 25)[1] == 60
    said = capsys.readouterr().err
    assert (
        "a new set" in said
        and "sampling.max_tokens 24 → 25" in said
        and "60 rows of the other set stay" in said
    )
    store = Store.open(tmp_path / "store")
    sets = store.query(
        "SELECT digest, count(*) AS n, count(DISTINCT max_tokens) AS m FROM outcomes GROUP BY ALL"
    )
    assert sets["n"].to_pylist() == [60, 60] and sets["m"].to_pylist() == [1, 1]


def test_snapshots_pin_what_was_there(tmp_path: Path, demo_model: Path) -> None:
    for count in (5, 9):
        steps = [{"pipeline": "bos_replay", "count": count, "sampling": {"max_tokens": 8}}]
        run(recipe_of(tmp_path / "store", demo_model, steps, engine=TRANSFORMERS), tmp_path)
    store = Store.open(tmp_path / "store")
    assert [store.query("SELECT count(*) AS n FROM outcomes", s)["n"][0].as_py() for s in (1, 2)] == [5, 9]


def test_magpie_turns_steering_and_questions(tmp_path: Path, demo_model: Path) -> None:
    questions = tmp_path / "q.jsonl"
    lines = [
        r'{"instruction": "Shout the word \"bav\"."}',
        "{broken",
        '{"other": 1}',
        '{"instruction": "What is the capital of Peru?"}',
    ]
    questions.write_text("\n".join(lines))
    short = {"max_tokens": 60}
    steps = [
        {"pipeline": "magpie", "name": "turns", "count": 6, "turns": 2, "instruction": short, "answer": short},
        {"pipeline": "magpie", "name": "steered", "count": 4, "instruction": short, "answer": short,
         "steering": [{"task": "facts", "prompt": "Ask for a fact."}, {"task": "words", "prompt": "Ask for a word."}]},
        {"pipeline": "magpie", "name": "prepared", "questions": {"path": str(questions)}, "answer": short},
    ]  # fmt: skip
    recipe = recipe_of(tmp_path / "store", demo_model, steps, engine=TRANSFORMERS)
    _, engine, store = run(recipe, tmp_path)
    rows = store.query("SELECT * FROM outcomes WHERE status <> 'intermediate' ORDER BY ordinal").to_pylist()
    by_step = {
        name: [row for row in rows if row["step"] == name] for name in ("turns", "steered", "prepared")
    }
    assert {name: len(found) for name, found in by_step.items()} == {"turns": 6, "steered": 4, "prepared": 4}
    for row in by_step["turns"]:
        if row["status"] == "accepted":
            assert [m["role"] for m in row["messages"]] == ["user", "assistant"] * 2
            assert len(row["target_spans"]) == 2
            assert row["text"].count("<|end|>") == 2
    assert [row["task"] for row in by_step["steered"]] == ["facts", "words"] * 2
    for row in by_step["steered"]:  # the steering text is not part of the record
        assert "Ask for" not in row["text"] and row["text"].startswith("<|bos|><|user|>")
        assert any(
            "Ask for" in load_tokenizer(demo_model).decode(r.prompt_ids) for r in engine.requests.values()
        )
    broken = [row for row in by_step["prepared"] if row["status"] == "rejected"]
    assert [
        "q.jsonl:2" in broken[0]["rejection"]["reason"],
        "q.jsonl:3" in broken[1]["rejection"]["reason"],
    ] == [True] * 2
    assert by_step["prepared"][0]["messages"][0]["content"] == 'Shout the word "bav".'
    assert by_step["prepared"][0]["messages"][1]["content"] == "BAV"


def test_filters_refuse_and_count(tmp_path: Path, demo_model: Path) -> None:
    steps = [{
        "pipeline": "bos_replay", "count": 40, "sampling": {"max_tokens": 12, "temperature": 0.2},
        "filters": {"finished": True, "min_tokens": 4}, "max_reject_share": 0.1,
    }]  # fmt: skip
    report, _, store = run(recipe_of(tmp_path / "store", demo_model, steps, engine=TRANSFORMERS), tmp_path)
    survival = {row["ended"]: row["rows"] for row in store.query("SELECT * FROM survival").to_pylist()}
    assert sum(survival.values()) == 40 and survival["finished"] > 0
    assert report.too_many_rejects() == ["bos_replay"]
    reasons = store.query("SELECT reason, score FROM rejects WHERE filter = 'finished'").to_pylist()
    assert all(row["score"] == 12 for row in reasons)


def test_config_is_checked_before_the_engine(tmp_path: Path, demo_model: Path) -> None:
    steps = [{"pipeline": "bos_replay", "name": n, "count": 2} for n in ("a", "b")]
    with pytest.raises(ValueError, match="would make the same rows"):
        Build(recipe_of(tmp_path / "store", demo_model, steps))
    assert not (tmp_path / "store").exists()
    assert Engine().kind == "vllm"


def test_duplicates_are_told_across_runs(tmp_path: Path, demo_model: Path) -> None:
    for count in (3, 5):  # greedy, so that every text is the same
        steps = [{"pipeline": "bos_replay", "count": count, "sampling": {"max_tokens": 20, "temperature": 0}}]
        report, _, _ = run(recipe_of(tmp_path / "store", demo_model, steps, engine=TRANSFORMERS), tmp_path)
        assert (report.steps[0]["accepted"], report.steps[0]["rejected"]) == (1, count - 1)


def test_a_run_stopped_before_its_snapshot_gets_it_later(
    tmp_path: Path, demo_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"pipeline": "bos_replay", "count": 3, "sampling": {"max_tokens": 8}}]
    recipe = recipe_of(tmp_path / "store", demo_model, steps, engine=TRANSFORMERS)

    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "take_snapshot", stop)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path)
    report, engine, store = run(recipe, tmp_path)
    assert engine.requests == {} and report.snapshot == 1
    assert store.query("SELECT count(*) AS n FROM outcomes", 1)["n"][0].as_py() == 3


def test_a_stop_text_is_cut_whole(demo_model: Path) -> None:
    author = Author(Model(path=str(demo_model)), Engine())
    ids = author.tokenizer.encode("Paris.\n### User:", add_special_tokens=False)
    ask = Ask([], Sampling(), stop_ids=[], stop_texts=["\n### User:"])
    result = Result(id="a", prompt_ids=[], token_ids=ids, logprobs=[-1.0] * len(ids), finish_reason="stop")
    answer = author.read(result, ask, own=False)
    assert answer.text == "Paris." and answer.ids + answer.end_ids == ids
