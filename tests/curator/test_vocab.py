"""Token pieces: what a tokenizer's ids stand for as text."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from forgetless.curator.models import load_tokenizer
from forgetless.curator.store import Store
from forgetless.curator.store.vocab import ensure_vocab, pieces

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
SPLIT = {"gpt2_tokenizer": "🙂", "stories260k": "日本 🙂"}
"""Text of which a vocabulary has no whole characters."""
TEXTS = [
    "Once upon a time",
    " two  spaces\n\ttab",
    "naïve café",
    "日本 ☃ 🙂",
    "x = {'a': 1}",
    "👩‍👩‍👧 família 中文漢字 é🏳️‍🌈",
]


@pytest.fixture(params=["demo", "stories260k", "gpt2_tokenizer"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if request.param == "demo":
        return load_tokenizer(ROOT / "pipelines" / "demo" / "model")
    if not SHARED.is_dir():
        pytest.skip("../shared is absent")
    return load_tokenizer(SHARED / request.param)


def as_bytes(piece: str) -> bytes:
    """A piece's bytes, those written as `<0xE2>` included."""
    data = b""
    while piece:
        if piece.startswith("<0x"):
            data, piece = data + bytes.fromhex(piece[3:5]), piece[6:]
        else:
            data, piece = data + piece[0].encode(), piece[1:]
    return data


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_of_a_text_are_the_text(tokenizer: Any, text: str) -> None:
    known = pieces(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    joined = b"".join(as_bytes(known[index]) for index in ids).decode()
    assert joined in (text, f" {text}"), "sentencepiece may put a space in front"


@pytest.mark.parametrize("name", SPLIT)
def test_a_character_split_over_tokens_shows_as_its_bytes(name: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("../shared is absent")
    tokenizer = load_tokenizer(SHARED / name)
    known = pieces(tokenizer)
    shown = "".join(known[i] for i in tokenizer(SPLIT[name], add_special_tokens=False)["input_ids"])
    expected = "".join(c if c == " " else "".join(f"<0x{b:02X}>" for b in c.encode()) for c in SPLIT[name])
    assert shown.strip() == expected.strip()


def test_marks_are_told_from_text(tokenizer: Any, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    ensure_vocab(store, tokenizer, "t")
    special = set(store.query("SELECT piece FROM vocab WHERE special")["piece"].to_pylist())
    assert special >= set(tokenizer.all_special_tokens)
    assert not special & {" the", "the", "e", "\n"}


def test_there_is_a_piece_for_every_id(tokenizer: Any) -> None:
    known = pieces(tokenizer)
    assert len(known) == max(tokenizer.get_vocab().values()) + 1
    assert all(known)


def test_added_tokens_are_as_they_are(tokenizer: Any) -> None:
    known = pieces(tokenizer)
    for index, token in tokenizer.added_tokens_decoder.items():
        assert known[index] == token.content


def of(vocabulary: dict[str, int], pre_tokenizer: Any = None, decoder: Any = None) -> list[str]:
    """Pieces of a tokenizer with this vocabulary and pipeline."""
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    if pre_tokenizer:
        backend.pre_tokenizer = pre_tokenizer
    if decoder:
        backend.decoder = decoder
    return pieces(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_byte_level_letters_become_bytes() -> None:
    vocabulary = {"Ġthe": 0, "Ċ": 1, "âĺ": 2, "âĺĥ": 3, "Ã©": 4, "Ġâ": 5}
    expected = [" the", "\n", "<0xE2><0x98>", "☃", "é", " <0xE2>"]
    assert of(vocabulary, pre_tokenizers.ByteLevel()) == expected
    assert of(vocabulary, decoder=decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()])) == expected


def test_sentencepiece_signs_become_spaces_and_bytes() -> None:
    vocabulary = {"▁the": 0, "<0x0A>": 1, "<0xE2>": 2, "é": 3, "▁▁": 4, "Ġx": 5}
    expected = [" the", "\n", "<0xE2>", "é", "  ", "Ġx"]
    assert (
        of(vocabulary, decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()]))
        == expected
    )
    assert of(vocabulary, pre_tokenizers.Metaspace()) == expected


def test_a_gap_in_the_ids_has_an_empty_piece() -> None:
    assert of({"a": 0, "c": 2}) == ["a", "", "c"]


def test_a_vocabulary_is_stored_once(tokenizer: Any, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    for fingerprint in ("one", "one", "other"):
        ensure_vocab(store, tokenizer, fingerprint)
    rows = store.query(
        "SELECT tokenizer, count(*), max(token_id) + 1, any_value(piece ORDER BY token_id) FROM vocab GROUP BY 1"
    )
    size = len(pieces(tokenizer))
    counts = zip(rows[0].to_pylist(), rows[1].to_pylist(), rows[2].to_pylist(), strict=True)
    assert sorted(counts) == [("one", size, size), ("other", size, size)]
