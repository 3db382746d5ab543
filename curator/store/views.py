"""The views that people query, as SQL over the committed files."""

import re
from collections.abc import Mapping, Sequence

from forgetless.curator.store.macros import HELPERS, MACROS, listed, statement

_MORE = """, unnest(s.entropy) AS entropy, unnest(s.rank) AS rank,
    unnest(r.sampled_logprobs) AS sampled_logprob"""

# A record that was too long for a scorer may have been scored by it since, in windows.
_REFUSED = """
    (SELECT id, scorer, rejection FROM token_stats WHERE rejection IS NOT NULL)
    ANTI JOIN (SELECT id, scorer FROM token_stats WHERE rejection IS NULL) USING (id, scorer)"""

VIEWS = {
    "records": """
        SELECT * FROM outcomes WHERE status = 'accepted'""",
    "rejects": f"""
        SELECT id, step, stage, kind, task, rejection.step AS "filter", rejection.reason AS reason,
               rejection.score AS score, rejection.threshold AS threshold, NULL::VARCHAR AS scorer, text, metadata
        FROM outcomes WHERE status = 'rejected'
        UNION ALL
        SELECT o.id, o.step, 'score', o.kind, o.task, 'score', s.rejection, NULL, NULL, s.scorer, o.text,
               o.metadata
        FROM (SELECT * FROM {_REFUSED}) s JOIN outcomes o USING (id)""",
    "survival": f"""
        WITH ended AS (
            SELECT step, digest, stage, NULL::VARCHAR AS scorer, count(*) AS rows, coalesce(rejection.step,
                CASE WHEN status = 'accepted' THEN 'fallback: ' || fallback END, 'passed') AS ended
            FROM outcomes GROUP BY ALL
            UNION ALL
            SELECT o.step, o.digest, 'score', s.scorer, count(*), coalesce(s.rejection, 'passed') AS ended
            FROM (SELECT id, scorer, rejection FROM token_stats WHERE rejection IS NULL
                  UNION ALL FROM {_REFUSED}) s
            JOIN outcomes o USING (id) GROUP BY ALL)
        SELECT step, stage, ended, rows,
               rows / sum(rows) OVER (PARTITION BY step, digest, stage, scorer) AS share, digest, scorer
        FROM ended
        ORDER BY step, digest, stage = 'score', stage, scorer, ended = 'passed' DESC, rows DESC""",
    "perplexity": """
        SELECT id, record_kind AS kind, record_task AS task, record_step AS step, scorer, dtype, target_tokens,
               perplexity, sum_logprob, min_logprob, hard_tokens,
               hard_tokens / nullif(target_tokens, 0) AS hard_share,
               sum_entropy / nullif(target_tokens, 0) AS mean_entropy, windows, lacks, engine
        FROM token_stats WHERE record_accepted AND rejection IS NULL""",
    # Written for the optimiser, which takes the smaller side of a join for its hash table and guesses that
    # the tokens of all records are no more than the records: it would hash them, not the vocabulary. Of one
    # list it knows that it is one row. One key of 8 bytes instead of two columns: a second faster for 5M tokens.
    "tokens": f"""
        WITH pieces AS (
            SELECT unnest(keys) AS key, unnest(texts) AS piece FROM (
                SELECT list(xor(hash(tokenizer), token_id::UBIGINT)) AS keys, list(piece) AS texts FROM vocab))
        SELECT l.id, l.kind, l.task, l.step, l.scorer, l.position, l.token_id, p.piece,
               coalesce(l.is_target, false) AS is_target, l.logprob, exp(-l.logprob::DOUBLE) AS perplexity,
               l.entropy, l.rank, l.sampled_logprob
        FROM ({listed("LEFT JOIN token_stats s ON s.id = r.id AND s.rejection IS NULL", _MORE)}) l
        LEFT JOIN pieces p ON p.key = xor(l.vocabulary, l.token_id::UBIGINT)""",
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
            SELECT id, arg_max(perplexity, created) AS perplexity FROM token_stats
            WHERE rejection IS NULL GROUP BY id)
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
    "rejects": "rejected rows, with the filter that refused them and why; rows that a scorer refused too",
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

EXAMPLES = {
    "records": "SELECT kind, count(*) FROM records GROUP BY kind",
    "rejects": "SELECT filter, reason, count(*) FROM rejects GROUP BY ALL",
    "survival": "SELECT step, stage, ended, rows, share FROM survival",
    "perplexity": "SELECT kind, scorer, avg(perplexity) FROM perplexity GROUP BY ALL",
    "tokens": "SELECT position, piece, logprob, rank FROM tokens WHERE is_target AND rank > 100",
    "pairs": "SELECT prompt, ground_truth, answer FROM pairs LIMIT 9",
    "samples": 'SELECT step, avg("right"::INT) FROM samples GROUP BY step',
    "last_runs": "SELECT run_id, verb, state FROM last_runs",
}
"""A query for each view."""


def init_statements(
    files: Mapping[str, Sequence[str]], query: str | None = None, tables: bool = True
) -> list[str]:
    """Statements that any DuckDB client can run: views over `files` (table → committed parts), and macros.

    With a `query`, only those that it names and what they are made of: DuckDB takes some milliseconds for each.
    All of them where it names none, as `SHOW TABLES` does. Without `tables`, only what is made of these.
    """
    made = {
        name: f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet([{', '.join(map(_quote, parts))}])"
        for name, parts in files.items()
    }
    made |= {macro.name: statement(macro) for macro in HELPERS}
    made |= {name: f"CREATE OR REPLACE VIEW {name} AS {' '.join(sql.split())}" for name, sql in VIEWS.items()}
    made |= {macro.name: statement(macro) for macro in MACROS}
    wanted = made.keys() & _words(query or "") or set(made)
    chosen = []
    for name in reversed(made):  # what each is made of stands before it
        if name in wanted:
            chosen += [made[name]] if tables or name not in files else []
            wanted = wanted if name in files else wanted | _words(made[name])
    return chosen[::-1]


def _words(sql: str) -> set[str]:
    return set(re.findall(r"\w+", sql.lower()))


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
