"""`forgetless serve STORE…`: the engine as a service with a page."""

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from forgetless.schemas.errors import UsageError

if TYPE_CHECKING:
    from forgetless.curator.service.settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EXAMPLES = {"demo": "write_demo", "targets": "write_targets_demo"}


@click.command()
@click.argument("stores", nargs=-1, metavar="[STORE | NAME=STORE]...")
@click.option(
    "--root", "roots", multiple=True, type=click.Path(path_type=Path), metavar="FOLDER",
    help="Jobs may read and write here; again for more.  [the current folder]",
)  # fmt: skip
@click.option(
    "--home", default="forgetless-home", show_default=True, type=click.Path(path_type=Path),
    help="What the service keeps: queue, token, logs of jobs.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="How many run at once.")
@click.option(
    "--token-file", type=click.Path(path_type=Path),
    help="File with the token; needed where others than this machine can connect.  [HOME/token, made at first start]",
)  # fmt: skip
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME:PORT", help="A further name it is reached by."
)
@click.option(
    "--endpoint", "endpoints", multiple=True, metavar="URL[,KEY_ENV]",
    help="A server that recipes may ask, and the variable with its key.  [OPENAI_API_KEY]",
)  # fmt: skip
def serve(
    stores: tuple[str, ...], roots: tuple[Path, ...], home: Path, host: str, port: int, jobs: int,
    token_file: Path | None, hosts: tuple[str, ...], endpoints: tuple[str, ...],
) -> None:  # fmt: skip
    """Serve stores on this machine: jobs, records, tokens, SQL and exports, over HTTP and on a page.

    Jobs go on where they were when the service was stopped or killed and is started again.
    """
    from forgetless.curator.service.home import check_home
    from forgetless.curator.service.settings import Settings

    home = _made(home)
    check_home(home)
    if host not in LOOPBACK and not token_file:
        raise UsageError(
            f"--host {host!r} lets other machines in, and there is no --token-file",
            "write a long random token into a file that only you can read, and name it; behind it, use TLS",
        )
    listening = _listen(host, port)
    settings = Settings(
        home=home, stores=_named(stores), roots=_roots(roots), host=host, port=listening.getsockname()[1], hosts=hosts,
        jobs=jobs, token_file=token_file.resolve() if token_file else None, examples=_examples(home),
        endpoints=_endpoints(endpoints),
    )  # fmt: skip
    _run(settings, listening)
    click.echo("stopped; jobs that were running go on at the next start", err=True)


def _made(home: Path) -> Path:
    try:
        if not home.exists():  # another's folder keeps its own
            home.mkdir(parents=True)
            (home / ".gitignore").write_text("*\n")  # the token is in there
    except OSError as error:
        raise UsageError(
            f"--home {str(home)!r} cannot be made: {error.strerror}", "name another folder"
        ) from None
    return home.resolve()


def _named(stores: tuple[str, ...]) -> dict[str, Path]:
    from forgetless.curator.service.stores import free_name

    found: dict[str, Path] = {}
    for given in stores:
        name, equals, path = given.rpartition("=")
        folder = Path(path).expanduser().resolve()
        if equals and (not name.replace("-", "").replace("_", "").isalnum() or name in found):
            raise UsageError(f"{name!r} cannot name a store", "use letters, digits, - and _, once each")
        found[name or free_name(folder, found)] = folder
    return found


def _roots(given: tuple[Path, ...]) -> tuple[Path, ...]:
    roots = tuple(root.expanduser().resolve() for root in given or (Path(),))
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"--root {str(root)!r} is no folder", "make it first")
        if not given and root in (Path(root.anchor), Path.home()):
            raise UsageError(
                f"jobs would read and write all of {str(root)!r}", "name the folder they may use with --root"
            )
    return roots


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}:{port}: {error.strerror}",
            "name another with --port, or --port 0 for a free one",
        ) from None


def _endpoints(given: tuple[str, ...]) -> dict[str, str]:
    return {url: env or "OPENAI_API_KEY" for url, _, env in (each.partition(",") for each in given)}


def _examples(home: Path) -> dict[str, Path]:
    """Ready-made recipes: the demos with their files, and patterns for models and data of one's own."""
    from forgetless.pipelines.demo import files

    patterns = sorted((Path(files.__file__).parents[1] / "recipes").glob("*.yaml"))
    demos = {name: getattr(files, write)(home / "examples" / name) for name, write in EXAMPLES.items()}
    return demos | {file.stem: file for file in patterns}


def _run(settings: "Settings", listening: socket.socket) -> None:
    import uvicorn

    from forgetless.curator.service.app import create_app

    app = create_app(settings)
    _greet(settings, app.state.service.keys.link(settings.address))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            ws="none",
        )
    )
    with contextlib.suppress(KeyboardInterrupt):  # raised once more when all is closed
        server.run(sockets=[listening])


def _greet(settings: "Settings", link: str) -> None:
    served = [name if path.exists() else f"{name} (not there yet)" for name, path in settings.stores.items()]
    click.echo(f"stores: {', '.join(served) or 'none yet'}")
    click.echo(f"page:   {link}  (lets one browser in, once; then {settings.address})")
    click.echo(f"API:    {settings.address}/v1, with the token in {settings.token}")
    click.echo(f"jobs:   read and write under {', '.join(map(str, settings.roots))}")
