"""One protocol, several engines: a stream of requests in, a stream of results out as they finish."""

from forgetless.curator.engines.child import ChildEngine
from forgetless.curator.engines.protocol import Engine, EngineStats

__all__ = ["ChildEngine", "Engine", "EngineStats"]
