"""`forgetless demo`: the whole product on the models that ship with it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from forgetless.train.report import TrainingReport

VARIANTS = {
    "plain": ["train.replay=null"],
    "replay": [],
    "replay + STM": ["train.objectives=[{objective: stm, share: 0.23}]"],
}
"""Column of the table → what it changes in the recipe."""

QUERIES = {
    "Mean perplexity by kind": "SELECT kind, count(*) AS records, avg(perplexity) AS perplexity "
    "FROM perplexity GROUP BY kind ORDER BY perplexity",
    "Share of target tokens with perplexity above 2.5": "SELECT kind, "
    "sum(hard_tokens) / sum(target_tokens) AS hard_share FROM perplexity GROUP BY kind ORDER BY hard_share",
    "The hardest tokens of the new task": "SELECT id[:8] AS record, position, piece, perplexity FROM tokens "
    "WHERE kind = 'ground_truth' AND is_target ORDER BY perplexity DESC LIMIT 5",
    "Survival by stage": "SELECT step, stage, ended, rows, share FROM survival",
}


TARGETS_QUERIES = {
    "What became of every row": "SELECT step, stage, ended, rows, share FROM survival",
    "What self-output drew": 'SELECT count(*) AS samples, avg("right"::INT) AS right_share, '
    "count(DISTINCT parent_id) AS prompts, sum(chosen::INT) AS chosen FROM samples",
    "Every version of three answers": """\
SELECT truth.messages[-2].content AS prompt, r.kind, r.messages[-1].content AS answer
FROM records truth JOIN records r ON truth.id = coalesce(r.parent_id, r.id)
WHERE truth.kind = 'ground_truth' AND r.fallback IS NULL AND truth.id IN (
    SELECT parent_id FROM records WHERE parent_id IS NOT NULL AND fallback IS NULL
    GROUP BY parent_id ORDER BY count(DISTINCT kind) DESC, parent_id LIMIT 3)
ORDER BY truth.id, r.kind""",
}


def folder_option(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--folder`."""
    return click.option(
        "--folder", default=default, show_default=True, type=click.Path(path_type=Path), help="Where to work."
    )


override_option = click.option(
    "--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a key of the recipe."
)


@click.group(invoke_without_command=True)
@folder_option("demo-run")
@override_option
@click.pass_context
def demo(context: click.Context, folder: Path, overrides: tuple[str, ...]) -> None:
    """Build replay, score it, fine-tune three ways, and show what was forgotten."""
    if context.invoked_subcommand is None:
        _run_forgetting(folder, overrides)
    elif any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in context.params):
        raise click.UsageError(f"options stand behind `{context.invoked_subcommand}`", context)


@demo.command()
@folder_option("demo-targets")
@override_option
def targets(folder: Path, overrides: tuple[str, ...]) -> None:
    """Answer a task's prompts in the model's own words, four ways, and compare them."""
    from forgetless.cli.build import print_report
    from forgetless.cli.compare import print_comparison
    from forgetless.cli.table import print_rows
    from forgetless.curator.recipes import load_recipe
    from forgetless.curator.report.comparison import compare
    from forgetless.curator.report.picture import draw_comparison
    from forgetless.curator.store import Store
    from forgetless.pipelines.build import Build
    from forgetless.pipelines.demo.files import write_targets_demo

    path = write_targets_demo(folder)
    recipe = load_recipe(path, overrides)
    _say(f"1. The same prompts answered by the model itself and by a teacher: forgetless build {path}")
    print_report(Build(recipe).run(), recipe.store)

    _say(f"2. What is in it: forgetless sql {recipe.store} …")
    store = Store.open(recipe.store)
    for title, sql in TARGETS_QUERIES.items():
        click.secho(f"\n{title}\n{sql}", dim=True)
        print_rows(store.query(sql))

    _say(f"3. How hard each is for the base model: forgetless compare {recipe.store}")
    comparison = compare(store)
    print_comparison(comparison, recipe.store)
    if picture := draw_comparison(comparison, folder / f"compare-{comparison.task}.png"):
        click.echo(f"picture: {picture}")


def _run_forgetting(folder: Path, overrides: tuple[str, ...]) -> None:
    from forgetless.cli.build import print_report
    from forgetless.cli.table import print_rows
    from forgetless.curator.recipes import load_recipe
    from forgetless.curator.store import Store
    from forgetless.pipelines.build import Build
    from forgetless.pipelines.demo.files import write_demo
    from forgetless.train.export import export
    from forgetless.train.run import train

    path = write_demo(folder)
    recipe = load_recipe(path, overrides)
    _say(f"1. The model writes its own replay, and every token is scored: forgetless build {path}")
    print_report(Build(recipe).run(), recipe.store)

    _say(f"2. What is in it: forgetless sql {recipe.store} …")
    store = Store.open(recipe.store)
    for title, sql in QUERIES.items():
        click.secho(f"\n{title}\n{sql}", dim=True)
        print_rows(store.query(sql))

    exported = export(store, folder / "export", "trl")
    _say(f"3. Export for other trainers: {exported.records:,} records in {exported.path}")

    _say(f"4. Learn a new skill from human-style answers, three ways: forgetless train {path}")
    reports = {
        name: train(load_recipe(path, [*overrides, f"train.output={folder.resolve() / 'tuned' / name.replace(' + ', '-')}", *changed]))
        for name, changed in VARIANTS.items()
    }  # fmt: skip
    _print_table(reports)


def _say(text: str) -> None:
    click.secho(f"\n{text}\n", bold=True)


def _print_table(reports: "dict[str, TrainingReport]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What was learned and what was forgotten", box=SIMPLE_HEAD)
    table.add_column("")
    for name in ("base model", *reports):
        table.add_column(name, justify="right")
    for rows in zip(*(report.changes for report in reports.values()), strict=True):
        first = rows[0]
        scale, form, unit = (100, ".0f", "%") if first.metric == "accuracy" else (1, ".2f", "nats/token")
        label = f"{first.task}, {unit}" + (" (new)" if first.role == "target" else "")
        figures = [first.before, *(row.after for row in rows)]
        strong = "bold" if first.task == "mean retained" else ""
        table.add_row(
            label,
            *(f"{figure * scale:{form}}" for figure in figures),
            style=strong,
            end_section=first.role == "target",
        )
    Console().print(table)
