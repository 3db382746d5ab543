"""Figures in the store's `evals` table: found there, or measured and put there."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from forgetless.curator.models import model_fingerprint
from forgetless.curator.progress import note
from forgetless.curator.store import Store
from forgetless.schemas.model import Engine
from forgetless.train.asking import Asking
from forgetless.train.evaluate import Measure, evaluate
from forgetless.train.report import Figure

RECORD_SECONDS = 10.0


@dataclass(frozen=True)
class Evals:
    """The evals of one run."""

    store: Store
    run_id: str
    name: str
    recipe: str
    """Digest of what was asked for."""
    snapshot: int | None
    seed: int | None

    def figures(
        self,
        phase: str,
        folder: Path,
        asking: Asking,
        wanted: list[Measure],
        trust_remote_code: bool = False,
        base: Path | None = None,
        engine: Engine | None = None,
    ) -> list[Figure]:
        """The wanted figures of the checkpoint in `folder`; what the store knows is not measured again."""
        known = self._known(wanted)
        missing = [measure for measure in wanted if measure.key not in known]
        if wanted and len(missing) < len(wanted):
            note(f"{phase}: {len(wanted) - len(missing)} of {len(wanted)} figures are in the store already")
        self.record(phase, folder, _named(wanted, known))
        if missing:
            label = f"evaluate {phase}"
            parts = evaluate(folder, asking, missing, label, trust_remote_code, base, engine)
            known |= {figure.key: figure for figure in self._recorded_soon(phase, folder, parts)}
        return _named(wanted, known)

    def _recorded_soon(self, phase: str, folder: Path, parts: Iterable[list[Figure]]) -> Iterator[Figure]:
        """The figures of all parts, recorded every few seconds and in the end, however it ends: an interruption
        costs little, and cheap measures do not make a file each."""
        waiting: list[Figure] = []
        last = time.monotonic()
        try:
            for part in parts:
                waiting += part
                yield from part
                if time.monotonic() - last > RECORD_SECONDS:
                    self.record(phase, folder, waiting)
                    waiting, last = [], time.monotonic()
        finally:
            self.record(phase, folder, waiting)

    def _known(self, wanted: list[Measure]) -> dict[str, Figure]:
        keys = ", ".join(f"'{measure.key}'" for measure in wanted) or "''"
        rows = self.store.query(
            f"SELECT task, role, metric, value, count, key FROM evals WHERE key IN ({keys})"
        )
        return {row["key"]: Figure(**row) for row in rows.to_pylist()}

    def recorded(self, phase: str) -> list[Figure]:
        """What this run has put there of a phase."""
        rows = self.store.query(
            "SELECT task, role, metric, value, count, key FROM evals"
            f" WHERE run_id = '{self.run_id}' AND phase = '{phase}'"
        )
        return [Figure(**row) for row in rows.to_pylist()]

    def record(self, phase: str, folder: Path | None, figures: list[Figure]) -> None:
        """One row per figure of the checkpoint in `folder`, or of a model in training; unless this run, interrupted,
        put it there before."""
        shared = {
            "run_id": self.run_id,
            "name": self.name,
            "phase": phase,
            "model": model_fingerprint(folder) if folder else None,
            "checkpoint": str(folder) if folder else None,
            "seed": self.seed,
            "snapshot": self.snapshot,
            "recipe": self.recipe,
            "created": datetime.now(UTC),
        }
        done = {(figure.task, figure.key) for figure in self.recorded(phase)}
        new = [figure for figure in figures if (figure.task, figure.key) not in done]
        self.store.append("evals", [shared | figure.model_dump() for figure in new])


def _named(wanted: list[Measure], known: dict[str, Figure]) -> list[Figure]:
    """The figures that are known, under the names that are wanted now."""
    return [
        known[m.key].model_copy(update={"task": m.name, "role": m.role}) for m in wanted if m.key in known
    ]
