"""The pages of jobs in a real browser: the form, a job as it happens, its end, cancel and resume."""

import io
import re
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Visitor
from conftest import Visit
from paged import make_store
from playwright.sync_api import Page, expect
from serving import Serving, serving, start, stop

from forgetless.curator.service.recipe_lines import lines_of

JOB = re.compile(r"/jobs/[0-9a-f]{16}$")
PATIENCE = 240_000
"""Milliseconds that a small job may take on a busy machine."""


@pytest.fixture(scope="module")
def workshop(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service with one small store, `paged`, in which jobs are run."""
    folder = tmp_path_factory.mktemp("workshop")
    make_store(folder / "root" / "paged", demo_model)
    (folder / "home").mkdir()
    with serving("--root", folder / "root", home=folder / "home") as running:
        yield running


@pytest.fixture
def worker(visit: Visit, workshop: Serving) -> Iterator[Visitor]:
    """One who is signed in there; nothing may go wrong unseen."""
    found = visit(workshop)
    yield found
    found.passed()


def edit(page: Page, *changes: tuple[str, str]) -> None:
    """Put other words into the recipe, and wait until it is known to run."""
    text = page.input_value("#recipe")
    for old, new in (("kind: vllm, enforce_eager: true", "kind: transformers"), *changes):
        assert old in text
        text = text.replace(old, new)
    page.fill("#recipe", text)
    expect(page.locator("#verdict")).to_contain_text("This can run")


def small(page: Page, count: int, name: str) -> None:
    """The demo's recipe into a store of its own, with so many records written."""
    expect(page.locator("#recipe")).to_have_value(re.compile("count: 400"))
    counts = [("count: 400", f"count: {count}"), ("count: 600", f"count: {count}")]
    edit(page, *counts, ("name: demo\nstore: store", f"name: {name}\nstore: {name}"))


def state(page: Page, name: str) -> None:
    """Wait until the job is in this state."""
    expect(page.locator(f"[data-state={name}]")).to_be_visible(timeout=PATIENCE)


def test_a_build_from_the_form_is_watched_to_its_end(worker: Visitor, workshop: Serving) -> None:
    page = worker.open("/jobs")
    worker.check("jobs-none")
    page.get_by_role("link", name="Start with a ready-made recipe").click()
    expect(page.locator("#example option")).to_have_count(4)
    small(page, 8, "few")
    expect(page.locator("#summary")).to_contain_text(re.compile(r"magpie\s*8"))
    worker.check("form")
    page.get_by_role("button", name="Build", exact=True).dblclick()
    page.wait_for_url(JOB)
    page.evaluate("window.same = true")
    expect(page.locator(".progress-line").first).to_be_visible(timeout=PATIENCE)
    worker.check("job-running", axe=False)
    other = Visitor.of(page.context, worker.address)
    expect(other.open("/jobs?state=running").locator("table.jobs")).to_contain_text("Build few")
    other.check("jobs-running")
    other.page.close()
    state(page, "succeeded")
    assert page.evaluate("window.same"), "it was loaded again"
    for label in ("bos text", "magpie answer_1", "new_skill", "score"):
        line = page.locator(f'.progress-line[data-label="{label}"]')
        expect(line).to_have_count(1)
        assert line.locator("progress").evaluate("each => each.value === each.max")
    expect(page.locator("#facts")).to_contain_text(re.compile(r"new_skill\s*800\s*0"))
    worker.check("job-succeeded")
    with workshop.client() as client:
        assert [job["verb"] for job in client.get("/v1/jobs").json()["jobs"]] == ["build"], (
            "two clicks, two jobs"
        )
    expect(page.get_by_role("link", name="Train with it")).to_be_visible()
    page.get_by_role("link", name="Its records").click()
    expect(page.locator("table.records tbody tr").first).to_be_visible()


def test_a_job_is_cancelled_and_goes_on_where_it_was(worker: Visitor, workshop: Serving) -> None:
    page = worker.open("/jobs/new")
    small(page, 3000, "many")
    page.get_by_role("button", name="Build", exact=True).click()
    page.wait_for_url(JOB)
    count = page.locator('.progress-line[data-label="bos text"] .count')
    expect(count).to_contain_text(re.compile("^[1-9]"), timeout=PATIENCE)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    worker.check("job-sure")
    page.get_by_role("button", name="Let it run").click()
    expect(page.locator("[data-state=running]")).to_be_visible()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the job").click()
    state(page, "cancelled")
    expect(page.locator("#log")).to_contain_text("cancelling: it is asked to end")
    worker.check("job-cancelled")
    made = int(count.inner_text().split(" of ")[0].replace(",", ""))
    page.get_by_role("button", name="Resume").click()
    state(page, "running")
    expect(page.locator("#facts")).to_contain_text(re.compile(r"Attempt\s*2"))
    expect(page.locator(".progress-line")).to_have_count(1)
    page.wait_for_function(
        "made => parseInt(document.querySelector('.progress-line .count').textContent.replaceAll(',', '')) > made", arg=made,
        timeout=PATIENCE,
    )  # fmt: skip
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the job").click()
    state(page, "cancelled")


def test_a_lost_connection_is_said_and_nothing_is_shown_twice(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    first = start("--root", tmp_path / "root", home=tmp_path / "home")
    visitor = visit(first)
    page = visitor.open("/jobs/new")
    small(page, 3000, "many")
    page.get_by_role("button", name="Build", exact=True).click()
    page.wait_for_url(JOB)
    expect(page.locator("#log")).to_contain_text("starting", timeout=PATIENCE)
    stop(first, signal.SIGKILL)
    expect(page.locator("#connection")).to_be_visible()
    visitor.errors.clear()
    visitor._shot("job-lost-light-laptop")
    second = start(
        "--root", tmp_path / "root", home=tmp_path / "home", port=int(first.address.rsplit(":", 1)[1])
    )
    try:
        expect(page.locator("#connection")).to_be_hidden(timeout=PATIENCE)
        expect(page.locator("#facts")).to_contain_text(re.compile(r"Attempt\s*2"), timeout=PATIENCE)
        starts = page.locator("#log p").filter(has_text="starting transformers")
        expect(starts).to_have_count(2, timeout=PATIENCE)
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_role("button", name="Cancel the job").click()
        state(page, "cancelled")
        shown = page.locator("#log p").all_inner_texts()
        page.reload()
        assert page.locator("#log p").all_inner_texts() == shown
        expect(starts).to_have_count(2)
    finally:
        stop(second)


def test_a_recipe_is_checked_as_it_is_typed(worker: Visitor) -> None:
    page = worker.open("/jobs/new")
    small(page, 8, "typed")
    area, marked = page.locator("#recipe"), page.locator(".numbers .marked")
    area.evaluate(
        "each => { const at = each.value.indexOf('count: 8') + 8; each.setSelectionRange(at, at); }"
    )
    area.press_sequentially("x")
    expect(page.locator("#verdict")).to_contain_text("Line 8")
    expect(marked).to_have_count(1)
    expect(page.get_by_role("button", name="Build", exact=True)).to_be_disabled()
    worker.check("form-wrong")
    area.press("Backspace")
    expect(page.locator("#verdict")).to_contain_text("This can run")
    expect(marked).to_have_count(0)
    area.press("End")
    area.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("# here")
    assert "\n    # here\n" in area.input_value(), "Enter keeps the indentation, Tab adds to it"
    expect(area).to_be_focused()
    page.reload()
    expect(area).to_have_value(re.compile("# here"))
    area.focus()
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(area).not_to_be_focused()
    page.once("dialog", lambda question: question.dismiss())
    page.select_option("#example", "replay")
    expect(area).to_have_value(re.compile("# here"))
    expect(page.locator("#example")).to_have_value("demo")
    page.once("dialog", lambda question: question.accept())
    page.select_option("#example", "replay")
    expect(page.locator("#summary")).to_contain_text("my-store")
    page.get_by_label("Train fine-tune").check()
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_enabled()


def test_a_plan_says_what_is_there(worker: Visitor) -> None:
    page = worker.open("/jobs/new")
    small(page, 8, "planned")
    page.get_by_role("button", name="Plan").click()
    expect(page.locator("#planned")).to_contain_text(re.compile(r"magpie\s*8\s*0\s*8"), timeout=PATIENCE)


def test_a_job_that_failed_says_why_and_can_be_changed(worker: Visitor) -> None:
    page = worker.open("/jobs/new")
    small(page, 8, "missing")
    edit_path = page.input_value("#recipe").replace("path: target_train.jsonl", "path: nowhere.jsonl")
    page.fill("#recipe", edit_path)
    expect(page.locator("#verdict")).to_contain_text("This can run")
    page.get_by_role("button", name="Build", exact=True).click()
    page.wait_for_url(JOB)
    state(page, "failed")
    expect(page.get_by_role("alert")).to_contain_text("nowhere.jsonl")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    worker.check("job-failed")
    page.get_by_role("link", name="Change and run again").click()
    expect(page.locator("#recipe")).to_have_value(re.compile("nowhere.jsonl"))
    expect(page.locator("#verdict")).to_contain_text("This can run")


def test_plain_forms_and_an_export_that_is_fetched(worker: Visitor) -> None:
    page = worker.open("/jobs/new?verb=export&store=paged")
    page.get_by_label("Which records").fill("kind = 'teacher'")
    worker.check("form-export")
    page.get_by_role("button", name="Export", exact=True).click()
    page.wait_for_url(JOB)
    state(page, "succeeded")
    worker.check("job-export")
    with page.expect_download() as found:
        page.get_by_role("link", name="Download").click()
    names = zipfile.ZipFile(io.BytesIO(found.value.path().read_bytes())).namelist()
    assert any(name.endswith(".jsonl") for name in names)
    for verb in ("score", "eval", "report", "compact", "verify"):
        worker.open(f"/jobs/new?verb={verb}&store=paged")
        worker.check(f"form-{verb}")
    page.get_by_role("button", name="Verify", exact=True).click()
    page.wait_for_url(JOB)
    state(page, "succeeded")
    expect(page.locator("#facts")).to_contain_text(re.compile(r"ok\s*yes"))


def test_a_refused_request_says_why(worker: Visitor) -> None:
    page = worker.open("/jobs/new?verb=eval")
    page.locator("#eval-model").fill("/etc")
    page.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("/etc")
    assert "400" in worker.errors.pop()


def test_the_list_keeps_itself_up_to_date(worker: Visitor, workshop: Serving) -> None:
    page = worker.open("/jobs")
    before = page.locator("table.jobs tbody tr").count()
    with workshop.client() as client:
        client.post("/v1/jobs", json={"verb": "verify", "store": "paged"})
    expect(page.locator("table.jobs tbody tr")).to_have_count(before + 1, timeout=PATIENCE)
    done = page.locator("table.jobs tbody tr").first
    expect(done).to_contain_text("succeeded", timeout=PATIENCE)
    worker.check("jobs")
    page.get_by_role("link", name="Queued").click()
    expect(page.get_by_role("heading", name="No job is queued")).to_be_visible()
    page.go_back()
    page.route("**/jobs/rows*", lambda route: route.abort())
    expect(page.locator("#connection")).to_be_visible(timeout=PATIENCE)
    worker.errors.clear()
    page.unroute("**/jobs/rows*")
    expect(page.locator("#connection")).to_be_hidden(timeout=PATIENCE)


TEXT = """\
name: x
store: s
model: {path: m}
steps:
  - {pipeline: magpie, name: a}
  - pipeline: bos_replay
    count: many
"""


@pytest.mark.parametrize(
    ("problem", "lines"),
    [
        ("recipe: 'steps[1].count' is 'many': not a number; unknown key 'modle', did you mean 'model'?", [7]),
        ("'steps[0].count' is missing", [5]),
        ("unknown key 'steps[1].cout', did you mean 'count'?", [6]),
        ("recipe is not YAML: while parsing line 1, column 2 expected line 3, column 4", [3]),
        ("something else", []),
    ],
)
def test_a_problem_has_its_line(problem: str, lines: list[int]) -> None:
    assert lines_of(TEXT, problem) == lines


def test_every_ready_made_recipe_can_run(worker: Visitor) -> None:
    page = worker.open("/jobs/new?recipe=own_words")
    expect(page.locator("#example")).to_have_value("own_words")
    expect(page.locator("#verdict")).to_contain_text("This can run")
    for option in page.locator("#example option").all():
        with page.expect_response("**/v1/recipes/check") as checked:
            page.select_option("#example", option.get_attribute("value"))
        assert checked.value.json()["problems"] == []


def test_the_plain_forms_point_at_what_is_wrong_and_keep_what_was_typed(worker: Visitor) -> None:
    page = worker.open("/jobs/new?verb=export&store=paged")
    mask, condition = page.locator("#export-mask"), page.locator("#export-where")
    condition.fill("perplexity < 9")
    mask.fill("2.5")
    mask.evaluate("field => field.closest('form').noValidate = true")
    mask.fill("0.5")
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Mask target tokens above a perplexity of: ")
    expect(mask).to_have_attribute("aria-invalid", "true")
    expect(mask).to_be_focused()
    assert "422" in worker.errors.pop()
    worker.check("form-problem")
    page.reload()
    expect(condition).to_have_value("perplexity < 9")
    page.get_by_role("button", name="Start over").click()
    expect(condition).to_have_value("")


def test_another_job_is_asked_for_again(worker: Visitor, workshop: Serving) -> None:
    recipe = {"store": "elsewhere", "model": {"path": "nowhere"}, "train": {"output": "tuned"}}
    asked = [
        {"verb": "verify", "store": "paged"},
        {"verb": "export", "store": "paged", "format": "trl", "where": "false", "mask_share": 0.5},
        {"verb": "train", "recipe": recipe, "overrides": ["train.steps=3"]},
    ]
    with workshop.client() as client:
        verify, export, train = (client.post("/v1/jobs", json=each).json()["id"] for each in asked)
    page = worker.open(f"/jobs/new?from={verify}")
    expect(page.get_by_role("radio", name="Verify")).to_be_checked()
    expect(page.locator("#verify-store")).to_have_value("paged")
    worker.open(f"/jobs/new?from={export}")
    expect(page.locator("#export-where")).to_have_value("false")
    expect(page.locator("#unfilled")).to_contain_text("no field for it: mask_share")
    worker.open(f"/jobs/new?from={train}")
    expect(page.get_by_role("radio", name="Train fine-tune")).to_be_checked()
    expect(page.locator("#recipe")).to_have_value(re.compile("elsewhere"))
    expect(page.locator("#others")).to_contain_text("train.steps=3")
    page.get_by_role("button", name="Leave them out").click()
    expect(page.locator("#others")).to_be_empty()
    page.reload()
    expect(page.locator("#example")).to_have_value("job")
    page.fill("#recipe", "")
    page.reload()
    expect(page.locator("#verdict")).to_contain_text("It cannot run")
    expect(page.locator("#recipe")).to_have_value("")
