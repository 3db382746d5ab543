"""The report: its figures are the store's, hostile text stays text, nothing is loaded, what is missing is said."""

import base64
import hashlib
import html
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reported import HOSTILE, PROMPTS, make_store

from forgetless.curator.report.order import figure, interval_text
from forgetless.curator.report.overview import read_overview
from forgetless.curator.store import Store

Cli = Callable[..., subprocess.CompletedProcess[str]]


class Page(HTMLParser):
    """The elements of a page, and the text of its tokens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Store:
    return make_store(tmp_path_factory.mktemp("a <b>") / "st&ore", demo_model)


@pytest.fixture(scope="module")
def folder(store: Store) -> Path:
    return store.path


@pytest.fixture
def page(cli: Cli, folder: Path, tmp_path: Path) -> str:
    done = cli("report", folder, "--to", tmp_path / "r.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"report: {re.escape(str(tmp_path))}/r.html \(\d+ kB\)\n", done.stdout)
    return (tmp_path / "r.html").read_text()


def test_nothing_is_loaded_and_only_its_own_script_runs(page: str) -> None:
    elements = Page(page).elements
    for tag, attributes in elements:
        assert tag not in ("iframe", "object", "embed", "base", "form", "img")
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes)
        assert attributes.get("src") is None
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))
    assert "http://" not in page and "https://" not in page and "url(" not in page and "@import" not in page
    policy = next(a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy


def test_both_themes_and_paper_are_there(page: str) -> None:
    assert "color-scheme: light dark" in page and "light-dark(" in page and "@media print" in page
    assert ':root[data-theme="dark"]' in page and '<button id="theme"' in page


def test_hostile_text_is_text(page: str) -> None:
    assert HOSTILE.split(" ")[0] not in page
    assert html.escape("<script>alert(1)</script>") in page
    assert page.count("<script>") == 1
    assert "\u202e" not in page and "\x1b" not in page
    text = "".join(Page(page).texts)
    assert "<U+202E>" in text and "␛[31m" in text and "<0xE2>" in text and "&amp; " in text
    assert "<b>9 is not 10</b>" in text and "<i>too long</i>" in text and "<b>0/st&ore" in text


def test_figures_are_those_of_sql(page: str, store: Store) -> None:
    text = " ".join("".join(Page(page).texts).split())
    for sql in (
        "SELECT count(*) AS n FROM records",
        "SELECT sum(len(token_ids)) AS n FROM records",
        'SELECT sum(target_spans[1]."end" - target_spans[1].start) AS n FROM records',
    ):
        assert f"{store.query(sql)['n'][0].as_py():,} " in text
    sql = """
        SELECT kind, count(*) AS records, sum(target_tokens)::INT AS tokens, exp(median(ln(perplexity))) AS median,
               sum(hard_tokens) / sum(target_tokens) AS hard, exp(avg(-sum_logprob / target_tokens)) AS mean
        FROM perplexity SEMI JOIN (SELECT id FROM records WHERE fallback IS NULL) USING (id)
        WHERE scorer = 'newer' GROUP BY kind"""
    found = {row["kind"]: row for row in store.query(sql).to_pylist()}
    overview = read_overview(store)
    assert {d.kind for d in overview.distributions} == found.keys()
    for d in overview.distributions:
        row = found[d.kind]
        assert (d.records, d.tokens) == (row["records"], row["tokens"])
        assert d.perplexity.mean == pytest.approx(row["mean"])
        assert d.hard.mean == pytest.approx(row["hard"])
        assert sum(d.levels[3:]) / d.tokens == pytest.approx(row["hard"]) == d.above(2.5)
        assert d.record_quantiles.p50 == pytest.approx(row["median"], rel=1e-3)
        assert d.hard.low <= d.hard.mean <= d.hard.high
        assert sum(d.levels) == sum(d.token_bins) == d.tokens and sum(d.record_bins) == d.records
        for said in (interval_text(d.perplexity), f"{d.hard.mean:.1%}", figure(row["median"])):
            assert said in text
    hardest = (
        "SELECT min(logprob) AS n FROM tokens WHERE is_target AND scorer = 'newer' AND kind = 'ground_truth'"
    )
    assert overview.hardest[0].mark.logprob == store.query(hardest)["n"][0].as_py()


def test_one_scorer_is_shown_and_the_others_are_named(
    cli: Cli, folder: Path, tmp_path: Path, page: str
) -> None:
    cli("report", folder, "--to", tmp_path / "old.html", "--scorer", "old")
    old = (tmp_path / "old.html").read_text()
    assert re.search("<code>newer</code> .*by others too.*<code>older</code>", page)
    assert re.search("<code>older</code> .*by others too.*<code>newer</code>", old)
    assert "too long" not in old
    store = Store.open(folder)
    for name in ("newer", "older"):
        overview = read_overview(store, name)
        lines = {line.kind: line for line in overview.versions[0].comparison.lines}
        for d in overview.distributions[:2]:  # the same definition as in `forgetless compare`
            figures = lines[d.kind].all
            assert figures and figures.perplexity
            assert d.perplexity.mean == pytest.approx(figures.perplexity.mean)
            assert d.hard.mean == figures.hard_share


def test_survival_counts_every_row(store: Store) -> None:
    stages = {stage.step: stage for stage in read_overview(store).stages}
    ended = {name: [(e.name, e.role, e.rows) for e in stage.endings] for name, stage in stages.items()}
    assert ended == {
        "ground_truth": [("passed", "passed", PROMPTS)],
        "self_output": [("passed", "passed", PROMPTS - 2), ("fallback: reference", "fallback", 1), ("numeric", "refused", 1)],
        "bos_replay": [("passed", "passed", 4)],
        "score": [("passed", "passed", 2 * PROMPTS + 2), ("<i>too long</i>", "refused", 1)],
    }  # fmt: skip


def test_examples_are_whole_prompts_chosen_by_perplexity(page: str, store: Store) -> None:
    examples = read_overview(store, examples=3).versions[0].examples
    assert [(e.percentile, [v.kind for v in e.versions]) for e in examples] == [
        (percent, ["ground_truth", "self_output"]) for percent in (17, 50, 83)
    ]
    perplexities = [e.versions[0].summary.perplexity or 0 for e in examples]
    assert perplexities == sorted(perplexities)
    for version in (v for e in examples for v in e.versions):
        assert {version.id[:2]} <= {f"{version.kind[0]}{i}" for i in range(10)}
    tokens = [a["data-v"] for tag, a in Page(page).elements if "data-v" in a]
    position, token_id, logprob, rank, entropy = (tokens[0] or "").split("|")
    assert (int(rank), entropy) == (int(position), "1.5")
    assert float(logprob) < 0 and int(token_id) > 0


def test_a_task_and_a_snapshot_limit_it(cli: Cli, folder: Path, tmp_path: Path) -> None:
    done = cli("report", folder, "--to", tmp_path / "t.html", "--task", "sums", "--examples", 0)
    assert done.returncode == 0
    text = (tmp_path / "t.html").read_text()
    assert "of the task sums" in text and "BOS replay" not in text and '<div class="heat"' not in text
    for option, message in {
        "--task": "there is no task 'nosuch' → one of 'sums'",
        "--scorer": "no record is scored by one that begins with 'nosuch' → its scorers: newer, older",
        "--snapshot": "there is no snapshot 9",
    }.items():
        done = cli(
            "report", folder, "--to", tmp_path / "no.html", option, "9" if "snap" in option else "nosuch"
        )
        assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "no.html").exists()


def test_pages_go_where_files_can(cli: Cli, folder: Path, tmp_path: Path) -> None:
    for to, message in ((tmp_path, "is a folder"), (tmp_path / "no" / "r.html", "there is no folder")):
        done = cli("report", folder, "--to", to)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1) and message in done.stderr


@pytest.mark.parametrize(
    ("rows", "scores", "said"),
    [
        ("false", "false", ["The store holds no rows yet", "There are no records.", "Nothing was refused."]),
        ("true", "false", ["Nothing is scored: ", "nobody yet", "have no scores: "]),
        ("kind = 'bos_replay'", "true", ["There is only one kind", "No prompt has several scored answers"]),
        ("kind = 'self_output'", "true", ["Only one line of answers is scored", "There is only one kind"]),
        ("id LIKE 't%'", "true", ["The scorer could score none of the records", "could not score 1 record:"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(
    cli: Cli, store: Store, tmp_path: Path, rows: str, scores: str, said: list[str]
) -> None:
    part = Store.create(tmp_path / "part")
    part.append("vocab", store.query("SELECT * FROM vocab"))
    part.append("outcomes", store.query(f"SELECT * FROM outcomes WHERE {rows}"))
    part.append(
        "token_stats",
        store.query(
            f"SELECT s.* FROM token_stats s SEMI JOIN (SELECT id FROM outcomes WHERE {rows}) USING (id)"
            f" WHERE {scores}"
        ),
    )
    done = cli("report", part.path, "--to", tmp_path / "r.html")
    assert (done.returncode, done.stderr) == (0, "")
    text = "".join(Page((tmp_path / "r.html").read_text()).texts)
    for sentence in said:
        assert sentence in text


def test_show_says_that_a_scorer_refused_a_row(cli: Cli, folder: Path) -> None:
    done = cli("show", folder, "t" * 8)
    assert done.returncode == 0
    assert "refused by newer: <i>too long</i>" in done.stdout
