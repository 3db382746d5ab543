"""Work in threads, its results in the order it came."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_threads(make: Callable[[Item], Made], items: Iterable[Item], workers: int) -> Iterator[Made]:
    """`make` of each item; with several workers a few items ahead of the one that is waited for."""
    if workers == 1:
        yield from map(make, items)
        return
    ahead: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            ahead.append(pool.submit(make, item))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
