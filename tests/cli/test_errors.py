"""What goes wrong for users: one line with the way out, the right exit code, the store as it was."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from given import COMMAND

from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.schemas.errors import BAD_USAGE, DISK, DONE, ENGINE, FAILED, TOO_MANY_REJECTS
from forgetless.schemas.tables import FORMAT

DEMO = Path(__file__).parents[2] / "pipelines" / "demo" / "model"
TEXTS = [{"pipeline": "bos_replay", "count": 2, "sampling": {"max_tokens": 4}}]
CHATS = [{"pipeline": "magpie", "count": 2}]


def command(*arguments: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=os.environ | {"COLUMNS": "80", "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, timeout=300, check=False, **options,
    )  # fmt: skip


def recipe(place: Path, steps: list[dict[str, Any]] = TEXTS, model: Path | str = DEMO, **more: Any) -> Path:
    """A recipe for the store beside it."""
    data = {
        "store": "store",
        "model": {"path": str(model)},
        "engine": {"kind": "transformers"},
        "steps": steps,
    }
    return written(place / "recipe.yaml", yaml.safe_dump(data | more))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def model(place: Path, *left_out: str, **replaced: str | bytes) -> Path:
    """A copy of the demo's model without some files, or with others in their place (`_` for `.` in names)."""
    folder = place / "model"
    folder.mkdir()
    for file in DEMO.iterdir():
        new = replaced.get(file.name.replace(".", "_"))
        if new is not None:
            (folder / file.name).write_bytes(new.encode() if isinstance(new, str) else new)
        elif file.name not in left_out:
            (folder / file.name).symlink_to(file)
    return folder


def truncated(place: Path) -> Path:
    return model(place, model_safetensors=(DEMO / "model.safetensors").read_bytes()[:2_000_000])


def ids(store: Path) -> list[str]:
    rows = Store.open(store).query("SELECT id FROM outcomes WHERE status <> 'intermediate' ORDER BY id")
    found: list[str] = rows["id"].to_pylist()
    return found


def check_error(done: "subprocess.CompletedProcess[str]", code: int, said: str, way_out: str) -> None:
    """One line of error, the last; before it at most lines of progress."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors == lines[-1:], done.stderr
    problem, _, hint = errors[0].partition(" → ")
    assert said in problem and way_out in hint, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of two imported rows, two broken lines among them."""
    place = tmp_path_factory.mktemp("made")
    lines = ['{"prompt": "a", "completion": "b"}', "{broken", '{"prompt": "c"}', '{"text": "d"}']
    data = written(place / "mixed.jsonl", "\n".join(lines))
    done = command("build", recipe(place, [{"pipeline": "import", "path": data.name}]), "--json")
    assert done.returncode == DONE, done.stderr
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be broken."""
    shutil.copytree(made, tmp_path / "place")
    return tmp_path / "place"


Case = tuple[Callable[[Path], list[Any]], int, str, str]
NO_STEP = "--set=steps.nope.count=3"
CASES: dict[str, Case] = {
    "no model": (lambda p: [recipe(p, model=p / "none")], BAD_USAGE, "does not exist", "model.path"),
    "no hub": (lambda p: [recipe(p, model="no/such")], BAD_USAGE, "neither a folder nor", "name its folder"),
    "truncated": (lambda p: [recipe(p, model=truncated(p))], ENGINE, "is truncated: 2,000,000", "download"),
    "config": (lambda p: [recipe(p, model=model(p, config_json="{"))], ENGINE, "is no JSON", "download"),
    "no tokenizer": (
        lambda p: [recipe(p, model=model(p, "tokenizer.json", "tokenizer_config.json"))],
        ENGINE, "no tokenizer can be loaded", "tokenizer.json",
    ),
    "uncut template": (
        lambda p: [recipe(p, CHATS, model(p, chat_template_jinja="{{ messages[0].content | reverse }}"))],
        BAD_USAGE, "leaves out or rewrites the text", "model.chat_template",
    ),
    "unknown key": (
        lambda p: [recipe(p, [TEXTS[0] | {"samplng": {}}])],
        BAD_USAGE, "unknown key 'steps[0].samplng', did you mean 'sampling'?", "correct it",
    ),
    "no YAML": (lambda p: [written(p / "r.yaml", "store: [a")], BAD_USAGE, "is not YAML", "correct it"),
    "no mapping": (lambda p: [written(p / "r.yaml", "- a")], BAD_USAGE, "is not a mapping", "store"),
    "no recipe": (lambda p: [p / "r.yaml"], BAD_USAGE, "cannot be read: No such file", "check the path"),
    "set what": (lambda p: [recipe(p), NO_STEP], BAD_USAGE, "no item 'nope'", "there are bos_replay"),
    "set YAML": (lambda p: [recipe(p), "--set=name=["], BAD_USAGE, "'[' is not YAML", "quote"),
    "set type": (lambda p: [recipe(p), "--set=steps.0.count=x"], BAD_USAGE, "'steps[0].count' is 'x'", "correct"),
    "no data": (
        lambda p: [recipe(p, [{"pipeline": "import", "path": "none.jsonl"}])],
        BAD_USAGE, "none.jsonl' does not exist", "correct `path`",
    ),
    "foreign folder": (lambda p: [recipe(p, store=".")], FAILED, "neither a store nor", "another `store`"),
}  # fmt: skip
"""Name → (recipe and options for `build`, exit code, what is said, the way out)."""


@pytest.mark.parametrize("name", CASES)
def test_a_build_that_cannot_be(place: Path, name: str) -> None:
    arguments, code, said, way_out = CASES[name]
    before = ids(place / "store")
    check_error(command("build", *arguments(place)), code, said, way_out)
    assert verify(Store.open(place / "store"))[0] == [] and ids(place / "store") == before


@pytest.mark.parametrize("name", ["unknown key", "truncated"])
def test_debug_shows_the_traceback(place: Path, name: str) -> None:
    arguments, code, said, _ = CASES[name]
    done = command("build", *arguments(place), "--debug")
    assert done.returncode == code
    assert "Traceback" in done.stderr and said in done.stderr.splitlines()[-1]


def test_a_refused_recipe_leaves_nothing_behind(tmp_path: Path) -> None:
    done = command("build", recipe(tmp_path, CHATS, model(tmp_path, "chat_template.jinja")))
    check_error(done, BAD_USAGE, "has no chat template", "BOS replay")
    assert not (tmp_path / "store").exists()


def test_broken_lines_are_rejects_with_file_and_line(made: Path) -> None:
    store = Store.open(made / "store")
    rejects = store.query("SELECT reason FROM rejects ORDER BY reason")["reason"].to_pylist()
    assert [reason.partition(": ")[0] for reason in rejects] == ["mixed.jsonl:2", "mixed.jsonl:3"]
    assert "is not JSON" in rejects[0] and "has columns prompt" in rejects[1]
    assert len(store.query("FROM records")) == 2 and verify(store)[0] == []


def test_too_many_broken_lines(place: Path) -> None:
    step = {"pipeline": "import", "path": "mixed.jsonl", "max_reject_share": 0.4}
    done = command("build", recipe(place, [step]))
    assert done.returncode == TOO_MANY_REJECTS
    assert done.stderr.splitlines()[-1].startswith("import: more rejects than allowed → ")
    assert len(ids(place / "store")) == 4 and verify(Store.open(place / "store"))[0] == []


@pytest.mark.parametrize("verb", ["build", "sql"])
def test_a_store_made_by_another_program(place: Path, verb: str) -> None:
    written(place / "store" / "forgetless.json", json.dumps({"format": 99}))
    arguments = [recipe(place)] if verb == "build" else [place / "store", "FROM records"]
    check_error(command(verb, *arguments), FAILED, "has format 99", "upgrade")
    written(place / "store" / "forgetless.json", json.dumps({"format": FORMAT - 1}))
    check_error(command(verb, *arguments), FAILED, f"has format {FORMAT - 1}", "build it again")
    written(place / "store" / "forgetless.json", json.dumps({"format": FORMAT}))
    assert verify(Store.open(place / "store"))[0] == [] and len(ids(place / "store")) == 4


def test_two_builds_at_a_time(place: Path) -> None:
    with Store.open(place / "store").lock():
        done = command("build", recipe(place))
    check_error(done, FAILED, "is being written by another process", "wait for it")


@pytest.mark.parametrize(
    ("arguments", "said", "way_out"),
    [
        (["sql", "SELEKT 1"], "syntax error", "lists the views"),
        (["sql", "FROM nowhere"], "nowhere does not exist", "lists the views"),
        (["show", "ffff"], "no row has an id that begins with 'ffff'", "shows some"),
    ],
)
def test_questions_that_have_no_answer(made: Path, arguments: list[str], said: str, way_out: str) -> None:
    verb, *rest = arguments
    check_error(command(verb, made / "store", *rest), BAD_USAGE, said, way_out)


def as_anyone() -> None:
    """In a child: root gives up its right to write where the permissions say no."""
    cap_dac_override, bounding_drop = 1, 24
    ctypes.CDLL(None).prctl(bounding_drop, cap_dac_override, 0, 0, 0)


def test_a_read_only_store(place: Path) -> None:
    everything = [place / "store", *(place / "store").rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = command("build", recipe(place), preexec_fn=as_anyone)
        check_error(done, FAILED, "Permission denied", "make the folder writable")
        asked = command("sql", place / "store", "SELECT count(*) AS n FROM records", preexec_fn=as_anyone)
        assert asked.returncode == DONE and "2" in asked.stdout
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert verify(Store.open(place / "store"))[0] == []


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """In a mount namespace of its own: nothing stays mounted, and it does not take root."""
    become_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    program = f"import sys, pathlib; sys.path[:0] = {[str(path) for path in Path(__file__).parents[:2]]!r}; import test_errors; "
    program += "test_errors.fill_a_small_disk(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        ["unshare", *become_root, "--mount", sys.executable, "-c", program, str(tmp_path)],
        capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def fill_a_small_disk(folder: Path) -> None:
    """A build on a tmpfs that fills up meanwhile, and goes on when there is room again."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    store = disk / "store"
    steps = [{"pipeline": "bos_replay", "count": 900, "sampling": {"max_tokens": 16}}]
    build = [*COMMAND, "build", str(recipe(folder, steps, store=str(store)))]
    running = subprocess.Popen(build, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while commits(store) < 2 and running.poll() is None:  # the empty part, and the first chunk
        time.sleep(0.01)
    fill(disk / "filler")
    out, err = running.communicate(timeout=300)
    failed = subprocess.CompletedProcess(build, running.returncode, out, err)
    check_error(failed, DISK, "no space left on the disk", "free some space and run the same command again")
    kept = ids(store)
    assert 256 <= len(kept) < 900
    assert verify(Store.open(store))[0] == []  # with the disk as full as it is

    (disk / "filler").unlink()
    again = subprocess.run(build, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == DONE, again.stderr
    assert set(kept) < set(ids(store)) and len(ids(store)) == len(set(ids(store))) == 900
    assert command("verify", store).returncode == DONE


def commits(store: Path) -> int:
    return len(list((store / "outcomes" / "_delta_log").glob("*.json")))


def fill(file: Path) -> None:
    """Write until nothing more fits."""
    with file.open("wb", buffering=0) as handle, pytest.raises(OSError, match="No space left"):
        while True:
            handle.write(bytes(4096))
