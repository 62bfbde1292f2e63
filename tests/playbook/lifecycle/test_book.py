"""The book itself: it can fail."""

import pytest

from tests.playbook.lifecycle.book import NOTHING, Book, client, machine, to_upstream, upstream
from tests.playbook.lifecycle.lines import READY
from tests.wireclient import FLUSH, SYNC


def test_effects_nobody_asserted() -> None:
    book = Book(machine())
    book >> client(SYNC)
    with pytest.raises(AssertionError, match="not asserted"):
        book.done()
    with pytest.raises(AssertionError, match="not asserted"):
        book >> client(SYNC)
    book << to_upstream(SYNC)
    book.done()


def test_effects_beside_the_asserted_ones() -> None:
    book = Book(machine()) >> client(SYNC, FLUSH) << to_upstream(SYNC)
    with pytest.raises(AssertionError, match="nobody asserted"):
        book.done()


def test_other_effects() -> None:
    book = Book(machine()) >> client(SYNC)
    with pytest.raises(AssertionError, match="instead of"):
        book << to_upstream(FLUSH)
    with pytest.raises(AssertionError, match="did not come"):
        book << to_upstream(SYNC)


def test_nothing_means_nothing() -> None:
    book = Book(machine()) >> client(SYNC)
    with pytest.raises(AssertionError):
        book << NOTHING
    book << to_upstream(SYNC)
    book >> upstream(READY[:3]) << NOTHING
