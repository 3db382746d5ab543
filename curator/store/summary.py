"""What is in a store, in figures."""

import json
from typing import Any

from forgetless.curator.store.store import Store
from forgetless.schemas.tables import FORMAT

SHOWN_RUNS = 5

QUERIES = {
    "kinds": """
        SELECT kind, count(*) FILTER (status = 'accepted') AS accepted,
               count(*) FILTER (status = 'rejected') AS rejected,
               count(*) FILTER (status = 'intermediate') AS intermediate
        FROM outcomes GROUP BY kind ORDER BY kind""",
    "steps": """
        SELECT step, pipeline, digest, any_value(model) AS model,
               count(*) FILTER (status = 'accepted') AS accepted,
               count(*) FILTER (status = 'rejected') AS rejected,
               count(*) FILTER (status = 'intermediate') AS intermediate,
               coalesce(sum(len(token_ids)) FILTER (status = 'accepted'), 0)::BIGINT AS tokens,
               coalesce(sum(list_sum(list_transform(target_spans, lambda s: s."end" - s.start)))
                   FILTER (status = 'accepted'), 0)::BIGINT AS target_tokens
        FROM outcomes GROUP BY step, pipeline, digest ORDER BY min(created)""",
    "scorers": """
        SELECT s.scorer, any_value(s.model) AS model, any_value(s.dtype) AS dtype,
               any_value(s.engine) AS engine, count(*) FILTER (s.rejection IS NULL) AS scored,
               count(s.rejection) AS rejected, (SELECT count(*) FROM records) - count(*) AS not_scored
        FROM token_stats s JOIN records USING (id) GROUP BY s.scorer ORDER BY max(s.created)""",
    "runs": f"""
        SELECT run_id, verb, state, started, last FROM last_runs ORDER BY started DESC LIMIT {SHOWN_RUNS}""",
    "snapshots": "SELECT snapshot, run_id, created FROM snapshots ORDER BY snapshot",
    "evals": """
        SELECT name, count(*) AS figures, count(DISTINCT task) AS tasks, max(created) AS last
        FROM evals GROUP BY name ORDER BY last""",
}


def summarise(store: Store) -> dict[str, Any]:
    """Format, bytes of all files, tokens of records, and the rows of `QUERIES` under their names."""
    with store.connect() as connection:
        found = {name: connection.sql(sql).to_arrow_table().to_pylist() for name, sql in QUERIES.items()}
    manifest = json.loads((store.path / "forgetless.json").read_text())
    return {
        "path": str(store.path),
        "format": manifest.get("format", FORMAT),
        "bytes": sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file()),
        "tokens": sum(step["tokens"] for step in found["steps"]),
        "target_tokens": sum(step["target_tokens"] for step in found["steps"]),
        **found,
    }
