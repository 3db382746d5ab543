"""`forgetless bench generate`: a build beside raw vLLM."""

import json
from typing import TYPE_CHECKING

import click

from forgetless.cli.bench.rounds import as_json

if TYPE_CHECKING:
    from forgetless.benchmarks.generate import Comparison, Round


@click.command()
@click.option("--model", default="75m", show_default=True, metavar="demo|75m|FOLDER", help="What to run.")
@click.option("--records", type=click.IntRange(1), metavar="N", help="Texts to make.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Tokens of each, at most.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Pairs to run.")
@click.option("--in-flight", type=click.IntRange(1), metavar="N", help="Requests in the engine at once.")
@click.option("--dtype", default="auto", show_default=True, help="As in the recipe's `engine`.")
@click.option("--enforce-eager", is_flag=True, help="Without compilation.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def generate(
    model: str,
    records: int | None,
    max_tokens: int | None,
    rounds: int,
    in_flight: int | None,
    dtype: str,
    enforce_eager: bool,
    json_wanted: bool,
) -> None:
    """A build, up to its last commit, beside raw vLLM's `LLM.generate`.

    The same requests with the same settings on both sides, each side in a process of its own, by turns;
    starting and warming up the engine is left out of both.
    """
    from forgetless.benchmarks.generate import compare

    engine = {"dtype": dtype, "enforce_eager": enforce_eager}
    if in_flight:
        engine["in_flight"] = in_flight
    compared = compare(model, records, max_tokens, rounds, engine, _tell)
    if json_wanted:
        click.echo(json.dumps(as_json(compared), indent=2))
    else:
        _print(compared)


def _tell(done: "Round") -> None:
    from forgetless.curator.progress import note

    note(f"build {_rate(done.build)} tok/s, raw {_rate(done.raw)} tok/s: {done.ratio:.2f}")


def _rate(side: dict[str, float]) -> str:
    return f"{side['tokens_per_second']:,.0f}"


def _print(compared: "Comparison") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("round", box=None, header_style="bold")
    for title in ("raw tok/s", "build tok/s", "build / raw", "raw tokens", "build tokens", "load"):
        table.add_column(title, justify="right")
    for number, r in enumerate(compared.rounds, 1):
        tokens = (f"{side['tokens']:,}" for side in (r.raw, r.build))
        table.add_row(str(number), _rate(r.raw), _rate(r.build), f"{r.ratio:.2f}", *tokens, f"{r.load:.1f}")
    console = Console(highlight=False)
    console.print(table)
    low, high = compared.spread
    console.print(
        f"{compared.model}, {compared.records:,} records of up to {compared.max_tokens} tokens: "
        f"median {compared.ratio:.2f} of raw vLLM, {low:.2f} to {high:.2f}"
    )
