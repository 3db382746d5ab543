"""One side of `forgetless bench score`, in a process of its own: the same model, the same records.

Loading and a warm-up are left out of the time. What libraries print goes to stderr.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from forgetless.benchmarks.sides import peak_bytes

DTYPE = "bfloat16"
TOP_K = 20
SHORTEST = 16
WARM_UP = 16
ROWS = (256, 512, 1024, 2048, 4096)
"""Rows of the matrices that are tried for the limit: tokens in one forward pass."""

Records = list[list[int]]
Seconds = tuple[float, float]
"""On the clock, and of all processor cores together."""


def make_records(count: int, longest: int, vocabulary: int) -> Records:
    """Token ids at random, of lengths spread evenly."""
    rng = Random(0)
    lengths = [rng.randint(SHORTEST, longest) for _ in range(count)]
    return [[rng.randrange(1, vocabulary) for _ in range(length)] for length in lengths]


def _timed(work: Callable[[Records], Any], records: Records) -> Seconds:
    work(records[:WARM_UP])
    began, began_cpu = time.perf_counter(), time.process_time()
    work(records)
    return time.perf_counter() - began, time.process_time() - began_cpu


def score_with_ours(model: Path, records: Records) -> Seconds:
    """Seconds of the product's scorer."""
    from forgetless.curator.scoring import Scorer

    scorer = Scorer(model, DTYPE, TOP_K)
    return _timed(lambda some: list(scorer.score((str(i), ids) for i, ids in enumerate(some))), records)


def score_with_vllm(model: Path, records: Records) -> Seconds:
    """Seconds of vLLM's `prompt_logprobs` in its fastest form: flat, and without making texts."""
    os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"  # it wants room for one token more than it is given
    from forgetless.curator.engines.vllm import engine_arguments  # first: it sets vLLM's environment

    from vllm import LLM, SamplingParams, TokensPrompt  # isort: skip
    from forgetless.schemas.model import Engine

    longest = max(map(len, records))
    llm = LLM(**engine_arguments(str(model), Engine(dtype=DTYPE, max_model_len=longest + 1)))
    parameters = SamplingParams(max_tokens=1, prompt_logprobs=TOP_K, flat_logprobs=True, detokenize=False)

    def work(some: Records) -> None:
        llm.generate([TokensPrompt(prompt_token_ids=ids) for ids in some], parameters, use_tqdm=False)

    return _timed(work, records)


def score_with_transformers(model: Path, records: Records) -> Seconds:
    """Seconds of the loop that people write: one record at a time, every figure from the log-softmax."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=DTYPE).eval()

    @torch.inference_mode()
    def work(some: Records) -> None:
        for ids in some:
            logprobs_TV = loaded(torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
            chosen_T1 = logprobs_TV.gather(1, torch.tensor(ids[1:])[:, None])
            _ = (logprobs_TV.exp() * logprobs_TV).sum(1)
            _ = (logprobs_TV > chosen_T1).sum(1)
            _ = logprobs_TV.topk(TOP_K, 1)

    return _timed(work, records)


def matmul_limit(model: Path, records: Records) -> Seconds:
    """Seconds of the model's matrix products alone, each at the number of rows where it is fastest here."""
    import torch
    from torch.nn import Linear
    from torch.nn.functional import linear
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=DTYPE)
    shapes = [tuple(module.weight.shape) for module in loaded.modules() if isinstance(module, Linear)]

    def seconds_per_row(shape: tuple[int, int], rows: int) -> float:
        x, weight = torch.randn(rows, shape[1]).bfloat16(), torch.randn(shape).bfloat16()
        linear(x, weight)
        took = []
        for _ in range(5):
            began = time.perf_counter()
            linear(x, weight)
            took.append(time.perf_counter() - began)
        return min(took) / rows

    with torch.inference_mode():
        fastest = {shape: min(seconds_per_row(shape, rows) for rows in ROWS) for shape in set(shapes)}
    seconds = sum(fastest[shape] for shape in shapes) * sum(map(len, records))
    return seconds, seconds * torch.get_num_threads()


SIDES = {
    "ours": score_with_ours, "vllm": score_with_vllm, "transformers": score_with_transformers,
    "limit": matmul_limit,
}  # fmt: skip


def main() -> None:
    """side, model folder, records, longest, file for the outcome"""
    side, model, count, longest, out = sys.argv[1:]
    config = json.loads((Path(model) / "config.json").read_text())
    records = make_records(int(count), int(longest), config["vocab_size"])
    seconds, cpu_seconds = SIDES[side](Path(model), records)
    outcome = {
        "tokens_per_second": sum(map(len, records)) / seconds, "seconds": seconds,
        "cpu_seconds": cpu_seconds, "peak_bytes": peak_bytes(),
    }  # fmt: skip
    Path(out).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
