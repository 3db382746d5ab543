"""Whatever is sent to it, the service says what is wrong with it: five thousand requests made up from its document."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from paged import IDS, make_store
from schemathesis import GenerationMode
from serving import Serving, serving

CASES = 5000
TELLING = {
    "not_a_server_error",
    "content_type_conformance",
    "response_schema_conformance",
    "status_code_conformance",
}


@pytest.fixture
def service(demo_model: Path, tmp_path: Path) -> Any:
    """Over a small store called `small`, with nothing else that a request could touch."""
    root = tmp_path / "root"
    root.mkdir()
    make_store(tmp_path / "small", demo_model)
    with serving(tmp_path / "small", "--root", root, home=tmp_path / "home") as running:
        yield running


def names(operation: Any, job: str) -> list[dict[str, str] | None]:
    """What to put into an address: names that are there, twice as often as made-up ones."""
    there = {
        "store": "small",
        "id": job if "/jobs/" in operation.path or "/exports/" in operation.path else IDS["a1"],
    }
    inside = {name: value for name, value in there.items() if f"{{{name}}}" in operation.path}
    return [inside, inside, None] if inside else [None]


def test_no_request_is_too_strange(service: Serving) -> None:
    """No answer is a 5xx, and each is as the document says."""
    made = {"verb": "export", "store": "small", "format": "messages"}
    job = requests.post(f"{service.address}/v1/exports", json=made, headers=service.headers).json()["id"]
    schema = schemathesis.openapi.from_url(f"{service.address}/openapi.json", headers=service.headers)
    operations = [each.ok() for each in schema.get_all_operations()]
    ways = [(o, mode, at) for o in operations for mode in GenerationMode for at in names(o, job)]
    told: Counter[int] = Counter()
    session = requests.Session()
    session.headers.update(service.headers)
    checks = [check for check in schemathesis.checks.CHECKS.get_all() if check.__name__ in TELLING]
    assert len(checks) == len(TELLING)

    def try_out(turn: int, operation: Any, mode: GenerationMode, at: dict[str, str] | None) -> None:
        @seed(turn)
        @given(case=operation.as_strategy(generation_mode=mode, path_parameters=at))
        @settings(
            max_examples=-(-CASES // len(ways)), database=None, deadline=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def run(case: Any) -> None:
            request = case.as_transport_kwargs()
            request["headers"].update(
                service.headers
            )  # without, as it would be at times, all is refused alike
            answer = session.request(**request, timeout=120)
            told[answer.status_code] += 1
            case.validate_response(answer, checks=checks)
            if answer.status_code == 201:  # no job needs to be done
                requests.post(
                    f"{service.address}/v1/jobs/{answer.json()['id']}/cancel", headers=service.headers
                )

        run()

    turn = 0
    while told.total() < CASES:  # some operations have fewer different requests than their share
        try_out(turn, *ways[turn % len(ways)])
        turn += 1
    print(dict(told))
    assert service.process.poll() is None
    assert not [status for status in told if status >= 500]
