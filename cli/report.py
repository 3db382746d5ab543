"""`forgetless report`: a store as one page to look at."""

from pathlib import Path

import click


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="FILE", default=Path("report.html"), show_default=True,
    help="The page; one that is there is written anew.",
)  # fmt: skip
@click.option("--task", metavar="TASK", help="Only rows of this task; all rows if not given.")
@click.option("--scorer", metavar="SCORER", help="Whose scores to show, if there are several; the newest.")
@click.option("--snapshot", type=int, metavar="N", help="As it was at snapshot N; else as it is now.")
@click.option(
    "--examples", type=click.IntRange(0, 50), default=5, show_default=True, metavar="K",
    help="Prompts whose answers are drawn token by token.",
)  # fmt: skip
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
def report(
    store: Path,
    to: Path,
    task: str | None,
    scorer: str | None,
    snapshot: int | None,
    examples: int,
    open_it: bool,
) -> None:
    """Write a store's report: one HTML page that opens from disk, without network.

    What passed and what refused the rest, perplexity by kind, hard tokens, answers token by token.
    """
    from forgetless.curator.report.document import write_page
    from forgetless.curator.report.html import render
    from forgetless.curator.report.overview import read_overview
    from forgetless.curator.store import Store

    overview = read_overview(Store.open(store), scorer, task, snapshot, examples)
    size = write_page(to, render(overview))
    click.echo(f"report: {to} ({size / 1024:,.0f} kB)")
    if open_it:
        click.launch(str(to))
