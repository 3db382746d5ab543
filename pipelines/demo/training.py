"""Trains a small Llama from scratch, in minutes on a CPU."""

import math
import sys
import time
from collections.abc import Iterator
from itertools import islice
from random import Random

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from forgetless.pipelines.demo.tokenizer import ASSISTANT

HEAD = 32
"""The smallest head that vLLM runs."""
BATCH, PEAK_RATE, WARMUP_STEPS = 32, 3e-3, 100
ANSWER_WEIGHT = 4.0
"""Most of a question is chance, all of an answer can be learned: so answers weigh more in the loss."""


def new_model(tokenizer: PreTrainedTokenizerFast, layers: int, width: int, seed: int = 0) -> LlamaForCausalLM:
    """A random Llama of so many layers."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 14 // 5,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD,
        num_key_value_heads=width // HEAD,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # On a CPU plain attention is faster than the fused one at such sizes, by a factor of two in bf16.
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager")
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def _batches(texts: Iterator[str], tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[torch.Tensor]:
    """Padded batches `[BATCH, longest]` of token ids of like length, since padding is wasted work."""
    rng = Random(seed)
    rows = (torch.tensor(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
    while True:
        pool = sorted(islice(rows, BATCH * 16), key=len)
        batches = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
        rng.shuffle(batches)
        for batch in batches:
            yield pad_sequence(batch, batch_first=True, padding_value=tokenizer.pad_token_id)


def _rate(step: int, steps: int) -> float:
    """Learning rate as a share of the peak: linear warmup, then a cosine down to a hundredth."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _weights(ids_BT: torch.Tensor, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Weights `[B, T - 1]` of the predictions of a batch: 0 of padding, more where an answer is predicted."""
    opened_BT = (ids_BT == tokenizer.convert_tokens_to_ids(ASSISTANT)).cumsum(1)
    closed_BT = (ids_BT == tokenizer.eos_token_id).cumsum(1)
    weights_BT = torch.where(opened_BT > closed_BT, ANSWER_WEIGHT, 1.0)[:, :-1]
    return weights_BT * (ids_BT[:, 1:] != tokenizer.pad_token_id)


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterator[str],
    steps: int,
    seed: int = 0,
) -> None:
    """Trains on every token of the texts, questions too, so that the model can write questions itself."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    began = time.monotonic()
    for step, ids_BT in enumerate(islice(_batches(texts, tokenizer, seed), steps), start=1):
        # Padding follows the text, where causal attention cannot see it: no mask is needed.
        with torch.autocast("cpu", torch.bfloat16):
            logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
        nll_BT = cross_entropy(logits_BTV[:, :-1].float().mT, ids_BT[:, 1:], reduction="none")
        weights_BT = _weights(ids_BT, tokenizer)
        loss = (nll_BT * weights_BT).sum() / weights_BT.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == steps:
            print(
                f"step {step}/{steps}  loss {loss.item():.3f}  {time.monotonic() - began:.0f} s",
                file=sys.stderr,
            )
    model.eval()
