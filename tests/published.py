"""Files of published token statistics, in the form in which the STM authors gave theirs."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STM = "stm/mbpp_llama3_8b_ppl_60.parquet"
MARKER = [128006, 78191, 128007, 271]
"""What Llama 3's answers follow: `<|start_header_id|>assistant<|end_header_id|>` and two line breaks."""
END = 128009
"""`<|eot_id|>`"""
VOCABULARY = 128_256


def rows(count: int = 12) -> list[dict[str, Any]]:
    """Prompt, marker, answer and end, with a perplexity per token; the first one is a placeholder."""
    rng = np.random.default_rng(0)
    made = []
    for task in range(count):
        prompt, answer = (rng.integers(0, 128_000, size=n).tolist() for n in rng.integers(5, 40, size=2))
        ids = [128000, *prompt, *MARKER, *answer, END]
        ppl = np.exp(rng.exponential(0.8, size=len(ids))).astype(np.float32)
        ppl[0] = 10.0
        made.append(
            {"task_id": task, "text": f"text {task}", "input_ids": ids, "ppl": ppl.astype(float).tolist()}
        )
    return made


def write(path: Path, data: list[dict[str, Any]]) -> Path:
    """The rows as a Parquet file."""
    pq.write_table(pa.Table.from_pylist(data), path)
    return path


def target_perplexities(file: Path) -> list[np.ndarray]:
    """What follows the marker, counted by hand."""
    found = []
    for row in pq.read_table(file).to_pylist():
        ids = row["input_ids"]
        start = max(i for i in range(len(ids)) if ids[i : i + 4] == MARKER) + 4
        found.append(np.array(row["ppl"][start:]))
    return found
