"""`forgetless build RECIPE`: make what a recipe names."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from forgetless.pipelines.build import BuildReport, StepPlan
    from forgetless.schemas.recipe import Recipe


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a key of the recipe.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan or the result as JSON.")
def build(recipe: Path, overrides: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Make what a recipe names: replay, imports, scores."""
    import dataclasses
    import json

    from forgetless.curator.recipes import load_recipe
    from forgetless.pipelines.build import Build

    loaded = load_recipe(recipe, overrides)
    if dry_run:
        print_plan(loaded, as_json)
        return
    report = Build(loaded).run()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report), indent=2))
    else:
        print_report(report, loaded.store)
    end_with(report, loaded.store)


def end_with(report: "BuildReport", store: Path) -> None:
    """Exit code 3 where a step rejected more than it may."""
    from forgetless.schemas.errors import TOO_MANY_REJECTS

    if refused := report.too_many_rejects():
        click.echo(
            f"{', '.join(refused)}: more rejects than allowed → "
            f'forgetless sql {store} "FROM survival", then `filters` or `max_reject_share`',
            err=True,
        )
        raise SystemExit(TOO_MANY_REJECTS)


def print_plan(recipe: "Recipe", as_json: bool) -> None:
    """What building `recipe` would do, given what its store holds already."""
    import dataclasses
    import json

    from forgetless.curator.store import Store
    from forgetless.curator.store.store import MANIFEST
    from forgetless.pipelines.build import Build

    there = (recipe.store / MANIFEST).is_file()
    plans = Build(recipe).plan(Store.open(recipe.store) if there else None)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(plan) for plan in plans], indent=2))
    else:
        _print_plan(plans)


def _print_plan(plans: "list[StepPlan]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("step", "pipeline", "stages", "planned", "there", "to make", box=None, header_style="bold")
    for plan in plans:
        numbers = [f"{n:,}" for n in (plan.planned, plan.there, plan.missing)]
        table.add_row(escape(plan.name), plan.pipeline, " → ".join(plan.stages), *numbers)
    console = Console()
    console.print(table)
    for plan in plans:
        for note in plan.notes:
            console.print(f"{plan.name}: {note}", style="dim", markup=False)


def print_report(report: "BuildReport", store: Path) -> None:
    """What a build did, as a table on stdout."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if report.run_id is None:
        console.print("nothing to do: everything the recipe names is there")
    table = Table("step", "accepted", "rejected", box=None, header_style="bold")
    for step in report.steps:
        table.add_row(escape(step["name"]), f"{step['accepted']:,}", f"{step['rejected']:,}")
    if report.steps:
        console.print(table)
    for name, did in report.engines.items():
        console.print(f"{name}: {_did(did)}", style="dim", highlight=False, markup=False)
    console.print(f"snapshot {report.snapshot} of {store}", highlight=False, markup=False)


def _did(stats: dict[str, int]) -> str:
    """What an engine did, in words; what did not happen is not said."""
    said = [
        f"{stats['requests']:,} requests, {stats['prompt_tokens']:,} prompt tokens, {stats['tokens']:,} written"
    ]
    return ", ".join(said + [f"{stats[key]:,} {key}" for key in ("retries", "restarts") if stats[key]])
