"""A store to look at in a browser: prompts with several answers, hostile text, refusals, a record of 8,000 tokens."""

from pathlib import Path

from reported import HOSTILE, question, row, score

from forgetless.curator.models import load_tokenizer, tokenizer_fingerprint
from forgetless.curator.store import Store
from forgetless.curator.store.vocab import ensure_vocab
from forgetless.schemas.outcome import Outcome, Rejection, Verdict

PROMPTS = 12
LONG = 8000
"""Tokens of the longest record."""
IDS = {name: name * 8 for name in ("a0", "a1", "b0", "b1", "c0", "d1", "e0", "e1", "f0")}
"""a: ground truth; b and d: self-output; c: BOS replay; e0: teacher; e1: refused; f0: the long one."""


def make_store(path: Path, model: Path) -> Store:
    """Ground truth, one or two self-outputs and a teacher's answer to each prompt, replay, rejects, two scorers."""
    store, tokenizer = Store.create(path), load_tokenizer(model)
    ensure_vocab(store, tokenizer, tokenizer_fingerprint(tokenizer))
    end = tokenizer.eos_token

    def made(name: str, kind: str, prompt: str, answer: str, **given: object) -> Outcome:
        return row(tokenizer, name, kind, prompt, answer + end, **given)

    truths = [made(f"a{i:x}", "ground_truth", question(i), f"Hmm, I'd say {i}!") for i in range(PROMPTS)]
    truths[2] = made("a2", "ground_truth", HOSTILE, HOSTILE)
    passed = [Verdict(verifier="numeric", passed=True, score=1.0)]
    own = [
        made(f"b{i:x}", "self_output", question(i), f"It is {i}.", parent_id=f"a{i:x}", verdicts=passed)
        for i in range(PROMPTS)
    ]
    others = [
        made("d1", "self_output", question(1), "One and one is 2.", parent_id="a1"),
        made("e0", "teacher", question(0), "The sum of zero and zero is zero.", parent_id="a0"),
    ]
    replay = [
        made(f"c{i}", "bos_replay", "", f"A fox ran {i} times.\nIt slept.\n", task=None) for i in range(3)
    ]
    long = _long(tokenizer)
    refused = Rejection(step="numeric", reason="<b>9 is not 10</b>", score=9.0, threshold=10.0)
    rejected = made(
        "e1", "self_output", question(11), "9", parent_id="ab", status="rejected", rejection=refused
    )
    records = [*truths, *own, *others, *replay, long]
    store.append("outcomes", [*records, rejected])
    score(store, records, "older", hard=4.0)
    score(store, records, "newer", hard=2.0)
    store.take_snapshot("run")
    return store


def _long(tokenizer: object) -> Outcome:
    sentence = "the fox ran over a small hill and saw one red hen. it said hello to me.\n"
    whole = row(tokenizer, "f0", "ground_truth", "tell me a story", sentence * (LONG // 15), task="story")
    span = whole.target_spans[0].model_copy(update={"end": LONG})
    assert len(whole.token_ids) >= LONG
    return whole.model_copy(update={"token_ids": whole.token_ids[:LONG], "target_spans": [span]})
