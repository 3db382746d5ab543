"""`forgetless show`: one record, token by token."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from forgetless.curator.report.record import RecordView


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("row", metavar="ID")
@click.option("--scorer", metavar="SCORER", help="Whose scores to show, if there are several; the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with per-token lists.")
def show(store: Path, row: str, scorer: str | None, as_json: bool) -> None:
    """Show one record, each target token coloured by its perplexity.

    The beginning of an ID is enough. Hard tokens carry a mark that needs no colour.
    """
    from forgetless.curator.report.record import read_record
    from forgetless.curator.store import Store

    view = read_record(Store.open(store), row, scorer)
    if as_json:
        click.echo(json.dumps(_json(view), ensure_ascii=False, indent=2))
    else:
        _print(view)


def _json(view: "RecordView") -> Any:
    from forgetless.curator.plain import plain

    per_token = {
        "pieces": [m.piece for m in view.marks],
        "is_target": [m.is_target for m in view.marks],
        "perplexity": [m.perplexity for m in view.marks],
    }
    return plain({**view.row, **per_token, "scores": view.scores})


def _print(view: "RecordView") -> None:
    from rich.console import Console

    from forgetless.curator.report.terminal import draw, legend

    console = Console(highlight=False)
    _print_header(view.row, console)
    _print_messages(view.row, console)
    _print_edit(view, console)
    console.rule("tokens", align="left", style="dim")
    console.print(draw(view.marks), soft_wrap=not console.is_terminal)
    console.rule(style="dim")
    console.print(legend())
    _print_summary(view, console)


def _print_header(row: dict[str, Any], console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    from forgetless.curator.report.visible import one_line

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _header(row).items():
        style = "red" if key in ("status", "rejection") and row["status"] == "rejected" else ""
        for place, line in enumerate(value if isinstance(value, list) else [value]):
            if line not in (None, ""):
                table.add_row("" if place else key, Text(one_line(str(line)), style))
    console.print(table)


def _header(row: dict[str, Any]) -> dict[str, Any]:
    """What is known of a row beside its text, in the order people ask for it."""
    step = f"{row['step']} (digest {row['digest'][:12]}), row {row['ordinal']} of its plan"
    drawn = [
        f"{key} {row[key]:g}"
        for key in ("temperature", "top_p", "top_k", "max_tokens")
        if row[key] is not None
    ]
    return {
        "id": row["id"], "kind": row["kind"], "step": step, "stage": row["stage"], "task": row["task"],
        "status": row["status"], "rejection": _rejection(row["rejection"]),
        "verdicts": [_verdict(verdict) for verdict in row["verdicts"] or []],
        "fallback": _fallback(row["fallback"]), "parent": row["parent_id"], "previous": row["previous_id"],
        "finish": row["finish_reason"], "sampling": ", ".join(drawn), "seed": row["seed"],
        "model": row["model"], "ids from": row["ids_from"],
        "created": row["created"].isoformat(" ", "seconds"),
    }  # fmt: skip


def _rejection(rejection: dict[str, Any] | None) -> str | None:
    if not rejection or rejection["reason"] is None:
        return None
    values = [f"{key} {rejection[key]:.4g}" for key in ("score", "threshold") if rejection[key] is not None]
    return f"{rejection['step']}: {rejection['reason']}" + (f" ({', '.join(values)})" if values else "")


def _verdict(verdict: dict[str, Any]) -> str:
    score = "" if verdict["score"] is None else f" ({verdict['score']:.3g})"
    said = f"{verdict['verifier']} {'passed' if verdict['passed'] else 'failed'}{score}"
    return f"{said}: {verdict['reason']}" if verdict["reason"] else said


def _fallback(fallback: str | None) -> str | None:
    """What stands in for an own answer, since none was right."""
    said = {
        "reference": "reference: the ground truth's answer stands in, no own one was right",
        "minimum_change": "minimum_change: an own answer, corrected, since none was right",
    }
    return fallback and said.get(fallback, fallback)


def _print_messages(row: dict[str, Any], console: "Console") -> None:
    from rich.text import Text

    from forgetless.curator.report.visible import safe

    for message in row["messages"] or []:
        console.print()
        console.print(Text(message["role"], "bold cyan"))
        console.print(Text(safe(message["content"])), soft_wrap=not console.is_terminal)
    console.print()


def _print_edit(view: "RecordView", console: "Console") -> None:
    """What an editor changed in the own answer, and what the base model thinks of both."""
    from forgetless.curator.report.diff import draw_diff

    edit = json.loads(view.row["metadata"]).get("edit")
    if not edit:
        return
    console.rule("edit of the own answer", align="left", style="dim")
    console.print(draw_diff(edit["diff"]), soft_wrap=not console.is_terminal)
    count = edit["distance"]
    changed = f"{count} token{'s' * (count > 1)} changed" if count else "the editor changed nothing"
    own, new = edit["own_logprob"], _edited_logprob(view, edit["own_logprob"])
    known = [f"{name} {value:.3f}" for name, value in (("own", own), ("edited", new)) if value is not None]
    logprobs = f"; mean log-prob of a token under the base model: {', '.join(known)}" if known else ""
    console.print(
        f"{changed}, [-taken out-] {{+put in+}}{logprobs}",
        style="dim",
        markup=False,
        soft_wrap=not console.is_terminal,
    )
    console.print()


def _edited_logprob(view: "RecordView", own: float | None) -> float | None:
    """Mean base log-prob of the edited answer's tokens, if anyone has scored it."""
    if view.scores and view.scores["target_tokens"]:
        return float(view.scores["sum_logprob"] / view.scores["target_tokens"])
    drops = [v["score"] for v in view.row["verdicts"] or [] if v["verifier"] == "logprob_drop"]
    return own - drops[-1] if drops and own is not None else None


def _print_summary(view: "RecordView", console: "Console") -> None:
    from forgetless.curator.report.heatmap import summarise
    from forgetless.curator.report.visible import one_line

    sources = {
        "sampled": "not scored: these are the log-probs it was sampled with (`forgetless score` gives the base's)",
        "none": "not scored, and not sampled: no token has a log-prob (`forgetless score` gives them)",
    }
    if view.scores and view.scores["rejection"]:
        said = f"refused by {view.scores['scorer'][:12]}: {one_line(view.scores['rejection'])}"
    elif view.scores:
        how = ", ".join(view.scores[key] for key in ("dtype", "engine") if view.scores[key])
        said = f"scored by {view.scores['scorer'][:12]} ({how})"
    else:
        said = sources[view.source]
    figures = summarise(view.marks)
    line = f"{figures.tokens} tokens, {figures.target_tokens} target"
    if figures.perplexity is not None:
        line += f", mean perplexity {figures.perplexity:.3g}, hard {figures.hard_share:.0%}"
    console.print(f"{line}; {said}", markup=False, soft_wrap=not console.is_terminal)
