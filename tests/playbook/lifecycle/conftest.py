"""The `play` fixture: opens books, and at the end asks whether all was asserted."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.playbook.lifecycle.book import Book, machine


@pytest.fixture
def play() -> Iterator[Callable[..., Book]]:
    """`play(policy=..., catalog=..., limits=...)`: see `book.machine`."""
    made: list[Book] = []

    def make(**options: Any) -> Book:
        made.append(Book(machine(**options)))
        return made[-1]

    yield make
    for book in made:
        book.done()
