"""The engines of a run: one for each model, of which one at a time has its memory."""

from pathlib import Path

from forgetless.curator.engines import Engine
from forgetless.curator.engines.make import engine_of
from forgetless.pipelines.author import Author
from forgetless.schemas.model import Endpoint


class Engines:
    """Made as they are needed; a local one is closed when another local one is wanted."""

    def __init__(self, log: Path, given: dict[Author, Engine] | None = None) -> None:
        """`given` engines are used for their authors instead of new ones."""
        self._log = log
        self._engines: dict[Author, Engine] = dict(given or {})

    def of(self, author: Author) -> Engine:
        """The engine that runs the author's model."""
        if not isinstance(author.engine, Endpoint):
            self.close(but=author)
        if author not in self._engines:
            trust = author.settings.trust_remote_code if author.settings else False
            self._engines[author] = engine_of(author.engine, author.folder, self._log, trust)
        return self._engines[author]

    def close(self, but: Author | None = None) -> None:
        """End them; each starts again if it is needed again."""
        for author, engine in self._engines.items():
            if author is not but:
                engine.close()

    def summary(self) -> dict[str, dict[str, int]]:
        """What each did, by the recipe's name for its model."""
        return {author.name: vars(engine.stats) for author, engine in self._engines.items()}
