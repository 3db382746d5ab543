"""Which examples stand together in a row, and rows as tensors. All of it follows from the seed alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from forgetless.train.example import IGNORED, Example

Row = list[int]
"""Positions of the examples that share a sequence."""


@dataclass(frozen=True)
class Schedule:
    """All rows of a run in training order; step s takes `rows_per_step` of them from s · rows_per_step on."""

    rows: list[Row]
    rows_per_step: int

    @property
    def steps(self) -> int:
        """Optimiser steps; the last may be a short one."""
        return ceil(len(self.rows) / self.rows_per_step)


def schedule(
    lengths: Sequence[int],
    max_length: int,
    rows_per_step: int,
    seed: int,
    packing: bool = True,
    steps: int | None = None,
    epochs: float = 1,
) -> Schedule:
    """Rows for `steps` full steps, or for `epochs` passes, the last one possibly of a part of the rows."""
    rows: list[Row] = []
    epoch = 0
    while (len(rows) < steps * rows_per_step) if steps else (epoch < ceil(epochs)):
        packed = pack(lengths, max_length if packing else 0, seed, epoch)
        if not steps and epochs - epoch < 1:
            packed = packed[: max(1, round((epochs - epoch) * len(packed)))]
        rows += packed
        epoch += 1
    return Schedule(rows[: steps * rows_per_step] if steps else rows, rows_per_step)


def pack(lengths: Sequence[int], max_length: int, seed: int, epoch: int) -> list[Row]:
    """One pass over the examples in random order, best fit into rows of `max_length`; 0: one to a row.

    Best fit takes the fullest open row with room left, kept by remaining room, so that the work per
    example is at most `max_length` look-ups.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
    rows: list[Row] = []
    with_room: dict[int, list[int]] = {}
    for example in order.tolist():
        length = lengths[example]
        room = next((r for r in range(length, max_length) if with_room.get(r)), None)
        if room is None:
            rows.append([example])
            left = max_length - length
            place = len(rows) - 1
        else:
            place = with_room[room].pop()
            rows[place].append(example)
            left = room - length
        if left > 0:
            with_room.setdefault(left, []).append(place)
    return rows


def collate(rows: Sequence[Sequence[Example]], pad_id: int = 0, stats: Sequence[str] = ()) -> dict[str, Any]:
    """Rows of examples as tensors [B, T]; a row may be empty.

    `position_ids` begin at 0 with every example; all padding has 0. transformers takes each restart for another
    sequence and lets none see another, given `attention_mask=None` and `use_cache=False`. `shift_labels`,
    `token_weights`, `sources` and the examples' `stats` that are named, [B, T, …], stand at position t for the token at
    t + 1 of the same example.
    """
    import torch

    shape = len(rows), max(1, *(sum(map(len, row)) for row in rows))
    filled: dict[str, Any] = {
        "input_ids": np.full(shape, pad_id, dtype=np.int64),
        "position_ids": np.zeros(shape, dtype=np.int64),
        "shift_labels": np.full(shape, IGNORED, dtype=np.int64),
        "token_weights": np.zeros(shape, dtype=np.float32),
        "sources": np.zeros(shape, dtype=np.int64),
    }
    for name in stats:
        stored = [example.stats[name] for row in rows for example in row] or [np.empty(0, np.float32)]
        widest = max(
            stored, key=lambda values: values.shape[1:]
        )  # replay may have none of the K that targets have
        empty = -1 if widest.dtype == np.int64 else np.nan
        filled[name] = np.full((*shape, *widest.shape[1:]), empty, dtype=widest.dtype)
    for b, row in enumerate(rows):
        start = 0
        for example in row:
            end = start + len(example)
            filled["input_ids"][b, start:end] = example.token_ids
            filled["position_ids"][b, start:end] = np.arange(len(example))
            filled["shift_labels"][b, start : end - 1] = example.labels[1:]
            filled["token_weights"][b, start : end - 1] = example.weights[1:]
            filled["sources"][b, start:end] = example.source
            for name in stats:
                values = example.stats[name][1:]
                filled[name][b, start : end - 1][..., : values.shape[-1]] = values
            start = end
    return {name: torch.from_numpy(values) for name, values in filled.items()}


def in_batches(examples: Sequence[Example], tokens: int) -> Iterator[list[Example]]:
    """The examples by length, in batches of at most `tokens` tokens with their padding, or of one."""
    batch: list[Example] = []
    for example in sorted(examples, key=len):
        if batch and len(example) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch
