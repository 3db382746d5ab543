"""Comparisons in rounds: as data, and as they are printed."""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forgetless.benchmarks.dedup import DedupComparison
    from forgetless.benchmarks.generate import Comparison
    from forgetless.benchmarks.sides import Comparison as OfSides
    from forgetless.benchmarks.sides import Round


def as_json(compared: "Comparison | DedupComparison") -> dict[str, Any]:
    """All figures, and those that follow from them."""
    rounds = [dataclasses.asdict(r) | {"ratio": r.ratio} for r in compared.rounds]
    derived = {"ratio": compared.ratio, "spread": compared.spread}
    return dataclasses.asdict(compared) | {"rounds": rounds} | derived


def tell(done: "Round") -> None:
    """A line for a round that is done, on stderr."""
    from forgetless.curator.progress import note

    note(
        ", ".join(f"{side} {figures['tokens_per_second']:,.0f} tok/s" for side, figures in done.sides.items())
    )


def print_rounds(compared: "OfSides", names: dict[str, str]) -> None:
    """All rounds, and our speed in terms of each peer's."""
    from rich.console import Console
    from rich.table import Table

    table = Table("round", box=None, header_style="bold")
    for side in ("ours", *compared.peers):
        table.add_column(f"{side} tok/s", justify="right")
    table.add_column("load", justify="right")
    for number, r in enumerate(compared.rounds, 1):
        speeds = (f"{figures['tokens_per_second']:,.0f}" for figures in r.sides.values())
        table.add_row(str(number), *speeds, f"{r.load:.1f}")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for peer in compared.peers:
        low, high = compared.spread(peer)
        median = compared.ratio(peer)
        said = f"{median:.0%} of" if peer == "limit" else f"{median:.2f} times"
        ends = f"{low:.0%} to {high:.0%}" if peer == "limit" else f"{low:.2f} to {high:.2f}"
        console.print(f"{said} {names[peer]} (median; {ends})", markup=False)
