"""Replies read in threads keep their order, and none is lost where the engine breaks off."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from forgetless.pipelines.threads import in_threads
from forgetless.schemas.errors import EngineError


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ending", [None, EngineError("dead"), KeyboardInterrupt()])
def test_everything_that_came_is_made_in_order(workers: int, ending: BaseException | None) -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        if ending:
            raise ending

    made: list[int] = []
    with pytest.raises(type(ending)) if ending else nullcontext():
        for number in in_threads(lambda n: n * n, items(), workers):
            made.append(number)
    assert made == [n * n for n in range(20)]
