"""What a recipe that came over the network may name."""

from pathlib import Path

from pydantic import Field

from forgetless.schemas.base import Frozen


class Confinement(Frozen):
    """Passed as validation context: paths, endpoints and code of settings are held against it while they are read."""

    roots: tuple[Path, ...]
    """Folders, resolved, that paths must lie in."""
    endpoints: dict[str, str] = Field(default_factory=dict)
    """Servers that may be asked: address → environment variable with its key."""

    def path(self, path: Path) -> Path:
        """`path`, resolved.

        Raises:
            ValueError: it lies outside the roots, itself or by a link.
        """
        resolved = path.resolve()
        if not any(resolved.is_relative_to(root) for root in self.roots):
            allowed = ", ".join(map(str, self.roots)) or "none"
            raise ValueError(f"lies outside the folders that this service may use: {allowed}")
        return resolved

    def endpoint(self, base_url: str, key_env: str) -> None:
        """ValueError where the server is not one of those that were allowed, or would be sent another's key."""
        if self.endpoints.get(base_url) != key_env:
            allowed = ", ".join(f"{url} with {env}" for url, env in self.endpoints.items()) or "none"
            raise ValueError(
                f"`base_url` and `api_key_env` must be a server that this service may ask (serve --endpoint): {allowed}"
            )

    def code(self, what: str) -> None:
        """ValueError: nothing that comes over the network may have code executed."""
        raise ValueError(f"{what} cannot be allowed over the network; run the recipe on the command line")
