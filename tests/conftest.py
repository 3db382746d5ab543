"""What tests share: where the real models are."""

import os
from pathlib import Path

import pytest

# Models this small are slower on several threads, most of all where tests run side by side; threads that
# wait spinning slow the others down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parent.parent
DEMO_MODEL = ROOT / "pipelines" / "demo" / "model"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real inputs that lie beside a working copy; a fresh clone has none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared is absent")
    return folder


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The model the package ships."""
    return DEMO_MODEL
