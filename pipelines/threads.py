"""Work in threads, its results in the order it came."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from forgetless.schemas.errors import ForgetlessError

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_threads(make: Callable[[Item], Made], items: Iterable[Item], workers: int) -> Iterator[Made]:
    """`make` of each item; with several workers a few items ahead of the one that is waited for.

    Where `items` breaks off, what it gave before is made and yielded first: it is paid for.
    """
    if workers == 1:
        yield from map(make, items)
        return
    ahead: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                ahead.append(pool.submit(make, item))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
        except (ForgetlessError, KeyboardInterrupt):
            yield from (future.result() for future in ahead)
            raise
        yield from (future.result() for future in ahead)
