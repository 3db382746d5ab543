"""The queue: order, exclusion, cancelling, going on, and what is told of it. The children are scripts."""

import asyncio
import itertools
import json
import os
import signal
from pathlib import Path

import pytest
from queued import asked, lines, queue, states, told, until

from forgetless.curator.service.problems import Problem
from forgetless.schemas.errors import UsageError

SLEEPS = "time.sleep(100)\n"


def verify(store: str = "a") -> object:
    return asked(verb="verify", store=store)


def run(coroutine: object) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 100))  # type: ignore[arg-type]


def test_a_job_from_its_request_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        'say("one"); bar(0, 3); bar(3, 3, note="9 tok/s", tokens_per_second=9.5)\n'
        "print(json.dumps({'argv': sys.argv[1:], 'parent': os.environ['FORGETLESS_PARENT'],"
        " 'confined': os.environ['FORGETLESS_CONFINED'], 'folder': os.getcwd()}))\n"
    )

    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, script) as q:
            job, made = await q.submit(verify())
            assert made and job.state == "queued" and job.stores == ["a"]
            events = await told(q, job)
            assert [event.number for event in events] == list(range(1, len(events) + 1))
            assert states(events) == ["queued", "running", "succeeded"] and lines(events) == ["one"]
            assert [e.data for e in events if e.type == "progress"][-1] == {
                "label": "bar", "done": 3, "total": 3, "note": "9 tok/s", "tokens_per_second": 9.5,
            }  # fmt: skip
            job = q.job(job.id)
            assert (job.state, job.attempts, job.exit_code, job.error) == ("succeeded", 1, 0, None)
            assert job.progress and job.progress.tokens_per_second == 9.5
            assert job.result == {
                "argv": ["verify", "--json", "--", str(tmp_path / "a")], "parent": str(os.getpid()), "confined": "1",
                "folder": str(q.folder(job.id)),
            }  # fmt: skip
            assert job.created <= job.started <= job.ended  # type: ignore[operator]
            assert await told(q, job, events[-1].number) == []

    run(scenario())


def test_failures_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        'store = sys.argv[-1][-1]; say("warning: x")\n'
        'if store == "a": say("\\x1b[31merror: \\x1b[0mno model 7 → give one"); sys.exit(4)\n'
        'if store == "b": os.kill(os.getpid(), signal.SIGKILL)\n'
        'print(\'{"ok": false, "x": NaN}\'); sys.exit(1)\n'
    )

    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, script) as q:
            ended = {}
            for store in "abc":
                job, _ = await q.submit(verify(store))
                last = (await told(q, job))[-1].data
                ended[store] = (last["state"], last["exit_code"], q.job(job.id).error)
                assert last["error"] == q.job(job.id).error
            assert ended["a"] == ("failed", 4, "no model 7 → give one")
            assert ended["b"] == ("failed", -9, "its process was killed by signal 9 (out of memory?)")
            assert ended["c"] == ("failed", 1, "warning: x")
            assert q.job(job.id).result == {"ok": False, "x": None}

    run(scenario())


def test_one_store_is_touched_by_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'say("begin"); time.sleep(0.3)\n'

    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, script, jobs=3) as q:
            jobs = [(await q.submit(verify(store)))[0] for store in "aabac"]
            await until(lambda: sum(q.job(job.id).state == "running" for job in jobs) == 3)
            assert [q.job(job.id).state for job in jobs] == [
                "running",
                "queued",
                "running",
                "queued",
                "running",
            ]
            for job in jobs:
                assert states(await told(q, job))[-1] == "succeeded"
            a = [q.job(jobs[i].id) for i in (0, 1, 3)]
            assert all(x.ended <= y.started for x, y in itertools.pairwise(a))  # type: ignore[operator]

    run(scenario())


def test_jobs_are_started_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch) as q:
            jobs = [(await q.submit(verify(store)))[0] for store in "abcab"]
            for job in jobs:
                await told(q, job)
            started = [q.job(job.id).started for job in jobs]
            assert started == sorted(started)  # type: ignore[type-var]

    run(scenario())


def test_cancel_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "mark = Path('mark')\n"
        "if mark.exists(): say('goes on'); sys.exit(0)\n"
        "mark.touch(); signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); say('up')\n" + SLEEPS
    )

    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, script) as q:
            job, _ = await q.submit(verify())
            waiting, _ = await q.submit(verify("b"))
            await until(lambda: q.job(job.id).state == "running" and (q.folder(job.id) / "mark").exists())
            assert q.cancel(waiting.id).state == "cancelled"
            assert states(await told(q, waiting)) == ["queued", "cancelled"]
            with pytest.raises(Problem, match="is running"):
                q.resume(job.id)
            q.cancel(job.id)
            q.cancel(job.id)
            events = await told(q, job)
            assert states(events) == ["queued", "running", "cancelled"]
            assert lines(events).count("cancelling: it is asked to end") == 1
            with pytest.raises(Problem, match="has cancelled already"):
                q.cancel(job.id)
            assert q.resume(job.id).ended is None
            more = await told(q, job, events[-1].number)
            assert states(more) == ["queued", "running", "succeeded"] and lines(more) == ["goes on"]
            assert more[0].number == events[-1].number + 1 and q.job(job.id).attempts == 2
            with pytest.raises(Problem, match="is succeeded"):
                q.resume(job.id)

    run(scenario())


def test_one_that_does_not_listen_is_killed_with_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import subprocess\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        "Path('inner').write_text(str(inner.pid))\n" + SLEEPS
    )
    monkeypatch.setattr("forgetless.curator.service.queue.END_SECONDS", 0.5)

    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, script) as q:
            job, _ = await q.submit(verify())
            inner = q.folder(job.id) / "inner"
            await until(lambda: inner.exists() and inner.read_text() != "")
            q.cancel(job.id)
            assert states(await told(q, job))[-1] == "cancelled"
            await until(lambda: _state(int(inner.read_text())) in ("", "Z"))

    run(scenario())


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_the_same_key_makes_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch) as q:
            both = await asyncio.gather(*(q.submit(verify(), "k") for _ in range(5)))
            assert len({job.id for job, _ in both}) == 1 and sum(made for _, made in both) == 1
            assert [path.name for path in (tmp_path / "home" / "jobs").glob("*")] in ([], [both[0][0].id])
            with pytest.raises(Problem) as refused:
                await q.submit(verify("b"), "k")
            assert refused.value.status == 422
            assert (await q.submit(verify("b"), "other"))[1]

    run(scenario())


def test_a_stopped_service_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "signal.signal(signal.SIGTERM, lambda *_: (say('stopped'), sys.exit(143)))\n"
        "first = not Path('mark').exists(); Path('mark').touch(); say('up')\n"
        "time.sleep(100 if first else 0)\n"
    )

    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, script) as q:
            job, _ = await q.submit(verify())
            seen = []
            async for event in q.events(job.id):
                seen.append(event)
                if "up" in lines(seen):
                    break
            reader = asyncio.create_task(told(q, job, seen[-1].number))
            await asyncio.sleep(0.1)
        seen += await reader  # it ends with the service
        assert states(seen) == ["queued", "running", "queued"] and lines(seen) == ["up", "stopped"]
        async with queue(tmp_path / "home", monkeypatch, script) as q:
            seen += await told(q, job, seen[-1].number)
            assert states(seen)[3:] == ["running", "succeeded"] and lines(seen)[2:] == ["up"]
            assert [event.number for event in seen] == list(range(1, len(seen) + 1))
            assert q.job(job.id).attempts == 2

    run(scenario())


def test_a_home_has_one_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch):
            with pytest.raises(UsageError, match="another service"):
                async with queue(tmp_path / "home", monkeypatch):
                    pass
        async with queue(tmp_path / "home", monkeypatch):
            pass

    run(scenario())


def test_a_flood_is_kept_in_the_file_and_told_in_few_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "line = 'x' * 90\nfor i in range(200_000): sys.stderr.write(f'{i} {line}\\n')\n"
        "say('y' * 3_000_000)\nfor i in range(5000): bar(i, 5000); say(f'between {i}')\nsay('last')\n"
    )

    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, script) as q:
            job, _ = await q.submit(verify())
            events = await told(q, job)
            assert states(events)[-1] == "succeeded" and lines(events)[-1] == "last"
            assert len(events) < 500
            assert sum(len(json.dumps(event.data)) for event in events) < 2_000_000
            assert (q.folder(job.id) / "stderr").read_bytes().count(b"\n") == 200_000 + 1 + 10_000 + 1

    run(scenario())


def test_lines_are_told_as_people_should_see_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "sys.stderr.buffer.write(b'\\x1b[31mred\\x1b[0m\\x07 \\xff\\n' + b'1%\\r50%\\r100%\\r\\n' + b'\\n')\n"
        "sys.stderr.buffer.write('\\x1b]0;title\\x07héllo\\u202e\\n'.encode() + b'z' * 5000 + b'\\n')\n"
        "say('{\"progress\": 1}'); say('{\"note\": \"a\\\\nb\"}'); say('{\"note\": '); sys.stderr.write('no end')\n"
    )

    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, script) as q:
            job, _ = await q.submit(verify())
            assert lines(await told(q, job)) == [
                "red �", "100%", "héllo", "z" * 2000 + "…", '{"progress": 1}', "a b", '{"note":', "no end",
            ]  # fmt: skip

    run(scenario())


def test_many_clients_hear_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "for i in range(10): say(i); time.sleep(0.05)\n"

    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, script) as q:
            job, _ = await q.submit(verify())
            heard = await asyncio.gather(*(told(q, job) for _ in range(100)))
            assert all(events == heard[0] for events in heard)
            assert lines(heard[0]) == [str(i) for i in range(10)]

    run(scenario())


def test_what_cannot_be_started_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch) as q:
            monkeypatch.setattr("forgetless.curator.service.child.command", lambda _: ["/nowhere"])
            job, _ = await q.submit(verify())
            assert states(await told(q, job))[-1] == "failed"
            assert "the service could not run it" in (q.job(job.id).error or "")

    run(scenario())


def test_a_killed_childs_signal_is_no_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with queue(tmp_path / "home", monkeypatch, SLEEPS) as q:
            job, _ = await q.submit(verify())
            await until(lambda: q.job(job.id).pid is not None)
            os.kill(q.job(job.id).pid or 0, signal.SIGTERM)
            assert states(await told(q, job))[-1] == "failed"

    run(scenario())
