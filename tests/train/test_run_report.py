"""The report on runs: its figures are those of the runs and of the store, its pictures are there, misuse is said."""

import json
import math
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forgetless.cli.report import report as command
from forgetless.curator.models import load_model, load_tokenizer
from forgetless.curator.report.forgetting import retained_share, seed_interval
from forgetless.curator.store import Store
from forgetless.schemas.errors import UsageError
from forgetless.schemas.recipe import Recipe
from forgetless.train.answering import greedy
from forgetless.train.asking import Asking
from forgetless.train.page.groups import grouped
from forgetless.train.page.mask import Mask, mask
from forgetless.train.page.runs import read_run
from forgetless.train.report import TrainingReport
from forgetless.train.run import train

T_ONE = 12.706
"""Student's t for two seeds."""


class Text(HTMLParser):
    """A page's elements, and its text as it is read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.texts).split())


def write_report(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def refused(*arguments: object) -> str:
    error = write_report(*arguments).exception
    assert isinstance(error, UsageError)
    return str(error)


@pytest.fixture
def recipe(make_store: Callable[[], Store], tiny: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Makes recipes that teach the tiny model to double, and ask for what it used to babble."""
    store = make_store()
    asking = Asking.of(tiny, load_tokenizer(tiny))
    prompts = [asking.ids(f"word {i}") for i in range(6)]
    said = [asking.answer(i).text for i in greedy(load_model(tiny, "float32"), prompts, 6, asking.end_ids)]
    files = {
        "babble": [{"prompt": f"word {i}", "reference": text} for i, text in enumerate(said)],
        "<double>": [{"prompt": f"what is {i} and {i}?", "reference": f"it is {2 * i}"} for i in range(4)],
    }
    tasks = [{"name": name, "path": tmp_path / f"{name[1:4]}.jsonl", "max_tokens": 8} for name in files]
    tasks[1]["role"] = "target"
    for task, rows in zip(tasks, files.values(), strict=True):
        Path(task["path"]).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(output: str, **settings: Any) -> Recipe:
        training = {
            "output": tmp_path / output, "learning_rate": 3e-3, "max_length": 64, "batch_size": 4, "steps": 12,
            "replay": {"share": 0.2}, "held_out": {"count": 4}, "tasks": tasks,
        }  # fmt: skip
        document = {"store": store.path, "model": {"path": str(tiny)}, "train": training | settings}
        return Recipe.model_validate(document)

    return make


def test_a_watched_masked_averaged_run(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    report = train(
        recipe(
            "out",
            watch={"every": 4, "questions": 4},
            objectives=[{"objective": "stm", "share": 0.3}],
            average={"alphas": [0, 0.5, 1], "keep": 0.5},
        )
    )
    done = write_report(tmp_path / "out", "--examples", 3)
    assert done.exit_code == 0, done.exception
    names = ("curve", "steps", "loss", "average", "tasks", "mask")
    pictures = [tmp_path / "out" / f"report-{name}.png" for name in names]
    assert done.output.splitlines()[1:] == [f"picture: {picture}" for picture in pictures]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<double>" not in page and "&lt;double&gt;" in page
    for tag, given in Text(page).elements:  # nothing is loaded
        assert tag not in ("iframe", "object", "embed", "base", "form", "img") and "style" not in given
        assert "src" not in given and (given.get("href") or "#").startswith(("#", "data:,"))
    said = Text(page).said
    for change in report.changes:  # the table
        scale, form = (1, ".3f") if change.metric == "cross_entropy" else (100, ".1f")
        row = [f"{change.before * scale:{form}}", f"{change.after * scale:{form}}"]
        unit = "cross entropy, nats" if scale == 1 else "accuracy, %"
        assert f"{change.task} {unit} {' '.join(row)} {change.change * scale:+{form}}" in said
    assert f"{report.plan.targets} targets of snapshot {report.plan.snapshot}" in said
    assert f"replay: {report.plan.replay[0].records} records, 20.0% of the targets in examples" in said
    assert "learning_rate 0.003" in said and "objectives stm: share 0.3, order hardest" in said
    assert "weight_decay" not in said  # a default
    run = read_run(tmp_path / "out")
    assert sorted(run.watched) == [0, 4, 8, 12] and list(run.averages) == [0, 0.5, 1]
    assert _standings(tmp_path / "store", report) == {
        step: (point.target, point.kept) for step, point in run.watched.items()
    }
    for step, point in run.watched.items():
        assert f"{step} {100 * point.target:.1f} {100 * point.kept:.1f}" in said  # type: ignore[operator]
    assert run.before.kept == 1 and run.averages[0.5] == run.after


def _standings(store: Path, report: TrainingReport) -> dict[int, tuple[float, float]]:
    """Target accuracy and retained share by step, from the rows of `evals`."""
    sql = f"SELECT phase, task, value FROM evals WHERE run_id = '{report.run_id}' AND metric = 'accuracy'"
    rows = {(row["phase"], row["task"]): row["value"] for row in Store.open(store).query(sql).to_pylist()}
    steps = [int(phase.split()[1]) for phase, task in rows if phase.startswith("step ") and task == "babble"]
    return {
        step: (
            rows[f"step {step}", "<double>"],
            retained_share([rows["step 0", "babble"]], [rows[f"step {step}", "babble"]]),
        )
        for step in steps
    }


def test_the_mask_is_the_one_that_was_trained_with(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    report = train(recipe("out", objectives=[{"objective": "stm", "share": 0.3}]))
    whole = mask("out", read_run(tmp_path / "out"), report.plan.targets)
    assert isinstance(whole, Mask) and whole.targets == len(whole.examples) == report.plan.targets
    tokens = [token for example in whole.examples for token in example.tokens if token.is_target]
    assert sum(token.weight == 0 for token in tokens) == report.plan.masked_tokens > 0
    assert [e.mean for e in whole.examples] == sorted(e.mean for e in whole.examples)
    out = [-token.logprob for token in tokens if token.weight == 0]  # type: ignore[operator]
    kept = [-t.logprob for t in tokens if t.weight == 1 and not t.piece.startswith("<|")]  # type: ignore[operator]
    assert min(out) >= max(kept)
    assert "".join(t.piece for t in whole.examples[0].tokens if t.is_target).startswith("it is ")
    write_report(tmp_path / "out", "--examples", 2)
    page = Text((tmp_path / "out" / "report.html").read_text())
    struck = [given for tag, given in page.elements if tag == "del" and "data-v" in given]
    assert struck and all(str(given["data-v"]).endswith("|0") for given in struck)


def test_seeds_are_one_with_intervals_and_other_settings_stand_beside(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    made = [train(recipe(f"a-{seed}", seed=seed)) for seed in (1, 2)]
    train(recipe("b", learning_rate=1e-3, objectives=[{"objective": "dft"}]))
    to = tmp_path / "three.html"
    done = write_report(*(tmp_path / name for name in ("a-1", "a-2", "b")), "--to", to)
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "three-tasks.png").is_file() and not (tmp_path / "a-1" / "report.html").exists()
    groups = grouped([read_run(tmp_path / name) for name in ("a-1", "a-2", "b")])
    assert [(group.label, group.seeds) for group in groups] == [("a", [1, 2]), ("b", [0])]
    said = Text(to.read_text()).said
    for line in groups[0].lines.values():
        values = [c.after for r in made for c in r.changes if (c.task, c.metric) == (line.task, line.metric)]
        assert line.after == seed_interval(values)
        half = T_ONE * abs(values[0] - values[1]) / 2
        assert math.isclose(line.after.high - line.after.mean, half, abs_tol=1e-9)
        scale, form = (1, ".3f") if line.metric == "cross_entropy" else (100, ".1f")
        assert f"{line.after.mean * scale:{form}} ± {half * scale:{form}}" in said
    assert "learning_rate 0.003 0.001" in said and "b: dft weighs tokens by what the model" in said
    assert "nothing was measured while training" in said and "train.watch" in said
    assert "are the same training" in refused(tmp_path / "a-1", tmp_path / "a-1")


def test_what_is_no_finished_run_or_has_no_store(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    train(recipe("out", objectives=[{"objective": "stm", "share": 0.3}], tasks=[]))
    out, store = tmp_path / "out", tmp_path / "store"
    assert "is a store: a page shows one store, or runs" in refused(out, store)
    (tmp_path / "empty").mkdir()
    assert "is neither a store nor a run" in refused(tmp_path / "empty")
    assert "is not there" in refused(tmp_path / "nowhere")
    assert "--scorer is for the report of a store" in refused(out, "--scorer", "x")
    assert "--store is for the report of runs" in refused(store, "--store", "x")
    shutil.copytree(out, tmp_path / "stages" / "first")
    assert re.search("it holds several, to be named instead: .*stages/first$", refused(tmp_path / "stages"))
    store.rename(tmp_path / "moved")
    assert write_report(out).exit_code == 0
    said = Text((out / "report.html").read_text()).said
    assert "its store is not there" in said and "No task of role target" in said
    assert not (out / "report-mask.png").exists() and not (out / "report-tasks.png").exists()
    assert write_report(out, "--store", tmp_path / "moved").exit_code == 0
    assert (out / "report-mask.png").is_file()
    (out / "run.json").unlink()
    assert "is not finished → the same `forgetless train` command goes on" in refused(out)
