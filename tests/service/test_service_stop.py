"""A service that is asked to end: listeners are sent home, jobs are put back, and go on at the next start."""

import json
import subprocess
import threading
from pathlib import Path

from given import COMMAND
from serving import start, stop

from forgetless.curator.service.ledger import Ledger

STEP = {"pipeline": "bos_replay", "count": 60, "sampling": {"max_tokens": 60}}


def test_stop_and_go_on(tmp_path: Path, demo_model: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "root"
    root.mkdir()
    service = start("--root", root, "--root", demo_model, home=home)
    recipe = {
        "store": "made", "model": {"path": str(demo_model)}, "steps": [STEP], "engine": {"kind": "transformers"},
    }  # fmt: skip
    with service.client() as client:
        id = client.post("/v1/jobs", json={"verb": "build", "recipe": recipe}).json()["id"]
    heard: list[str] = []
    begun = threading.Event()

    def listen() -> None:
        with service.client() as client, client.stream("GET", f"/v1/jobs/{id}/events") as answer:
            for line in answer.iter_lines():  # it raises where a stream is cut off
                heard.append(line)
                begun.set()
        heard.append("ended")

    listener = threading.Thread(target=listen)
    listener.start()
    assert begun.wait(60)

    second = subprocess.run(
        [*COMMAND, "serve", "--root", str(root), "--home", str(home), "--port", "0"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert second.returncode == 2 and "another service runs" in second.stderr
    assert "Traceback" not in second.stderr

    stop(service)
    listener.join(30)
    assert heard[-1] == "ended"
    said = (tmp_path / "home.err").read_text()
    assert "ERROR" not in said and "Traceback" not in said
    assert Ledger(home).job(id).state == "queued"

    service = start("--root", root, "--root", demo_model, home=home)
    try:
        with service.client() as client:
            last = client.get(f"/v1/jobs/{id}/events", timeout=200).text.strip().splitlines()
            assert json.loads(last[-1].removeprefix("data: "))["state"] == "succeeded"
            assert client.get(f"/v1/jobs/{id}").json()["attempts"] == 2
    finally:
        stop(service)
