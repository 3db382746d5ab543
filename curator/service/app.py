"""The ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles

from forgetless.curator.service.access import Access
from forgetless.curator.service.problems import SCHEMA, add_handlers
from forgetless.curator.service.routes import ROUTERS
from forgetless.curator.service.service import Service
from forgetless.curator.service.settings import Settings

STATIC = Path(__file__).parent / "page" / "static"


def create_app(settings: Settings) -> FastAPI:
    """The service over `settings`; its parts are under `app.state.service`."""
    service = Service(settings)
    app = FastAPI(
        title="forgetless",
        version=metadata.version("forgetless"),
        summary="Data that keeps a language model from forgetting while it is fine-tuned.",
        lifespan=_lifespan,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    add_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), "static")
    app.add_middleware(Access, settings=settings, keys=service.keys)
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the form of problems and how to sign in."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        parts = document.setdefault("components", {})
        parts.setdefault("schemas", {})["Problem"] = SCHEMA
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        app.openapi_schema = document
    return app.openapi_schema


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    await service.start()
    try:
        yield
    finally:
        await service.close()
