"""Which engine a recipe asks for."""

from pathlib import Path

from forgetless.curator.engines.child import ChildEngine
from forgetless.curator.engines.protocol import Engine
from forgetless.schemas.model import Endpoint
from forgetless.schemas.model import Engine as EngineConfig


def engine_of(config: EngineConfig | Endpoint, folder: Path | None, log: Path, trust: bool = False) -> Engine:
    """The engine that `config` describes; it starts with its first request.

    Args:
        folder: the model's files; None for an endpoint.
        log: file for what a child process prints.
        trust: whether code shipped with the model may run.
    """
    if isinstance(config, Endpoint):
        from forgetless.curator.engines.openai import OpenAIEngine  # half a second of imports

        return OpenAIEngine(config)
    assert folder, "recipes give every local engine a model"
    return ChildEngine(folder, config, log, trust)
