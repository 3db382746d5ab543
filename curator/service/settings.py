"""What a service is started with."""

from functools import cached_property
from pathlib import Path

from pydantic import Field

from forgetless.schemas.base import Frozen
from forgetless.schemas.confinement import Confinement


class Settings(Frozen):
    """Fixed while it runs. Paths are absolute and resolved."""

    home: Path
    """What the service keeps: its queue, its token, a folder for each job."""
    stores: dict[str, Path] = Field(default_factory=dict)
    """Name in addresses → folder; one that is not there yet is made by the first job that names it."""
    roots: tuple[Path, ...] = ()
    """Folders that jobs may read and write, beside the stores; relative paths are taken from the first."""
    host: str = "127.0.0.1"
    port: int = 8765
    hosts: tuple[str, ...] = ()
    """Further names by which it is reached: values of Host."""
    token_file: Path | None = None
    """Where the token is, if not with the rest."""
    jobs: int = Field(1, ge=1)
    """How many run at once."""
    examples: dict[str, Path] = Field(default_factory=dict)
    """Ready-made recipes: name → YAML file, whose folder its relative paths are taken from."""
    endpoints: dict[str, str] = Field(default_factory=dict)
    """Servers that jobs may ask: address → environment variable with the key."""
    body_bytes: int = 1_000_000
    """The largest body of a request."""

    @property
    def address(self) -> str:
        """Of the page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def token(self) -> Path:
        """The file with the token."""
        return self.token_file or self.home / "token"

    @property
    def base(self) -> Path:
        """The folder that relative paths are taken from."""
        return self.roots[0] if self.roots else self.home

    @cached_property
    def confinement(self) -> Confinement:
        """What settings that come over the network may name."""
        # Patterns lie in the installed package, where nothing may be written.
        examples = (file.parent for file in self.examples.values() if file.is_relative_to(self.home))
        return Confinement(
            roots=(*self.roots, *self.stores.values(), *dict.fromkeys(examples), self.home / "jobs"),
            endpoints=self.endpoints,
        )
