"""A real `forgetless serve` in a process of its own."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from given import COMMAND


@dataclass(frozen=True)
class Serving:
    """A service that answers."""

    address: str
    """http://127.0.0.1:PORT"""
    link: str
    """Lets a browser in, once."""
    token: str
    home: Path
    process: "subprocess.Popen[str]"

    @property
    def headers(self) -> dict[str, str]:
        """What a client that knows the token sends."""
        return {"Authorization": f"Bearer {self.token}"}

    def client(self, **options: object) -> httpx.Client:
        """One that knows the token."""
        return httpx.Client(base_url=self.address, headers=self.headers, timeout=60, **options)  # type: ignore[arg-type]


def start(*arguments: str | Path, home: Path, port: int = 0, **environment: str) -> Serving:
    """`forgetless serve ARGUMENTS --home HOME --port PORT`, once it has said where it is."""
    command = [*COMMAND, "serve", *map(str, arguments), "--home", str(home), "--port", str(port)]
    log = (home.parent / f"{home.name}.err").open("a")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=home.parent, start_new_session=True,
        env=os.environ | environment,
    )  # fmt: skip
    assert process.stdout
    for line in process.stdout:
        if found := re.match(r"page: +((http://\S+?)/login\S+)", line):
            link, address = found.groups()
            break
    else:
        raise AssertionError((home.parent / f"{home.name}.err").read_text()[-3000:])
    with httpx.Client(transport=httpx.HTTPTransport(retries=50)) as client:
        while client.get(f"{address}/healthz").status_code != 200:
            assert process.poll() is None
    return Serving(address, link, (home / "token").read_text().strip(), home, process)


def stop(serving: Serving, number: int = signal.SIGTERM) -> None:
    """End it, and wait until it has ended."""
    with contextlib.suppress(ProcessLookupError):
        serving.process.send_signal(number)
    serving.process.wait(60)


@contextlib.contextmanager
def serving(*arguments: str | Path, home: Path, **environment: str) -> Iterator[Serving]:
    """A service for the time of a test."""
    running = start(*arguments, home=home, **environment)
    try:
        yield running
    finally:
        stop(running)
