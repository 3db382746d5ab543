"""`forgetless score STORE`: log-prob, entropy and rank of every token of every record."""

from pathlib import Path

import click


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--model", help="Folder or hub id; the model of the store's last build if not given.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--top-k", default=0, show_default=True, help="Also keep the k most probable tokens.")
@click.option(
    "--long", type=click.Choice(["reject", "windows"]), default="reject", show_default=True,
    help="What becomes of records longer than the model's context.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["transformers", "vllm"]), default="transformers", show_default=True,
    help="vllm is for models that need several GPUs for one copy; it gives no entropy.",
)  # fmt: skip
@click.option("--tensor-parallel", type=click.IntRange(1), metavar="N", help="GPUs for one copy, with vllm.")
@click.option("--devices", type=click.IntRange(1), metavar="N", help="GPUs with a copy each; all of them.")
@click.option("--batch-tokens", type=click.IntRange(64), metavar="N", help="Tokens in one forward pass.")
def score(store: Path, model: str | None, tensor_parallel: int | None, **settings: str | int | None) -> None:
    """Score the records that the base model has not scored yet.

    What cannot be scored is rejected with its reason: `forgetless sql STORE "FROM rejects"`.
    """
    import json

    from forgetless.cli.build import end_with, print_report
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
    data = {"store": str(store.resolve()), "model": name, "steps": [{"pipeline": "score", **settings}]}
    if tensor_parallel:
        data["engine"] = {"tensor_parallel": tensor_parallel}
    report = Build(parse_recipe(data, base=Path.cwd()), verb="score").run()
    if report.run_id is None:
        click.echo("nothing to do: every record is scored, or rejected with its reason")
    else:
        print_report(report, store)
    end_with(report, store)
