"""A hundred people who read records and follow a job while it runs."""

import asyncio
import contextlib
import json
import statistics
import time
from pathlib import Path
from random import Random
from typing import Any

import httpx
import yaml
from served import Call, Misbehaving, Reply, says
from serving import Serving, serving

from forgetless.benchmarks.made_store import make_store

READERS, TOKENS, RECORDS, READS, LONE = 100, 2000, 300, 8, 60
PAUSE = 2.0
"""Seconds that somebody looks at a record, on average."""


def scripted(call: Call) -> Reply:
    """A teacher that takes its time, so that the job outlasts the readers."""
    reply = says("a short answer")
    reply.seconds = 1.0
    return reply


def recipe(folder: Path, url: str, model: Path) -> str:
    """A job that asks the teacher a thousand things, 16 at a time: a minute."""
    rows = [{"prompt": f"what is {i}?", "completion": f"It is {i}."} for i in range(1000)]
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    hosted = {"kind": "openai", "base_url": url, "model": "m", "api_key_env": "HOSTED_KEY", "in_flight": 16}
    return yaml.safe_dump(
        {
            "store": "made-by-job",
            "model": {"path": str(model)},
            "writers": {"hosted": {"engine": hosted}},
            "steps": [
                {"pipeline": "import", "name": "human", "path": "task.jsonl"},
                {"pipeline": "teacher", "writer": "hosted", "sampling": {"max_tokens": 16}},
            ],
        }
    )


async def read(client: httpx.AsyncClient, id: str) -> float:
    """Seconds until a record of the right size was there."""
    begun = time.perf_counter()
    answer = await client.get(f"/v1/stores/made/records/{id}")
    taken = time.perf_counter() - begun
    assert answer.status_code == 200, answer.text
    assert len(answer.content) > TOKENS  # to read it here would make the others wait
    return taken


async def follow(service: Serving, job: str, until: asyncio.Event) -> list[int]:
    """Numbers of the events that come while others read; by hand, since a client of a library for each of a hundred
    would keep this process so busy that the readers in it would seem slow."""
    host, port = service.address.removeprefix("http://").split(":")
    lines, asks = await asyncio.open_connection(host, int(port))
    asks.write(
        f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {service.token}\r\n\r\n".encode()
    )
    assert (await lines.readline()).split()[1] == b"200"
    numbers = []
    while not until.is_set():
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(lines.readline(), 1)
            numbers += [int(line[3:])] if line.startswith(b"id:") else []
    asks.close()
    return numbers


async def person(client: httpx.AsyncClient, ids: list[str], seed: int) -> list[float]:
    """Reads some records, with a look at each."""
    rng, taken = Random(seed), []
    await asyncio.sleep(rng.random() * PAUSE)
    for _ in range(READS):
        taken.append(await read(client, rng.choice(ids)))
        await asyncio.sleep(rng.uniform(0.5, 1.5) * PAUSE)
    return taken


async def visit(service: Serving, ids: list[str], job: str) -> dict[str, Any]:
    """One alone, then a hundred."""
    limits = httpx.Limits(max_connections=2 * READERS + 10, max_keepalive_connections=READERS)
    async with httpx.AsyncClient(
        base_url=service.address, headers=service.headers, timeout=60, limits=limits
    ) as client:
        lone = [await read(client, id) for id in Random(1).sample(ids, LONE)]
        done = asyncio.Event()
        following = [asyncio.create_task(follow(service, job, done)) for _ in range(READERS)]
        people = await asyncio.gather(*(person(client, ids, seed) for seed in range(READERS)))
        state = (await client.get(f"/v1/jobs/{job}")).json()["state"]
        done.set()
        events = await asyncio.gather(*following)
    many = sorted(taken for each in people for taken in each)
    return {
        "lone p50": statistics.median(lone), "p50": statistics.median(many), "p95": many[int(0.95 * len(many))],
        "state": state, "events": events,
    }  # fmt: skip


def test_a_hundred_read_and_follow_while_a_job_runs(tmp_path: Path, demo_model: Path) -> None:
    """None meets an error, and 95 of 100 reads take at most ten times what half of a lone reader's take."""
    made = make_store(tmp_path / "made", RECORDS, TOKENS)
    ids = made.query("SELECT id FROM records")["id"].to_pylist()
    with Misbehaving(scripted) as teacher:
        options = ("--root", tmp_path, "--root", demo_model, "--endpoint", f"{teacher.url},HOSTED_KEY")
        with serving(made.path, *options, home=tmp_path / "home", HOSTED_KEY="k") as service:
            with service.client() as client:
                body = {"verb": "build", "recipe": recipe(tmp_path, teacher.url, demo_model)}
                created = client.post("/v1/jobs", json=body)
                assert created.status_code == 201, created.text
                job = created.json()["id"]
                while client.get(f"/v1/jobs/{job}").json()["state"] == "queued":
                    time.sleep(0.1)
            seen = asyncio.run(visit(service, ids, job))
            with service.client() as client:
                client.post(f"/v1/jobs/{job}/cancel")
    assert seen["state"] == "running"  # it outlasted the readers
    for numbers in seen["events"]:
        assert numbers == sorted(set(numbers))
    assert min(len(numbers) for numbers in seen["events"]) > 3
    figures = {name: f"{1000 * seen[name]:.1f} ms" for name in ("lone p50", "p50", "p95")}
    print(figures)
    assert seen["p95"] <= 10 * seen["lone p50"], figures
