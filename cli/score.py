"""`forgetless score STORE`: log-prob, entropy and rank of every token of every record."""

from pathlib import Path

import click


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--model", help="Folder or hub id; the model of the store's last build if not given.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--top-k", default=0, show_default=True, help="Also keep the k most probable tokens.")
def score(store: Path, model: str | None, dtype: str, top_k: int) -> None:
    """Score the records that the base model has not scored yet."""
    import json

    from forgetless.cli.build import print_report
    from forgetless.curator.recipes import parse_recipe
    from forgetless.curator.store import Store
    from forgetless.pipelines.build import Build
    from forgetless.schemas.errors import UsageError

    opened = Store.open(store)
    last = opened.query("SELECT recipe FROM runs WHERE verb = 'build' ORDER BY created DESC LIMIT 1")[
        "recipe"
    ].to_pylist()
    if not last and not model:
        raise UsageError(f"store {str(store)!r} names no model", "give one with --model")
    name = {"path": model} if model else json.loads(last[0])["model"]
    step = {"pipeline": "score", "dtype": dtype, "top_k": top_k}
    recipe = parse_recipe({"store": str(store.resolve()), "model": name, "steps": [step]}, base=Path.cwd())
    report = Build(recipe, verb="score").run()
    if report.run_id is None:
        click.echo("nothing to do: every record is scored")
    else:
        print_report(report, store)
