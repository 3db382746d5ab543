"""The service's figures in Prometheus's format, read when they are asked for."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from forgetless.curator.store.store import MANIFEST

if TYPE_CHECKING:
    from forgetless.curator.service.service import Service

_ROWS = "SELECT kind, status, count(*) AS rows FROM outcomes GROUP BY kind, status"
_SUMMARIES = "SELECT summary FROM last_runs WHERE summary LIKE '%restarts%'"


class Figures(Collector):
    """Of one service."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Of the queue, of the jobs that run, of the stores."""
        jobs = GaugeMetricFamily("forgetless_jobs", "Jobs by state", labels=["state"])
        for state, count in self._service.ledger.counts().items():
            jobs.add_metric([state], count)
        yield jobs
        speed = GaugeMetricFamily(
            "forgetless_tokens_per_second", "What running jobs make, or read", labels=["job", "verb"]
        )
        for job in self._service.ledger.jobs(state="running"):
            if job.progress and job.progress.tokens_per_second is not None:
                speed.add_metric([job.id, job.verb], job.progress.tokens_per_second)
        yield speed
        yield from self._of_stores()

    def _of_stores(self) -> Iterator[Metric]:
        records = GaugeMetricFamily("forgetless_records", "Accepted rows", labels=["store", "kind"])
        rejects = GaugeMetricFamily("forgetless_rejects", "Rejected rows", labels=["store", "kind"])
        restarts = CounterMetricFamily(
            "forgetless_engine_restarts", "Engines that died and were started again", labels=["store"]
        )
        for name, path in self._service.stores.paths().items():
            if not (path / MANIFEST).is_file():
                continue
            counted = json.loads(self._counted(name))
            for row in counted["rows"]:
                family = {"accepted": records, "rejected": rejects}.get(row["status"])
                if family:
                    family.add_metric([name, row["kind"]], row["rows"])
            restarts.add_metric([name], counted["restarts"])
        yield from (records, rejects, restarts)

    def _counted(self, name: str) -> bytes:
        store = self._service.stores.get(name)

        def make() -> bytes:
            with self._service.stores.reading(name) as connection:
                rows = connection.sql(_ROWS).to_arrow_table().to_pylist()
                summaries = connection.sql(_SUMMARIES).to_arrow_table().to_pylist()
            restarts = sum(_restarts(json.loads(row["summary"])) for row in summaries)
            return json.dumps({"rows": rows, "restarts": restarts}).encode()

        return self._service.kept.get((store.path, self._service.stores.state(store), "metrics"), make)


def _restarts(summary: dict[str, Any]) -> int:
    return sum(engine.get("restarts", 0) for engine in summary.get("engines", {}).values())


def exposition(service: "Service") -> bytes:
    """All figures as text."""
    registry = CollectorRegistry()
    registry.register(Figures(service))
    return generate_latest(registry)
