"""`forgetless train`: fine-tune and show what was learned and what was lost."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from forgetless.schemas.recipe import Recipe


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@click.option("--dry-run", is_flag=True, help="Print what would be trained on, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def train(recipe: Path, overrides: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Fine-tune as RECIPE's `train` says, and measure before and after."""
    from forgetless.curator.recipes import load_recipe
    from forgetless.train import processes, run
    from forgetless.train.report import average_table, change_table, plan_table

    settings = load_recipe(recipe, overrides)
    if settings.train and settings.train.regenerate:
        _train_regenerating(settings, dry_run, as_json)
        return
    if settings.train and settings.train.stages:
        _train_stages(settings, dry_run, as_json)
        return
    if dry_run:
        plan = run.prepare(settings).plan
        _print(plan.model_dump_json(indent=2) if as_json else plan_table(plan))
        return
    if not processes.is_main():
        run.assist(settings)
        processes.leave()
        return
    report = run.train(settings)
    processes.leave()
    _print(report.model_dump_json(indent=2) if as_json else change_table(report))
    if report.averages and not as_json:
        _print(average_table(report))


def _train_regenerating(settings: "Recipe", dry_run: bool, as_json: bool) -> None:
    """Every epoch on answers of the model that the one before has made."""
    import json

    from forgetless.cli.build import print_plan
    from forgetless.cli.regenerate import regenerated_training
    from forgetless.train.report import epochs_table

    if dry_run:
        assert settings.train
        print_plan(settings, as_json)
        names = ", ".join(settings.train.regenerate)
        click.echo(
            f"then {settings.train.epochs:g} epochs; {names} made anew before each after the first", err=True
        )
        return
    reports = list(regenerated_training(settings))
    _print(
        json.dumps([r.model_dump(mode="json") for r in reports], indent=2)
        if as_json
        else epochs_table(reports)
    )


def _train_stages(settings: "Recipe", dry_run: bool, as_json: bool) -> None:
    """Several tasks, and the matrix of how all of them fare."""
    import json

    from forgetless.train import processes, run
    from forgetless.train.report import plan_table
    from forgetless.train.stages import stage_recipes, stages_table, summary_lines, train_stages

    if dry_run:
        name, first = next(stage_recipes(settings))
        plan = run.prepare(first).plan
        click.echo(f"the first of {len(settings.train.stages)} stages, {name}", err=True)  # type: ignore[union-attr]
        _print(plan.model_dump_json(indent=2) if as_json else plan_table(plan))
        return
    if not processes.is_main():
        for _, alone in stage_recipes(settings):
            run.assist(alone)
        processes.leave()
        return
    report = train_stages(settings)
    processes.leave()
    if as_json:
        summary = {
            name: value if isinstance(value, float) else value.model_dump()
            for name, value in report.summary().items()
        }
        _print(json.dumps(report.model_dump(mode="json") | {"summary": summary}, indent=2))
        return
    _print(stages_table(report))
    for line in summary_lines(report):
        _print(line)


def _print(what: object) -> None:
    from rich.console import Console

    if isinstance(what, str):
        click.echo(what)
    else:
        Console().print(what)
