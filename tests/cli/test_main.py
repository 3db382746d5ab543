"""The frame of the command line: help that answers at once, and how every kind of run ends."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from given import COMMAND

from forgetless.cli.main import VERBS, main
from forgetless.curator.store import Store

Cli = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = {"torch", "transformers", "vllm", "duckdb", "pyarrow", "deltalake", "pydantic", "rich"}


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run_with(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, str]:
    """Exit code and stderr of a command that meets `raised`."""

    def fail(path: Path) -> Store:
        raise raised

    monkeypatch.setattr(Store, "open", fail)
    monkeypatch.setattr(sys, "argv", ["forgetless", *more, "status", "x"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    program = """
import sys
from forgetless.cli.main import main
sys.argv = ["forgetless", "--help"]
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = {line.split()[0]: line.split(maxsplit=1)[1:] for line in done.stdout.splitlines() if line.strip()}
    for verb in VERBS:
        assert lines[verb], f"{verb} has no line of help"
    assert not HEAVY & set(done.stderr.split())


def test_help_takes_less_than_half_a_second() -> None:
    """Time on the processor, which a busy machine does not change much, beyond Python's own start."""
    program = "import sys; sys.argv = ['forgetless', '--help']; from forgetless.cli.main import main\n"
    program += "try:\n main()\nfinally:\n import time; print(time.process_time(), file=sys.stderr)"
    bare = "import sys, time; print(time.process_time(), file=sys.stderr)"

    def seconds(code: str) -> float:
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(run.stderr)

    assert min(seconds(program) for _ in range(3)) - min(seconds(bare) for _ in range(3)) < 0.5


def test_version(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("forgetless, version 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "error: there is no command 'statsu' → did you mean 'status'?"),
        (["sql"], "error: Missing argument 'STORE' → `forgetless sql --help` shows how"),
        (["status", "--jsn", "x"], "Did you mean '--json'?"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli: Cli, arguments: list[str], said: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_no_store_is_one_line_with_the_way_out(cli: Cli, tmp_path: Path) -> None:
    done = cli("status", tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: {str(tmp_path)!r} is no store → `forgetless build RECIPE` makes one\n"


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback_wherever_it_stands(cli: Cli, tmp_path: Path, place: int) -> None:
    arguments = ["status", str(tmp_path), "--json"]
    arguments.insert(place, "--debug")
    done = cli(*arguments)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (
            ValueError("two\nlines"),
            1,
            "error: unexpected ValueError: two lines → run again with --debug for the traceback\n",
        ),
        (MemoryError(), 1, "error: out of memory → use smaller batches, or a machine with more\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "f"),
            5,
            "error: no space left on the disk for 'f'",
        ),
        (KeyboardInterrupt(), 130, "interrupted; everything committed is kept"),
    ],
)
def test_what_is_raised_becomes_a_line_and_an_exit_code(
    raised: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    got, stderr = run_with(raised, monkeypatch, capsys)
    assert got == code
    assert said in stderr
    assert len(stderr.strip().splitlines()) <= 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_code_and_what_is_kept(folder: Path, number: int, code: int) -> None:
    running = subprocess.Popen(
        [*COMMAND, "sql", str(folder), "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until_it_reads(running.pid)
    running.send_signal(number)
    stderr = running.communicate(timeout=60)[1]
    assert running.returncode == code
    said = "interrupted; everything committed is kept; run the same command to go on"
    assert stderr.strip().splitlines() == [said]


def wait_until_it_reads(pid: int) -> None:
    """Until the process sleeps in a read of its stdin, at most a minute."""
    channel = Path(f"/proc/{pid}/wchan")
    for _ in range(600):
        if "pipe_read" in channel.read_text():
            return
        time.sleep(0.1)
    raise AssertionError("it never read its stdin")


def test_a_reader_that_stops_early_makes_no_noise(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    query = "SELECT * FROM range(100000)"
    done = subprocess.run(
        [*COMMAND, "sql", str(folder), query, "--format", "csv"],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.stderr == ""
