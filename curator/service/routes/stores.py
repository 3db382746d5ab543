"""/v1/stores: which there are, and what is in one."""

from typing import Any

from fastapi import APIRouter

from forgetless.curator.plain import plain
from forgetless.curator.report.comparison import compare
from forgetless.curator.report.order import order
from forgetless.curator.service.problems import PROBLEMS
from forgetless.curator.service.service import Given
from forgetless.curator.store.store import MANIFEST
from forgetless.curator.store.summary import summarise
from forgetless.schemas.base import Frozen

router = APIRouter(prefix="/v1/stores", tags=["stores"], responses=PROBLEMS)


class StoreLine(Frozen):
    """A store in the list."""

    name: str
    """As addresses have it."""
    path: str
    is_made: bool
    """False: the first job that names it makes it."""


class StoreList(Frozen):
    """All that are served."""

    stores: list[StoreLine]


@router.get("")
def list_stores(service: Given) -> StoreList:
    """Those that the service was started with, and those that jobs have made."""
    return StoreList(
        stores=[
            StoreLine(name=name, path=str(path), is_made=(path / MANIFEST).is_file())
            for name, path in service.stores.paths().items()
        ]
    )


@router.get("/{store}")
def read_store(store: str, service: Given) -> dict[str, Any]:
    """Rows by kind and step, tokens, scorers, the last runs, snapshots, evals: as `forgetless status --json`."""
    summary: dict[str, Any] = plain(summarise(service.stores.get(store)))
    return summary


@router.get("/{store}/survival")
def read_survival(store: str, service: Given) -> dict[str, Any]:
    """How many rows each stage let pass, and what ended the others: the view `survival`."""
    with service.stores.reading(store) as connection:
        return {"rows": plain(connection.sql("FROM survival").to_arrow_table().to_pylist())}


@router.get("/{store}/comparison")
def read_comparison(
    store: str, service: Given, task: str | None = None, scorer: str | None = None
) -> dict[str, Any]:
    """A task's answers held against each other: as `forgetless compare --json`."""
    comparison = compare(service.stores.get(store), task, scorer)
    found: dict[str, Any] = plain(comparison.model_dump() | {"order": order(comparison)})
    return found
