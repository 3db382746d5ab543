"""`forgetless demo`: the whole product on the model that ships with it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from forgetless.train.report import TrainingReport

VARIANTS = {
    "plain": ["train.replay=null"],
    "replay": [],
    "replay + STM": ["train.token_mask={share: 0.23}"],
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


@click.command()
@click.option(
    "--folder", default="demo-run", show_default=True, type=click.Path(path_type=Path), help="Where to work."
)
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override a key of the recipe.")
def demo(folder: Path, overrides: tuple[str, ...]) -> None:
    """Build replay, score it, fine-tune three ways, and show what was forgotten."""
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
