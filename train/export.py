"""Records as a dataset that other trainers load."""

import json
import shutil
from pathlib import Path

from forgetless.curator.store import Store
from forgetless.curator.store.delta import disk_errors
from forgetless.schemas.errors import UsageError
from forgetless.schemas.objectives import Stm
from forgetless.train.card import ExportReport, card
from forgetless.train.formats import FORMATS
from forgetless.train.selection import Selection

MANIFEST = "forgetless.json"


def export(
    store: Store,
    to: Path,
    format: str,
    condition: str = "true",
    snapshot: int | None = None,
    mask: Stm | None = None,
    scorer: str | None = None,
) -> ExportReport:
    """Write the records that meet an SQL condition into the folder `to`, with a dataset card.

    The folder appears when it is complete. One that an export wrote before is replaced.

    Args:
        mask: target tokens without a label; for formats of tokens.
        scorer: whose figures the mask and `axolotl-kd` read, as `Stored.scorer`; needed where several models scored.

    Raises:
        UsageError: no such record, a wrong condition, scores that are missing or that the format does not read, or a
            folder with files of others.
    """
    to = to.resolve()
    _check_reads(format, mask, scorer)
    _check_replaceable(to)
    snapshot = store.newest_snapshot() if snapshot is None else snapshot
    form = FORMATS[format]
    selected = f"SELECT * FROM records WHERE ({condition}\n)"
    carried = f"SELECT * FROM ({selected}) WHERE {form.carries} ORDER BY id"
    counts = store.query(
        "SELECT count(*) AS n, coalesce(sum(list_sum(list_transform(target_spans,"
        f' lambda s: s."end" - s.start))), 0)::BIGINT AS target_tokens FROM ({carried})',
        snapshot,
    ).to_pylist()[0]
    wanted = store.query(f"SELECT count(*) AS n FROM ({selected})", snapshot)["n"][0].as_py()
    if not counts["n"]:
        raise UsageError(
            f"none of {wanted:,} selected records can be exported as {format}",
            "correct --where, or choose another --format",
        )
    selection = Selection(store, carried, snapshot, mask, scorer)
    report = ExportReport(
        path=str(to),
        format=format,
        snapshot=snapshot,
        records=counts["n"],
        left_out=wanted - counts["n"],
        target_tokens=counts["target_tokens"],
        masked=selection.masked,
    )
    with disk_errors(to):
        _write(report, selection, card(store, report, selected, carried))
    return report


def _check_reads(format: str, mask: Stm | None, scorer: str | None) -> None:
    """UsageError where what was asked for would change nothing."""
    reads = FORMATS[format].reads
    if mask and "mask" not in reads:
        able = ", ".join(name for name, form in FORMATS.items() if "mask" in form.reads)
        raise UsageError(f"format {format!r} has no labels to mask out", f"choose one that has: {able}")
    if scorer and not mask and "top-k" not in reads:
        raise UsageError(
            f"format {format!r} reads no scores, so --scorer changes nothing",
            "leave it out, or ask for a mask",
        )


def _write(report: ExportReport, selection: Selection, text: str) -> None:
    """Fill a folder beside the wanted one, then put it in its place."""
    to, form = Path(report.path), FORMATS[report.format]
    partial = to.with_name(f".{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    texts = {"README.md": text, **form.beside}
    try:
        (partial / form.file).parent.mkdir(parents=True)
        form.write(selection, partial / form.file)
        for name, content in texts.items():
            (partial / name).write_text(content)
        manifest = {"files": [form.file, *texts, MANIFEST], **report.model_dump(exclude={"path"})}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if to.exists():
            shutil.rmtree(to)
        partial.rename(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_replaceable(to: Path) -> None:
    """UsageError where `to` is a file, or holds files that no export of ours wrote."""
    if to.is_file():
        raise UsageError(f"{str(to)!r} is a file", "name a folder with --to")
    files = {str(path.relative_to(to)) for path in to.rglob("*") if not path.is_dir()}
    ours = set(json.loads((to / MANIFEST).read_text()).get("files", [])) if MANIFEST in files else set()
    if files - ours:
        raise UsageError(
            f"{str(to)!r} holds files that no export wrote, {min(files - ours)!r} among them",
            "choose another folder with --to",
        )
