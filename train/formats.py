"""What other trainers read: one way of writing records for each."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forgetless.train.example import IGNORED, Example
from forgetless.train.selection import Selection

ROW_GROUP = 1000
PADDING_LOGPROB = -1e9
"""What axolotl's own collator pads with."""


def _write_parquet(selection: Selection, file: Path) -> None:
    """The records as they are in the store."""
    pq.write_table(selection.query(selection.sql), file, compression="zstd", row_group_size=ROW_GROUP)


def _write_trl(selection: Selection, file: Path) -> None:
    """Token rows: `input_ids`, `labels` (-100 outside targets), and which record a row is."""
    schema = pa.schema([("id", pa.string()), ("kind", pa.string()), ("input_ids", _IDS), ("labels", _IDS)])
    rows = (
        {"id": e.id, "kind": e.kind, "input_ids": e.token_ids, "labels": labels(e)}
        for e in selection.examples
    )
    _write_rows(rows, schema, file)


def _write_axolotl(selection: Selection, file: Path) -> None:
    """Token rows with the columns by which axolotl knows that rows are tokenised, and no other: it pads all."""
    _write_rows(map(_axolotl_row, selection.examples), _AXOLOTL, file)


def _write_axolotl_kd(selection: Selection, file: Path) -> None:
    """The same with the scorer's top k, as `axolotl.integrations.kd` trains on them.

    Row t of `target_token_ids`, `target_logprobs` and `target_mask`, [T, k] each, is the distribution that predicts
    token t + 1; the last row predicts nothing. Its trainer pairs row t with the hidden state at t without a shift
    (`kernels/liger.py`, axolotl 0.19), and its collator for a vLLM teacher leaves out position 0 and pads the end
    (`collator_online_teacher.py`). Log-probs are made to sum to 1 over the k, as its loader does
    (`chat_template.py`); the mask is 1 where the token that is predicted has a label.
    """
    rows = ({**_axolotl_row(e), **teacher_rows(e)} for e in selection.with_top_k)
    _write_rows(rows, _AXOLOTL_KD, file)


def _axolotl_row(example: Example) -> dict[str, Any]:
    ones = np.ones(len(example), dtype=np.int8)
    return {"input_ids": example.token_ids, "attention_mask": ones, "labels": labels(example)}


def teacher_rows(example: Example) -> dict[str, Any]:
    """Top k of the next token: int64, float32 and bool [T, k], as lists."""
    ids_TK, logprobs_TK = example.stats["topk_ids"][1:], example.stats["topk_logprobs"][1:].astype(np.float64)
    logprobs_TK -= np.log(np.exp(logprobs_TK).sum(1, keepdims=True))
    width = ids_TK.shape[1]
    has_label = np.append(labels(example)[1:] != IGNORED, False)
    return {
        "target_token_ids": [*ids_TK.tolist(), list(range(width))],
        "target_logprobs": [*logprobs_TK.tolist(), [PADDING_LOGPROB] * width],
        "target_mask": np.repeat(has_label[:, None], width, axis=1).astype(np.int8).tolist(),
    }


def labels(example: Example) -> np.ndarray:
    """int64 [T]: token ids where the loss counts, else -100."""
    return np.where(example.weights > 0, example.labels, IGNORED)


def _write_rows(rows: Iterator[dict[str, Any]], schema: pa.Schema, file: Path) -> None:
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while part := [row for row, _ in zip(rows, range(ROW_GROUP), strict=False)]:
            writer.write_table(pa.Table.from_pylist(part, schema=schema))


def _write_lines(of: Callable[[dict[str, Any]], dict[str, Any]], selection: Selection, file: Path) -> None:
    """One conversation per line: what `of` makes of it, and which record it is."""
    rows = selection.query(
        f"SELECT id, kind, task, messages, len(target_spans) AS turns FROM ({selection.sql})"
    )
    with file.open("w", encoding="utf-8") as handle:
        for batch in rows.to_batches(max_chunksize=ROW_GROUP):
            for row in batch.to_pylist():
                line = {**{name: row[name] for name in ("id", "kind", "task")}, **of(row)}
                handle.write(json.dumps(line, ensure_ascii=False) + "\n")


def _messages(row: dict[str, Any]) -> dict[str, Any]:
    return {"messages": row["messages"]}


def _prompt_completion(row: dict[str, Any]) -> dict[str, Any]:
    """TRL trains the completion alone, wherever the two are columns."""
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


def _with_loss(row: dict[str, Any]) -> dict[str, Any]:
    """`loss` says which turns are trained: where not every answer is a target, the last ones are."""
    turns: Sequence[dict[str, Any]] = row["messages"]
    answers = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    trained = set(answers[-row["turns"] :])
    return {"messages": [{**turn, "loss": i in trained} for i, turn in enumerate(turns)]}


_IDS = pa.list_(pa.int32())
_AXOLOTL = pa.schema([("input_ids", _IDS), ("attention_mask", pa.list_(pa.int8())), ("labels", _IDS)])
_AXOLOTL_KD = pa.schema(
    [
        *_AXOLOTL,
        ("target_token_ids", pa.list_(_IDS)),
        ("target_logprobs", pa.list_(pa.list_(pa.float32()))),
        ("target_mask", pa.list_(pa.list_(pa.int8()))),
    ]
)

_ALTERNATING = (
    "regexp_full_match(array_to_string(list_transform(messages, lambda m: m.role), ' '),"
    " '(system )?user assistant( user assistant)*')"
)
_ANSWERS = "len(list_filter(messages, lambda m: m.role = 'assistant'))"

AXOLOTL_CONFIG = """\
# The part of a config that names these rows; the path counts from where axolotl is started.
datasets:
  - path: data/train.parquet
    ds_type: parquet
    type:  # none: the rows are tokenised
"""
AXOLOTL_KD_CONFIG = f"""\
{AXOLOTL_CONFIG}plugins:
  - axolotl.integrations.kd.KDPlugin
kd_trainer: true
kd_ce_alpha: 0.5  # cross entropy with the labels
kd_alpha: 0.5  # KL from the teacher
kd_temperature: 1.0  # the log-probs are of temperature 1
kd_normalize_topk: true  # the student's over the same k too, so that equal models have KL 0
"""
DATASET_INFO = {
    "forgetless": {
        "file_name": "data/train.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
}


class Format(NamedTuple):
    """A way of writing records."""

    write: Callable[[Selection, Path], None]
    file: str
    carries: str = "true"
    """SQL condition on the records that it can hold."""
    reads: str = ""
    """What it can read of a scorer: `mask`, `top-k`, or both."""
    beside: Mapping[str, str] = {}
    """Name → text of a file that its trainer reads beside the data."""


FORMATS = {
    "trl": Format(_write_trl, "data/train.parquet", reads="mask"),
    "prompt-completion": Format(
        partial(_write_lines, _prompt_completion),
        "data/train.jsonl",
        f"{_ALTERNATING} AND len(target_spans) = 1",
    ),
    "messages": Format(partial(_write_lines, _messages), "data/train.jsonl", "len(messages) > 0"),
    "axolotl": Format(
        _write_axolotl, "data/train.parquet", reads="mask", beside={"axolotl.yaml": AXOLOTL_CONFIG}
    ),
    "axolotl-kd": Format(
        _write_axolotl_kd,
        "data/train.parquet",
        reads="mask, top-k",
        beside={"axolotl.yaml": AXOLOTL_KD_CONFIG},
    ),
    "ms-swift": Format(
        partial(_write_lines, _with_loss),
        "data/train.jsonl",
        f"{_ALTERNATING} AND len(target_spans) BETWEEN 1 AND {_ANSWERS}",
    ),
    "llama-factory": Format(
        partial(_write_lines, _messages),
        "data/train.jsonl",
        f"{_ALTERNATING} AND len(target_spans) = {_ANSWERS}",
        beside={"dataset_info.json": json.dumps(DATASET_INFO, indent=2) + "\n"},
    ),
    "parquet": Format(_write_parquet, "data/train.parquet"),
}
