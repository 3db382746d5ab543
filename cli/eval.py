"""`forgetless eval MODEL --suite FILE`: what a model can do, how it behaves, how far it has moved."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from forgetless.train.eval_run import EvalReport

NATS = ("cross_entropy", "kl")
"""Metrics in nats per token; all others are shares."""


@click.command()
@click.argument("model")
@click.option("--suite", required=True, type=click.Path(path_type=Path), help="What to measure, in YAML.")
@click.option("--base", metavar="MODEL", help="What it was fine-tuned from: for KL, and coherence.")
@click.option("--store", type=click.Path(path_type=Path), help="Read by queries, and given the figures.")
@click.option("--seed", type=int, help="Of the training that made the model; stored with the figures.")
@click.option("--name", default="", help="Name in the store's `evals`; the model's folder if not given.")
@click.option("--allow-code-execution", is_flag=True, help="Let `code` run the answers, in a sandbox.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def eval(
    model: str, suite: Path, base: str | None, store: Path | None, seed: int | None, name: str,
    allow_code_execution: bool, as_json: bool,
) -> None:  # fmt: skip
    """Measure MODEL, a folder or hub id, by a suite.

    Accuracy on tasks, cross entropy of held-out text, KL from the base, and what free answers are like: repetitive,
    cut off, refusing, harmful, valid JSON. With --store, figures that are there already are not measured again.
    """
    from forgetless.curator.recipes import load_suite
    from forgetless.curator.store import Store
    from forgetless.schemas.model import Model
    from forgetless.train.eval_run import Evaluation

    report = Evaluation(
        load_suite(suite), Model(path=model), Model(path=base) if base else None,
        Store.open(store) if store else None, seed, name, allow_code_execution,
    ).run()  # fmt: skip
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        from rich.console import Console

        Console().print(_table(report))


def _table(report: "EvalReport") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    out = Table(title=escape(report.name), box=SIMPLE_HEAD)
    out.add_column("task")
    for column in ("role", "measure"):
        out.add_column(column, no_wrap=True)
    for column in ("value", "of"):
        out.add_column(column, justify="right", no_wrap=True)
    for figure in report.figures:
        nats = figure.metric in NATS
        measure = figure.metric.replace("_", " ") + (", nats/token" if nats else ", %")
        value = f"{figure.value:.4f}" if nats else f"{figure.value * 100:.1f}"
        out.add_row(escape(figure.task), figure.role, measure, value, f"{figure.count:,}")
    return out
