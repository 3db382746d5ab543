"""A full disk and a full memory are said so."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from forgetless.schemas.errors import DiskFullError, ForgetlessError
from forgetless.train.failures import explained


def by_torch() -> None:
    torch.save({"weights": torch.zeros(1 << 16)}, "/dev/full")


def by_python() -> None:
    Path("/dev/full").write_text("report")


@pytest.mark.parametrize("write", [by_torch, by_python])
def test_a_full_disk(write: object) -> None:
    with pytest.raises(DiskFullError, match="checkpoint is kept"), explained(Path("out")):
        write()  # type: ignore[operator]


def test_a_full_memory_names_the_settings() -> None:
    with pytest.raises(ForgetlessError, match=r"train.batch_size"), explained(Path("out")):
        raise torch.OutOfMemoryError


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), explained(tmp_path):
        raise RuntimeError("shapes do not match")
    with explained(tmp_path):
        save_file({"weights": torch.zeros(2)}, tmp_path / "model.safetensors")
