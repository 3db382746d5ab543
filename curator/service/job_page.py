"""What the pages of jobs show of one: what it is, how long it takes, what was asked for and what came out."""

import re
from datetime import UTC, datetime
from typing import Any

import yaml

from forgetless.curator.service.ledger import Job

NOTHING = "\N{EN DASH}"
SETTINGS = ("recipe", "suite", "file")
"""Fields of a request that hold settings."""
TECHNICAL = ("name", "run_id", "recipe", "base", "model", "store", "averages", "created")
"""Of a training's result: what is said elsewhere, or is for programs."""
TITLES = {
    "build": "Build", "train": "Train", "score": "Score", "import-stats": "Import statistics", "eval": "Evaluate",
    "study": "Study", "export": "Export", "compact": "Compact", "verify": "Verify", "report": "Report",
    "demo": "Demo", "check": "Check a verifier", "bench": "Benchmark",
}  # fmt: skip
FORMS = {
    "build": "make what a recipe names", "train": "fine-tune and measure", "score": "the log-prob of every token",
    "eval": "measure a model", "export": "for other trainers", "report": "a store as one page",
    "verify": "is a store whole?", "compact": "few large files",
}  # fmt: skip
"""What the form of a new job can ask for, and what that does."""


def title(job: Job) -> str:
    """What it does, to what."""
    named = job.request.get("recipe")
    name = named.get("name") if isinstance(named, dict) else _name(named) if isinstance(named, str) else None
    what = name or ", ".join(job.stores) or job.request.get("what") or job.request.get("model") or ""
    return f"{TITLES.get(job.verb, job.verb)} {what}".strip()


def _name(text: str) -> str | None:
    """A recipe's, without reading all of it."""
    found = re.search(r"^name:[ \t]*([^#\n]+)", text, re.MULTILINE)
    return found[1].strip().strip("'\"") or None if found else None


def seconds(job: Job) -> float | None:
    """How long its last attempt has taken; None before the first."""
    if job.started is None:
        return None
    ended = job.ended if job.state != "running" and job.ended else datetime.now(UTC)
    return max((ended - job.started).total_seconds(), 0.0)


def lasting(seconds: float | None) -> str:
    """A duration as people say it."""
    if seconds is None:
        return NOTHING
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def clock(time: datetime | None) -> str:
    """Time of the day, and the day where it is another one."""
    if time is None:
        return NOTHING
    today = datetime.now(UTC).date() == time.date()
    return time.strftime("%H:%M:%S" if today else "%-d %b, %H:%M")


def settings(job: Job) -> tuple[str, str] | None:
    """Name and YAML text of the recipe, suite or study that was given."""
    for name in SETTINGS:
        given = job.request.get(name)
        if isinstance(given, dict):
            return name, yaml.safe_dump(given, sort_keys=False, allow_unicode=True)
        if isinstance(given, str) and (name != "file" or job.verb == "study"):
            return name, given
    return None


def options(job: Job) -> dict[str, str]:
    """What else was asked for."""
    shown = settings(job)
    left_out = {"verb", shown[0] if shown else ""}
    return {
        name.replace("_", " "): _said(value)
        for name, value in job.request.items()
        if name not in left_out and value != []
    }


def outcome(job: Job) -> str:
    """What came out, in a few words."""
    if made := steps(job.result):
        accepted, rejected = (sum(step[name] for step in made) for name in ("accepted", "rejected"))
        return f"{accepted:,} accepted, {rejected:,} rejected"
    if measured := changes(job.result):
        found = {c["task"]: c for c in measured[-1][1] if c.get("metric") == "accuracy"}
        shown = [c for c in found.values() if c.get("role") == "target"][:2]
        shown += [found["mean retained"]] if "mean retained" in found else []
        return ", ".join(
            f"{c['task']} {figure(c['before'], 100)} → {figure(c['after'], 100)} %" for c in shown
        )
    match job.result:
        case {"records": int(records)}:
            return f"{records:,} record{'s' if records != 1 else ''}"
        case {"ok": bool(ok)}:
            return "whole" if ok else "not whole"
    if job.state == "cancelled" and (bar := job.progress):
        return f"{bar.label}: {bar.done:,} of {bar.total:,}"
    return ""


def facts(result: Any) -> dict[str, str]:
    """What of a result can be said in a line each."""
    if not isinstance(result, dict):
        return {}
    left_out = TECHNICAL if "changes" in result else ()
    return {
        name.replace("_", " "): _said(value)
        for name, value in result.items()
        if name not in left_out and value is not None and not isinstance(value, dict) and not _is_long(value)
    }


def steps(result: Any) -> list[dict[str, Any]]:
    """Of a build: what each step made."""
    found = result.get("steps") if isinstance(result, dict) else None
    return [
        each
        for each in found or []
        if isinstance(each, dict) and {"name", "accepted", "rejected"} <= set(each)
    ]


def changes(result: Any) -> list[tuple[str, list[dict[str, Any]]]]:
    """Of a training, its stages or its epochs: the name of each, and what was measured before and after."""
    reports = result.get("reports", [result]) if isinstance(result, dict) else result
    if not isinstance(reports, list):
        return []
    return [
        (str(each.get("name", "")), each["changes"])
        for each in reports
        if isinstance(each, dict) and isinstance(each.get("changes"), list)
    ]


def _is_long(value: Any) -> bool:
    return isinstance(value, list) and (
        len(value) > 8 or any(isinstance(each, dict | list) for each in value)
    )


def _said(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.6g}"
        case list():
            return ", ".join(map(_said, value)) or "none"
    return str(value)


def figure(value: Any, scale: int) -> str:
    """A measured one, in its unit."""
    if not isinstance(value, int | float):
        return NOTHING
    return f"{value:.4f}" if scale == 1 else f"{scale * value:.1f}"
