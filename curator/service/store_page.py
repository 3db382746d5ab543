"""What the pages of a store show beside its records: how much of what there is, and the report's figures."""

import json
from typing import Any
from urllib.parse import quote

from forgetless.curator.report.answers import ALL_KINDS
from forgetless.curator.report.html import values
from forgetless.curator.report.overview import read_overview
from forgetless.curator.service.rendering import fragment
from forgetless.curator.service.service import Service

_KINDS = """
    SELECT kind, count(*) FILTER (status = 'accepted') AS records, count(*) FILTER (status = 'rejected') AS rejected,
           count(*) FILTER (status = 'intermediate') AS intermediate,
           coalesce(sum(len(token_ids)) FILTER (status = 'accepted'), 0)::BIGINT AS tokens,
           list(DISTINCT task ORDER BY task) FILTER (task IS NOT NULL) AS tasks,
           list(DISTINCT step ORDER BY step) AS steps, max(created)::VARCHAR AS last
    FROM outcomes GROUP BY kind"""

_SCORES = """
    SELECT scorer, count(DISTINCT id) FILTER (rejection IS NULL) AS scored,
           sum(target_tokens)::BIGINT AS target_tokens, sum(hard_tokens)::BIGINT AS hard_tokens
    FROM token_stats WHERE record_accepted GROUP BY scorer ORDER BY max(created) DESC"""


def contents(service: Service, name: str) -> dict[str, Any]:
    """Kinds with their counts, tasks and steps; scorers with theirs, the newest first."""
    state = service.stores.state(service.stores.get(name))

    def read() -> bytes:
        with service.stores.reading(name) as connection:
            kinds = connection.sql(_KINDS).to_arrow_table().to_pylist()
            scorers = connection.sql(_SCORES).to_arrow_table().to_pylist()
        kinds.sort(key=lambda row: list(ALL_KINDS).index(row["kind"]))
        return json.dumps({"kinds": kinds, "scorers": scorers}).encode()

    found: dict[str, Any] = json.loads(service.kept.get(("contents", name, state), read))
    return found


def figures(service: Service, name: str, task: str | None, scorer: str | None) -> bytes:
    """The report's figures as a piece of a page."""
    store = service.stores.get(name)

    def read() -> bytes:
        shown = values(
            read_overview(store, scorer, task, examples=3), lambda id: quote(f"/stores/{name}/records/{id}")
        )
        return fragment("figures_of_store.html", **shown).encode()

    return service.kept.get(("figures", name, service.stores.state(store), task, scorer), read)
