"""Between base and tuned: what is learned and what is lost on the line that joins their weights (WiSE-FT)."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from forgetless.curator.models import load_model, weight_files
from forgetless.curator.progress import note
from forgetless.schemas.constraints import Average
from forgetless.train.report import Averaged, Figure

PHASE = "average {:g}"
"""Of the rows in `evals`."""


def averaged(
    base: Path,
    tuned: Path,
    settings: Average,
    measure: Callable[[str, Path], list[Figure]],
    trust_remote_code: bool = False,
) -> list[Averaged]:
    """Measures every alpha; the weights of the one to keep replace those in `tuned`.

    Args:
        base, tuned: folders of the model before and after.
        measure: figures of the checkpoint in a folder, for a phase.

    Returns:
        The curve, in the order of alpha.
    """
    work = tuned / "averages"
    shutil.rmtree(work, ignore_errors=True)
    base_weights = _same_names(base, tuned, work / "base", trust_remote_code)
    curve = []
    for alpha in settings.measured:
        # Neither end needs weights of its own: the base's figures are in the store already.
        folder = base if alpha == 0 else tuned if alpha == 1 else work / f"{alpha:g}"
        if folder.parent == work:
            write_average(base_weights, tuned, alpha, folder)
        curve.append(Averaged(alpha=alpha, figures=measure(PHASE.format(alpha), folder)))
        if folder.parent == work:
            shutil.rmtree(folder)
    kept = best(curve) if settings.keep == "best" else settings.keep
    if kept < 1:
        write_average(base_weights, tuned, kept, work / "kept")
        for file in weight_files(work / "kept"):
            file.replace(tuned / file.name)
    note(f"kept: {kept:g} of the way from the base to what was trained")
    shutil.rmtree(work, ignore_errors=True)
    return [point.model_copy(update={"kept": point.alpha == kept}) for point in curve]


def best(curve: list[Averaged]) -> float:
    """The alpha of the highest mean of target and retained accuracy, each the mean over its tasks; of equals the
    largest."""
    return max(curve, key=lambda point: (_score(point.figures), point.alpha)).alpha


def _score(figures: list[Figure]) -> float:
    accuracies = [figure for figure in figures if figure.metric == "accuracy"]
    of_role = ([f.value for f in accuracies if f.role == role] for role in ("target", "retained"))
    return fmean(fmean(values) for values in of_role if values)


def write_average(base: Path, tuned: Path, alpha: float, folder: Path) -> None:
    """(1 - alpha) · base + alpha · tuned in fp32 as a checkpoint in `tuned`'s form and dtypes, a tensor at a time.

    Args:
        base, tuned: folders whose weights have the same names.
        folder: is made; gets tuned's other files as well, so that it can be asked.
    """
    folder.mkdir(parents=True)
    weights = weight_files(tuned)
    for file in tuned.iterdir():
        if file.is_file() and file not in weights:
            shutil.copy(file, folder)
    with ExitStack() as opened:
        of_base: dict[str, Any] = {}
        for file in weight_files(base):
            handle = opened.enter_context(safe_open(file, "pt"))
            of_base |= dict.fromkeys(handle.keys(), handle)
        for file in weights:
            with safe_open(file, "pt") as handle, (folder / file.name).open("wb") as out:
                header, names = _header(file)
                out.write(header)
                for name in names:
                    mean = _mean(of_base[name].get_tensor(name), handle.get_tensor(name), alpha)
                    out.write(mean.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _mean(base: Tensor, tuned: Tensor, alpha: float) -> Tensor:
    if not tuned.is_floating_point():
        return tuned
    wide = torch.promote_types(tuned.dtype, torch.float32)
    return ((1 - alpha) * base.to(wide) + alpha * tuned.to(wide)).to(tuned.dtype)


def _header(file: Path) -> tuple[bytes, list[str]]:
    """The bytes before a safetensors file's first tensor, and the tensors' names as they lie."""
    with file.open("rb") as handle:
        size = handle.read(8)
        text = handle.read(int.from_bytes(size, "little"))
    entries = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
    return size + text, sorted(entries, key=lambda name: entries[name]["data_offsets"][0])


def _same_names(base: Path, tuned: Path, spare: Path, trust_remote_code: bool) -> Path:
    """The base's folder, or a copy as transformers saves it now where its weights have other names than tuned's."""
    if set(_names(tuned)) <= set(_names(base)):
        return base
    load_model(base, "auto", trust_remote_code).save_pretrained(spare)
    return spare


def _names(folder: Path) -> Iterator[str]:
    for file in weight_files(folder):
        yield from _header(file)[1]
