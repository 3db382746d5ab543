"""Both engines behind one protocol, on the demo's model."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgetless.curator.engines import ChildEngine
from forgetless.schemas.errors import EngineError
from forgetless.schemas.model import Engine
from forgetless.schemas.request import Request, Sampling

BOS, END = "<|bos|>", "<|end|>"


@pytest.fixture(scope="module", params=["vllm", "transformers"])
def engine(
    request: pytest.FixtureRequest, demo_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChildEngine]:
    config = Engine(kind=request.param, enforce_eager=True, in_flight=16)
    made = ChildEngine(demo_model, config, tmp_path_factory.mktemp("log") / "engine.log")
    yield made
    made.close()


def requests(model: Path, count: int, seed: int, **sampling: float) -> list[Request]:
    from forgetless.curator.models import load_tokenizer

    tokenizer = load_tokenizer(model)
    drawn = Sampling.model_validate({"max_tokens": 60} | sampling)
    return [
        Request(
            id=f"{seed}-{i}", prompt_ids=[tokenizer.bos_token_id], sampling=drawn, seed=seed + i,
            stop_ids=[tokenizer.convert_tokens_to_ids(END)],
        )
        for i in range(count)
    ]  # fmt: skip


def test_streams_results_with_ids_and_logprobs(engine: ChildEngine, demo_model: Path) -> None:
    asked = requests(demo_model, 40, seed=2**62)
    taken: list[str] = []

    def stream() -> Iterator[Request]:
        for request in asked:
            taken.append(request.id)
            yield request

    results = []
    for result in engine.generate(stream()):
        results.append(result)
        assert len(taken) - len(results) < 16 + 1  # bounded in flight
    assert sorted(result.id for result in results) == sorted(request.id for request in asked)
    for result in results:
        assert result.prompt_ids == asked[0].prompt_ids and result.error is None
        assert len(result.logprobs) == len(result.token_ids) and max(result.logprobs) <= 0
        assert (result.token_ids[-1] in asked[0].stop_ids) == (result.finish_reason == "stop")
        assert result.finish_reason == "stop" or len(result.token_ids) == 60
    assert len({tuple(result.token_ids) for result in results}) > 30


def test_greedy_is_the_same_on_both(demo_model: Path, tmp_path: Path) -> None:
    answers = {}
    for kind in ("vllm", "transformers"):
        engine = ChildEngine(demo_model, Engine(kind=kind, enforce_eager=True), tmp_path / "log")
        (answers[kind],) = engine.generate(requests(demo_model, 1, seed=1, temperature=0))
        engine.close()
    assert answers["vllm"].token_ids == answers["transformers"].token_ids
    assert answers["vllm"].logprobs == pytest.approx(answers["transformers"].logprobs, abs=1e-3)


def test_a_request_that_cannot_be_run_is_a_result(engine: ChildEngine, demo_model: Path) -> None:
    good = requests(demo_model, 2, seed=7)
    bad = [
        good[0].model_copy(update={"id": "long", "prompt_ids": [5] * 600}),
        good[0].model_copy(update={"id": "empty", "prompt_ids": []}),
    ]
    results = {result.id: result for result in engine.generate([bad[0], *good, bad[1]])}
    assert {key for key, result in results.items() if result.error} == {"long", "empty"}
    assert engine.stats.restarts == 0


def test_choices_are_kept_to(engine: ChildEngine, demo_model: Path) -> None:
    choices = ["yes", "no", "yes, no", " maybe é"]
    asked = [
        r.model_copy(update={"choices": choices}) for r in requests(demo_model, 30, seed=11, temperature=2)
    ]
    cut = asked[0].model_copy(update={"id": "cut", "sampling": Sampling(max_tokens=1)})
    results = {result.id: result for result in engine.generate([*asked, cut])}
    assert results.pop("cut").error
    assert {result.text for result in results.values()} <= set(choices) and len(results) == 30
    for result in results.values():
        assert result.finish_reason == "stop" and result.token_ids[-1] in asked[0].stop_ids
        assert result.logprobs == []


def test_a_killed_engine_is_started_again(engine: ChildEngine, demo_model: Path) -> None:
    asked = requests(demo_model, 40, seed=99)
    before = engine.stats.restarts
    results = []
    for result in engine.generate(asked):
        results.append(result.id)
        if len(results) == 5:
            assert engine._process
            os.kill(engine._process.pid, signal.SIGKILL)
    assert sorted(results) == sorted(request.id for request in asked)
    assert engine.stats.restarts == before + 1


def test_a_broken_engine_blames_no_request(demo_model: Path, tmp_path: Path) -> None:
    engine = ChildEngine(demo_model, Engine(kind="transformers", stall_seconds=0.001), tmp_path / "log")
    results = []
    with pytest.raises(EngineError, match="times in a row"):
        for result in engine.generate(requests(demo_model, 3, seed=5, max_tokens=400)):
            results.append(result)
    assert results == []


def test_an_engine_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    engine = ChildEngine(tmp_path, Engine(kind="transformers"), tmp_path / "log")
    with pytest.raises(EngineError, match="did not start"):
        list(engine.generate([Request(id="a", prompt_ids=[1], sampling=Sampling(), seed=1)]))
