"""`forgetless eval MODEL --suite FILE`: what a model can do, how it behaves, how far it has moved."""

from pathlib import Path

import click


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
    from forgetless.train.report import figure_table

    report = Evaluation(
        load_suite(suite), Model(path=model), Model(path=base) if base else None,
        Store.open(store) if store else None, seed, name, allow_code_execution,
    ).run()  # fmt: skip
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        from rich.console import Console

        Console().print(figure_table(report.name, report.figures))
