"""A statement that waits, in a thread of its own."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest


class Held:
    """A statement that runs in a thread of its own."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self._thread.start()

    def _run(self, run: Callable[[], Any]) -> None:
        try:
            self.result = run()
        except BaseException as error:
            self.error = error

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()

    def done(self) -> Any:
        self._thread.join(20)
        assert not self._thread.is_alive(), "it still waits"
        if self.error is not None:
            raise self.error
        return self.result

    def refused(self) -> psycopg.Error:
        with pytest.raises(psycopg.Error) as caught:
            self.done()
        return caught.value
