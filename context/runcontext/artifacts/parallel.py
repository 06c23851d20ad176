"""The same done with several things at once, by threads that nobody has to wait for: Ctrl-C ends a long transfer.

Not through ThreadPoolExecutor: the interpreter waits at its end for what that one's threads do, however long it takes.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_Task: TypeAlias = "tuple[Callable[[], Any], Future[Any]]"

_GRACE_SECONDS = 0.5
"""How long what is under way has, after Ctrl-C, to see that it is to stop, and to tidy up."""


class Crew:
    """Threads that do what they are given, in the order in which it comes.

    Args:
        workers: how many there are at most.
        name: what they are called.
    """

    def __init__(self, workers: int, *, name: str) -> None:
        """Start none before there is something to do."""
        self._workers = workers
        self._name = name
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = 0

    def submit(self, work: Callable[[], R]) -> Future[R]:
        """Have something done."""
        future: Future[R] = Future()
        self._tasks.put((work, future))
        if self._threads < self._workers:
            self._threads += 1
            name = f"{self._name}-{self._threads}"
            threading.Thread(target=_serve, args=(self._tasks,), name=name, daemon=True).start()
        return future

    def dismiss(self) -> None:
        """Let the threads go, each when it is done with what was submitted."""
        for _ in range(self._threads):
            self._tasks.put(None)
        self._threads = 0


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
    crew = Crew(workers, name=name)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(crew.submit(functools.partial(work, item)))
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
        crew.dismiss()


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


def _serve(tasks: queue.SimpleQueue[_Task | None]) -> None:
    while (task := tasks.get()) is not None:
        work, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
                future.set_exception(error)
        # What it holds is not to live until the next comes.
        del task, work, future
