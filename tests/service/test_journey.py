"""The service as somebody meets it for the first time, from an empty home to an export."""

import zipfile
from pathlib import Path

from conftest import Visit
from playwright.sync_api import Page, expect
from serving import serving

PATIENCE = 300_000
"""Milliseconds that a build may take on a busy machine."""


def begin_demo(page: Page, count: int) -> None:
    """Start the demo's recipe with so many records of each kind."""
    page.select_option("#example", "demo")
    recipe = page.input_value("#recipe")
    assert "count: 400" in recipe and "count: 600" in recipe
    page.fill(
        "#recipe", recipe.replace("count: 400", f"count: {count}").replace("count: 600", f"count: {count}")
    )
    expect(page.locator("#verdict")).to_contain_text("This can run")
    page.get_by_role("button", name="Build", exact=True).click()
    page.wait_for_url("**/jobs/*")


def test_from_an_empty_home_to_an_export(visit: Visit, tmp_path: Path) -> None:
    """Start the demo's build, watch it end, open a record, move the slider, ask in SQL, export, cancel a job."""
    (tmp_path / "root").mkdir()
    with serving("--root", tmp_path / "root", home=tmp_path / "home") as site:
        visitor = visit(site)
        page = visitor.open("/")
        page.locator('main a[href^="/jobs/new"]').first.click()
        begin_demo(page, 24)
        expect(page.locator("#progress")).to_contain_text("score", timeout=PATIENCE)
        expect(page.locator("[data-state=succeeded]")).to_be_visible(timeout=PATIENCE)  # without a reload
        visitor.check("journey-job")

        page.get_by_role("link", name="Its records").click()
        page.select_option("#kind", "ground_truth")
        page.get_by_role("button", name="Filter").click()
        page.locator("main table a").first.click()
        share = page.locator("#share")
        expect(share).to_contain_text("%")
        before = share.inner_text()
        page.locator("#mask").focus()
        page.keyboard.press("Home")
        expect(share).not_to_have_text(before)
        assert float(share.inner_text().strip("%")) > float(before.strip("%"))

        page.get_by_role("navigation").get_by_role("link", name="SQL").click()
        expect(page.locator(".source")).not_to_have_count(0)  # until then nobody listens to the keys
        page.fill(
            "#q", "SELECT kind, avg(perplexity) AS perplexity FROM perplexity GROUP BY kind ORDER BY kind"
        )
        page.keyboard.press("Control+Enter")
        expect(page.locator(".answer tbody tr")).to_have_count(3, timeout=60_000)
        expect(page.locator("#result svg").first).to_be_visible()

        visitor.open("/jobs/new?verb=export")
        page.get_by_role("button", name="Export", exact=True).click()
        expect(page.locator("[data-state=succeeded]")).to_be_visible(timeout=PATIENCE)
        with page.expect_download() as downloaded:
            page.get_by_role("link", name="Download", exact=True).click()
        with zipfile.ZipFile(downloaded.value.path()) as archive:
            assert archive.testzip() is None and any(name.endswith(".jsonl") for name in archive.namelist())

        visitor.open("/jobs/new")
        begin_demo(page, 90_000)
        expect(page.locator("[data-state=running]")).to_be_visible(timeout=PATIENCE)
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.locator("[data-state=cancelled]")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        visitor.passed()
