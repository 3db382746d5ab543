"""The pages of stores in a real browser: sign in, overview, records, tokens and their mask."""

import json
import re

import httpx
import pytest
from browsing import ARTEFACTS, Visitor
from paged import IDS, LONG, PROMPTS
from playwright.sync_api import Browser, Page, expect
from reported import HOSTILE
from serving import Serving

from forgetless.curator.report.html import level_styles
from forgetless.curator.report.templates import PAGE
from forgetless.curator.store import Store

RECORDS = "/stores/paged/records"


@pytest.fixture
def stranger(site: Serving) -> httpx.Client:
    """One who knows nothing."""
    return httpx.Client(base_url=site.address, headers={"accept": "text/html"})


def test_the_printed_link_lets_one_browser_in(site: Serving, stranger: httpx.Client) -> None:
    code = site.link.removeprefix(site.address)
    first, second = stranger.get(code), stranger.get(code)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=2592000"} <= set(cookie.split("; "))
    assert site.token not in cookie
    assert second.status_code == 200 and "set-cookie" not in second.headers and "has been used" in second.text


@pytest.mark.parametrize(
    ("wanted", "led"), [("/sql?q=1", "/sql?q=1"), ("//evil.example/", "/"), ("/\\evil", "/"), ("http://evil", "/"), ("/a\n", "/a")]
)  # fmt: skip
def test_the_token_lets_in_and_leads_on(stranger: httpx.Client, site: Serving, wanted: str, led: str) -> None:
    wrong = stranger.post("/login", data={"token": "x" * 43, "next": wanted})
    assert wrong.status_code == 401 and "not the token" in wrong.text and "set-cookie" not in wrong.headers
    right = stranger.post("/login", data={"token": site.token, "next": wanted})
    assert (right.status_code, right.headers["location"]) == (303, led)


def test_a_stranger_is_asked_and_led_back(browser: Browser, site: Serving) -> None:
    context = browser.new_context()
    visitor = Visitor.of(context, site.address)
    page = visitor.open(f"{RECORDS}?kind=teacher")
    assert page.url.endswith("/login?next=%2Fstores%2Fpaged%2Frecords%3Fkind%3Dteacher")
    visitor.check("login")
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not the token")
    assert visitor.errors.pop().startswith(
        "Failed to load resource: the server responded with a status of 401"
    )
    page.get_by_label("Token").fill(site.token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Records")).to_be_visible()
    assert page.url.endswith(f"{RECORDS}?kind=teacher")
    # A browser that comes from elsewhere sends no cookie at first: the form finds out that it is known.
    page.goto(f"{site.address}/login?next=%2Fstores%2Fpaged")
    page.wait_for_url("**/stores/paged")
    visitor.passed()
    context.close()


def test_stores_are_listed_and_an_empty_one_says_what_to_do(visitor: Visitor) -> None:
    page = visitor.open("/")
    expect(page.get_by_role("listitem").filter(has_text="30 records")).to_be_visible()
    visitor.check("stores")
    page.get_by_role("heading", name="new").get_by_role("link").click()
    expect(page.get_by_role("heading", name="new is empty")).to_be_visible()
    visitor.check("empty-store")
    page.locator(".menu summary").click()
    page.get_by_role("link", name="paged").click()
    expect(page.get_by_role("heading", name="paged", exact=True)).to_be_visible()


def test_the_overview_shows_the_stores_figures(visitor: Visitor, paged_store: Store) -> None:
    page = visitor.open("/stores/paged")
    rows = paged_store.query("SELECT count(*) AS n, sum(len(token_ids)) AS tokens FROM records").to_pylist()[
        0
    ]
    expect(page.locator(".stats")).to_contain_text(f"{rows['n']}")
    expect(page.locator(".stats")).to_contain_text(f"{rows['tokens']:,}")
    for name in (
        "What passed",
        "How hard each kind",
        "Share of hard tokens",
        "The hardest tokens",
        "Refused",
    ):
        expect(page.locator("h2", has_text=re.compile(f"^{name}"))).to_be_visible()
    expect(page.locator("#speed")).to_contain_text("no job")
    share = page.locator("tr.k-ground_truth td[data-above]")
    before = share.inner_text()
    page.locator("input.threshold").first.fill("40")
    assert share.inner_text() != before
    visitor.check("overview")
    link = page.locator("#hardest-rows a").first
    position = (link.get_attribute("href") or "").split("#")[1]
    link.click()
    page.wait_for_url(re.compile(f"{RECORDS}/[0-9a-f]+#{position}$"))
    expect(page.locator(".t:focus")).to_have_attribute("data-v", re.compile(rf"^{position}\|"))
    expect(page.locator(".t:focus")).to_be_in_viewport()


def test_running_jobs_are_shown_with_their_speed(visitor: Visitor) -> None:
    progress = {"label": "story: write", "done": 1, "total": 9, "note": "", "tokens_per_second": 1234.4}
    jobs = [
        {"id": "7", "verb": "build", "progress": progress},
        {"id": "8", "verb": "train", "progress": None},
    ]
    visitor.page.route("**/v1/jobs?*", lambda route: route.fulfill(json={"jobs": jobs, "next": None}))
    page = visitor.open("/stores/paged")
    expect(page.locator("#speed")).to_contain_text("1,234")
    expect(page.locator("#speed").get_by_role("link")).to_have_attribute("href", "/jobs/7")
    expect(page.locator("#running")).to_have_text("2 running · 1,234 tokens/s")
    visitor.check("running")


def test_figures_that_are_still_read_have_a_place(visitor: Visitor) -> None:
    visitor.page.route("**/figures?*", lambda route: None)
    page = visitor.open("/stores/paged")
    expect(page.locator("#figures")).to_have_attribute("aria-busy", "true")
    expect(page.locator(".skeleton")).to_be_visible()
    visitor.check("loading")


def test_the_theme_is_kept_and_the_content_is_reached_by_keyboard(visitor: Visitor) -> None:
    page = visitor.open(RECORDS)
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    before = page.evaluate(ground)
    page.get_by_role("button", name="dark").click()
    assert page.evaluate(ground) != before
    after, page = page.evaluate(ground), visitor.open("/stores/new")
    assert page.evaluate(ground) == after
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.locator(".menu summary").press("Enter")
    expect(page.get_by_role("link", name="paged")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="paged")).to_be_hidden()


def test_style_and_colours_are_those_of_the_report(stranger: httpx.Client) -> None:
    assert stranger.get("/static/report/page.css").text == (PAGE / "page.css").read_text()
    assert stranger.get("/static/report/levels.css").text == level_styles()
    assert stranger.get("/static/report/page.html").status_code == 404


def test_figures_that_fail_say_so_and_are_asked_for_again(visitor: Visitor) -> None:
    problem = {"status": 500, "body": '{"detail": "it broke", "hint": "look into the log"}'}
    visitor.page.route("**/figures?*", lambda route: route.fulfill(**problem), times=1)
    page = visitor.open("/stores/paged")
    expect(page.get_by_role("alert")).to_contain_text("It broke")
    assert "500" in visitor.errors.pop()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="The hardest tokens")).to_be_visible()


def test_records_are_found_by_filters_that_stand_in_the_address(visitor: Visitor) -> None:
    page = visitor.open(RECORDS)
    lines = page.locator("table.records tbody tr")
    expect(lines).to_have_count(2 * PROMPTS + 6)
    visitor.check("records")
    page.get_by_label("Kind").select_option("self_output")
    expect(lines).to_have_count(PROMPTS + 1)
    assert page.url.endswith(f"{RECORDS}?kind=self_output&status=accepted&order=newest")
    page.get_by_label("Text contains").fill("ONE AND ONE")
    page.keyboard.press("Enter")
    expect(lines).to_have_count(1)
    page.go_back()
    expect(lines).to_have_count(PROMPTS + 1)
    page.get_by_label("Status").select_option("rejected")
    expect(lines).to_have_count(1)
    expect(lines).to_contain_text("numeric: <b>9 is not 10</b>")
    page.get_by_label("Text contains").fill("no such words")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No record fits")).to_be_visible()
    visitor.check("no-records")


def test_records_are_ordered_and_paged(visitor: Visitor, paged_store: Store) -> None:
    page = visitor.open(f"{RECORDS}?order=hardest&limit=20&min_perplexity=1.2")
    sql = "SELECT id FROM perplexity WHERE scorer = 'newer' AND perplexity >= 1.2 ORDER BY perplexity DESC"
    wanted = [row["id"] for row in paged_store.query(sql).to_pylist()]
    found = _listed(page)
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**cursor=*")
    assert found + _listed(page) == wanted
    page.get_by_role("link", name="First page").click()
    expect(page.get_by_role("link", name="First page")).to_have_count(0)
    assert _listed(page) == found


def _listed(page: Page) -> list[str]:
    links = page.locator("table.records a.whole").all()
    return [(link.get_attribute("href") or "").rsplit("/", 1)[1].split("?")[0] for link in links]


def test_a_filter_that_is_none_is_said(visitor: Visitor) -> None:
    page = visitor.open(f"{RECORDS}?min_perplexity=much")
    expect(page.get_by_role("alert")).to_contain_text("min_perplexity")
    assert "422" in visitor.errors.pop()
    page = visitor.open(f"{RECORDS}/0000000000")
    expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    assert "404" in visitor.errors.pop()
    visitor.check("missing")


def test_a_record_and_the_other_answers_to_its_prompt(visitor: Visitor) -> None:
    page = visitor.open(f"{RECORDS}?text=one+and+one")
    page.locator("a.whole").click()
    page.wait_for_url(f"**/{IDS['d1']}")
    versions = page.locator(".version")
    expect(versions).to_have_count(3)
    expect(versions.first).to_contain_text("ground truth")
    visitor.check("record")
    versions.first.get_by_role("link").click()
    page.wait_for_url(f"**/{IDS['a1']}")
    expect(page.locator(".version.this")).to_contain_text("ground truth")
    page.get_by_label("Scored by").select_option("older")
    page.wait_for_url("**scorer=older")
    page = visitor.open(f"{RECORDS}/{IDS['e1']}")
    expect(page.locator(".problem")).to_contain_text(
        "Rejected by numeric. <b>9 is not 10</b> score 9, allowed 10"
    )
    expect(page.locator(".version .dropped").first).to_contain_text("%")
    visitor.check("rejected-record")


def test_hostile_text_is_text(visitor: Visitor) -> None:
    page = visitor.open(f"{RECORDS}/{'a2' * 8}")
    expect(page.locator(".talk")).to_contain_text(HOSTILE.split(" ")[0])
    assert "\u202e" not in page.content() and "<U+202E>" in page.locator(".talk").inner_text()
    visitor.open(f"{RECORDS}?text=evil")
    expect(page.locator(".said")).to_contain_text("<script>alert(1)</script>")


@pytest.mark.parametrize("threshold", [1.0, 1.5, 2.5, 10.04, 244.1])
def test_the_slider_moves_the_mask_and_its_share(
    visitor: Visitor, paged_store: Store, threshold: float
) -> None:
    page = visitor.open(f"{RECORDS}/{IDS['a1']}")
    slider = page.locator("#mask")
    step = float(slider.get_attribute("data-step") or 0)
    places = range(277)
    place = min(places, key=lambda each: abs(2.718281828459045 ** (each * step) - threshold))
    slider.fill(str(place))
    exact = f"exp({place} * {step!r}::DOUBLE)"
    sql = f"SELECT stm_mask(id, {exact}) AS mask, target_mask(target_spans) AS target FROM records WHERE id = '{IDS['a1']}'"
    row = paged_store.query(sql).to_pylist()[0]
    masked = [i for i, is_target in enumerate(row["target"]) if is_target and not row["mask"][i]]
    heat = page.get_by_role("group", name="Tokens of the record")
    struck = [int((t.get_attribute("data-v") or "").split("|")[0]) for t in heat.locator(".t.h").all()]
    assert sorted(struck) == masked
    in_play = sum(row["target"]) - 1  # the end of the turn
    expect(page.locator("#share")).to_have_text(f"{100 * len(masked) / in_play:.1f}%")
    expect(page.locator(".effect")).to_contain_text(f"{len(masked)} of {in_play} target tokens")
    expect(page.locator(".version").first.locator(".dropped")).to_have_text(
        f"{100 * len(masked) / in_play:.1f}%"
    )
    if masked:
        look = "element => getComputedStyle(element).textDecorationLine"
        assert heat.locator(".t.h").first.evaluate(look) == "line-through"
        page.get_by_label("Strike them").uncheck()
        assert heat.locator(".t.h").first.evaluate(look) == "underline"


def test_the_threshold_stands_in_the_address(visitor: Visitor) -> None:
    page = visitor.open(f"{RECORDS}/{IDS['a1']}")
    page.locator("#mask").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    said, share = page.locator("#threshold").inner_text(), page.locator("#share").inner_text()
    assert float(said) > 2.5
    page.reload()
    assert (page.locator("#threshold").inner_text(), page.locator("#share").inner_text()) == (said, share)


def test_numbers_on_hover_and_on_keyboard_focus(visitor: Visitor, paged_store: Store) -> None:
    page = visitor.open(f"{RECORDS}/{IDS['b1']}")
    sql = f"SELECT position, logprob FROM tokens WHERE id = '{IDS['b1']}' AND scorer = 'newer' AND is_target ORDER BY position"
    logprobs = [
        f"{row['logprob']:.3f}".replace("-0.000", "0.000") for row in paged_store.query(sql).to_pylist()
    ]
    tip, tokens = page.locator("#tip"), page.get_by_role("group", name="Tokens of the record").locator(".t")
    tokens.nth(1).hover()
    expect(tip).to_be_visible()
    expect(tip).to_contain_text(logprobs[1])
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    page.get_by_label("Strike them").focus()
    page.keyboard.press("Tab")
    expect(tokens.nth(0)).to_be_focused()
    for place in (1, 2):
        page.keyboard.press("ArrowRight")
        expect(tokens.nth(place)).to_be_focused()
        expect(tip).to_contain_text(logprobs[place])
    page.keyboard.press("End")
    expect(tip).to_contain_text("ends a turn")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_a_long_record_does_not_freeze_the_page(visitor: Visitor) -> None:
    visitor.page.add_init_script("""window.longest = 0; new PerformanceObserver((list) => {
        for (const task of list.getEntries()) longest = Math.max(longest, task.duration);
    }).observe({ type: "longtask", buffered: true });""")
    page = visitor.open(f"{RECORDS}/{IDS['f0']}")
    assert page.locator(".heat .t").count() > LONG - 20
    start = page.evaluate("[performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd, longest]")
    page.evaluate("window.longest = 0")
    page.evaluate("""async () => {
        const slider = document.getElementById("mask"), frame = () => new Promise(requestAnimationFrame);
        for (let i = 0; i < 60; i++) {
            slider.value = Math.round(138 + 138 * Math.sin(i / 4));
            slider.dispatchEvent(new Event("input", { bubbles: true }));
            await frame();
        }
        for (let y = 0; y < document.documentElement.scrollHeight; y += 600) { scrollTo(0, y); await frame(); }
        scrollTo(0, 0);
    }""")
    figures = {
        "interactive_ms": start[0],
        "longest_task_ms": {"loading": start[1], "masking": page.evaluate("longest")},
    }
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    (ARTEFACTS / "long-record.json").write_text(json.dumps(figures))
    assert figures["longest_task_ms"]["masking"] < 500  # 60 ms on two idle cores
    page.locator(".heat .t").nth(40).hover()
    expect(page.locator("#tip")).to_be_visible()
    page.locator(".heat .t").first.focus()
    page.keyboard.press("End")
    expect(page.locator(".heat .t").last).to_be_in_viewport()
    page.evaluate("scrollTo(0, 0)")
    visitor.check("long-record", axe=False)
