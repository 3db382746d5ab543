"""`forgetless doctor`: what is here, and what is missing."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from forgetless.curator.environment import Environment


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say which engine and device are here, and what to install."""
    from forgetless.curator.environment import examine
    from forgetless.schemas.errors import FAILED

    found = examine()
    if as_json:
        click.echo(json.dumps({**asdict(found), "ok": found.ok}, indent=2))
    else:
        _print(found)
    if not found.ok:
        context.exit(FAILED)


def _print(found: "Environment") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    machine = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    machine.add_column(style="bold", no_wrap=True)
    machine.add_column(overflow="fold")
    machine.add_row("python", found.python)
    machine.add_row("platform", found.platform)
    machine.add_row("cores", str(found.cores))
    machine.add_row("memory", f"{found.memory_bytes / 1e9:.1f} GB")
    machine.add_row("disk free", f"{found.disk_free_bytes / 1e9:.1f} GB")
    machine.add_row("device", ", ".join(found.devices) or "CPU")
    machine.add_row("engine", Text(found.engine or "transformers only", "" if found.engine else "yellow"))
    console.print(machine)
    console.print()
    console.print(_packages(found))
    console.print()
    for problem in found.problems:
        console.print(Text("problem: ", "bold red") + Text(problem))
    for warning in found.warnings:
        console.print(Text("warning: ", "bold yellow") + Text(warning))
    console.print(Text("a build can run", "bold green") if found.ok else Text("no build can run", "bold red"))


def _packages(found: "Environment") -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("package", "version", "needs", "for"):
        table.add_column(title, no_wrap=True)
    for package in found.packages:
        style = (
            "" if package.fits else "red" if package.extra is None else "yellow" if package.version else "dim"
        )
        version = Text(package.version or "missing", style)
        table.add_row(package.name, version, package.needs, package.extra or "everything")
    return table
