"""`forgetless train`: fine-tune and show what was learned and what was lost."""

from pathlib import Path

import click


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@click.option("--dry-run", is_flag=True, help="Print what would be trained on, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def train(recipe: Path, overrides: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Fine-tune as RECIPE's `train` says, and measure before and after."""
    from forgetless.curator.recipes import load_recipe
    from forgetless.train import run
    from forgetless.train.report import change_table, plan_table

    settings = load_recipe(recipe, overrides)
    if dry_run:
        plan = run.prepare(settings).plan
        _print(plan.model_dump_json(indent=2) if as_json else plan_table(plan))
        return
    report = run.train(settings)
    _print(report.model_dump_json(indent=2) if as_json else change_table(report))


def _print(what: object) -> None:
    from rich.console import Console

    if isinstance(what, str):
        click.echo(what)
    else:
        Console().print(what)
