"""Keys of servers: from the environment alone."""

import os
from ipaddress import ip_address
from urllib.parse import urlsplit

from forgetless.schemas.errors import EngineError
from forgetless.schemas.model import Endpoint


def key_of(endpoint: Endpoint) -> str:
    """The key for a server; any text for one on loopback, which may want none.

    Raises:
        EngineError: the environment variable is not set.
    """
    key = os.environ.get(endpoint.api_key_env)
    if not key and not _is_loopback(endpoint.base_url):
        message = (
            f"no key for {endpoint.base_url!r}: the environment variable {endpoint.api_key_env!r} is not set"
        )
        raise EngineError(message, "set it; a server without keys takes any value")
    return key or "none"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
