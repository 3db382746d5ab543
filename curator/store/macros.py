"""The macros that people call in a query: which tokens are hard, and what a mask would drop."""

from dataclasses import dataclass

from forgetless.curator.report.heatmap import LEVELS
from forgetless.schemas.tables import HARD_PERPLEXITY


@dataclass(frozen=True)
class Macro:
    """A macro in DuckDB's SQL."""

    name: str
    arguments: tuple[str, ...]
    """Names, with their defaults as `name := value`."""
    about: str
    example: str
    body: str
    is_table: bool = True
    """Called behind FROM; otherwise wherever a value can stand."""

    @property
    def call(self) -> str:
        """As people read it: `hard_tokens(threshold := 2.5)`."""
        return f"{self.name}({', '.join(self.arguments)})"


def statement(macro: Macro) -> str:
    """The statement that makes it."""
    table = "TABLE " if macro.is_table else ""
    return f"CREATE OR REPLACE MACRO {macro.call} AS {table}{' '.join(macro.body.split())}"


def listed(scores: str, more: str = "") -> str:
    """SELECT of one row per token of `records r`, without pieces; `scores` joins `token_stats s` to them.

    The lists of a record are unnested side by side, `more` among them; shorter ones end in nulls.
    """
    return f"""
        SELECT r.id, r.kind, r.task, r.step, r.tokenizer, hash(r.tokenizer) AS vocabulary, s.scorer,
               unnest(range(len(r.token_ids))) AS position, unnest(r.token_ids) AS token_id,
               unnest(target_mask(r.target_spans)) AS is_target, unnest(s.logprob) AS logprob{more}
        FROM records r {scores}"""


# What train/weighting.py drops: target tokens under a log-prob, but never the mark that ends a span. SQL does
# not know which ids end a turn, so here any special token of the vocabulary counts as such at a span's end.
_HARD = "logprob < -ln(threshold)"
_SPECIAL = """
    SELECT tokenizer, coalesce(list(token_id) FILTER (special), []) AS special FROM vocab GROUP BY tokenizer"""
_TARGETS = f"""
    SELECT kind, scorer, logprob, CASE WHEN is_target AND is_followed IS NOT TRUE
               THEN NOT coalesce(list_contains(special, token_id), false) ELSE is_target END AS in_play
    FROM (SELECT kind, scorer, special, unnest(token_ids) AS token_id, unnest(logprob) AS logprob,
                 unnest(mask) AS is_target, unnest(mask[2:]) AS is_followed
          FROM (SELECT *, target_mask(target_spans) AS mask FROM records) r JOIN token_stats s USING (id)
          LEFT JOIN ({_SPECIAL}) v ON v.tokenizer = r.tokenizer
          WHERE s.rejection IS NULL)
    WHERE is_target"""
_CLASS = " ".join(
    f"WHEN exp(-logprob::DOUBLE) <= {level.upper} THEN {i}" for i, level in enumerate(LEVELS[:-1])
)
_HARD_RECORDS = listed("""JOIN (
    SELECT * FROM token_stats SEMI JOIN hard USING (id, scorer, min_logprob)
    ) s USING (id)""")
_BOUNDS = [1.0, *(level.upper for level in LEVELS)]

HELPERS = (
    Macro(
        "target_mask",
        ("spans",),
        "a list with true for each target token, up to the last one",
        "SELECT id, target_mask(target_spans) FROM records",
        # One step for each span, not for each token: spans are few, and in order.
        """flatten(list_transform(spans, lambda span, i: list_resize(list_resize([]::BOOLEAN[],
               greatest(span.start - coalesce(spans[i - 1]."end", 0), 0)::BIGINT, false),
               greatest(span."end" - coalesce(spans[i - 1]."end", 0), 0)::BIGINT, true)))""",
        is_table=False,
    ),
)  # fmt: skip
"""What the views are made with."""

MACROS = (
    Macro(
        "newest_scorer",
        ("scored_by := NULL",),
        "the scorer that scored last, of those whose name begins with `scored_by`",
        "SELECT newest_scorer()",
        """(SELECT arg_max(scorer, created) FROM token_stats
            WHERE rejection IS NULL AND starts_with(scorer, coalesce(scored_by, '')))""",
        is_table=False,
    ),
    Macro(
        "hard_tokens",
        (f"threshold := {HARD_PERPLEXITY}", "scored_by := NULL"),
        "target tokens of a perplexity above `threshold`, by the newest scorer",
        "SELECT kind, piece, count(*) AS n FROM hard_tokens(20) GROUP BY ALL ORDER BY n DESC LIMIT 20",
        f"""SELECT * EXCLUDE (is_target, sampled_logprob) FROM tokens
            WHERE is_target AND {_HARD} AND scorer = newest_scorer(scored_by)""",
    ),
    # The n hardest tokens lie in the n records with the lowest minima, so that only those are unnested. Joined by
    # their minima too, which are sorted in each part: most row groups are passed over. Entropy and rank are left
    # out: reading those lists takes longer than all the rest.
    Macro(
        "hardest_tokens",
        ("n := 20", "scored_by := NULL"),
        "the `n` target tokens of the highest perplexity, by the newest scorer",
        "SELECT kind, piece, perplexity FROM hardest_tokens(20)",
        f"""WITH hard AS MATERIALIZED (
                SELECT id, scorer, min_logprob FROM token_stats
                WHERE record_accepted AND scorer = newest_scorer(scored_by) AND min_logprob IS NOT NULL
                ORDER BY min_logprob LIMIT n),
            hardest AS (
                SELECT * FROM ({_HARD_RECORDS}) WHERE is_target AND logprob IS NOT NULL
                ORDER BY logprob, id, position LIMIT n)
            SELECT h.id, h.kind, h.task, h.step, h.scorer, h.position, h.token_id, v.piece, h.logprob,
                   exp(-h.logprob::DOUBLE) AS perplexity
            FROM hardest h LEFT JOIN vocab v ON v.tokenizer = h.tokenizer AND v.token_id = h.token_id
            ORDER BY h.logprob, h.id, h.position""",
    ),
    Macro(
        "stm_mask",
        ("record", f"threshold := {HARD_PERPLEXITY}", "scored_by := NULL"),
        "a list with true for each token that Selective Token Masking would learn from",
        "SELECT id, stm_mask(id, 2.5) FROM records",
        f"""(SELECT list_transform(list_zip(token_ids, logprob, mask, mask[2:]), lambda token:
                coalesce(token[3], false) AND (coalesce(token[2] >= -ln(threshold), true)
                    OR token[4] IS NOT TRUE AND coalesce(list_contains(special, token[1]), false)))
             FROM (SELECT *, target_mask(target_spans) AS mask FROM records) r JOIN token_stats s USING (id)
             LEFT JOIN ({_SPECIAL}) v ON v.tokenizer = r.tokenizer
             WHERE r.id = record AND s.rejection IS NULL AND s.scorer = newest_scorer(scored_by))""",
        is_table=False,
    ),
    Macro(
        "stm_share",
        (f"threshold := {HARD_PERPLEXITY}",),
        "how many target tokens that mask would drop, by kind and scorer",
        "FROM stm_share(2.5)",
        f"""SELECT kind, scorer, count(*) AS target_tokens, count(*) FILTER (in_play) AS in_play,
                   count(*) FILTER (in_play AND {_HARD}) AS dropped,
                   count(*) FILTER (in_play AND {_HARD}) / count(*) FILTER (in_play) AS share
            FROM ({_TARGETS}) GROUP BY kind, scorer ORDER BY kind, scorer""",
    ),
    Macro(
        "token_histogram",
        (),
        "target tokens by class of perplexity, those of the heatmaps, for each kind and scorer",
        "FROM token_histogram()",
        f"""SELECT kind, scorer, {_BOUNDS[:-1]}[class + 1] AS above, {_BOUNDS[1:-1]}[class + 1] AS up_to,
                   count(*) AS tokens, count(*) / sum(count(*)) OVER (PARTITION BY kind, scorer) AS share
            FROM (SELECT kind, scorer, CASE {_CLASS} ELSE {len(LEVELS) - 1} END AS class
                  FROM ({_TARGETS}) WHERE logprob IS NOT NULL)
            GROUP BY kind, scorer, class ORDER BY kind, scorer, class""",
    ),
    Macro(
        "record_histogram",
        ("steps := 4",),
        "records by perplexity, in `steps` bins for each doubling, for each kind and scorer",
        "FROM record_histogram(4)",
        """SELECT kind, scorer, 2 ** (bin / steps) AS above, 2 ** ((bin + 1) / steps) AS up_to,
                  count(*) AS records, count(*) / sum(count(*)) OVER (PARTITION BY kind, scorer) AS share
           FROM (SELECT kind, scorer, floor(log2(perplexity) * steps) AS bin FROM perplexity
                 WHERE isfinite(perplexity) AND perplexity > 0)
           GROUP BY kind, scorer, bin ORDER BY kind, scorer, bin""",
    ),
)
"""Those that list tokens take one scorer, the newest if none is named; those that count have a row for each."""
