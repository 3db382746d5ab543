"""/v1/jobs and /v1/exports over HTTP; the children are scripts, but for one real export."""

import io
import json
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from given import recipe_of, task_file
from queued import BEGIN
from starlette.testclient import TestClient

from forgetless.curator.service import child
from forgetless.curator.service.app import create_app
from forgetless.curator.service.settings import Settings
from forgetless.pipelines.build import Build

SCRIPT = (
    BEGIN
    + """
say("up"); bar(1, 2); bar(2, 2)
if "b" in sys.argv[-1][-1]:
    say("error: no → way out"); sys.exit(2)
if sys.argv[-1].endswith("c"):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); time.sleep(100)
print(json.dumps({"argv": sys.argv[1:]}))
"""
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def client_of(root: Path, home: Path) -> TestClient:
    home.mkdir(exist_ok=True)
    app = create_app(Settings(home=home, stores={name: root / name for name in "abc"}, roots=(root,), jobs=4))
    token = {"authorization": f"Bearer {app.state.service.keys.token}"}
    return TestClient(app, base_url="http://127.0.0.1:8765", headers=token)


@pytest.fixture
def client(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setattr(
        child, "command", lambda arguments: [sys.executable, str(tmp_path / "script.py"), *arguments]
    )
    with client_of(root, tmp_path / "home") as client:
        yield client


def events(client: TestClient, id: str, **options: Any) -> list[dict[str, Any]]:
    """Up to the job's end."""
    answer = client.get(f"/v1/jobs/{id}/events", **options)
    if answer.status_code == 204:
        return []
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append(
                {"id": int(fields["id"]), "type": fields["event"], "data": json.loads(fields["data"])}
            )
    return found


def ended(client: TestClient, id: str) -> dict[str, Any]:
    """The job, once it has ended."""
    for _ in range(600):
        job: dict[str, Any] = client.get(f"/v1/jobs/{id}").json()
        if job["ended"]:
            return job
        time.sleep(0.1)
    raise AssertionError(job)


def test_a_job(client: TestClient) -> None:
    made = client.post("/v1/jobs", json={"verb": "verify", "store": "a"})
    assert made.status_code == 201
    job = made.json()
    assert made.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["stores"] == ["a"] and job["request"] == {"verb": "verify", "store": "a"}
    told = events(client, job["id"])
    assert [event["id"] for event in told] == list(range(1, len(told) + 1))
    assert [e["data"]["state"] for e in told if e["type"] == "state"] == ["queued", "running", "succeeded"]
    behind = events(client, job["id"], headers={"Last-Event-ID": "2"})
    assert behind == told[2:] == events(client, job["id"], params={"after": 2})
    assert client.get(f"/v1/jobs/{job['id']}/events", params={"after": told[-1]["id"]}).status_code == 204
    job = client.get(made.headers["location"]).json()
    assert job["state"] == "succeeded" and job["result"]["argv"][0] == "verify"
    assert job["progress"] == {"label": "bar", "done": 2, "total": 2, "note": "", "tokens_per_second": None}
    log = client.get(f"/v1/jobs/{job['id']}/log")
    assert log.headers["content-type"].startswith("text/plain")
    assert log.text == "up\nbar: 1 of 2\nbar: 2 of 2\n"


def test_a_list_by_filters_and_pages(client: TestClient) -> None:
    made = [client.post("/v1/jobs", json={"verb": "verify", "store": s}).json()["id"] for s in "abab"]
    for id in made:
        ended(client, id)
    page = client.get("/v1/jobs", params={"limit": 3}).json()
    assert [job["id"] for job in page["jobs"]] == made[:0:-1]
    last = client.get("/v1/jobs", params={"before": page["next"]}).json()
    assert [job["id"] for job in last["jobs"]] == made[:1] and last["next"] is None
    failed = client.get("/v1/jobs", params={"state": "failed"}).json()["jobs"]
    assert [job["id"] for job in failed] == [made[3], made[1]] and failed[0]["error"] == "no → way out"
    assert failed == client.get("/v1/jobs", params={"store": "b"}).json()["jobs"]
    assert client.get("/v1/jobs", params={"verb": "build"}).json() == {"jobs": [], "next": None}


def test_cancel_and_resume(client: TestClient) -> None:
    id = client.post("/v1/jobs", json={"verb": "verify", "store": "c"}).json()["id"]
    while client.get(f"/v1/jobs/{id}").json()["progress"] is None:
        time.sleep(0.05)
    assert client.post(f"/v1/jobs/{id}/resume").status_code == 409
    assert client.post(f"/v1/jobs/{id}/cancel").json()["state"] == "running"
    assert ended(client, id)["state"] == "cancelled"
    again = client.post(f"/v1/jobs/{id}/cancel")
    assert again.status_code == 409 and again.headers["content-type"] == "application/problem+json"
    assert client.post(f"/v1/jobs/{id}/resume").json()["state"] == "queued"
    client.post(f"/v1/jobs/{id}/cancel")
    assert ended(client, id)["state"] == "cancelled"


def test_idempotency(client: TestClient) -> None:
    key = {"Idempotency-Key": "k1"}
    first = client.post("/v1/jobs", json={"verb": "verify", "store": "a"}, headers=key)
    again = client.post("/v1/jobs", json={"verb": "verify", "store": "a"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"] and again.headers["location"] == first.headers["location"]
    other = client.post("/v1/jobs", json={"verb": "verify", "store": "b"}, headers=key)
    assert other.status_code == 422 and "another request" in other.json()["detail"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"verb": "verify", "store": "nowhere"}, 404),
        ({"verb": "verify"}, 422),
        ({"verb": "rm", "store": "a"}, 422),
        ({"verb": "verify", "store": "a", "debug": True}, 422),
        ({"verb": "build", "recipe": "store: /etc/x\nmodel: {path: m}"}, 400),
        ({"verb": "build", "recipe": "store: s\nmodel: {path: m}", "overrides": ["store=/etc"]}, 400),
        ({"verb": "build", "recipe": "store: s\nmodel: {path: m, trust_remote_code: true}"}, 400),
        (
            {"verb": "build", "recipe": {"store": "s", "model": {"path": "m"}, "allow_code_execution": True}},
            400,
        ),
        ({"verb": "build", "recipe": "store: s\nmodel: {path: m}", "base": "/etc"}, 400),
        ({"verb": "export", "store": "a", "format": "trl", "to": "/tmp/../etc/x"}, 400),
        ({"verb": "report", "runs": ["../../x"]}, 400),
        ({"verb": "check", "verifier": "exact", "file": "/etc/passwd"}, 400),
        ({"verb": "eval", "model": "/etc", "suite": "tasks: []"}, 400),
        ({"verb": "score", "store": "a", "model": "../x"}, 400),
        ({"verb": "study", "file": "experiments: {}\nfindings: []", "folder": "/var/x"}, 400),
        ({"verb": "demo", "folder": "/var/x"}, 400),
        ({"verb": "demo", "overrides": ["allow_code_execution=true"]}, 400),
    ],
)
def test_what_is_refused(client: TestClient, tmp_path: Path, asked: dict[str, Any], status: int) -> None:
    refused = client.post("/v1/jobs", json=asked)
    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json" and refused.json()["detail"]
    assert client.get("/v1/jobs").json()["jobs"] == []
    assert list((tmp_path / "home" / "jobs").glob("*")) == []


def test_what_is_not_there(client: TestClient) -> None:
    for method, path in (
        ("get", ""), ("get", "/events"), ("get", "/log"), ("post", "/cancel"), ("post", "/resume"),
    ):  # fmt: skip
        assert client.request(method, f"/v1/jobs/abcd{path}").status_code == 404
    assert (
        client.get("/v1/exports/abcd").status_code
        == client.get("/v1/exports/abcd/download").status_code
        == 404
    )
    id = client.post("/v1/jobs", json={"verb": "verify", "store": "a"}).json()["id"]
    assert client.get(f"/v1/exports/{id}/download").status_code == 404
    assert client.get(f"/v1/jobs/{id}/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_a_recipe_is_kept_as_it_was_checked(client: TestClient, root: Path, tmp_path: Path) -> None:
    """With absolute paths and overrides, and without what was not said; the request is as it was."""
    recipe = {
        "store": "s", "model": {"path": "m"}, "steps": [{"pipeline": "bos_replay", "count": 3}],
        "train": {"output": "o"},
    }  # fmt: skip
    asked = {"verb": "build", "recipe": recipe, "overrides": ["steps.bos_replay.count=4"], "base": "."}
    job = client.post("/v1/jobs", json=asked).json()
    assert job["request"] == asked and job["stores"] == ["s"]
    file = tmp_path / "home" / "jobs" / job["id"] / "recipe.yaml"
    assert yaml.safe_load(file.read_text()) == {
        "store": str(root / "s"), "model": {"path": "m"}, "steps": [{"pipeline": "bos_replay", "count": 4}],
        "train": {"output": str(root / "o")},
    }  # fmt: skip
    assert ended(client, job["id"])["result"]["argv"] == ["build", "--json", "--", str(file)]


def test_the_recipes_of_a_study_are_part_of_the_job(client: TestClient, root: Path, tmp_path: Path) -> None:
    recipe = {"store": "s", "model": {"path": "m"}, "train": {"output": "o"}}
    (root / "deep").mkdir()
    (root / "deep" / "r.yaml").write_text(yaml.safe_dump(recipe))
    experiment: dict[str, Any] = {
        "recipe": "deep/r.yaml", "set": ["name=n"], "sweep": [{"learning_rate": 0.1, "steps": 2}],
        "methods": {"plain": {"batch_size": 2}},
    }  # fmt: skip
    asked = {"verb": "study", "file": {"experiments": {"e": experiment}, "findings": []}}
    made = client.post("/v1/jobs", json=asked)
    assert made.status_code == 201, made.text
    folder = tmp_path / "home" / "jobs" / made.json()["id"]
    study = yaml.safe_load((folder / "study.yaml").read_text())["experiments"]["e"]
    assert study["recipe"] == str(folder / "experiment-0.yaml") and study["set"] == []
    assert yaml.safe_load((folder / "experiment-0.yaml").read_text()) == {
        "name": "n", "store": str(root / "deep" / "s"), "model": {"path": "m"},
        "train": {"output": str(root / "deep" / "o")},
    }  # fmt: skip
    for changed in (
        {"set": ["allow_code_execution=true"]}, {"set": ["model.path=/etc"]}, {"recipe": "/etc/passwd"},
        {"methods": {"plain": {"output": "/etc/x"}}}, {"methods": {"plain": {"tasks": [{"name": "t", "path": "/etc/x"}]}}},
    ):  # fmt: skip
        asked = {"verb": "study", "file": {"experiments": {"e": experiment | changed}, "findings": []}}
        assert client.post("/v1/jobs", json=asked).status_code == 400, changed


def test_an_export_is_made_and_taken_home(root: Path, tmp_path: Path, demo_model: Path) -> None:
    """With the real command line."""
    recipe = recipe_of(
        root / "a", demo_model, [{"pipeline": "import", "path": str(task_file(root / "t.jsonl", 5, 0))}]
    )
    Build(recipe).run()
    with client_of(root, tmp_path / "home") as client:
        made = client.post("/v1/exports", json={"store": "a", "format": "messages"})
        assert made.status_code == 201, made.text
        id = made.json()["id"]
        early = client.get(f"/v1/exports/{id}/download")
        assert early.status_code in (200, 409)
        assert ended(client, id)["state"] == "succeeded", client.get(f"/v1/jobs/{id}/log").text
        assert client.get(f"/v1/jobs/{id}").json()["result"]["records"] == 5
        (tmp_path / "home" / "jobs" / id / "export" / "link").symlink_to("/etc/passwd")
        (tmp_path / "home" / "jobs" / id / "export" / "folder").symlink_to("/etc")
        files = {file["name"]: file["bytes"] for file in client.get(f"/v1/exports/{id}").json()["files"]}
        sent = client.get(f"/v1/exports/{id}/download")
        assert sent.headers["content-type"] == "application/zip"
        assert f'filename="a-messages-{id[:8]}.zip"' in sent.headers["content-disposition"]
        with zipfile.ZipFile(io.BytesIO(sent.content)) as archive:
            assert archive.testzip() is None
            assert {info.filename: info.file_size for info in archive.infolist()} == files
            assert "README.md" in files and not {"link", "folder"} & set(files)
        assert [job["id"] for job in client.get("/v1/exports").json()["jobs"]] == [id]
        there = client.post("/v1/exports", json={"store": "a", "format": "parquet", "to": "out/data"}).json()
        assert ended(client, there["id"])["state"] == "succeeded"
        assert (root / "out" / "data" / "README.md").exists()
