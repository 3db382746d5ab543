"""Arrow layouts of the tables beside `outcomes`."""

import pyarrow as pa

from forgetless.schemas.outcome import OUTCOMES

FORMAT = 3
"""Version of the store's layout; a store of another one is refused."""

HARD_PERPLEXITY = 2.5
"""A token is hard where its perplexity exceeds this: the STM paper's threshold for Llama-3-8B."""

TOKEN_STATS = pa.schema(
    [
        ("id", pa.string()), ("scorer", pa.string()), ("model", pa.string()), ("tokenizer", pa.string()),
        ("dtype", pa.string()), ("engine", pa.string()), ("run_id", pa.string()),
        ("record_kind", pa.string()), ("record_task", pa.string()), ("record_step", pa.string()),
        ("record_accepted", pa.bool_()),
        ("rejection", pa.string()), ("windows", pa.int32()), ("lacks", pa.list_(pa.string())),
        ("logprob", pa.list_(pa.float32())), ("entropy", pa.list_(pa.float32())), ("rank", pa.list_(pa.int32())),
        ("topk_ids", pa.list_(pa.list_(pa.int32()))), ("topk_logprobs", pa.list_(pa.list_(pa.float32()))),
        ("tail_mass", pa.list_(pa.float32())),
        ("target_tokens", pa.int32()), ("sum_logprob", pa.float64()), ("min_logprob", pa.float64()),
        ("sum_entropy", pa.float64()), ("perplexity", pa.float64()), ("hard_tokens", pa.int32()),
        ("created", pa.timestamp("us", tz="UTC")),
    ]
)  # fmt: skip
"""One row per record and scorer. Lists are aligned with the record's token_ids; position 0 is null.
Scalars are over target tokens: natural log-probs, nats of entropy, perplexity = exp(-mean), hard = perplexity > 2.5.
rejection: why this scorer cannot score the record, by name; all figures are null then, and null means scored.
windows: 1 where every token saw all before it; n where a long record was scored in n overlapping windows.
record_*: kind, task and step of the row in `outcomes`, and whether it is a record; the store fills them in, so that
perplexity by kind is read from one table.
lacks: figures that this scorer does not give, such as entropy. engine: transformers, vllm, imported."""

RUNS = pa.schema(
    [
        ("run_id", pa.string()), ("verb", pa.string()), ("event", pa.string()),
        ("recipe", pa.string()), ("steps", pa.string()), ("versions", pa.string()),
        ("summary", pa.string()), ("created", pa.timestamp("us", tz="UTC")),
    ]
)  # fmt: skip
"""Events of runs (started, done, interrupted, failed). `recipe`, `versions`, `summary` are JSON;
`steps` is JSON, from a step's digest to the configuration that the digest stands for."""

EVALS = pa.schema(
    [
        ("run_id", pa.string()), ("name", pa.string()), ("phase", pa.string()), ("model", pa.string()),
        ("checkpoint", pa.string()), ("task", pa.string()), ("role", pa.string()), ("metric", pa.string()),
        ("key", pa.string()),
        ("value", pa.float64()), ("count", pa.int64()), ("seed", pa.int64()), ("snapshot", pa.int64()),
        ("recipe", pa.string()), ("created", pa.timestamp("us", tz="UTC")),
    ]
)  # fmt: skip
"""One row per measured figure. phase: before, after, eval. role: target, retained. metric: cross_entropy or kl in nats
per token; accuracy, repetition, cut_off, refusal, harm, coherence, valid_json in 0..1. key: digest of all that decides
the value (model, questions, settings), by which a figure is found again instead of measured again. recipe: digest of
the training recipe, or of the suite. seed: of the training; snapshot: that was read; null where there is none."""

SNAPSHOTS = pa.schema(
    [
        ("snapshot", pa.int64()), ("run_id", pa.string()), ("versions", pa.string()),
        ("created", pa.timestamp("us", tz="UTC")),
    ]
)  # fmt: skip
"""A name for a state of the store; `versions` is JSON, from table to Delta version."""

VOCAB = pa.schema(
    [("tokenizer", pa.string()), ("token_id", pa.int32()), ("piece", pa.string()), ("special", pa.bool_())]
)
"""The text piece of every token id, one row per tokenizer and id. special: no text but a mark, as ends of turns are."""

TABLES = {
    "outcomes": OUTCOMES, "token_stats": TOKEN_STATS, "vocab": VOCAB, "runs": RUNS, "evals": EVALS,
    "snapshots": SNAPSHOTS,
}  # fmt: skip
