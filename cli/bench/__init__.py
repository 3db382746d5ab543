"""`forgetless bench`: how fast it is here."""

import click

from forgetless.cli.bench.dedup import dedup
from forgetless.cli.bench.generate import generate
from forgetless.cli.bench.score import score
from forgetless.cli.bench.store import store
from forgetless.cli.bench.train import train


@click.group()
def bench() -> None:
    """Measure how fast this is on your machine."""


for command in (generate, score, train, store, dedup):
    bench.add_command(command)
