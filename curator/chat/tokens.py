"""Token ids of markup and of contents, piece by piece, as generation makes them."""

from dataclasses import dataclass
from threading import Lock
from typing import Any

from forgetless.schemas.errors import RecipeError

_ONE_AT_A_TIME = Lock()
"""`split_special_tokens` is a setting that a tokenizer keeps: a thread's text must not be read by another's."""


def start_ids(tokenizer: Any, start_token: str | None = None) -> list[int]:
    """The id that a text starts with, alone in a list: the tokenizer's BOS, or else the declared start token.

    Raises:
        RecipeError: there is neither, the declared token is not one, or it contradicts the tokenizer's BOS.
    """
    bos = tokenizer.bos_token
    if start_token is None:
        if bos is None:
            raise RecipeError(
                "the tokenizer has no BOS token",
                "declare `model.start_token`, for instance the token that ends texts",
            )
        return [tokenizer.bos_token_id]
    if bos is not None and bos != start_token:
        raise RecipeError(
            f"start token {start_token!r} is not the tokenizer's BOS {bos!r}", "omit `model.start_token`"
        )
    if start_token not in tokenizer.get_vocab():
        raise RecipeError(
            f"start token {start_token!r} is no token of this tokenizer", "correct `model.start_token`"
        )
    return [tokenizer.get_vocab()[start_token]]


@dataclass(frozen=True)
class Encoder:
    """A tokenizer that neither adds tokens nor lets contents spell them."""

    tokenizer: Any
    start: tuple[int, ...]
    """What every sequence begins with; empty where the tokenizer has no BOS and none was declared."""
    added: dict[str, int]
    """Tokens that split text wherever they are spelled, with their ids."""
    guarded: frozenset[str]
    """Tokens that contents must not turn into."""
    spaced: bool
    """The tokenizer puts a space before a text (SentencePiece's dummy prefix)."""

    @classmethod
    def of(cls, tokenizer: Any, start_token: str | None = None) -> "Encoder":
        """The encoder of `tokenizer`; RecipeError for a start token that is none."""
        tokens = {
            token.content: (index, token.special) for index, token in tokenizer.added_tokens_decoder.items()
        }
        first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])[0]
        has_start = start_token is not None or tokenizer.bos_token is not None
        return cls(
            tokenizer=tokenizer,
            start=tuple(start_ids(tokenizer, start_token)) if has_start else (),
            added={text: index for text, (index, _) in tokens.items()},
            guarded=frozenset(text for text, (_, special) in tokens.items() if special)
            | frozenset(tokenizer.all_special_tokens),
            spaced=str(first).startswith(("▁", "Ġ")),
        )

    def leading(self, markup: str) -> str:
        """The single token that `markup` begins with, leading space aside; empty if it begins with none."""
        found = [token for token in self.added if token and markup.lstrip().startswith(token)]
        return max(found, key=len, default="")

    def opening(self, markup: str) -> list[int]:
        """Ids of the markup a sequence begins with, exactly one start token first."""
        ids = self._ids(markup, split=False)
        start = list(self.start)
        while start and ids[:1] == start:
            ids = ids[1:]
        return start + ids

    def markup(self, text: str) -> list[int]:
        """Ids of markup inside a sequence."""
        return self._inside(text, split=False)

    def content(self, text: str, guarded: frozenset[str] = frozenset()) -> list[int]:
        """Ids of a content: what is spelled like a special token, or one of `guarded`, stays ordinary text.

        `split_special_tokens` asks the tokenizer for that. Some still find the token in their vocabulary, or
        do not count it as special; there the spelling is cut behind its first character and tokenised apart.
        """
        ids = self._inside(text, split=True)
        for token in sorted(self.guarded | guarded, key=len, reverse=True):
            at = text.find(token) if len(token) > 1 else -1
            if at >= 0 and self.tokenizer.convert_tokens_to_ids(token) in ids:
                return self.content(text[: at + 1], guarded) + self.content(text[at + 1 :], guarded)
        return ids

    def _inside(self, text: str, split: bool) -> list[int]:
        """Ids without the space that some tokenizers put before a text: what follows a character that does
        not merge with it."""
        for mark in ("\n", "|", ")") if self.spaced and text else ():
            head, ids = self._ids(mark, split), self._ids(mark + text, split)
            if ids[: len(head)] == head:
                return ids[len(head) :]
        return self._ids(text, split)

    def _ids(self, text: str, split: bool) -> list[int]:
        with _ONE_AT_A_TIME:
            encoded = self.tokenizer(
                text, add_special_tokens=False, split_special_tokens=split, verbose=False
            )
        return list(encoded["input_ids"])
