"""Suites: what they read, what they need, and what they say where it is not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from measured import write

from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.model import Model
from forgetless.schemas.suite import Suite
from forgetless.train.eval_run import Evaluation
from forgetless.train.measures import reading

STORIES = Path(__file__).parents[3] / "shared" / "data" / "stories260k"
REPLAY = "SELECT id FROM records WHERE kind = 'bos_replay'"


def test_stories_are_read_and_written(suite: Callable[..., Suite], tmp_path: Path) -> None:
    if not STORIES.is_dir():
        pytest.skip("../shared is absent")
    texts = [
        "Once upon a time, there was a little girl named Lily. She liked to play.",
        "xq zzv kp 17 %% qqj",
    ]
    for name, text in zip(("story", "noise"), texts, strict=True):
        write(tmp_path / f"{name}.jsonl", [{"text": text}])
    write(tmp_path / "openings.jsonl", [{"text": "One day, Tim went"}])
    settings = suite(
        texts=[{"name": name, "path": f"{name}.jsonl"} for name in ("story", "noise")],
        behaviour=[{"name": "opening", "path": "openings.jsonl", "max_tokens": 40}],
    )
    story, noise, repetition, cut = Evaluation(settings, Model(path=str(STORIES))).run().figures
    assert story.value < 2 < 4 < noise.value
    assert 0 <= repetition.value < 0.5 and cut.value in (0, 1)


def test_what_is_cut_is_said(
    suite: Callable[..., Suite], tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "rows.jsonl", [{"text": "x" * 300}, {"prompt": "y" * 300, "answer": "z"}, {"text": "x"}])
    settings = suite(texts=[{"name": "long", "path": "rows.jsonl"}])
    (measure,) = Evaluation(settings, Model(path=str(tiny))).measures()
    assert measure.probe.read == 2
    notes = capsys.readouterr().err
    assert "long: 2 passages are longer than the model's 256 positions and cut" in notes
    assert "long: 1 passages left out: no target token in the first 256" in notes


def test_an_interruption_costs_one_measure(
    suite: Callable[..., Suite],
    make_store: Callable[[], Store],
    tiny: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replay = {"sql": REPLAY, "limit": 4}
    settings = suite(
        texts=[{"name": "a", **replay}, {"name": "same", **replay}], kl=[{"name": "b", **replay}]
    )
    model, store = Model(path=str(tiny)), make_store()

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(reading.Divergence, "take", interrupted)
        Evaluation(settings, model, model, store).run()
    assert store.query("SELECT task FROM evals ORDER BY task")["task"].to_pylist() == ["a", "same"]
    figures = Evaluation(settings, model, model, store).run().figures
    assert "2 of 3 figures are in the store already" in capsys.readouterr().err
    rows = store.query("SELECT task, value FROM evals ORDER BY task").to_pylist()
    by_task = sorted(figures, key=lambda figure: figure.task)
    assert rows == [{"task": figure.task, "value": figure.value} for figure in by_task]


BAD = [
    ({}, "the suite is empty"),
    ({"taks": []}, "unknown key 'taks', did you mean 'tasks'"),
    ({"texts": [{"name": "a"}]}, "'a' needs either `sql` or `path`"),
    ({"texts": [{"name": "a", "path": "x"}] * 2}, "'a' is the name of two"),
    ({"engine": {"dtype": "bfloat16", "kind": "transformers"}, "tasks": []}, "has no settings here"),
    ({"behaviour": [{"name": "a", "path": "x", "metrics": ["harmful"]}]}, r"behaviour\[0\].metrics\[0\]"),
]


@pytest.mark.parametrize(("sections", "message"), BAD)
def test_a_suite_that_is_none(suite: Callable[..., Suite], sections: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        suite(**sections)


NOT_GIVEN = [
    ({"kl": [{"name": "a", "path": "rows.jsonl"}]}, "needs a base model → name it with --base"),
    ({"texts": [{"name": "a", "sql": REPLAY}]}, "'a' is a query, and there is no store"),
    ({"texts": [{"name": "a", "path": "none.jsonl"}]}, r"none.jsonl' does not exist"),
    ({"texts": [{"name": "a", "path": "broken.jsonl"}]}, "broken.jsonl:1 is not JSON"),
    ({"texts": [{"name": "a", "path": "rows.jsonl"}]}, "rows.jsonl:1 has no text in text"),
    ({"behaviour": [{"name": "a", "path": "rows.jsonl"}]}, "rows.jsonl:1 has no prompt in any of"),
    ({"behaviour": [{"name": "a", "path": "rows.jsonl", "column": "gaol"}]}, "no prompt in column 'gaol'; it has goal"),
    ({"behaviour": [{"name": "a", "path": "rows.jsonl", "column": "goal"}]}, "do not fit into the model's 256 positions"),
    ({"tasks": [{"name": "a", "path": "none.jsonl"}]}, "task 'a'"),
    ({"tasks": [{"name": "a", "path": "rows.jsonl", "verifier": "code"}]}, "runs what the model wrote, which is off"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "message"), NOT_GIVEN)
def test_what_a_suite_needs(
    suite: Callable[..., Suite], tiny: Path, tmp_path: Path, sections: Any, message: str
) -> None:
    write(tmp_path / "rows.jsonl", [{"goal": "x"}])
    (tmp_path / "broken.jsonl").write_text("{\n")
    with pytest.raises(UsageError, match=message):
        Evaluation(suite(**sections), Model(path=str(tiny))).run()


def test_a_base_of_another_vocabulary(
    suite: Callable[..., Suite], tiny: Path, demo_model: Path, tmp_path: Path
) -> None:
    write(tmp_path / "rows.jsonl", [{"text": "x"}])
    settings = suite(kl=[{"name": "a", "path": "rows.jsonl"}])
    with pytest.raises(UsageError, match=r"another vocabulary \(1,152 ids\)"):
        Evaluation(settings, Model(path=str(tiny)), Model(path=str(demo_model))).run()


def test_records_of_another_vocabulary(
    suite: Callable[..., Suite], make_store: Callable[[], Store], demo_model: Path
) -> None:
    settings = suite(texts=[{"name": "replay", "sql": REPLAY}])
    with pytest.raises(UsageError, match="'replay': record 'r00' was made with another vocabulary"):
        Evaluation(settings, Model(path=str(demo_model)), store=make_store()).run()
