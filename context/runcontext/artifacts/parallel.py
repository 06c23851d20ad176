"""The same done with several things at once, by threads that nobody has to wait for: Ctrl-C ends a long transfer.

Not through ThreadPoolExecutor: the interpreter waits at its end for what that one's threads do, however long it takes.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_GRACE_SECONDS = 0.5
"""How long what is under way has, after Ctrl-C, to see that it is to stop, and to tidy up."""


def in_order(
    work: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    *,
    name: str,
    ahead: int | None = None,
    stopping: threading.Event | None = None,
) -> Iterator[R]:
    """Give what ``work`` makes of each item, in their order.

    Where one fails, its exception comes out in its turn, once nothing is under way any more. Where whoever asks has
    gone, by Ctrl-C or with the iterator, nothing is begun any more, and what is under way is left to itself.

    Args:
        work: what to do.
        items: with what; they are taken as they are needed.
        workers: how many at once.
        name: what the threads are called.
        ahead: how many may have been taken whose results nobody has taken yet; as many as ``workers`` unless given.
        stopping: is set when the rest need not be done.
    """
    tasks: queue.SimpleQueue[tuple[T, Future[R]] | None] = queue.SimpleQueue()
    waiting: deque[Future[R]] = deque()
    threads = 0
    try:
        for item in items:
            waiting.append(Future())
            tasks.put((item, waiting[-1]))
            if threads < workers:
                threads += 1
                threading.Thread(target=_serve, args=(work, tasks), name=f"{name}-{threads}", daemon=True).start()
            if len(waiting) >= (ahead or workers):
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    except Exception:
        _stop(waiting, stopping)
        # Who tries again is not to meet what is still on its way.
        wait(waiting)
        raise
    except GeneratorExit:
        _stop(waiting, stopping)
        raise
    except BaseException:
        _stop(waiting, stopping)
        wait(waiting, _GRACE_SECONDS)
        raise
    finally:
        for _ in range(threads):
            tasks.put(None)


def _first(waiting: deque[Future[R]]) -> R:
    # It counts as under way until it is there.
    result = waiting[0].result()
    waiting.popleft()
    return result


def _stop(waiting: Iterable[Future[R]], stopping: threading.Event | None) -> None:
    if stopping is not None:
        stopping.set()
    for each in waiting:
        each.cancel()


def _serve(work: Callable[[T], R], tasks: queue.SimpleQueue[tuple[T, Future[R]] | None]) -> None:
    while (task := tasks.get()) is not None:
        item, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work(item))
            except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
                future.set_exception(error)
        # What it holds is not to live until the next comes.
        del task, item, future
