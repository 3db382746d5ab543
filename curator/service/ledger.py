"""What the service remembers of jobs, in SQLite: two tables, `jobs` and `events`.

DBOS 3.4 was tried for this, against kill -9. Its workflows all finished, but what a child had written into a pipe when
the service died was lost (1–2 of 25 lines per job), cancelling left the child running, and child, exclusion of stores,
file offsets and idempotent requests would have stayed ours: these tables are less than what it would have spared.
"""

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy import event as sa_event
from sqlalchemy.exc import IntegrityError

from forgetless.curator.service.prepare import Prepared
from forgetless.curator.service.problems import Problem
from forgetless.schemas.base import Frozen, digest
from forgetless.schemas.jobs import AnyJob

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
Type = Literal["state", "progress", "log", "result"]


class Progress(Frozen):
    """How far a bar is."""

    label: str
    done: int
    total: int
    note: str = ""
    tokens_per_second: float | None = None


class Job(Frozen):
    """A verb of the command line that the service runs."""

    id: str
    verb: str
    state: State
    stores: list[str]
    """Names of those that it reads or writes."""
    request: dict[str, Any]
    """As it was asked for."""
    created: datetime
    """UTC, as all times."""
    started: datetime | None = None
    """Of the last attempt."""
    ended: datetime | None = None
    attempts: int
    """How often it was started: more than once after a restart of the service, or when it was resumed."""
    exit_code: int | None = None
    """Negative: the signal that ended it."""
    error: str | None = None
    """What went wrong, in one line."""
    progress: Progress | None = None
    """The last there was."""
    result: Any = None
    """What the command line printed as JSON."""
    number: int = Field(exclude=True)
    """Grows with every job."""
    arguments: list[str] = Field(exclude=True)
    writes: list[Path] = Field(exclude=True)
    """What no other job may touch while it runs."""
    pid: int | None = Field(None, exclude=True)
    """Of its process, which leads a group."""
    offset: int = Field(0, exclude=True)
    """Bytes of its log that have become events."""
    is_cancelled: bool = Field(False, exclude=True)
    """Its end was asked for."""


class Event(Frozen):
    """Something that happened to a job."""

    number: int
    """From 1, without a gap."""
    type: Type
    data: Any
    time: datetime


_metadata = sa.MetaData()
_jobs = sa.Table(
    "jobs",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("stores", sa.JSON, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("writes", sa.JSON, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("started", sa.Float),
    sa.Column("ended", sa.Float),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("exit_code", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("progress", sa.JSON(none_as_null=True)),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("pid", sa.Integer),
    sa.Column("offset", sa.Integer, nullable=False, default=0),
    sa.Column("is_cancelled", sa.Boolean, nullable=False, default=False),
    sa.Column("key", sa.Text, unique=True),
    sa.Column("digest", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
_events = sa.Table(
    "events",
    _metadata,
    sa.Column("job", sa.Integer, sa.ForeignKey("jobs.number"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
_HIDDEN = ("key", "digest")
_READ = [column for column in _jobs.c if column.name not in _HIDDEN]


class Ledger:
    """Jobs and their events. A call takes about a millisecond, from any thread."""

    def __init__(self, home: Path) -> None:
        self._engine = sa.create_engine(f"sqlite:///{home / 'jobs.sqlite'}", connect_args={"timeout": 10})
        sa_event.listen(self._engine, "connect", _settings)
        sa_event.listen(self._engine, "begin", _begin)
        self._writing = self._engine.execution_options(writing=True)
        with self._writing.begin() as connection:
            _metadata.create_all(connection)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def add(self, id: str, asked: AnyJob, prepared: Prepared, key: str | None = None) -> tuple[Job, bool]:
        """A new job, queued, and True; or the one that the same `key` has made before, and False.

        Raises:
            Problem: 422, the key was used for another request.
        """
        values = {
            "id": id,
            "verb": asked.verb,
            "state": "queued",
            "stores": list(dict.fromkeys(prepared.stores)),
            "request": asked_for(asked),
            "arguments": prepared.arguments,
            "writes": [str(path) for path in prepared.writes],
            "created": time.time(),
            "key": key,
            "digest": digest(asked_for(asked)),
        }
        try:
            with self._writing.begin() as connection:
                row = connection.execute(sa.insert(_jobs).values(values).returning(_jobs.c.number))
                number: int = row.scalar_one()
                _append(connection, number, [("state", {"state": "queued", "attempt": 0})])
        except IntegrityError:
            if key is not None and (found := self.of_key(key, asked)):
                return found, False
            raise
        return self.job(id), True

    def of_key(self, key: str, asked: AnyJob) -> Job | None:
        """The job that an idempotency key has made; Problem 422 if that was another request."""
        with self._engine.begin() as connection:
            row = connection.execute(sa.select(_jobs).where(_jobs.c.key == key)).mappings().first()
        if row is None:
            return None
        if row["digest"] != digest(asked_for(asked)):
            raise Problem(
                422, "this Idempotency-Key was used for another request", "take a new key for a new request"
            )
        return _job(row)

    def job(self, id: str) -> Job:
        """One; Problem 404 if there is none of this id."""
        with self._engine.begin() as connection:
            row = connection.execute(sa.select(*_READ).where(_jobs.c.id == id)).mappings().first()
        if row is None:
            raise Problem(404, f"there is no job {id!r}", "GET /v1/jobs lists them")
        return _job(row)

    def jobs(
        self,
        state: State | None = None,
        verb: str | None = None,
        store: str | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[Job]:
        """The newest first, those of a smaller number than `before`."""
        query = sa.select(*_READ).order_by(_jobs.c.number.desc())
        if state:
            query = query.where(_jobs.c.state == state)
        if verb:
            query = query.where(_jobs.c.verb == verb)
        if before is not None:
            query = query.where(_jobs.c.number < before)
        if store:
            each = sa.func.json_each(_jobs.c.stores).table_valued("value")
            query = query.where(sa.exists(sa.select(each.c.value).where(each.c.value == store)))
        with self._engine.begin() as connection:
            return [_job(row) for row in connection.execute(query.limit(limit)).mappings()]

    def counts(self) -> dict[str, int]:
        """Jobs by state, every state."""
        query = sa.select(_jobs.c.state, sa.func.count()).group_by(_jobs.c.state)
        with self._engine.begin() as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in get_args(State)}

    def events(self, job: Job, after: int = 0, limit: int = 200) -> list[Event]:
        """Those behind number `after`, in order."""
        query = (
            sa.select(_events.c.number, _events.c.type, _events.c.data, _events.c.time)
            .where(_events.c.job == job.number, _events.c.number > after)
            .order_by(_events.c.number)
            .limit(limit)
        )
        with self._engine.begin() as connection:
            return [
                Event(number=row.number, type=row.type, data=row.data, time=_time(row.time))
                for row in connection.execute(query)
            ]

    def told(self, job: Job, lines: int) -> tuple[list[Progress], list[str], int]:
        """For who comes late: the last state of every bar, the last events with lines of the log, and the number of
        the last event of all."""
        mine = _events.c.job == job.number
        label = sa.func.json_extract(_events.c.data, "$.label")
        last = sa.select(sa.func.max(_events.c.number)).where(mine)
        newest = (
            sa.select(sa.func.max(_events.c.number)).where(mine, _events.c.type == "progress").group_by(label)
        )
        bars = sa.select(_events.c.data).where(mine, _events.c.number.in_(newest)).order_by(_events.c.number)
        log = (
            sa.select(_events.c.data)
            .where(mine, _events.c.type == "log")
            .order_by(_events.c.number.desc())
            .limit(lines)
        )
        with self._engine.begin() as connection:
            return (
                [Progress.model_validate(data) for data in connection.execute(bars).scalars()],
                [data["line"] for data in connection.execute(log).scalars()][::-1],
                connection.execute(last).scalar() or 0,
            )

    def change(
        self, job: Job, events: Sequence[tuple[Type, Any]] = (), **values: Any
    ) -> tuple[Job, list[Event]]:
        """Columns and events together, or none of them: the job as it is then, and the events as they are kept."""
        progress = [data for type, data in events if type == "progress"]
        values |= {"progress": progress[-1]} if progress else {}
        with self._writing.begin() as connection:
            if values:
                connection.execute(sa.update(_jobs).where(_jobs.c.number == job.number).values(values))
            kept = _append(connection, job.number, events)
        return self.job(job.id), kept


def new_id() -> str:
    """Of a job: nobody guesses it, and it names a folder."""
    return secrets.token_hex(8)


def asked_for(asked: AnyJob) -> dict[str, Any]:
    """A request as it was made: fields that were not given are not there."""
    return {"verb": asked.verb} | asked.model_dump(mode="json", exclude_unset=True)


def _settings(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # `_begin` says when a transaction begins
    for pragma in (
        "journal_mode=WAL",
        # An event that a client has seen must not be undone by a power cut, or its number would come again; a commit
        # takes 0.3 ms instead of 0.02.
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    """Who writes takes the lock first: SQLite lets nobody wait who has read before."""
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _append(connection: sa.Connection, job: int, events: Sequence[tuple[Type, Any]]) -> list[Event]:
    if not events:
        return []
    last = (
        connection.execute(sa.select(sa.func.max(_events.c.number)).where(_events.c.job == job)).scalar() or 0
    )
    now = time.time()
    rows = [
        {"number": number, "type": type, "data": data, "time": now}
        for number, (type, data) in enumerate(events, last + 1)
    ]
    connection.execute(sa.insert(_events), [{"job": job} | row for row in rows])
    return [Event.model_validate(row | {"time": _time(now)}) for row in rows]


def _job(row: Any) -> Job:
    values = {name: value for name, value in row.items() if name not in _HIDDEN}
    times = {
        name: _time(values[name]) for name in ("created", "started", "ended") if values[name] is not None
    }
    return Job.model_validate(values | times)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
