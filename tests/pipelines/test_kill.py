"""SIGKILL of the whole process group at random moments: nothing twice, nothing lost, nobody left."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import yaml
from given import COMMAND, task_file

from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify

KILLS = 10


def write(path: Path, store: Path, model: Path) -> Path:
    task = task_file(path.parent / "task.jsonl", 60, 40)
    steps = [
        {"pipeline": "bos_replay", "name": "bos", "count": 300, "sampling": {"max_tokens": 200}},
        {
            "pipeline": "magpie",
            "count": 300,
            "instruction": {"max_tokens": 100},
            "answer": {"max_tokens": 100},
        },
        {"pipeline": "import", "name": "human", "path": str(task), "reference": "reference"},
        {"pipeline": "self_output", "samples": 6, "verifier": "exact", "sampling": {"max_tokens": 40}},
        {"pipeline": "minimum_change", "verifier": "exact", "edit": {"sampling": {"max_tokens": 40}}},
    ]
    engine = {"kind": "vllm", "enforce_eager": True, "in_flight": 16}
    path.write_text(
        yaml.safe_dump({"store": str(store), "model": {"path": str(model)}, "engine": engine, "steps": steps})
    )
    return path


def workers(store: Path) -> list[int]:
    """Engine processes whose log lies in `store`, by what their stderr is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            log = (process / "fd" / "2").readlink()
        except OSError:
            continue
        if log.is_relative_to(store / "logs"):
            found.append(int(process.name))
    return found


def ids(store: Path) -> list[str]:
    """Of all rows that end a plan, and of all samples."""
    rows = Store.open(store).query(
        "SELECT id FROM outcomes WHERE status <> 'intermediate' OR stage = 'sample' ORDER BY id"
    )
    listed: list[str] = rows["id"].to_pylist()
    return listed


def committed(store: Path) -> int:
    """Transactions with rows: the first one makes the empty table."""
    return max(1, len(list((store / "outcomes" / "_delta_log").glob("*.json"))))


def test_ten_kills(tmp_path: Path, demo_model: Path) -> None:
    calm = write(tmp_path / "calm.yaml", tmp_path / "calm", demo_model)
    began = time.monotonic()
    subprocess.run([*COMMAND, "build", str(calm)], check=True, capture_output=True, timeout=600)
    seconds = time.monotonic() - began

    stormy = write(tmp_path / "stormy.yaml", tmp_path / "stormy", demo_model)
    chance = random.Random(20)
    landed_amid_work = 0
    for amid_work in chance.sample([True] * 5 + [False] * 5, KILLS):
        process = subprocess.Popen(
            [*COMMAND, "build", str(stormy)],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if amid_work:  # right behind a commit of this very run: a short run is mostly its start
            wait_for_commit(tmp_path / "stormy", process, seconds * 3)
            time.sleep(chance.uniform(0, 0.4))
        else:
            time.sleep(chance.uniform(0, seconds / 2))
        landed_amid_work += amid_work and process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        assert workers(tmp_path / "stormy") == []
        if (tmp_path / "stormy" / "forgetless.json").exists():
            assert verify(Store.open(tmp_path / "stormy"))[0] == []
    assert landed_amid_work >= 3
    subprocess.run([*COMMAND, "build", str(stormy)], check=True, capture_output=True, timeout=600)
    assert ids(tmp_path / "stormy") == ids(tmp_path / "calm")
    assert len(set(ids(tmp_path / "stormy"))) == 600 + 100 + 600 + 100 + 100
    assert verify(Store.open(tmp_path / "stormy"))[0] == []
    assert workers(tmp_path / "stormy") == []


def wait_for_commit(store: Path, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Until the run at hand has committed something of its own, or ended."""
    before, until = committed(store), time.monotonic() + seconds
    while process.poll() is None and committed(store) <= before and time.monotonic() < until:
        time.sleep(0.05)


def test_interrupt_keeps_what_is_there(tmp_path: Path, demo_model: Path) -> None:
    recipe = write(tmp_path / "r.yaml", tmp_path / "store", demo_model)
    process = subprocess.Popen([*COMMAND, "build", str(recipe)], stderr=subprocess.PIPE, text=True)
    while not workers(tmp_path / "store"):
        time.sleep(0.1)
    wait_for_commit(tmp_path / "store", process, 300)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said and "committed is kept" in said
    store = Store.open(tmp_path / "store")
    assert verify(store)[0] == [] and len(ids(tmp_path / "store")) > 0
    assert store.query("SELECT state FROM last_runs")["state"].to_pylist() == ["interrupted"]
    assert workers(tmp_path / "store") == []
