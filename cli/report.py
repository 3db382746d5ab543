"""`forgetless report`: a store, or trainings, as one page to look at."""

from pathlib import Path
from typing import Any

import click

from forgetless.schemas.errors import UsageError

STORE_ONLY, RUN_ONLY = ("task", "scorer", "snapshot"), ("store",)


@click.command()
@click.argument("what", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="STORE | RUN...")
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="FILE",
    help="The page; one that is there is written anew.  [report.html; of a single run, in its folder]",
)  # fmt: skip
@click.option("--task", metavar="TASK", help="Of a store: only rows of this task; all rows if not given.")
@click.option(
    "--scorer", metavar="SCORER", help="Of a store: whose scores, if there are several; the newest."
)
@click.option(
    "--snapshot", type=int, metavar="N", help="Of a store: as it was at snapshot N; else as it is now."
)
@click.option(
    "--store", type=click.Path(path_type=Path), metavar="STORE",
    help="Of runs: their store, if it is not where it was.",
)  # fmt: skip
@click.option(
    "--examples", type=click.IntRange(0, 50), default=5, show_default=True, metavar="K",
    help="Prompts whose answers, or targets whose weights, are drawn token by token.",
)  # fmt: skip
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
def report(what: tuple[Path, ...], to: Path | None, examples: int, open_it: bool, **options: Any) -> None:
    """Write a report: one HTML page that opens from disk, without network.

    Of a STORE: what passed and what refused the rest, perplexity by kind, hard tokens, answers token by token.

    Of RUNs, output folders of `forgetless train`: what was learned and what was kept, step by step and task by task,
    and the pictures as PNG files beside the page. Runs that differ only in their seed are one, with intervals.
    """
    from forgetless.curator.store.store import MANIFEST

    stores = [path for path in what if (path / MANIFEST).is_file()]
    _check(what, stores, options)
    if stores:
        to = to or Path("report.html")
        written = _store_page(stores[0], to, options, examples)
    else:
        to = to or (what[0] / "report.html" if len(what) == 1 else Path("report.html"))
        written = _run_page(what, to, options["store"], examples)
    click.echo(f"report: {to} ({to.stat().st_size / 1024:,.0f} kB)")
    for picture in written:
        click.echo(f"picture: {picture}")
    if open_it:
        click.launch(str(to))


def _check(what: tuple[Path, ...], stores: list[Path], options: dict[str, Any]) -> None:
    """One store, or runs, with the options that are for it; UsageError otherwise."""
    from forgetless.train.page.runs import is_run, runs_in

    if stores and len(what) > 1:
        raise UsageError(
            f"{str(stores[0])!r} is a store: a page shows one store, or runs", "give them a page each"
        )
    for path in what:
        if not (path in stores or is_run(path) or runs_in(path)):
            missing = "is neither a store nor a run" if path.exists() else "is not there"
            raise UsageError(
                f"{str(path)!r} {missing}",
                "name a store (`store:` in the recipe), or an output folder of `forgetless train`",
            )
    wrong = [name for name in (RUN_ONLY if stores else STORE_ONLY) if options[name] is not None]
    if wrong:
        raise UsageError(
            f"--{wrong[0]} is for the report of {'runs' if stores else 'a store'}", "leave it away"
        )


def _store_page(store: Path, to: Path, options: dict[str, Any], examples: int) -> list[Path]:
    from forgetless.curator.report.document import write_page
    from forgetless.curator.report.html import render
    from forgetless.curator.report.overview import read_overview
    from forgetless.curator.store import Store

    opened = Store.open(store)
    overview = read_overview(opened, options["scorer"], options["task"], options["snapshot"], examples)
    write_page(to, render(overview))
    return []


def _run_page(folders: tuple[Path, ...], to: Path, store: Path | None, examples: int) -> list[Path]:
    from forgetless.curator.report.document import write_page
    from forgetless.train.page.html import render, runs_report
    from forgetless.train.page.pictures import write_pictures
    from forgetless.train.page.runs import read_run

    report = runs_report([read_run(folder, store) for folder in folders], examples)
    write_page(to, render(report))
    return write_pictures(report, to)
