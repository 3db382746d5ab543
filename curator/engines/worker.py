"""The process that hosts a model: reads requests from stdin, writes results to stdout.

It dies with its parent, and what libraries print goes to stderr, which the parent sends to a log file.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

from forgetless.curator.engines.child import send
from forgetless.curator.engines.protocol import Backend
from forgetless.curator.lifetime import die_with_parent
from forgetless.schemas.model import Engine as EngineConfig
from forgetless.schemas.request import Request


def main() -> None:
    """Host the backend that the first line on stdin describes, until stdin ends."""
    die_with_parent(int(sys.argv[1]))  # elsewhere than on Linux the end of stdin has to do
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    start = json.loads(sys.stdin.buffer.readline())
    try:
        backend = _load(start)
    except Exception as error:
        send(out, {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"})
        raise
    send(out, {"ready": True})
    _serve(backend, out)


def _load(start: dict[str, Any]) -> Backend:
    config = EngineConfig.model_validate(start["engine"])
    model, trust = start["model"], start["trust_remote_code"]
    if start["scores"]:
        from forgetless.curator.engines.vllm_scores import ScoringBackend

        return ScoringBackend(model, config, trust, **start["scores"])
    if config.kind == "vllm":
        from forgetless.curator.engines.vllm import VllmBackend, engine_arguments

        return VllmBackend(engine_arguments(model, config, trust))
    from forgetless.curator.engines.transformers import TransformersBackend

    return TransformersBackend(model, config, trust)


def _serve(backend: Backend, out: BinaryIO) -> None:
    incoming: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(incoming,), daemon=True).start()
    last_beat = time.monotonic()
    while True:
        while not backend.pending() or not incoming.empty():
            line = incoming.get()
            if not line:
                return
            refused = backend.add(Request.model_validate(json.loads(line)))
            if refused:
                send(out, {"result": refused.model_dump()})
        for result in backend.step():
            send(out, {"result": result.model_dump()})
        if time.monotonic() - last_beat > 1:  # liveness is steps that are taken, not a process that is there
            send(out, {"beat": True})
            last_beat = time.monotonic()


def _read(incoming: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        incoming.put(line)
    incoming.put(b"")


if __name__ == "__main__":
    main()
