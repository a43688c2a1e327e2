"""Models that are `async def`: each call is run to its end, in an event loop of its thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Coroutines:
    """Calls a coroutine function as if it were a plain one.

    What it opens in one call and keeps (a session, a connection) works in the next: the loop of a
    thread is the same for all calls.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._of_thread = threading.local()

    def __call__(self, *arguments: Any) -> Any:
        return self.run(self._function, *arguments)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Another one, in the same loop. A decorator may have run it itself."""
        result = function(*arguments)
        if not inspect.isawaitable(result):
            return result
        return self._finish(asyncio.ensure_future(result, loop=self._loop()))

    def call_all(
        self,
        calls: Sequence[Callable[[Callable[..., Any]], Awaitable[T]]],
        done: Callable[[T], None],
    ) -> None:
        """Make all of these calls at once, each of which gets the coroutine function; `done` is
        told what each of them returned, in their order, as soon as those before it have ended."""
        is_over = False

        async def run() -> None:
            tasks = [asyncio.ensure_future(call(self._function)) for call in calls]
            try:
                for task in tasks:
                    ended = await task
                    if is_over:  # it was cancelled, and has taken no notice of that
                        return
                    done(ended)
            finally:
                for task in tasks:
                    task.cancel()

        try:
            self._finish(self._loop().create_task(run()))
        finally:
            is_over = True

    def _finish(self, task: asyncio.Future[T]) -> T:
        try:
            return self._loop().run_until_complete(task)
        except BaseException:
            task.cancel()  # where it has stopped the loop, it would go on beside the next call
            raise

    @staticmethod
    def is_cancelled(error: BaseException) -> bool:
        return isinstance(error, asyncio.CancelledError)

    def close(self, closers: Sequence[Callable[[], object]]) -> None:
        """Call these, to their end if they are coroutine functions, and end the thread's loop."""
        loop = self._loop()
        try:
            for call in closers:
                result = call()
                if asyncio.iscoroutine(result):
                    loop.run_until_complete(result)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop | None = getattr(self._of_thread, "loop", None)
        if loop is None:
            loop = self._of_thread.loop = asyncio.new_event_loop()
        return loop
