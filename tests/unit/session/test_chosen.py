"""What a session has set for itself: two sessions that are told alike have the same settings.

The oracle is a small PostgreSQL of settings: transactions, savepoints, SET LOCAL, failures.
"""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.model.catalog import SessionSettings
from appliance.model.facts import Facts
from appliance.model.limits import Limits
from appliance.session.chosen import Chosen
from appliance.sql.analysis import analyse


def facts(text: str) -> Facts:
    return analyse(text.encode(), None, SessionSettings("d"), Limits())


_references = itertools.count()


def told(*texts: str) -> str:
    """Of a session that ran these outside of transactions, none failing."""
    chosen = Chosen()
    for text in texts:
        chosen.note(facts(text), str(next(_references)), text.encode())
        chosen.completed(text.upper().encode() if text.startswith("DISCARD") else b"SET")
        chosen.idle()
    return chosen.digest


@pytest.mark.parametrize(
    "text",
    [
        "SET app.tenant = '2'",
        "SELECT set_config('app.tenant', '2', false)",
        "SELECT set_config('app.tenant', $1, false), set_config('app.user', 'x', false)",
        "SET transform_null_equals = on",
        "SET SESSION array_nulls TO off",
        "UPDATE pg_settings SET setting = 'on' WHERE name = 'transform_null_equals'",
        "DO $$ BEGIN END $$",
        "SET app.tenant = '2'; SET app.tenant = '3'",
        "EXECUTE p('2')",
        "DECLARE c CURSOR WITH HOLD FOR SELECT set_config('app.tenant', '2', false)",
    ],
)
def test_what_matters_is_told(text: str) -> None:
    assert told(text) not in ("", told("SET app.tenant = '1'"))


@pytest.mark.parametrize(
    "text",
    [
        "SET application_name = 'x'",
        "SET statement_timeout = 5",
        "SELECT 1",
        "UPDATE t SET a = 1",
        "BEGIN",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET search_path = a, b",
    ],
)
def test_what_does_not_is_not(text: str) -> None:
    """search_path is bound by its value."""
    assert told(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "DO $$ BEGIN PERFORM set_config('app.tenant', '2', false); END $$",
        "SELECT set_config('app.tenant', max(id)::text, false) FROM t",
        "SELECT set_config('app.tenant', $1, false) WHERE EXISTS (SELECT FROM t)",
        "SELECT set_config('app.tenant', g::text, false) FROM generate_series(1, 3) g",
    ],
)
def test_what_is_not_told_by_its_text_is_like_nothing_else(text: str) -> None:
    assert told(text) != told(text)


def test_alike_by_the_same_texts() -> None:
    assert told("SET app.tenant = '2'") == told("SET app.tenant = '1'", "SET app.tenant = '2'")
    assert told("SET app.tenant = '2'", "RESET ALL") == ""
    assert told("SET app.tenant = '2'", "DISCARD ALL") == ""
    assert told("SET a.b = '1'", "SET c.d = '2'") == told("SET c.d = '2'", "SET a.b = '1'")


def test_a_failure_before_it_is_not_its_own() -> None:
    """Two texts on their way at once: the first fails, the second sets something."""
    chosen = Chosen()
    text = "SET app.tenant = '2'"
    chosen.note(facts("SELECT 1 / 0"), "1", b"SELECT 1 / 0")
    chosen.note(facts(text), "2", text.encode())
    chosen.failed()
    chosen.idle(more=True)
    assert chosen.digest not in ("", told(text))
    chosen.completed(b"SET")
    chosen.idle()
    assert chosen.digest not in ("", told(text))


def test_a_cursor_sets_when_it_is_fetched_from() -> None:
    chosen = Chosen()
    declared = "DECLARE c CURSOR WITH HOLD FOR SELECT set_config('app.tenant', '2', false)"
    chosen.note(facts(declared), "1", declared.encode())
    chosen.idle()
    before = chosen.digest
    chosen.note(facts("FETCH c"), "2", b"FETCH c")
    assert chosen.digest != before


# --- against an oracle ----------------------------------------------------------------------------

STEPS = (
    "SET app.a = '1'", "SET app.a = '2'", "SET LOCAL app.a = '3'", "SET app.b = '1'",
    "SELECT set_config('app.a', '4', true)", "RESET app.a", "RESET ALL",
    "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s", "fails",
)  # fmt: skip
FACTS = {text: facts(text) for text in STEPS if text != "fails"}


class Server:
    """One session's settings as PostgreSQL keeps them; each text comes in a Query of its own."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}
        self.lasting: dict[str, str] = {}
        self.outer: dict[str, str] | None = None
        """As before the transaction."""
        self.points: list[tuple[dict[str, str], dict[str, str]]] = []
        self.broken = False

    def run(self, text: str) -> bytes | None:
        """The command tag; None = it failed."""
        if self.broken and text not in ("ROLLBACK", "COMMIT", "ROLLBACK TO s"):
            return None
        verb = text.split()[0]
        if text == "fails":
            self.broken = self.outer is not None
            return None
        if verb in ("SET", "SELECT", "RESET"):
            self._set(text)
        elif verb == "BEGIN":
            if self.outer is None:
                self.outer = dict(self.now)
        elif text in ("COMMIT", "ROLLBACK"):
            return self._end(text)
        elif not self._savepoint(text):
            self.broken = self.outer is not None
            return None
        return verb.encode()

    def _set(self, text: str) -> None:
        local = "LOCAL" in text or "true" in text
        if local and self.outer is None:
            return
        for values in (self.now, *(() if local else (self.lasting,))):
            if text == "RESET ALL":
                values.clear()
            elif text.startswith("RESET"):
                values.pop("app.a", None)
            else:
                name = "app.b" if "app.b" in text else "app.a"
                values[name] = next(c for c in text if c.isdigit())

    def _end(self, text: str) -> bytes:
        undone = text == "ROLLBACK" or self.broken
        if self.outer is not None:
            self.now = dict(self.outer if undone else self.lasting)
        self.lasting, self.outer, self.broken = dict(self.now), None, False
        self.points.clear()
        return b"ROLLBACK" if undone else b"COMMIT"

    def _savepoint(self, text: str) -> bool:
        if self.outer is None:
            return False
        if text == "SAVEPOINT s":
            self.points.append((dict(self.now), dict(self.lasting)))
        elif not self.points:
            return False
        elif text == "RELEASE s":
            self.points.pop()
        else:
            self.now, self.lasting = (dict(part) for part in self.points[-1])
            self.broken = False
        return True


def play(steps: list[str]) -> tuple[dict[str, str], str, bool]:
    """(settings, what is told of them, whether a transaction has failed)."""
    server, chosen = Server(), Chosen()
    for number, text in enumerate(steps):
        if text != "fails":
            chosen.note(FACTS[text], f"{number}", text.encode())
        tag = server.run(text)
        if tag is None:
            chosen.failed()
        else:
            chosen.completed(tag)
        if server.outer is None:
            chosen.idle()
    return server.now, chosen.digest, server.broken


@given(st.lists(st.lists(st.sampled_from(STEPS), max_size=9), min_size=60, max_size=60))
@settings(max_examples=60, deadline=None)
def test_told_alike_is_set_alike(histories: list[list[str]]) -> None:
    met: dict[str, Any] = {}
    for steps in histories:
        values, digest, broken = play(steps)
        if not broken:  # nothing held runs there
            assert met.setdefault(digest, (values, steps))[0] == values, (met[digest], steps)
