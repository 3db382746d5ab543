"""The ledger: what is committed stays, in order, once."""

import threading
from pathlib import Path

import pytest
from queued import asked
from sqlalchemy.exc import StatementError

from forgetless.curator.service.ledger import Job, Ledger, new_id
from forgetless.curator.service.prepare import Prepared
from forgetless.curator.service.problems import Problem


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def add(ledger: Ledger, store: str = "a", key: str | None = None) -> Job:
    prepared = Prepared(["verify"], [store, store], [Path("/s") / store])
    return ledger.add(new_id(), asked(verb="verify", store=store), prepared, key)[0]


def test_a_job_is_read_as_it_was_written(ledger: Ledger, tmp_path: Path) -> None:
    job = add(ledger)
    assert (job.state, job.attempts, job.stores, job.writes) == ("queued", 0, ["a"], [Path("/s/a")])
    assert job.request == {"verb": "verify", "store": "a"} and job.created.tzinfo is not None
    progress = {"label": "b", "done": 1, "total": 2}
    changed, kept = ledger.change(
        job, [("log", {"line": "x"}), ("progress", progress)], state="running", pid=7, offset=9
    )
    assert changed.progress and changed.progress.total == 2 and changed.pid == 7
    assert Ledger(tmp_path).job(job.id) == changed
    assert kept == ledger.events(job, 1)
    assert [(e.number, e.type) for e in ledger.events(job)] == [(1, "state"), (2, "log"), (3, "progress")]
    assert [e.number for e in ledger.events(job, 1, 1)] == [2] and ledger.events(job, 3) == []


def test_what_is_for_the_service_alone_is_not_told(ledger: Ledger) -> None:
    told = add(ledger).model_dump(mode="json")
    assert set(told) == {
        "id", "verb", "state", "stores", "request", "created", "started", "ended", "attempts", "exit_code", "error",
        "progress", "result",
    }  # fmt: skip


def test_no_such_job(ledger: Ledger) -> None:
    with pytest.raises(Problem) as missing:
        ledger.job("x")
    assert missing.value.status == 404


def test_jobs_are_listed_newest_first_by_filters_and_pages(ledger: Ledger) -> None:
    made = [add(ledger, store) for store in "abaab"]
    ledger.change(made[0], state="running")
    assert [job.id for job in ledger.jobs()] == [job.id for job in reversed(made)]
    assert [job.id for job in ledger.jobs(store="b")] == [made[4].id, made[1].id]
    assert [job.id for job in ledger.jobs(state="running")] == [made[0].id]
    assert ledger.jobs(verb="build") == []
    first = ledger.jobs(limit=2)
    rest = ledger.jobs(before=first[-1].number)
    assert [job.id for job in first + rest] == [job.id for job in reversed(made)]
    assert ledger.counts() == {"queued": 4, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 0}


def test_a_key_belongs_to_one_request(ledger: Ledger) -> None:
    first = add(ledger, "a", "k")
    assert add(ledger, "a", "k").id == first.id and len(ledger.jobs()) == 1
    with pytest.raises(Problem) as other:
        add(ledger, "b", "k")
    assert other.value.status == 422
    assert add(ledger, "a").id != first.id


def test_events_are_numbered_without_gap_whoever_writes(ledger: Ledger) -> None:
    jobs = [add(ledger), add(ledger)]

    def write(job: Job) -> None:
        for i in range(25):
            ledger.change(job, [("log", {"line": str(i)})] * 2, offset=i)

    threads = [threading.Thread(target=write, args=(job,)) for job in jobs * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for job in jobs:
        assert [e.number for e in ledger.events(job, limit=1000)] == list(range(1, 152))


def test_a_change_is_whole_or_not_at_all(ledger: Ledger) -> None:
    job = add(ledger)
    with pytest.raises(StatementError):
        ledger.change(job, [("log", {"line": "x"}), ("log", {"line": object()})], offset=100)
    assert ledger.job(job.id).offset == 0 and len(ledger.events(job)) == 1
