"""The SQL console in a real browser: ask, see, draw, go back to it, pass it on."""

import csv
import io
import re
from urllib.parse import quote

import pytest
from browsing import Visitor
from paged import PROMPTS
from playwright.sync_api import Page, expect
from serving import Serving

from forgetless.curator.report.chart import Chart
from forgetless.curator.service.result_chart import BARS, BarsOf, Named, TimeAxis, chart_of

KINDS = "SELECT kind, count(*) AS rows, avg(perplexity) AS mean FROM perplexity GROUP BY kind ORDER BY kind"


def ask(page: Page, sql: str) -> None:
    """Type it and send it by keyboard."""
    page.locator("#q").fill(sql)
    page.locator("#q").press("Control+Enter")


def test_a_query_is_answered_by_a_table_and_a_chart(visitor: Visitor) -> None:
    page = visitor.open("/sql?store=paged")
    expect(page.locator(".source")).not_to_have_count(0)
    visitor.check("sql")
    ask(page, KINDS)
    rows = page.locator(".answer tbody tr")
    expect(rows).to_have_count(4)
    expect(page.get_by_role("status").filter(has_text="4 rows")).to_be_visible()
    expect(rows.filter(has_text="teacher").locator("td.n").first).to_have_text("2")
    assert rows.locator("td.n").first.evaluate("each => getComputedStyle(each).textAlign") == "right"
    expect(page.locator(".chart-box table.bars tbody tr:not(.axis)")).to_have_count(4)
    assert page.locator(".chart-box rect").count() == 8
    visitor.check("sql-bars")
    ask(
        page,
        "SELECT position, avg(-logprob) AS nats FROM tokens WHERE is_target AND position < 60 GROUP BY ALL",
    )
    expect(page.locator(".chart-box polyline")).to_have_count(1)
    visitor.check("sql-lines")


def test_an_error_is_said_as_duckdb_says_it(visitor: Visitor) -> None:
    page = visitor.open("/sql?store=paged")
    ask(page, "SELECT *\nFROM records\nWHER kind = 'magpie'")
    expect(page.get_by_role("alert")).to_contain_text('syntax error at or near "kind" (line 3)')
    assert "400" in visitor.errors.pop()
    ask(page, "SELECT * FROM recods")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text('Did you mean "records"?')
    expect(alert).to_contain_text("The list beside the query")
    assert "400" in visitor.errors.pop()
    visitor.check("sql-error")
    ask(page, "SELECT 1 AS one")
    expect(page.locator(".answer")).to_be_visible()
    expect(alert).to_have_count(0)


def test_a_list_of_numbers_is_shown_as_one(visitor: Visitor) -> None:
    page = visitor.open("/sql?store=paged")
    ask(page, "SELECT [1, 2] AS list, 3::DECIMAL(4, 1) AS number")
    expect(page.locator(".answer td.nested")).to_have_text("[1,2]")
    expect(page.locator(".answer td.n")).to_have_text("3")


def test_a_query_is_stopped_and_leaves_its_turn_to_others(visitor: Visitor) -> None:
    page = visitor.open("/sql?store=paged")
    page.select_option("#seconds", "60")
    for rows in (10**10, 10**11, 10**12):  # more than run at once: each takes the place of the one before
        ask(page, f"SELECT sum(a.range * b.range) FROM range({rows}) a, range(1000) b")
        page.wait_for_timeout(500)
    visitor.check("sql-asking", axe=False)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status").filter(has_text="Stopped")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    ask(page, "SELECT 1 AS one")
    expect(page.locator(".answer")).to_be_visible(timeout=20_000)


def test_the_address_carries_the_query(visitor: Visitor) -> None:
    page = visitor.open("/sql?store=paged")
    ask(page, KINDS)
    expect(page.locator(".answer tbody tr")).to_have_count(4)
    address = page.url
    assert "run=1" in address
    other = Visitor.of(page.context, visitor.address)
    other.page.goto(address)
    expect(other.page.locator("#q")).to_have_value(KINDS)
    expect(other.page.locator(".answer tbody tr")).to_have_count(4)
    other.open(f"/sql?store=paged&q={quote(KINDS)}")
    expect(other.page.locator("#q")).to_have_value(KINDS)
    expect(other.page.locator(".answer")).to_have_count(0)
    other.passed()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".toast")).to_contain_text("clipboard")
    assert page.evaluate("navigator.clipboard.readText()") == address


def test_what_was_asked_is_kept_and_can_be_forgotten(visitor: Visitor) -> None:
    page = visitor.open("/sql?store=paged")
    for number in (1, 2):
        ask(page, f"SELECT {number} AS n")
        expect(page.locator(".answer td")).to_have_text(str(number))
    page.reload()
    page.get_by_text("History").click()
    kept = page.locator("#past li")
    expect(kept).to_have_count(2)
    visitor.check("sql-history")
    kept.last.locator(".again").click()
    expect(page.locator("#q")).to_have_value("SELECT 1 AS n")
    kept.first.get_by_role("button", name="Forget this query").click()
    expect(kept).to_have_count(1)
    page.get_by_role("button", name="Forget all").click()
    visitor.open("/sql?store=paged")
    expect(page.locator("#past-count")).to_have_text("")


def test_tables_and_columns_go_into_the_query(visitor: Visitor) -> None:
    page = visitor.open("/sql?store=paged")
    page.locator("#find").fill("perplexity")
    views = page.locator(".source:visible")
    expect(views.filter(has_text="table").filter(has=page.locator("summary", has_text="runs"))).to_have_count(
        0
    )
    page.locator("#q").fill("SELECT ")
    source = page.locator(".source").filter(
        has=page.locator("summary code", has_text=re.compile("^perplexity$"))
    )
    source.locator(".column", has_text=re.compile("^kind")).click()
    expect(page.locator("#q")).to_have_value("SELECT kind")
    source.get_by_role("button", name="Example").click()
    expect(page.locator(".answer")).to_be_visible()


def test_what_is_in_the_store_stays_text(visitor: Visitor) -> None:
    page = visitor.open("/sql?store=paged")
    ask(page, "SELECT id, text, messages, NULL AS nothing FROM records ORDER BY len(text) DESC")
    expect(page.locator(".answer tbody tr")).to_have_count(2 * PROMPTS + 6)
    expect(page.locator(".answer .null").first).to_have_text("null")
    long = page.locator(".answer tbody tr").first.locator("details").first
    assert len(long.locator("summary").inner_text()) < 300
    long.locator("summary").click()
    assert len(long.inner_text()) > 10_000
    assert page.locator(".answer img, .answer script").count() == 0
    with page.expect_download() as found:
        page.get_by_role("button", name="Download CSV").click()
    read = list(csv.DictReader(io.StringIO(found.value.path().read_bytes().decode(), newline="")))
    assert len(read) == 2 * PROMPTS + 6 and len(read[0]["text"]) > 10_000
    visitor.passed()
    page.locator(".answer tbody a").first.click()
    page.wait_for_url("**/stores/paged/records/*")


def test_more_rows_than_asked_for_are_said(visitor: Visitor) -> None:
    page = visitor.open("/sql?store=paged")
    page.select_option("#rows", "100")
    ask(page, "SELECT range AS n, n * 2 AS twice FROM range(500)")
    expect(page.locator(".told")).to_contain_text("There are more")
    expect(page.locator(".answer tbody tr")).to_have_count(100)
    visitor.check("sql-truncated")


def test_without_a_store_there_is_nothing_to_ask(visitor: Visitor, site: Serving) -> None:
    page = visitor.open("/sql")
    assert page.url.endswith("/sql?store=paged")
    expect(visitor.open("/sql?store=new").get_by_role("heading", name="new is empty")).to_be_visible()
    visitor.open("/sql?store=none")
    assert "404" in visitor.errors.pop()


def column(name: str, type_: str, *values: object) -> Named:
    return Named(name, type_, values)


def test_words_become_bars_with_an_axis_for_each_column() -> None:
    words = column("kind", "VARCHAR", *"abc")
    found = chart_of([words, column("n", "BIGINT", 3, 1, None), column("p", "DOUBLE", -0.5, -0.25, 0.0)])
    assert isinstance(found, BarsOf)
    assert found.labels == ["a", "b", "c"]
    assert [(axis.low, axis.high) for axis in found.axes] == [(0.0, 3.0), (-0.6, 0.0)]
    many = chart_of([column("k", "VARCHAR", *map(str, range(99))), column("n", "INTEGER", *range(99))])
    assert isinstance(many, BarsOf) and len(many.labels) == BARS and many.left_out == 99 - BARS


def test_numbers_and_times_become_lines_in_their_order() -> None:
    x = column("x", "INTEGER", 3, 1, 2)
    found = chart_of([x, column("y", "DOUBLE", 0.3, 0.1, 0.2), column("z", "DECIMAL(9,2)", 1, 1, 2)])
    assert isinstance(found, list) and len(found) == 1
    assert [(dot.x, dot.y) for dot in found[0].tracks[0].dots] == [(1.0, 0.1), (2.0, 0.2), (3.0, 0.3)]
    apart = chart_of([x, column("y", "DOUBLE", 0.3, 0.1, 0.2), column("n", "BIGINT", 100, 200, 300)])
    assert isinstance(apart, list) and all(isinstance(each, Chart) for each in apart) and len(apart) == 2
    days = column("day", "TIMESTAMP WITH TIME ZONE", *(f"2026-01-0{d}T00:00:00+00:00" for d in (1, 5, 9)))
    times = chart_of([days, column("n", "BIGINT", 1, 2, 3)])
    assert isinstance(times, list) and isinstance(times[0].across, TimeAxis)
    assert [times[0].across.label(tick) for tick in times[0].across.ticks] == ["1 Jan 2026", "9 Jan 2026"]


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [column("n", "BIGINT", 1, 2, 3)],
        [column("k", "VARCHAR", "a"), column("t", "VARCHAR", "b")],
        [column("k", "VARCHAR", "a"), column("n", "DOUBLE", None)],
        [column("k", "VARCHAR"), column("n", "DOUBLE")],
    ],
)
def test_what_cannot_be_drawn_is_not(columns: list[Named]) -> None:
    assert chart_of(columns) is None


def test_a_number_that_comes_twice_is_no_axis() -> None:
    found = chart_of([column("seed", "INTEGER", 0, 0, 1), column("n", "DOUBLE", 1.0, 2.0, 3.0)])
    assert isinstance(found, BarsOf) and found.labels == ["0", "0", "1"]


@pytest.mark.parametrize(
    ("rows", "status"),
    [([["a", 10**400]], 204), ([["a"]], 204), ([], 204), ([[]], 204), ([["a", True], ["<b>", -1e200]], 200)],
)
def test_whatever_is_to_be_drawn_is_answered(site: Serving, rows: list[object], status: int) -> None:
    columns = [{"name": "k", "type": "VARCHAR"}, {"name": "<i>", "type": "BIGINT"}]
    with site.client() as client:
        answer = client.post("/sql/chart", json={"columns": columns, "rows": rows})
    assert answer.status_code == status
    assert "<b>" not in answer.text and "<i>" not in answer.text
