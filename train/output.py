"""A run's output folder: what was asked, how far it got, the checkpoint, the report."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forgetless.schemas.base import digest
from forgetless.schemas.errors import UsageError
from forgetless.train.report import TrainingReport

ASKED, REPORT, CURVE = "recipe.json", "run.json", "steps.jsonl"


class Output:
    """The folder that becomes the checkpoint. `recipe.json` comes first, `run.json` last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"

    def asked(self) -> dict[str, Any] | None:
        """What the run in this folder was asked for; None if there is no run.

        Raises:
            UsageError: the folder holds something else.
        """
        if (self.folder / ASKED).is_file():
            return json.loads((self.folder / ASKED).read_text())
        if self.folder.exists() and not (self.folder.is_dir() and not any(self.folder.iterdir())):
            raise UsageError(
                f"output {str(self.folder)!r} holds files that no run of ours wrote",
                "choose another `train.output`",
            )
        return None

    def check(self, asked: dict[str, Any]) -> None:
        """UsageError where the run in this folder was asked for something else, naming what differs."""
        there = self.asked()
        if there is None or there == asked:
            return
        old, new = dict(leaves(there)), dict(leaves(asked))
        differ = [
            f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
        raise UsageError(
            f"output {str(self.folder)!r} holds another run: {'; '.join(differ)}",
            "choose another `train.output`, undo the change, or delete the folder",
        )

    def begin(self, asked: dict[str, Any]) -> str:
        """Make the folder and write down what is asked; its digest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / ASKED, json.dumps(asked, indent=2) + "\n")
        return digest(asked)

    def curve(self, steps: list[dict[str, float]]) -> None:
        """Write loss, rate and gradient norm of every optimiser step."""
        _write(self.folder / CURVE, "".join(json.dumps(step) + "\n" for step in steps))

    def finish(self, report: TrainingReport) -> None:
        """Write the report, then drop the resumable states, of no more use."""
        _write(self.folder / REPORT, report.model_dump_json(indent=2) + "\n")
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def report(self) -> TrainingReport | None:
        """The report of a finished run; None if it is not finished."""
        file = self.folder / REPORT
        if not file.is_file():
            return None
        try:
            return TrainingReport.model_validate_json(file.read_text())
        except ValidationError:
            raise UsageError(
                f"{str(file)!r} is damaged", "delete it and run the same command again"
            ) from None


def _write(file: Path, text: str) -> None:
    new = file.with_name(file.name + ".new")
    new.write_text(text)
    new.replace(file)


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with its dotted path; lists are values."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, data
