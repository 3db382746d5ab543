"""`forgetless study`: what forgetting and its remedies look like on a model and its tasks, over several seeds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from forgetless.schemas.study import Finding, Study
    from forgetless.train.study.cell import Cell
    from forgetless.train.study.runner import Runner


@click.command()
@click.argument("findings", nargs=-1, metavar="[FINDING]...")
@click.option(
    "--file", type=click.Path(path_type=Path), metavar="STUDY.YAML",
    help="Your own model and tasks; the demo's world if not given.",
)  # fmt: skip
@click.option(
    "--folder", default="study-run", show_default=True, type=click.Path(path_type=Path), help="Where to work."
)
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N",
    help="Runs at a time.  [a core each; with a GPU one]",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be run, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def study(
    findings: tuple[str, ...], file: Path | None, folder: Path, jobs: int | None, dry_run: bool, as_json: bool
) -> None:
    """Show each FINDING by runs over several seeds; all of them if none is named.

    Every method gets the same sweep of learning rates and steps; its setting is chosen on seeds that are not
    reported. Ctrl-C at any time; the same command goes on.
    """
    from forgetless.curator.recipes import load_study
    from forgetless.pipelines.demo.study_files import write_study
    from forgetless.train.study.summary import summarise
    from forgetless.train.study.tables import print_study

    whole = load_study(file or write_study(folder))
    chosen = _chosen(whole, findings)
    if dry_run:
        _print_plan(whole, chosen)
        return
    runner = _runner(whole, chosen, folder, jobs or _jobs())
    summary = summarise(whole, chosen, runner, folder)
    if as_json:
        click.echo(summary.model_dump_json(indent=2))
    else:
        print_study(summary)
        click.echo(f"\nwritten: {folder / 'study.md'}, its pictures beside it, {folder / 'study.json'}")


def _chosen(study: "Study", names: tuple[str, ...]) -> "list[Finding]":
    from forgetless.schemas.errors import UsageError

    known = {str(finding.number): finding for finding in study.findings}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no finding {name!r}", f"there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] or study.findings


def _runner(study: "Study", findings: "list[Finding]", folder: Path, jobs: int) -> "Runner":
    """With everything built that the findings need."""
    from forgetless.curator.progress import note
    from forgetless.curator.recipes import load_recipe
    from forgetless.pipelines.build import Build
    from forgetless.train.study.cell import Built
    from forgetless.train.study.runner import Runner, experiments

    built: dict[str, Built] = {}
    for name in experiments(study, findings):
        experiment = study.experiments[name]
        recipe = load_recipe(experiment.recipe, experiment.set)
        note(f"build {name}: {experiment.recipe}")
        if refused := Build(recipe).run().too_many_rejects():
            note(f"warning: {', '.join(refused)}: more rejects than allowed")
        built[name] = Built.of(name, experiment, folder / "runs")
    return Runner(study, findings, built, jobs, run_cell)


def run_cell(cell: "Cell") -> None:
    """Train as the cell says and keep what was measured."""
    import time

    from forgetless.cli.regenerate import regenerated_training
    from forgetless.train.run import train
    from forgetless.train.stages import train_stages
    from forgetless.train.study.outcome import write_outcome

    began = time.monotonic()
    settings = cell.recipe.train
    assert settings
    if settings.regenerate:  # in a copy, since new rows make a new snapshot, and other cells read this one
        cell = cell.apart()
        reports = list(regenerated_training(cell.recipe))
    elif settings.stages:
        reports = train_stages(cell.recipe).reports
    else:
        reports = [train(cell.recipe)]
    write_outcome(cell, reports, time.monotonic() - began)


def _jobs() -> int:
    import os

    import torch

    return 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))


def _print_plan(study: "Study", findings: "list[Finding]") -> None:
    from forgetless.train.study.runner import needed, split

    rows = needed(study, findings)
    runs = steps = 0
    for row in rows:
        experiment = study.experiments[split(row)[0]]
        staged = len(experiment.methods[split(row)[1]].get("stages", []))
        sweep = [] if staged else [s.steps for s in experiment.sweep] * len(study.seeds.choose)
        longest = max(setting.steps for setting in experiment.sweep) * (staged or 1)
        runs += len(sweep) + len(study.seeds.report)
        steps += sum(sweep) + longest * len(study.seeds.report)
        click.echo(f"{row}: {json.dumps(experiment.methods[split(row)[1]])}")
    click.echo(f"{len(rows)} methods, {runs} runs, at most {steps:,} optimiser steps", err=True)
