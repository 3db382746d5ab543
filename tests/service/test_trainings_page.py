"""The page of trainings, over real ones: two stages, watched, the second from the first's checkpoint."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Visitor
from conftest import Visit
from given import recipe_of
from paged import make_store
from playwright.sync_api import expect
from serving import Serving, serving

from forgetless.curator.report.change import CLASSES, change_class, class_label
from forgetless.curator.service.training_page import how, plane, summary
from forgetless.curator.service.trainings import Training, families, read_trainings
from forgetless.curator.store import Store
from forgetless.pipelines.demo.files import retained_task, target_task, write_jsonl
from forgetless.train.stages import StagesReport, train_stages

TASKS = ("first_letter", "length", "plural")
STEPS = 4


@pytest.fixture(scope="module")
def trained(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, StagesReport]:
    """Two stages, which teach two tasks in turn; a third is only asked."""
    folder = tmp_path_factory.mktemp("trained")
    store = make_store(folder / "store", demo_model)
    write_jsonl(folder / "first_letter.jsonl", target_task(4))
    for name in TASKS[1:]:
        write_jsonl(folder / f"{name}.jsonl", retained_task(name, 4))
    sql = "SELECT id FROM records WHERE task <> 'story' AND kind = '{}'"
    settings = {
        "output": "tuned", "steps": STEPS, "batch_size": 8, "learning_rate": 1e-3, "held_out": None,
        "replay": {"share": 0.2}, "watch": {"every": 2, "questions": 2},
        "tasks": [{"name": name, "path": f"{name}.jsonl", "max_tokens": 12} for name in TASKS],
        "stages": [
            {"name": "first_letter", "targets": sql.format("ground_truth")},
            {"name": "length", "targets": sql.format("self_output")},
        ],
    }  # fmt: skip
    return store, train_stages(recipe_of(folder / "store", demo_model, [], train=settings))


@pytest.fixture(scope="module")
def read(trained: tuple[Store, StagesReport]) -> list[Training]:
    with trained[0].connect() as connection:
        return read_trainings(connection)


@pytest.fixture(scope="module")
def gym(trained: tuple[Store, StagesReport], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service over that store, and over one that is not there yet."""
    folder = tmp_path_factory.mktemp("gym")
    (folder / "home").mkdir()
    named = (f"trained={trained[0].path}", f"new={folder / 'new'}")
    with serving(*named, "--root", folder, home=folder / "home") as running:
        yield running


@pytest.fixture
def trainer(visit: Visit, gym: Serving) -> Iterator[Visitor]:
    """One who is signed in there; nothing may go wrong unseen."""
    found = visit(gym)
    yield found
    found.passed()


def test_what_was_measured_is_read_as_it_was_reported(
    trained: tuple[Store, StagesReport], read: list[Training]
) -> None:
    report = trained[1]
    assert [each.name for each in read] == [each.name for each in report.reports]
    for each, told in zip(read, report.reports, strict=True):
        assert each.state == "done" and (each.base, each.model) == (told.base, told.model)
        figures = {(c.task, c.metric): (c.before, c.after) for c in told.changes if c.task != "mean retained"}
        assert {(c.task, c.metric): (c.before, c.after) for c in each.changes} == figures
        mean = next(c for c in told.changes if c.task == "mean retained")
        assert each.retained == pytest.approx((mean.before, mean.after))
        assert list(each.watched) == [0, 2, 4]
        assert each.before.kept == 1.0
    assert "4 steps" in how(read[0]) and "replay 0.2" in how(read[0])


def test_stages_are_a_sequence_with_the_figures_of_the_report(
    trained: tuple[Store, StagesReport], read: list[Training]
) -> None:
    report = trained[1]
    (family,) = families(read)
    assert family.tasks == report.tasks
    assert [row.depth for row in family.rows] == [0, 0, 1]
    assert [row.accuracies for row in family.rows[1:]] == [report.accuracies(each) for each in report.reports]
    assert family.rows[0].accuracies == report.accuracies(None)
    assert family.sequences == [read]
    assert summary(read)["average accuracy"] == f"{report.summary()['average accuracy']:.1%}"


def test_of_many_only_the_chosen_ones_way_is_drawn(read: list[Training]) -> None:
    few = plane(dict(enumerate(read, 1)), read[0])
    assert few and [len(track.dots) for track in few.tracks] == [2, 2]
    many = plane(dict(enumerate([read[0]] + 9 * [read[1]], 1)), read[0])
    assert many and [len(track.dots) for track in many.tracks] == 9 * [1] + [2]


def test_the_page_shows_them(trainer: Visitor) -> None:
    page = trainer.open("/trainings?store=trained")
    runs = page.locator(".runs-list tbody tr")
    expect(runs).to_have_count(2)
    expect(runs.first).to_contain_text("tuned-length")
    expect(page.locator(".plane circle")).to_have_count(4)
    rows = page.locator(".matrix tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("base")
    expect(page.locator(".matrix .own")).to_have_count(2)
    expect(page.locator(".sequence")).to_contain_text(
        re.compile("average accuracy .* backward transfer .* forgetting")
    )
    expect(page.get_by_role("heading", name="Over steps")).to_be_visible()
    expect(page.locator(".figures.tasks tbody tr")).to_have_count(3)
    trainer.check("trainings")
    runs.last.get_by_role("link").click()
    page.wait_for_url(re.compile("run=train-[0-9a-f]+#run$"))
    expect(page.locator("#run h2")).to_contain_text("tuned-first_letter")
    page.get_by_role("link", name="All figures in SQL").click()
    expect(page.locator(".answer tbody tr").first).to_be_visible()


def test_a_store_without_trainings_says_what_to_do(trainer: Visitor) -> None:
    page = trainer.open("/trainings?store=new")
    expect(page.get_by_role("heading", name="No training yet")).to_be_visible()
    trainer.check("trainings-none")
    page = trainer.open("/trainings")
    assert page.url.endswith("?store=trained")
    page.locator(".menu summary").click()
    page.get_by_role("link", name="new", exact=True).click()
    assert page.url.endswith("/trainings?store=new")
    trainer.open("/trainings?store=trained&run=none")
    assert "404" in trainer.errors.pop()


def test_a_training_that_was_cut_off_is_shown_as_such(trained: tuple[Store, StagesReport]) -> None:
    with trained[0].connect() as connection:
        columns = connection.sql("FROM evals WHERE phase = 'before' LIMIT 1").to_arrow_table().to_pylist()[0]
    store = Store.create(trained[0].path.parent / "cut")
    store.append("evals", [columns])
    recipe = json.dumps({"train": {"learning_rate": 1e-5, "epochs": 2, "replay": []}})
    event = {"run_id": columns["run_id"], "verb": "train", "event": "interrupted", "recipe": recipe}
    store.append(
        "runs", [event | {"steps": "{}", "versions": "{}", "summary": "{}", "created": columns["created"]}]
    )
    with store.connect() as connection:
        (found,) = read_trainings(connection)
    assert found.state == "interrupted" and found.model is None and found.after.target is None
    assert how(found) == "rate 1e-05, 2 epochs"
    assert [len(family.rows) for family in families([found])] == [1]


@pytest.mark.parametrize(
    ("change", "found"),
    [(0.0, 0), (0.049, 0), (0.05, 1), (-0.05, -1), (0.2, 2), (-0.49, -2), (0.5, 3), (-1.0, -3)],
)
def test_classes_of_change(change: float, found: int) -> None:
    assert change_class(change) == found and found in CLASSES


def test_labels_of_classes() -> None:
    labels = [class_label(number).replace("\N{MINUS SIGN}", "-") for number in CLASSES]
    assert labels == ["-50", "-20", "-5", "±5", "+5", "+20", "+50"]
