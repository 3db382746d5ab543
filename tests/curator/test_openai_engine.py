"""The endpoint engine: against a real `vllm serve` with the demo's model, and against servers that misbehave."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from given import recipe_of, task_file
from served import Call, Misbehaving, Reply, passing_on, says, vllm_serve

from forgetless.curator.engines import ChildEngine
from forgetless.curator.engines.make import engine_of
from forgetless.curator.engines.openai import OpenAIEngine
from forgetless.curator.store import Store
from forgetless.curator.store.verify import verify
from forgetless.pipelines.build import Build
from forgetless.schemas.errors import EngineError
from forgetless.schemas.model import Endpoint, Engine
from forgetless.schemas.request import Message, Request, Result, Sampling

KEY_ENV, KEY = "FORGETLESS_TEST_KEY", "sk-test-0123456789"
BAD = Reply(500, {"error": {"message": "out of luck"}})


@pytest.fixture(scope="module")
def vllm_url(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vllm_serve(demo_model, tmp_path_factory.mktemp("serve") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def served(vllm_url: str) -> Iterator[OpenAIEngine]:
    engine = engine_at(vllm_url, server="vllm", in_flight=16)
    yield engine
    engine.close()


def engine_at(url: str, **settings: Any) -> OpenAIEngine:
    endpoint = Endpoint.model_validate(
        {"kind": "openai", "model": "demo", "base_url": url, "api_key_env": KEY_ENV} | settings
    )
    engine = engine_of(endpoint, None, Path("unused.log"))
    assert isinstance(engine, OpenAIEngine)
    return engine


def behind_bos(model: Path, count: int, **sampling: float) -> list[Request]:
    from forgetless.curator.models import load_tokenizer

    tokenizer = load_tokenizer(model)
    drawn = Sampling.model_validate({"max_tokens": 60} | sampling)
    return [
        Request(
            id=str(i), prompt_ids=[tokenizer.bos_token_id], sampling=drawn, seed=2**62 + i,
            stop_ids=[tokenizer.eos_token_id],
        )
        for i in range(count)
    ]  # fmt: skip


def questions(count: int, **more: Any) -> list[Request]:
    return [
        Request(
            id=str(i), prompt_ids=[], messages=[Message(role="user", content=f"What is {i} + 4?")],
            sampling=Sampling(max_tokens=20), seed=2**62 + i, **more,
        )
        for i in range(count)
    ]  # fmt: skip


def ask(hosted: Misbehaving, requests: list[Request], **settings: Any) -> tuple[list[Result], OpenAIEngine]:
    engine = engine_at(hosted.url, **settings)
    results = list(engine.generate(requests))
    engine.close()
    return results, engine


def row_of(call: Call) -> int:
    return int(call.body["messages"][0]["content"].split()[2])


def test_ids_and_logprobs_are_those_of_the_base_model(served: OpenAIEngine, demo_model: Path) -> None:
    from forgetless.curator.scoring.scorer import Scorer

    asked = behind_bos(demo_model, 50)
    results = {result.id: result for result in served.generate(asked)}
    assert len(results) == 50 and not any(result.error for result in results.values())
    assert len({tuple(result.token_ids) for result in results.values()}) > 40
    records = [(key, result.prompt_ids + result.token_ids) for key, result in results.items()]
    for key, scored in Scorer(demo_model, "float32").score(records, 4096):
        result = results[key]
        assert result.prompt_ids == asked[0].prompt_ids and result.text is None
        assert (result.token_ids[-1] in asked[0].stop_ids) == (result.finish_reason == "stop")
        assert result.logprobs == pytest.approx(scored.logprob.tolist(), abs=1e-3)
    assert served.stats.tokens == sum(len(result.token_ids) for result in results.values())
    assert (served.stats.requests, served.stats.prompt_tokens, served.stats.retries) == (50, 50, 0)


def test_greedy_answers_are_those_of_a_local_engine(
    served: OpenAIEngine, demo_model: Path, tmp_path: Path
) -> None:
    asked = [
        request.model_copy(update={"prompt_ids": [*request.prompt_ids, 5, 30 + i]})
        for i, request in enumerate(behind_bos(demo_model, 8, temperature=0, max_tokens=2000))
    ]  # as the local engine, the server is asked for no more than fits
    local = ChildEngine(demo_model, Engine(kind="transformers"), tmp_path / "log")
    here = {result.id: result for result in local.generate(asked)}
    local.close()
    for result in served.generate(asked):
        assert result.token_ids == here[result.id].token_ids
        assert result.finish_reason == here[result.id].finish_reason
        assert result.logprobs == pytest.approx(here[result.id].logprobs, abs=1e-3)


def test_messages_are_rendered_by_the_server(served: OpenAIEngine, demo_model: Path) -> None:
    from forgetless.curator.models import load_tokenizer

    tokenizer = load_tokenizer(demo_model)
    for result in served.generate(questions(4)):
        turns = [{"role": "user", "content": f"What is {result.id} + 4?"}]
        rendered = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        assert result.prompt_ids == tokenizer.encode(rendered, add_special_tokens=False)
        assert result.text == tokenizer.decode(result.token_ids, skip_special_tokens=True)
        assert len(result.logprobs) == len(result.token_ids) > 0


@pytest.mark.parametrize("server", ["vllm", "openai"])
def test_choices_are_kept_to(vllm_url: str, demo_model: Path, server: str) -> None:
    engine = engine_at(vllm_url, server=server)
    asked = questions(10, choices=["yes", "no"])
    if server == "vllm":
        asked += [
            r.model_copy(update={"choices": ["yes", "no"], "id": f"b{r.id}"})
            for r in behind_bos(demo_model, 10)
        ]
    results = list(engine.generate(asked))
    engine.close()
    assert len(results) == len(asked)
    assert {result.text for result in results} <= {"yes", "no"}
    assert {result.finish_reason for result in results} == {"stop"}
    assert bool(results[0].token_ids) == (server == "vllm")


def test_a_bad_row_is_a_result(served: OpenAIEngine, demo_model: Path) -> None:
    good = behind_bos(demo_model, 4)
    bad = [good[0].model_copy(update={"id": f"bad{n}", "prompt_ids": [5] * n}) for n in (0, 600)]
    bad.append(good[0].model_copy(update={"id": "bad", "prompt_ids": [10**6]}))
    errors = {r.id: r.error for r in served.generate([*bad, *good]) if r.finish_reason == "error"}
    assert errors.keys() == {"bad0", "bad600", "bad"}
    assert all(error and error.startswith("400: ") for error in errors.values())


def test_one_failure_in_twenty_costs_no_row(vllm_url: str, demo_model: Path) -> None:
    with Misbehaving(passing_on(vllm_url, fails_every=20)) as proxy:
        asked = behind_bos(demo_model, 100, max_tokens=5)
        results, engine = ask(proxy, asked, server="vllm")
    assert sorted(r.id for r in results) == sorted(r.id for r in asked)
    assert not any(r.error for r in results) and engine.stats.retries >= 5


@pytest.mark.parametrize(
    ("first", "pause"),
    [
        (Reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "1"}), 1.0),
        (Reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 0.2),
        (BAD, 0.2),
        (Reply(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}), 0.2),
        (Reply(200, b"<html>Log in</html>", {"Content-Type": "text/html"}), 0.2),
        (Reply(200, b'{"choices": [{"mess'), 0.2),
        (Reply(200, {"error": {"message": "no upstream"}}), 0.2),
        (Reply(drop=True), 0.2),
        (Reply(seconds=1.5), 0.5),
    ],
    ids=["429", "429-date", "500", "502-html", "200-html", "half-json", "no-choices", "dropped", "slow"],
)  # fmt: skip
def test_what_passes_is_asked_again(first: Reply, pause: float) -> None:
    with Misbehaving(lambda call: says("seven") if call.number else first) as server:
        began = time.monotonic()
        (result,), engine = ask(server, questions(1), timeout_seconds=0.5)
        assert time.monotonic() - began >= pause
    assert (result.text, result.token_ids, result.logprobs) == ("seven", [], [])
    assert result.finish_reason == "stop" and result.error is None
    stats = engine.stats
    assert (stats.retries, stats.requests, stats.prompt_tokens, stats.tokens) == (1, 1, 7, 3)


@pytest.mark.parametrize(
    ("answer", "reason", "calls"),
    [
        (Reply(400, {"error": {"message": "too long"}}), "400: too long", 1),
        (BAD, "500: out of luck", 3),
        (Reply(drop=True), "connection was lost", 3),
        (says("I", finish_reason="content_filter"), "'content_filter'", 1),
        (says(None, refusal="I will not"), "refused: I will not", 1),
        (says(None), "no text", 1),
        (Reply(200, {"choices": []}), "no answer", 1),
    ],
    ids=["400", "500", "dropped", "filtered", "refused", "silent", "empty"],
)
def test_a_row_that_fails_is_a_result_and_the_others_go_on(answer: Reply, reason: str, calls: int) -> None:
    with Misbehaving(lambda call: answer if row_of(call) == 7 else says("ok")) as server:
        results, _ = ask(server, questions(30), retries=2)
        assert sum(row_of(call) == 7 for call in server.calls) == calls
    failed = [result for result in results if result.finish_reason == "error"]
    assert [result.id for result in failed] == ["7"] and reason in (failed[0].error or "")
    assert len(results) == 30


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Reply(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}), KEY_ENV),
        (Reply(403, {"error": {"message": "no access"}}), "403: no access"),
        (Reply(404, {"error": {"message": "no model 'demo'"}}), "no model 'demo'"),
        (Reply(429, {"error": {"message": "pay", "code": "insufficient_quota"}}), "429: pay"),
        (BAD, "failed 20 requests"),
        (Reply(400, {"error": {"message": "no such parameter"}}), "no such parameter"),
        (Reply(drop=True), "failed 20 requests"),
    ],
    ids=["401", "403", "404", "quota", "500", "400", "dropped"],
)
def test_a_server_that_is_of_no_use_rejects_nothing(
    answer: Reply, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    results = []
    with Misbehaving(lambda call: answer) as server:
        engine = engine_at(server.url, retries=0)
        with pytest.raises(EngineError) as caught:
            for result in engine.generate(questions(1000)):
                results.append(result)
        engine.close()
        assert len(server.calls) < 60
    assert results == [] and said in str(caught.value) and server.url in str(caught.value)
    assert KEY not in str(caught.value) and KEY_ENV in caught.value.hint


@pytest.mark.parametrize("end", [BAD, Reply(401, {"error": {"message": "expired"}})], ids=["500", "401"])
def test_what_was_answered_before_the_end_is_kept(end: Reply) -> None:
    results = []
    with Misbehaving(lambda call: says("ok") if call.number < 30 else end) as server:
        engine = engine_at(server.url, retries=0, in_flight=4)
        with pytest.raises(EngineError):
            for result in engine.generate(questions(1000)):
                results.append(result)
        engine.close()
    assert 27 <= len(results) <= 30 and not any(result.error for result in results)


def test_nobody_listens() -> None:
    with Misbehaving(lambda call: BAD) as server:
        url = server.url
    began = time.monotonic()
    for kind in ("vllm", "openai"):
        engine = engine_at(url, server=kind)
        with pytest.raises(EngineError, match="cannot be reached"):
            list(engine.generate(questions(100)))
        engine.close()
    assert time.monotonic() - began < 5


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.delenv(KEY_ENV, raising=False)
    with pytest.raises(EngineError, match=f"environment variable '{KEY_ENV}'"):
        list(engine_at("http://192.0.2.1/v1").generate(questions(1)))
    with Misbehaving(lambda call: Reply(400, {"error": {"message": f"bad key {KEY}"}})) as server:
        ask(server, questions(1))
        monkeypatch.setenv(KEY_ENV, KEY)
        (result,), engine = ask(server, questions(1))
        assert [call.headers["authorization"] for call in server.calls] == ["Bearer none", f"Bearer {KEY}"]
    assert result.error == "400: bad key ***"
    written = capfd.readouterr()
    assert KEY not in written.out + written.err + caplog.text + repr(engine) + repr(vars(engine))


def test_other_servers_are_sent_what_is_documented() -> None:
    with Misbehaving(lambda call: says('{"answer": "no"}')) as server:
        (result,), _ = ask(server, questions(1, choices=["yes", "no"]))
        ask(server, questions(1, stop_texts=["\n"]))
        chosen, free = (call.body for call in server.calls)
    assert result.text == "no"
    assert chosen.pop("response_format")["json_schema"]["schema"]["properties"]["answer"]["enum"] == [
        "yes",
        "no",
    ]
    assert free.pop("stop") == ["\n"] and free.pop("seed") < 2**31
    assert free == {
        "model": "demo", "messages": [{"role": "user", "content": "What is 0 + 4?"}],
        "temperature": 1.0, "top_p": 1.0, "max_tokens": 20,
    }  # fmt: skip


def test_what_other_servers_cannot_be_asked(demo_model: Path) -> None:
    with Misbehaving(lambda call: says("ok")) as server:
        top_k = questions(1)[0].model_copy(update={"id": "k", "sampling": Sampling(top_k=5)})
        results, _ = ask(server, [*questions(2), top_k, *behind_bos(demo_model, 1)[:1]])
        assert len(server.calls) == 2
    assert sum("`server: vllm`" in (result.error or "") for result in results) == 2


def test_no_more_are_in_flight_than_allowed() -> None:
    taken: list[str] = []

    def stream() -> Iterator[Request]:
        for request in questions(1000):
            taken.append(request.id)
            yield request

    with Misbehaving(lambda call: Reply(200, says("ok").body, seconds=0.02)) as server:
        engine = engine_at(server.url, in_flight=8)
        results = engine.generate(stream())
        for count in range(1, 41):
            next(results)
            assert len(taken) - count < 8 + 1
        assert server.most_busy == 8
        results.close()  # type: ignore[attr-defined]
        engine.close()
        asked = len(server.calls)
        time.sleep(0.2)
        assert asked == len(server.calls) <= 40 + 8


def test_a_recipe_runs_on_a_server(vllm_url: str, demo_model: Path, tmp_path: Path) -> None:
    """As the base model's engine it keeps ids and log-probs; as a teacher known by name alone, its text."""
    endpoint = {"kind": "openai", "base_url": vllm_url, "model": "demo", "server": "vllm"}
    answer = {"max_tokens": 40}
    steps = [
        {"pipeline": "bos_replay", "count": 12, "sampling": {"max_tokens": 60}},
        {
            "pipeline": "import",
            "path": str(task_file(tmp_path / "task.jsonl", 8, 0)),
            "reference": "reference",
        },
        {"pipeline": "self_output", "samples": 2, "verifier": "exact", "sampling": answer},
        {"pipeline": "teacher", "writer": "named", "verifier": "exact", "sampling": answer},
        {"pipeline": "score"},
    ]
    writers = {"named": {"engine": endpoint}}
    recipe = recipe_of(tmp_path / "store", demo_model, steps, engine=endpoint, writers=writers)
    report = Build(recipe).run()
    assert report.engines["model"]["requests"] == 12 + 16 and report.engines["named"]["requests"] == 8
    store = Store.open(tmp_path / "store")
    assert verify(store)[0] == []
    found = store.query("SELECT kind, ids_from, count(*) AS n FROM records GROUP BY ALL").to_pylist()
    origins = {row["kind"]: row["ids_from"] for row in found}
    assert (origins["bos_replay"], origins["self_output"], origins["teacher"]) == (
        "engine",
        "engine",
        "tokenizer",
    )
    rms = store.query(
        "SELECT sqrt(avg((logprob - sampled_logprob) ** 2)) AS rms FROM tokens WHERE is_target AND sampled_logprob < 0"
    )
    assert rms["rms"][0].as_py() < 1e-3
