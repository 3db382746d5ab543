"""Is the store whole: every row readable, ids unique, lists of equal length, parts as they were written."""

from pathlib import Path

import pyarrow.parquet as pq

from forgetless.curator.store.delta import checksum
from forgetless.curator.store.store import Store
from forgetless.schemas.errors import UsageError

CHECKS = {
    "ids occur twice in outcomes": "SELECT id FROM outcomes GROUP BY id HAVING count(*) > 1",
    "records are scored twice by one scorer": (
        "SELECT id FROM token_stats GROUP BY id, scorer, rejection HAVING count(*) > 1"
    ),
    "rows have sampled log-probs that do not match their token ids": (
        "SELECT id FROM outcomes WHERE len(sampled_logprobs) <> len(token_ids)"
    ),
    "rows have target spans outside their tokens": (
        "SELECT id FROM outcomes WHERE len(list_filter(target_spans, "
        'lambda s: s.start < 0 OR s.start > s."end" OR s."end" > len(token_ids))) > 0'
    ),
    "rejected rows give no reason, or records one": (
        "SELECT id FROM outcomes WHERE status <> 'intermediate' "
        "AND (status = 'rejected') <> (rejection.reason IS NOT NULL)"
    ),
    "scores have lists of unequal length": (
        "SELECT id FROM token_stats s JOIN outcomes o USING (id) WHERE len(s.logprob) <> len(o.token_ids) "
        "OR len(s.entropy) <> len(o.token_ids) OR len(s.rank) <> len(o.token_ids)"
    ),
    "scores say of their rows what they are not": (
        "SELECT id FROM token_stats s JOIN outcomes o USING (id) WHERE (s.record_kind, s.record_task, s.record_step, "
        "s.record_accepted) IS DISTINCT FROM (o.kind, o.task, o.step, o.status = 'accepted')"
    ),
    "scores belong to no row": "SELECT id FROM token_stats WHERE id NOT IN (SELECT id FROM outcomes)",
}
"""What is wrong → the query that finds the ids where it is."""


def verify(store: Store) -> tuple[list[str], dict[str, int]]:
    """Problems in words (none: the store is whole), and the number of rows of each table."""
    problems: list[str] = []
    rows: dict[str, int] = {}
    for name, parts in store.files().items():
        rows[name] = 0
        for part in map(Path, parts):
            try:
                if checksum(part) != part.stem:
                    problems.append(f"{name}/{part.name}: its bytes are not those that were committed")
                    continue
                rows[name] += pq.read_table(part, partitioning=None).num_rows
            except (OSError, ValueError) as error:
                problems.append(f"{name}/{part.name}: {' '.join(str(error).split())}")
    if problems:
        return problems, rows
    for problem, sql in CHECKS.items():
        try:
            found = store.query(sql)["id"].to_pylist()
        except UsageError as error:
            problems.append(error.message)
            continue
        if found:
            problems.append(f"{len(found)} {problem}: {', '.join(found[:3])}")
    return problems, rows
