"""The README of an exported dataset: what it is, what made it, and what its format cannot carry."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from forgetless.curator.store import Store
from forgetless.schemas.base import Frozen
from forgetless.train.formats import FORMATS

LOST = {
    "trl": (
        "Labels are the token's own id or -100, so a weight per token cannot be carried, nor can sampled"
        " log-probs and base-model scores. Rows hold final token ids: train the model that is named above."
    ),
    "prompt-completion": (
        "Text of conversations whose last answer is the only target: it is the `completion`, which TRL trains alone."
        " TRL tokenises it again, so token ids, sampled log-probs and base-model scores are not carried, nor records"
        " of raw text, nor those with several targets (the format trl carries all of these)."
    ),
    "messages": (
        "Text alone: a trainer tokenises it again with its own template, so token ids, target spans, sampled"
        " log-probs and base-model scores are not carried, and records of raw text have no messages."
    ),
    "axolotl": (
        "Labels are the token's own id or -100, so a weight per token cannot be carried, nor can sampled log-probs and"
        " base-model scores; nor which record a row is, since axolotl pads every column: rows are in the order of the"
        " records' ids. Rows hold final token ids: train the model that is named above."
    ),
    "axolotl-kd": (
        "Row t of the teacher's top k predicts token t + 1. The k log-probs are made to sum to 1: the probability of"
        " the other tokens is not carried, nor is a weight per token. Positions without a label have no teacher"
        " either. Nor which record a row is, since axolotl pads every column: rows are in the order of the records'"
        " ids. Rows hold final token ids: train a model with the vocabulary that is named above."
    ),
    "ms-swift": (
        "`loss` says of each turn whether it is trained; no mask or weight per token can be carried (`loss_scale` is"
        " one figure per turn too). ms-swift tokenises the text again with its own template, so token ids, sampled"
        " log-probs and base-model scores are not carried, and what are not conversations of user and assistant in"
        " turn is left out."
    ),
    "llama-factory": (
        "Every answer of a conversation is trained: records in which only some are targets are left out, and so is what"
        " is no conversation of user and assistant in turn. No mask or weight per token can be carried."
        " LLaMA-Factory tokenises the text again with its own template, so token ids, sampled log-probs and base-model"
        " scores are not carried. `dataset_dir` is this folder, `dataset` is `forgetless`."
    ),
    "parquet": "All columns of the records. Base-model scores stay in the store's table `token_stats`.",
}
"""Format → what a reader of it must know."""


class ExportReport(Frozen):
    """What was written."""

    path: str
    format: str
    snapshot: int | None
    records: int
    left_out: int
    """Selected records that the format cannot carry."""
    target_tokens: int
    masked: int = 0
    """Target tokens that a mask left without a label."""


def card(store: Store, report: ExportReport, selected: str, carried: str) -> str:
    """Markdown with the YAML front matter by which `datasets.load_dataset` finds the one data file.

    Args:
        selected: query of what was asked for; shown.
        carried: query of what of it was written; counted.
    """
    form = FORMATS[report.format]
    front = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": form.file}]}],
        "tags": ["forgetless"],
    }

    def rows(sql: str) -> list[dict[str, Any]]:
        return store.query(sql, report.snapshot).to_pylist()

    made = rows(
        "SELECT kind, coalesce(task, '') AS task, count(*) AS records, sum(len(token_ids)) AS tokens"
        f" FROM ({carried}) GROUP BY ALL ORDER BY ALL"
    )
    models = rows(
        f"SELECT DISTINCT coalesce(model, 'none: imported') AS model, tokenizer FROM ({carried}) ORDER BY ALL"
    )
    survival = rows("SELECT step, stage, ended, rows, round(share, 4) AS share FROM survival")
    recipes = rows(
        f"SELECT DISTINCT recipe FROM runs WHERE run_id IN (SELECT run_id FROM ({carried})) AND recipe IS NOT NULL"
    )
    masked = f", {report.masked:,} of them masked out" if report.masked else ""
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {report.records:,} records in the format {report.format}",
        f"Made by forgetless, snapshot {report.snapshot} of its store."
        f" Selected: `{' '.join(selected.split()).replace(' )', ')')}`. {report.target_tokens:,} tokens are targets{masked}.",
        "## Records", _table(made),
        "## What this format does not carry", LOST[report.format],
        *([f"{report.left_out:,} selected records were left out for that reason."] if report.left_out else []),
        *(f"## `{name}`\n\n```{Path(name).suffix[1:]}\n{text}```" for name, text in form.beside.items()),
        "## Model and vocabulary", "Fingerprints of weights and vocabulary, by content.", _table(models),
        "## Survival", "Rows that ended at each stage, by the filter that ended them.", _table(survival),
        *(["## Recipe"] if recipes else []),
        *(f"```yaml\n{yaml.safe_dump(_public(json.loads(row['recipe'])), sort_keys=False)}```" for row in recipes),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "None."
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(v) for v in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _public(recipe: dict[str, Any]) -> dict[str, Any]:
    """The part of a recipe that made the records, without the folders of the machine it ran on."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [bare(inner) for inner in value]
        return Path(value).name if isinstance(value, str) and value.startswith("/") else value

    return bare({key: value for key, value in recipe.items() if key not in ("store", "train")})
