"""From token ids to the hidden states that predict the next ones, many records in one forward pass.

Shapes: T tokens of all records of a batch laid end to end, B records, L tokens of the longest, D width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface

from forgetless.curator.scoring.attention import NAME, packed_attention, records_of

PROBE = (7, 5, 9)
"""Lengths of the records that show whether a model can be packed."""
PROBE_ERROR = 0.05
"""Relative; rounding in bfloat16 makes about a hundredth, and records that see each other far more."""
KNOWN_LAYERS = {"full_attention", "sliding_attention"}


class Body:
    """A causal language model without its head.

    `packed` says how records share a forward pass: end to end without padding, each attending to itself alone;
    or, for models whose layers do not allow it, padded behind to the longest.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.packed = self._can_be_packed()

    def __call__(self, records: Sequence[Tensor]) -> Tensor:
        """[T, D] hidden states of records of token ids, int64 [L] each, in their order."""
        return self._pack(records) if self.packed else self._pad(records)

    def cost(self, records: int, tokens: int, longest: int) -> int:
        """Tokens that a forward pass works on, of so many records with so many tokens together."""
        return tokens if self.packed else records * longest

    def _pack(self, records: Sequence[Tensor]) -> Tensor:
        lengths = [len(ids) for ids in records]
        ids_1T = torch.cat(list(records))[None].to(self._model.device)
        places_1T = torch.cat([torch.arange(length) for length in lengths])[None].to(self._model.device)
        with records_of(lengths):
            return self._run(ids_1T, position_ids=places_1T)[0]

    def _pad(self, records: Sequence[Tensor]) -> Tensor:
        ids_BL = pad_sequence(list(records), batch_first=True).to(self._model.device)
        lengths_B = torch.tensor([len(ids) for ids in records], device=ids_BL.device)
        there_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device) < lengths_B[:, None]
        return self._run(ids_BL, attention_mask=there_BL.long())[there_BL]

    def _run(self, ids_BL: Tensor, **options: Tensor) -> Tensor:
        hidden: Tensor = self._model.base_model(ids_BL, use_cache=False, **options).last_hidden_state
        return hidden

    @torch.inference_mode()
    def _can_be_packed(self) -> bool:
        """Tried on three short records: what comes out packed must be what comes out padded.

        A model that cannot keeps its own attention: layers with a state, attention with sinks or a cap on its
        scores, or whatever else is made of the mask that packing goes without.
        """
        config = self._model.config.get_text_config()
        if (
            not self._model._supports_attention_backend
            or set(getattr(config, "layer_types", None) or KNOWN_LAYERS) - KNOWN_LAYERS
        ):
            return False
        numbers = torch.Generator().manual_seed(0)
        records = [torch.randint(config.vocab_size, (length,), generator=numbers) for length in PROBE]
        own = self._model.config._attn_implementation
        padded_TD = self._pad(records).float().nan_to_num()
        AttentionInterface.register(NAME, packed_attention)
        try:
            self._model.set_attn_implementation(NAME)
            packed_TD = self._pack(records).float().nan_to_num()
            packs = bool((packed_TD - padded_TD).norm() <= PROBE_ERROR * padded_TD.norm())
        except (
            NotImplementedError,
            ValueError,
            RuntimeError,
        ):  # the last where a kernel does not take its sizes
            packs = False
        if not packs:
            self._model.set_attn_implementation(own)
        return packs
