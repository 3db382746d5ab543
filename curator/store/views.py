"""The views that people query, as SQL over the committed files."""

from collections.abc import Mapping, Sequence

VIEWS = {
    "records": """
        SELECT * FROM outcomes WHERE status = 'accepted'""",
    "rejects": """
        SELECT id, step, stage, kind, task, rejection.step AS "filter", rejection.reason AS reason,
               rejection.score AS score, rejection.threshold AS threshold, text, metadata
        FROM outcomes WHERE status = 'rejected'""",
    "survival": """
        WITH ended AS (
            SELECT step, digest, stage, count(*) AS rows, coalesce(rejection.step,
                CASE WHEN status = 'accepted' THEN 'fallback: ' || fallback END, 'passed') AS ended
            FROM outcomes GROUP BY ALL)
        SELECT step, stage, ended, rows, rows / sum(rows) OVER (PARTITION BY step, digest, stage) AS share,
               digest
        FROM ended ORDER BY step, digest, stage, ended = 'passed' DESC, rows DESC""",
    "perplexity": """
        SELECT r.id, r.kind, r.task, r.step, s.scorer, s.dtype, s.target_tokens, s.perplexity, s.sum_logprob,
               s.min_logprob, s.hard_tokens, s.hard_tokens / nullif(s.target_tokens, 0) AS hard_share
        FROM token_stats s JOIN records r USING (id)""",
    "tokens": """
        WITH listed AS (
            SELECT r.id, r.kind, r.task, r.step, r.tokenizer, s.scorer, r.target_spans,
                   unnest(r.token_ids) AS token_id, unnest(range(len(r.token_ids))) AS position,
                   unnest(s.logprob) AS logprob, unnest(s.entropy) AS entropy, unnest(s.rank) AS rank,
                   unnest(r.sampled_logprobs) AS sampled_logprob
            FROM records r LEFT JOIN token_stats s USING (id))
        SELECT l.id, l.kind, l.task, l.step, l.scorer, l.position, l.token_id, v.piece,
               len(list_filter(l.target_spans,
                   lambda s: l.position >= s.start AND l.position < s."end")) > 0 AS is_target,
               l.logprob, exp(-l.logprob::DOUBLE) AS perplexity, l.entropy, l.rank, l.sampled_logprob
        FROM listed l LEFT JOIN vocab v ON v.tokenizer = l.tokenizer AND v.token_id = l.token_id""",
    "pairs": """
        SELECT g.id AS ground_truth_id, r.id, r.kind, r.step, r.task, r.fallback,
               g.messages[-2].content AS prompt, g.messages[-1].content AS ground_truth,
               r.messages[-1].content AS answer
        FROM records r JOIN records g ON r.parent_id = g.id AND g.kind = 'ground_truth'""",
    "samples": """
        WITH judged AS (
            SELECT previous_id AS id, id AS judged_id, rejection, verdicts FROM outcomes
            WHERE kind = 'self_output' AND stage = 'judge' AND status = 'intermediate'),
        drawn AS (
            SELECT o.id, o.parent_id, o.step, o.digest, o.task,
                   coalesce((o.metadata->>'sample')::INT, 0) AS sample, o.messages[-1].content AS text,
                   j.judged_id, CASE WHEN j.id IS NULL THEN o.rejection ELSE j.rejection END AS rejection,
                   CASE WHEN j.id IS NULL THEN o.verdicts ELSE j.verdicts END AS verdicts,
                   flatten(list_transform(o.target_spans,
                       lambda s: o.sampled_logprobs[s.start + 1 : s."end"])) AS logprobs
            FROM outcomes o LEFT JOIN judged j ON j.id = o.id
            WHERE o.kind = 'self_output' AND o.stage = 'sample' AND o.status = 'intermediate'),
        chosen AS (
            SELECT DISTINCT previous_id AS id FROM outcomes
            WHERE kind = 'self_output' AND status = 'accepted' AND fallback IS NULL),
        scored AS (
            SELECT id, arg_max(perplexity, created) AS perplexity FROM token_stats GROUP BY id)
        SELECT d.id, d.parent_id, d.step, d.digest, d.task, d.sample, d.rejection IS NULL AS "right",
               d.rejection.step AS "filter", d.rejection.reason AS reason, d.verdicts,
               CASE WHEN len(d.logprobs) > 0 AND list_count(d.logprobs) = len(d.logprobs)
                   THEN exp(-list_avg(d.logprobs)) ELSE s.perplexity END AS perplexity,
               coalesce(d.judged_id, d.id) IN (SELECT id FROM chosen) AS chosen, d.text
        FROM drawn d LEFT JOIN scored s ON s.id = d.id""",
    "last_runs": """
        SELECT run_id, arg_max(verb, created) AS verb, arg_max(event, created) AS state,
               min(created) AS started, max(created) AS last, arg_max(summary, created) AS summary
        FROM runs GROUP BY run_id ORDER BY started""",
}
"""Name → SELECT, in the order they must be made: each reads tables and views above it."""

ABOUT = {
    "records": "accepted rows: what training reads",
    "rejects": "rejected rows, with the filter that refused them and why",
    "survival": "how many rows each stage let pass, what ended the others, and what stands in for some",
    "perplexity": "one row per record and scorer: perplexity over target tokens, share of hard tokens",
    "tokens": "one row per token of a record and scorer, with its text piece",
    "pairs": "ground truth beside each record made from it",
    "samples": "every answer that self-output drew: right or why not, perplexity, whether it was chosen",
    "last_runs": "one row per run, with its last state",
    "outcomes": "table: one row per request that ended, whatever became of it",
    "token_stats": "table: log-prob, entropy and rank per token, in lists, one row per record and scorer",
    "evals": "table: measured figures, before and after a fine-tuning",
    "runs": "table: events of runs",
    "snapshots": "table: named states of the store",
    "vocab": "table: the text piece of every token id",
}
"""What each view and table is, in the order people look for them."""


def init_statements(files: Mapping[str, Sequence[str]]) -> list[str]:
    """CREATE VIEW statements over `files` (table → committed parts) that any DuckDB client can run."""
    statements = [
        f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM read_parquet([{', '.join(map(_quote, parts))}])"
        for table, parts in files.items()
    ]
    return statements + [
        f"CREATE OR REPLACE VIEW {name} AS {' '.join(sql.split())}" for name, sql in VIEWS.items()
    ]


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
