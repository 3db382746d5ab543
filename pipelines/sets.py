"""Sets of rows: what one step makes under one configuration. Two configurations never mix."""

import json
from typing import Any

from forgetless.curator.store import Store
from forgetless.schemas.base import digest


def other_sets(store: Store, name: str, own: str, configuration: dict[str, Any]) -> list[str]:
    """A line for each set of rows that a step of this name made under another configuration."""
    counts = store.query(
        f"SELECT digest, count(*) AS n FROM outcomes WHERE status <> 'intermediate' AND digest <> '{own}' "
        f"AND step = '{name.replace(chr(39), chr(39) * 2)}' GROUP BY digest"
    ).to_pylist()
    known: dict[str, Any] = {}
    for text in store.query("SELECT DISTINCT steps FROM runs")["steps"].to_pylist():
        known |= json.loads(text)
    lines = []
    for row in counts:
        before = known.get(row["digest"], {})
        changes = [
            f"{key} {_short(old)} → {_short(new)}"
            for key, (old, new) in _differences(before, {"name": name} | configuration).items()
        ]
        what = ", ".join(changes) or "unknown changes"
        lines.append(
            f"a new set, as its configuration changed ({what}); {row['n']:,} rows of the other set stay"
        )
    return lines


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    changes: dict[str, tuple[Any, Any]] = {}
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            changes |= _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            changes[prefix + key] = (a, b)
    return changes


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 24 else digest(value)[:8]
