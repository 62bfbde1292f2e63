"""What the database itself says that it ran: its log, read against what was approved.

A statement of a test carries a mark (`Books.mark`), in its text or as a parameter. Rule: the
database is asked through its log (`log_statement = all`), never through what Sallyport tells.
"""

import itertools
import os
from collections import Counter
from pathlib import Path

from appliance.session.estimates import EXPLAIN
from tests.endtoend.stage import DATABASE, ROLE

LOG_LINE_PREFIX = "%m [%p] %u@%d "
"""The server's setting that this reads."""
_BEGINNINGS = tuple(f" {ROLE}@{DATABASE} LOG:  {words}" for words in ("statement: ", "execute "))
"""Of what Sallyport sent; the store of its control process may be on the same server."""
_numbers = itertools.count(1)


class Books:
    """Of one server: `approved` statements, by mark, and what it ran of all there ever were."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._begins = log.stat().st_size
        self._prefix = f"mark{os.urandom(3).hex()}"
        self.approved: Counter[str] = Counter()
        self.undecided: set[str] = set()
        """Marks of statements whose approval was under way when something was killed: they may
        have run once, or not."""

    def mark(self) -> str:
        """One that no other statement has."""
        return f"{self._prefix}n{next(_numbers):04d}"

    def ran(self, mark: str = "") -> int:
        """How many statements with this mark the server began to run."""
        return sum((mark or self._prefix) in entry for entry in self._entries())

    def balance(self) -> None:
        """Whatever ran was approved, and ran as often as it was approved."""
        entries = self._entries()
        found = Counter(
            mark for entry in entries for mark in {self._mark_of(entry)} if mark is not None
        )
        for mark in self.undecided:
            assert found.pop(mark, 0) <= 1, f"{mark} ran twice"
        assert found == self.approved

    def _mark_of(self, entry: str) -> str | None:
        begins = entry.find(self._prefix)
        return entry[begins : begins + len(self._prefix) + 5] if begins >= 0 else None

    def _entries(self) -> list[str]:
        """Statements as logged, each with the line of its parameters. (Asking the planner what one
        would do runs nothing.)"""
        with self._log.open("rb") as log:
            log.seek(self._begins)
            lines = log.read().decode(errors="replace").splitlines()
        entries: list[str] = []
        ours = False
        for line in lines:
            if any(beginning in line for beginning in _BEGINNINGS):
                entries.append(line)
                ours = True
            elif not line.startswith("\t"):  # which goes on with the line before
                ours = f" {ROLE}@{DATABASE} DETAIL:  " in line and ours
            if ours and line != entries[-1]:
                entries[-1] += "\n" + line
        return [entry for entry in entries if EXPLAIN.decode() not in entry]
