"""SIGKILL of the service at ten moments of three jobs: all finish, nothing twice, no event lost, nobody left."""

import contextlib
import json
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from given import recipe_of
from serving import Serving, start, stop

from forgetless.curator.service.ledger import Ledger
from forgetless.curator.service.tail import Tail
from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.pipelines.build import Build

KILLS = 10
COUNT = 40
JOBS = {"first": ("one", "abc"), "second": ("one", "def"), "third": ("two", "abc")}
"""Job → store, and its steps, each of which commits `COUNT` rows; two jobs share a store."""
ENGINE: dict[str, Any] = {"engine": {"kind": "transformers"}}


class Listener(threading.Thread):
    """A client of one job that comes back whenever it is cut off, until the job has ended."""

    def __init__(self, serving: Serving, job: str) -> None:
        super().__init__(daemon=True)
        self.url = f"{serving.address}/v1/jobs/{job}/events"
        self.headers = serving.headers
        self.events: list[tuple[int, str, Any]] = []
        self.begins = 0
        """How often it was let in."""

    def run(self) -> None:
        """Goes on behind the last event that it has."""
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if self._listen():
                    return
            time.sleep(0.05)

    def _listen(self) -> bool:
        last = {"Last-Event-ID": str(self.events[-1][0])} if self.events else {}
        with (
            httpx.Client(headers=self.headers | last, timeout=30) as client,
            client.stream("GET", self.url) as answer,
        ):
            if answer.status_code == 204:
                return True
            assert answer.status_code == 200
            self.begins += 1
            self._take(answer)
        return self.ended

    def _take(self, answer: httpx.Response) -> None:
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                self.events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                fields = {}

    @property
    def ended(self) -> bool:
        """Whether the last event is the job's end."""
        return bool(self.events) and self.events[-1][2].get("state") in ("succeeded", "failed", "cancelled")

    @property
    def works(self) -> bool:
        """Whether the last event is of work that is being done."""
        return bool(self.events) and self.events[-1][1] == "progress" and self.events[-1][2]["done"] > 0


def test_ten_kills(tmp_path: Path, demo_model: Path) -> None:
    for store, names in JOBS.values():
        Build(recipe_of(tmp_path / "calm" / store, demo_model, steps(names), **ENGINE)).run()

    home, root = tmp_path / "home", tmp_path / "root"
    root.mkdir()
    arguments = ("--root", root, "--root", demo_model, "--jobs", "2")
    service = start(*arguments, home=home)
    try:
        jobs = submitted(service, demo_model)
        listeners = [Listener(service, job) for job in jobs.values()]
        for listener in listeners:
            listener.start()
        service = killed_again_and_again(service, listeners, root, arguments)
        for listener in listeners:
            listener.join(300)
            assert listener.ended
        with service.client() as client:
            for job in jobs.values():
                check_job(client, job)
        check_events(home, jobs, listeners)
    finally:
        stop(service)
    for store in ("one", "two"):
        made = Store.open(root / store)
        assert ids(made) == ids(Store.open(tmp_path / "calm" / store))
        planned = sum(COUNT * len(names) for name, names in JOBS.values() if name == store)
        assert len(set(ids(made))) == len(ids(made)) == planned
        assert verify(made)[0] == []
    assert processes(home) == []


def steps(names: str) -> list[dict[str, Any]]:
    """One per letter."""
    sampling = {"max_tokens": 60}
    return [
        {"pipeline": "bos_replay", "name": name, "count": COUNT, "seed": ord(name), "sampling": sampling}
        for name in names
    ]


def submitted(service: Serving, model: Path) -> dict[str, str]:
    """Name → id of each job; asked for twice, as clients do that are cut off."""
    found = {}
    with service.client() as client:
        for name, (store, names) in JOBS.items():
            recipe = {"store": store, "model": {"path": str(model)}, "steps": steps(names), **ENGINE}
            for status in (201, 200):
                asked = client.post(
                    "/v1/jobs", json={"verb": "build", "recipe": recipe}, headers={"Idempotency-Key": name}
                )
                assert asked.status_code == status, asked.text
            found[name] = asked.json()["id"]
    return found


def killed_again_and_again(
    service: Serving, listeners: list[Listener], root: Path, arguments: tuple[str | Path, ...]
) -> Serving:
    """At moments of every kind: when it has just started, while children start, amid their work, behind a commit."""
    home, port = service.home, int(service.address.rpartition(":")[2])
    chance = random.Random(20)
    behind_commits = 0
    for moment in chance.sample(["start", "early", "amid", "commit", "commit"] * 2, KILLS):
        before = committed(root)
        if moment == "early":
            time.sleep(chance.uniform(0, 3))
        elif moment == "amid":
            wait_for(lambda: any(each.works for each in listeners) or all(each.ended for each in listeners))
        elif moment == "commit":
            wait_for(lambda: committed(root) > before or all(each.ended for each in listeners))  # noqa: B023
            time.sleep(chance.uniform(0, 0.3))
        behind_commits += committed(root) > before and not all(each.ended for each in listeners)
        stop(service, signal.SIGKILL)
        wait_for(lambda: processes(home) == [], 5)
        service = start(*arguments, home=home, port=port)
    assert behind_commits >= 3
    return service


def committed(root: Path) -> int:
    """Transactions of all stores; the first of each makes the empty table."""
    made = [len(list(log.glob("*.json"))) for log in root.glob("*/outcomes/_delta_log")]
    return sum(count - 1 for count in made if count)


def wait_for(true: Callable[[], bool], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def processes(home: Path) -> list[int]:
    """The service, and its jobs' processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(home).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def check_job(client: httpx.Client, id: str) -> None:
    """It has succeeded, and a restart did not make it begin anew."""
    job = client.get(f"/v1/jobs/{id}").json()
    assert job["state"] == "succeeded" and job["exit_code"] == 0 and job["result"]["steps"]


def check_events(home: Path, jobs: dict[str, str], listeners: list[Listener]) -> None:
    """Every client has heard everything that the ledger has, once, in order."""
    ledger = Ledger(home)
    for id, listener in zip(jobs.values(), listeners, strict=True):
        kept = [(e.number, e.type, e.data) for e in ledger.events(ledger.job(id), limit=10_000)]
        assert listener.events == kept
        assert [number for number, _, _ in kept] == list(range(1, len(kept) + 1))
        states = [data["state"] for _, type, data in kept if type == "state"]
        restarts = states.count("running") - 1
        assert states == ["queued", "running"] * (restarts + 1) + ["succeeded"]
        assert ledger.job(id).attempts == restarts + 1
        said = Tail(home / "jobs" / id / "stderr", 0).read(whole=True)
        assert flat([(type, data) for _, type, data in kept]) == flat(said) != []
    assert sum(listener.begins for listener in listeners) > KILLS


def flat(events: list[tuple[Any, Any]]) -> list[Any]:
    """What processes have said: every line, and of each bar the last state before something else was said."""
    found: list[Any] = []
    for type, data in events:
        if type == "log":
            found += data["line"].split("\n")
        elif type == "progress":
            if found and isinstance(found[-1], dict) and found[-1]["label"] == data["label"]:
                found.pop()
            found.append(data)
    return found


def ids(store: Store) -> list[str]:
    """Of all rows that end a plan."""
    rows = store.query("SELECT id FROM outcomes WHERE status <> 'intermediate' ORDER BY id")
    found: list[str] = rows["id"].to_pylist()
    return found
