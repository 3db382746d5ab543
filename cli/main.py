"""The console script `forgetless`: verbs, loaded when they are needed, and how a run ends."""

import errno
import importlib
import os
import signal
import sys
import traceback
from difflib import get_close_matches
from types import FrameType
from typing import NoReturn

import click

from forgetless.curator.lifetime import die_with_parent
from forgetless.schemas.errors import BAD_USAGE, DISK, FAILED, ForgetlessError, UsageError

SECTIONS = {
    "Make data": ["build", "score", "import-stats"],
    "Look at it": ["report", "sql", "show", "compare", "status", "verify", "compact"],
    "Use it": ["train", "eval", "study", "export", "serve"],
    "Get started": ["demo", "doctor", "template", "check", "bench"],
}
VERBS = [verb for verbs in SECTIONS.values() for verb in verbs]
INTERRUPTED, TERMINATED = 130, 143


class Verbs(click.Group):
    """Commands that lie in `forgetless.cli.<verb>`, imported when asked for.

    A verb's module imports nothing heavy before its function runs, so that help stays fast.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return VERBS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"forgetless.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-"):
            near = get_close_matches(args[0], VERBS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(VERBS)}"
            raise UsageError(f"there is no command {args[0]!r}", hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, verbs in SECTIONS.items():
            commands = [(verb, self.get_command(ctx, verb)) for verb in verbs]
            with formatter.section(section):
                formatter.write_dl([(f"{verb:<8}", c.get_short_help_str(150)) for verb, c in commands if c])


@click.command(cls=Verbs)
@click.version_option(package_name="forgetless")
@click.option("--debug", is_flag=True, help="Show the full traceback of an error. Goes with every command.")
def forgetless(debug: bool) -> None:
    """Data that keeps a language model from forgetting while it is fine-tuned."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends like Ctrl-C, so that everything is cleaned up, with its own exit code."""


def main() -> NoReturn:
    """Run the command line and exit with one of the codes of `forgetless.schemas.errors`."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    signal.signal(signal.SIGTERM, _terminate)
    if parent := os.environ.pop("FORGETLESS_PARENT", None):  # a job of the service; its own children are not
        die_with_parent(int(parent))
    # OpenMP's threads spin while they wait for each other: beside any other busy process that costs up to ten
    # times the throughput. It is read once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        done = forgetless.main(arguments, prog_name="forgetless", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `forgetless sql … | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except (click.Abort, KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - the last resort
        if debug:
            traceback.print_exc()
        sys.exit(_report(error))
    sys.exit(done if isinstance(done, int) else 0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _report(error: BaseException) -> int:
    """Say in one line on stderr what went wrong and the way out; returns the exit code."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        click.echo("interrupted; everything committed is kept; run the same command to go on", err=True)
        return TERMINATED if isinstance(error.__cause__ or error, Terminated) else INTERRUPTED
    message, hint, code = _explain(error)
    line = " ".join(message.split()) + (f" → {' '.join(hint.split())}" if hint else "")
    colour = False if os.environ.get("NO_COLOR") else None
    click.echo(click.style("error: ", fg="red", bold=True) + line, err=True, color=colour)
    return code


def _explain(error: BaseException) -> tuple[str, str, int]:
    """What went wrong, the way out, the exit code."""
    if isinstance(error, ForgetlessError):
        return error.message, error.hint, error.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "forgetless"
        return error.format_message().rstrip("."), f"`{command} --help` shows how", BAD_USAGE
    if isinstance(error, MemoryError):
        return "out of memory", "use smaller batches, or a machine with more", FAILED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" for {error.filename!r}" if error.filename else ""
        way_out = "free some space and run the same command again"
        return f"no space left on the disk{where}; everything committed is kept", way_out, DISK
    return f"unexpected {type(error).__name__}: {error}", "run again with --debug for the traceback", FAILED
