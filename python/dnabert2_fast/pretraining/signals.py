"""Ctrl-C and SIGTERM, handled between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["StopRequest", "stop_between_steps"]


class StopRequest:
    """Becomes true when the user or the scheduler requests a stop."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def ask(self, number: int, frame: object) -> None:
        """Request a stop after this step; a second Ctrl-C stops immediately."""
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True


@contextmanager
def stop_between_steps() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request that is handled between two steps."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, request.ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
