"""The wheel holds what it must, and works beside a user's own train.py."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETTINGS["package-dir"]
IMPORT_ALL = """
import importlib, pathlib, sys
target = pathlib.Path(sys.argv[1])
for file in sorted((target / "forgetless").rglob("*.py")):
    parts = file.relative_to(target).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to(target), module.__file__
    print(name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: in the tree setuptools would mix in what an older build left behind."""
    source = tmp_path_factory.mktemp("source")
    skip = shutil.ignore_patterns("__pycache__")
    for name in set(FOLDERS.values()):
        shutil.copytree(ROOT / name, source / name, ignore=skip)
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, source)
    pip("wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", source / "dist")
    (built,) = (source / "dist").glob("*.whl")
    return built


def pip(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def packages_on_disk() -> set[str]:
    """Import name of every folder with Python files under the package folders."""
    names = set()
    for package, folder in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            names.add(".".join([package, *file.parent.relative_to(ROOT / folder).parts]))
    return names


def test_every_folder_is_a_listed_package() -> None:
    assert sorted(SETTINGS["packages"]) == sorted(packages_on_disk())


@pytest.mark.parametrize("name", ["model", "teacher"])
def test_the_wheel_holds_the_demo_models(wheel: Path, name: str) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    model = {file.name for file in (ROOT / "pipelines" / "demo" / name).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= model
    assert {f"forgetless/pipelines/demo/{name}/{file}" for file in model} <= inside
    assert "forgetless/pipelines/demo/targets.yaml" in inside
    assert "forgetless/pipelines/recipes/replay.yaml" in inside


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("curator/report/page", {"frame.html", "page.html", "page.css", "tokens.js"}),
        ("train/page/template", {"run.html", "run.css"}),
    ],
)
def test_the_wheel_holds_the_reports_pages(wheel: Path, folder: str, files: set[str]) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    page = {file.name for file in (ROOT / folder).iterdir()}
    assert files <= page
    assert {f"forgetless/{folder}/{file}" for file in page} <= inside


def test_everything_imports_beside_a_users_own_files(wheel: Path, tmp_path: Path) -> None:
    target, place = tmp_path / "target", tmp_path / "place"
    pip("install", wheel, "--no-deps", "--target", target)
    place.mkdir()
    for name in ("train", "cli", "schemas", "curator", "pipelines"):
        (place / f"{name}.py").write_text(f"raise RuntimeError('the decoy {name}.py was imported')\n")
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, str(target)],
        cwd=place, env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(SETTINGS["packages"]) <= set(done.stdout.split())
