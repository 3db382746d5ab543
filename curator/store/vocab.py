"""The text piece of every token id, so that SQL and reports can show tokens without a tokenizer."""

import json
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from forgetless.curator.store.store import Store
from forgetless.schemas.tables import VOCAB


def ensure_vocab(store: Store, tokenizer: Any, fingerprint: str) -> None:
    """Append the tokenizer's pieces to the `vocab` table, once per fingerprint."""
    known = store.tables["vocab"].read()["tokenizer"].unique().to_pylist()
    if fingerprint in known:
        return
    texts = pieces(tokenizer)
    marks = special_ids(tokenizer)
    columns = {
        "tokenizer": [fingerprint] * len(texts), "token_id": range(len(texts)), "piece": texts,
        "special": [index in marks for index in range(len(texts))],
    }  # fmt: skip
    store.append("vocab", pa.table(columns, schema=VOCAB))


def special_ids(tokenizer: Any) -> set[int]:
    """Ids that are no text but marks: starts and ends of texts and turns, padding."""
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def pieces(tokenizer: Any) -> list[str]:
    """The piece of each id from 0 to the highest; ids without a token have an empty one.

    Bytes that are no text by themselves show as `<0xE2>`; added tokens are given as they are.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    added = {index: token.content for index, token in tokenizer.added_tokens_decoder.items()}
    texts = [""] * (max([*vocabulary.values(), *added]) + 1)
    text_of = _text_of(tokenizer)
    for token, index in vocabulary.items():
        texts[index] = text_of(token)
    for index, content in added.items():
        texts[index] = content
    return texts


def _text_of(tokenizer: Any) -> Callable[[str], str]:
    """How this tokenizer's tokens become text, read from its own pipeline, not from its name."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # the tokenizers that transformers has no fast version of are sentencepiece's
        return lambda token: _spaced(token, "▁")
    parts = json.loads(backend.to_str())
    kinds = {part["type"]: part for key in ("pre_tokenizer", "decoder") for part in _flat(parts[key])}
    if "ByteLevel" in kinds:
        return _from_bytes_alphabet
    if "Metaspace" in kinds:
        return lambda token: _spaced(token, kinds["Metaspace"]["replacement"])
    replaced = [part["pattern"].get("String", "") for part in _flat(parts["decoder"]) if _is_space(part)]
    return lambda token: _spaced(token, *replaced)


def _flat(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A pre-tokenizer or decoder as the list of its parts."""
    if part is None:
        return []
    inner = part.get("pretokenizers") or part.get("decoders")
    return [leaf for each in inner for leaf in _flat(each)] if inner else [part]


def _is_space(part: dict[str, Any]) -> bool:
    return part["type"] == "Replace" and part["content"] == " "


def _spaced(token: str, *spaces: str) -> str:
    """Sentencepiece: its sign for a space replaced, and `<0x0A>` as the byte it stands for."""
    if byte := re.fullmatch("<0x([0-9A-F]{2})>", token):
        return _readable(bytes.fromhex(byte[1]))
    for space in spaces:
        token = token.replace(space, " ")
    return token


def _bytes_alphabet() -> dict[str, int]:
    """GPT-2's letters for bytes: printable Latin-1 stands for itself, the rest from U+0100 on, in order."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _bytes_alphabet()


def _from_bytes_alphabet(token: str) -> str:
    if any(letter not in _BYTE_OF for letter in token):
        return token
    return _readable(bytes(_BYTE_OF[letter] for letter in token))


def _readable(data: bytes) -> str:
    """UTF-8, with each byte that is none as `<0xE2>`."""
    text = data.decode("utf-8", errors="surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda found: f"<0x{ord(found[0]) - 0xDC00:02X}>", text)
