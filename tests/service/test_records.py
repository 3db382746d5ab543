"""Records over HTTP: what `forgetless show` and SQL find, found faster."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from paged import IDS, LONG, make_store

from forgetless.curator.report.record import read_record
from forgetless.curator.service.app import create_app
from forgetless.curator.service.settings import Settings
from forgetless.curator.store import Store

Get = Callable[..., Any]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Store:
    return make_store(tmp_path_factory.mktemp("records") / "small", demo_model)


@pytest.fixture(scope="module")
def get(store: Store) -> Iterator[Get]:
    """`get("/records", kind=…)` under the store's address."""
    home = store.path.parent / "home"
    home.mkdir()
    app = create_app(Settings(home=home, stores={"small": store.path}, roots=(home,)))
    client = TestClient(app, base_url="http://127.0.0.1:8765")
    client.headers["authorization"] = f"Bearer {app.state.service.keys.token}"

    def answer(path: str, headers: dict[str, str] | None = None, expected: int = 200, **query: Any) -> Any:
        found = client.get(f"/v1/stores/small{path}", params=query, headers=headers)
        assert found.status_code == expected, found.text
        return found

    yield answer
    app.state.service.stores.close()


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("scorer", [None, "newer", "older"])
def test_a_record_is_what_show_shows(store: Store, get: Get, name: str, scorer: str | None) -> None:
    if name == "e1":  # refused, and so never scored
        scorer = None
    shown = read_record(store, IDS[name], scorer)
    told = get(f"/records/{IDS[name]}", **{"scorer": scorer} if scorer else {}).json()
    tokens = told["tokens"]
    assert tokens["ids"] == shown.row["token_ids"]
    assert tokens["pieces"] == [mark.piece for mark in shown.marks]
    assert tokens["is_target"] == [mark.is_target for mark in shown.marks]
    assert tokens["logprob"] == pytest.approx([mark.logprob for mark in shown.marks])
    assert tokens["rank"] == [mark.rank for mark in shown.marks]
    assert tokens["entropy"] == pytest.approx([mark.entropy for mark in shown.marks])
    assert told["source"] == shown.source and told["text"] == shown.row["text"]
    assert told["scorer"] == (shown.scores["scorer"] if shown.scores else None)
    if shown.scores:
        assert told["perplexity"] == pytest.approx(shown.scores["perplexity"])


def test_the_answers_to_a_prompt_stand_together(get: Get) -> None:
    for name in ("a1", "b1", "d1"):
        versions = get(f"/records/{IDS[name]}").json()["versions"]
        assert [v["id"] for v in versions] == [IDS["a1"], IDS["b1"], IDS["d1"]]
        assert versions[0]["kind"] == "ground_truth"
    assert len(get(f"/records/{IDS['f0']}").json()["tokens"]["ids"]) == LONG


def test_an_id_may_be_short(get: Get) -> None:
    assert get(f"/records/{IDS['a1'][:6]}").json()["id"] == IDS["a1"]
    assert get("/records/0123456789abcdef", expected=404).json()["status"] == 404
    assert "no scores by" in get(f"/records/{IDS['a1']}", scorer="nobody", expected=400).json()["detail"]


def test_what_is_unchanged_is_not_sent_again(store: Store, get: Get) -> None:
    path = f"/records/{IDS['a1']}"
    first = get(path)
    again = get(path, {"if-none-match": first.headers["etag"]}, 304)
    assert not again.content
    store.append("runs", [{"run_id": "x", "verb": "build", "event": "done", "recipe": "{}", "steps": "{}",
                           "versions": "{}", "summary": "{}"}])  # fmt: skip
    assert get(path, {"if-none-match": first.headers["etag"]}).content == first.content


FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "status = 'accepted'"),
    ({"kind": "self_output"}, "status = 'accepted' AND kind = 'self_output'"),
    ({"task": "story"}, "task = 'story' AND status = 'accepted'"),
    ({"status": "rejected"}, "status = 'rejected'"),
    ({"status": "all"}, "true"),
    ({"text": "FOX"}, "status = 'accepted' AND text ILIKE '%fox%'"),
    ({"text": "100%_"}, "status = 'accepted' AND contains(text, '100%_')"),
    ({"min_perplexity": 2}, "id IN (SELECT id FROM perplexity WHERE scorer = newest_scorer() AND perplexity >= 2)"),
    ({"max_perplexity": 2}, "id IN (SELECT id FROM perplexity WHERE scorer = newest_scorer() AND perplexity <= 2)"),
    ({"scorer": "older", "min_perplexity": 3},
     "id IN (SELECT id FROM perplexity WHERE scorer LIKE 'older%' AND perplexity >= 3)"),
]  # fmt: skip


@pytest.mark.parametrize(("filters", "condition"), FILTERS)
def test_filters_are_those_of_sql(store: Store, get: Get, filters: dict[str, Any], condition: str) -> None:
    wanted = set(store.query(f"SELECT id FROM outcomes WHERE {condition}")["id"].to_pylist())
    rows = get("/records", limit=200, **filters).json()["rows"]
    assert {row["id"] for row in rows} == wanted and len(rows) == len(wanted)


@pytest.mark.parametrize("order", ["newest", "oldest", "hardest", "easiest", "longest", "shortest"])
def test_pages_are_one_list(get: Get, order: str) -> None:
    whole = [row["id"] for row in get("/records", order=order, limit=200).json()["rows"]]
    paged, cursor = [], None
    while True:
        page = get("/records", order=order, limit=7, **{"cursor": cursor} if cursor else {}).json()
        paged += [row["id"] for row in page["rows"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert paged == whole and len(set(whole)) == len(whole) > 20
    figures = [row["perplexity"] for row in get("/records", order=order, limit=200).json()["rows"]]
    if order in ("hardest", "easiest"):
        assert figures == sorted(figures, reverse=order == "hardest")


@pytest.mark.parametrize("cursor", ["x", "WzFd", "!!", "eyJhIjoxfQ", "ZZZZ"])
def test_a_cursor_of_somebody_else_is_told(get: Get, cursor: str) -> None:
    assert "none of ours" in get("/records", cursor=cursor, expected=400).json()["detail"]


def test_an_unknown_filter_is_told(get: Get) -> None:
    assert get("/records", kinds="magpie", expected=422).json()["errors"]


def test_a_snapshot_holds(store: Store, get: Get) -> None:
    assert len(get("/records", snapshot=1, limit=200).json()["rows"]) > 20
    assert "no snapshot" in get("/records", snapshot=9, expected=400).json()["detail"]
