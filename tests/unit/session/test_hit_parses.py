"""A Parse that makes the unnamed statement what it is already is spared: the client, the trail and
what runs are the same, and the server is not asked to parse."""

import random
from collections.abc import Callable

import pytest

from appliance.wire.postgres import messages as m
from tests.playbook.speech import SYNC, bind, describe_portal, execute, parse, query
from tests.playbook.world import ANN, SECRET
from tests.unit.session.hit_fronts import (
    BY_NUMBER,
    NOTES,
    NOW,
    READ,
    Front,
    Hold,
    Wired,
    by_number,
)
from tests.unit.session.test_hits import plain, sorts, told

TEXT = BY_NUMBER.encode()
USES = 5
TRIES_MAX = 20
SECOND = 1.0


def held() -> Wired:
    hold = Hold()
    hold.take()
    front = Wired(ANN, random.Random(0), hold)
    front.choices.random = lambda: 0.9  # type: ignore[method-assign]
    front.say(parse(READ, "p") + SYNC)
    front.answer()
    return front


def ran(front: Front, chunk: bytes) -> bytes:
    """-> what the client is told."""
    before = len(front.read)
    front.say(chunk)
    front.answer()
    return front.read[before:]


def known() -> Wired:
    """The last that was sent is a Parse of BY_NUMBER, and what executes it."""
    front = held()
    for _ in range(TRIES_MAX):
        before = front.taken
        ran(front, by_number(0))
        if front.taken > before:
            return front
    raise AssertionError("the statement never became known")


def spared(front: Front, chunk: bytes | None = None) -> bool:
    """Whether the next Parse is, or that of `chunk`."""
    before, taken = len(front.database.parsed), front.taken
    said = ran(front, chunk or by_number(7))
    assert said.startswith(m.frame(m.PARSE_COMPLETE, b"") + m.frame(m.BIND_COMPLETE, b""))
    assert SECRET.encode() not in said
    assert front.taken <= taken + 1
    return len(front.database.parsed) == before


def test_as_often_as_the_server_plans_anew() -> None:
    """With and without: the same to the client and on record."""
    front, alone = held(), Front(ANN, False, random.Random(0))
    alone.say(parse(READ, "p") + SYNC)
    alone.answer()
    for number in range(40):
        assert ran(front, by_number(number)) == ran(alone, by_number(number))
    assert alone.database.parsed == [TEXT] * 40
    assert front.taken > 35
    assert 40 / USES <= len(front.database.parsed) <= 40 / USES + 4
    front.leave()
    alone.leave()
    assert plain(front.read) == plain(alone.read)
    assert sorts(told(front.records)) == sorts(told(alone.records))
    assert front.database.ran == alone.database.ran


def moved(front: Wired) -> None:
    front.path.attach(front._client, front._upstream)


def lease_anew(front: Wired) -> None:
    assert front.hold is not None
    front.hold.take()


def not_direct(front: Wired) -> None:
    front.session.state.hits.process = "another"
    front.machine._arm()


def written(front: Wired) -> None:
    """By whomever; what it comes to is not the session's."""
    front._upstream.write(SYNC)
    front._to_database = b""


@pytest.mark.parametrize(
    "between",
    [
        lambda front: ran(front, query(READ)),
        lambda front: ran(front, query("INSERT INTO notes VALUES (1, 'x')")),
        lambda front: ran(front, bind("p") + describe_portal() + execute() + SYNC),
        lambda front: ran(front, parse(NOTES.format(1)) + bind() + execute() + SYNC),
        lambda front: ran(front, parse(READ) + SYNC),
        lambda front: ran(front, m.close(m.STATEMENT, b"") + SYNC),
        lambda front: ran(front, SYNC),
        moved,
        lease_anew,
        not_direct,
        written,
    ],
    ids=[
        "a Query",
        "another Query",
        "a prepared statement",
        "another unnamed one",
        "a Parse alone",
        "Close",
        "Sync",
        "another session",
        "another lease",
        "somebody in between",
        "something of ours",
    ],
)
def test_not_behind_anything_else(between: Callable[[Wired], object]) -> None:
    front = known()
    assert spared(front)
    between(front)
    assert not spared(front)
    front.leave()


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("SELECT email FROM customers WHERE id = $1 AND name < 'x'", 1),
        ("SELECT email FROM customers WHERE id = $1 AND name < $$x$$", 1),
        ("SELECT email FROM customers WHERE id = $1 AND name < $a$x$a$", 1),
        ("SELECT email FROM customers", 0),
    ],
)
def test_not_of_a_text_that_may_mean_something_else_later(text: str, parameters: int) -> None:
    front = held()
    bound = m.bind_texts(b"", b"", (b"7",) * parameters)
    chunk = parse(text) + bound + describe_portal() + execute() + SYNC
    for _ in range(12):
        ran(front, chunk)
    assert front.taken > 5
    assert front.database.parsed == [text.encode()] * 12
    front.leave()


def test_not_of_another_parse() -> None:
    """Of the same text with other types, too."""
    front = known()
    bound = m.bind_texts(b"", b"", (b"7",)) + describe_portal() + execute() + SYNC
    assert not spared(front, m.parse(b"", TEXT, (23,)) + bound)
    assert not spared(front)
    front.leave()


def test_not_of_another_text_of_the_same_length() -> None:
    front = held()
    others = [by_number(7), by_number(7).replace(b"id = $1", b"id < $1")]
    for _ in range(12):
        for chunk in others:
            ran(front, chunk)
    assert front.taken > 12
    assert len(front.database.parsed) == 24
    front.leave()


def test_not_under_another_lease_though_the_statement_is_known_under_that_too() -> None:
    front = known()
    assert front.hold is not None
    assert spared(front)
    front.hold.take()
    front.path.exact[TEXT].leased = front.hold.lease.value
    taken = front.taken
    assert not spared(front)
    assert front.taken == taken + 1
    front.leave()


def test_not_without_a_lease() -> None:
    front = Wired(ANN, random.Random(0))
    for _ in range(12):
        ran(front, by_number(7))
    assert front.taken > 5
    assert front.database.parsed == [TEXT] * 12
    front.leave()


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.9, True), (SECOND, False), (3600.0, False), (-0.1, False)]
)
def test_not_for_longer_than_a_moment(seconds: float, expected: bool) -> None:
    front = known()
    path = front.path
    for now, parses in ((NOW, True), (NOW + seconds, not expected)):
        if now == NOW:
            written(front)
        assert path.client(by_number(7), now)
        sent = path.forward()
        assert sent.startswith(parse(BY_NUMBER)) == parses
        out, rest = path.upstream(front.database.answer(sent), now)
        assert out.startswith(m.frame(m.PARSE_COMPLETE, b""))
        assert rest is None
    front.leave()


def test_a_lease_that_breaks_meanwhile() -> None:
    """Nothing of that answer is the client's, and the whole runs again, with its Parse."""
    front = known()
    before = len(front.database.parsed)
    front.say(by_number(7))
    assert front._to_database.startswith(b"B")
    front.reshape(7, 0.0)
    front.database.betrays = True
    begun = len(front.read)
    front.answer()
    said = front.read[begun:]
    assert len(front.database.parsed) > before
    assert said.count(m.frame(m.PARSE_COMPLETE, b"")) == 1
    assert SECRET.encode() not in said
    assert said.endswith(m.ready_for_query(ord("I")))
    front.leave()


def test_an_error_comes_behind_it() -> None:
    front, alone = known(), Front(ANN, False, random.Random(0))
    for each in (front, alone):
        each.database.fails = True
    assert plain(ran(front, by_number(7))) == plain(ran(alone, by_number(7)))
    assert not spared(front)
    front.leave()
    alone.leave()


def test_a_session_that_ends_amid_it_is_on_record() -> None:
    front = known()
    front.say(by_number(7))
    assert front._to_database.startswith(b"B")
    front.leave()
    assert sorts(told(front.records[-1:]))[0].count("DISCONNECTED") == 1


@pytest.mark.parametrize("noted", [False, True], ids=["", "and something else is heard meanwhile"])
@pytest.mark.parametrize("behind", [query(READ), by_number(8)], ids=["Query", "Parse"])
def test_what_could_not_be_recorded_owes_nothing(noted: bool, behind: bytes) -> None:
    """To what comes behind it. What the server said meanwhile is told."""
    front = held()
    for _ in range(10):
        ran(front, behind)
    expected = ran(front, behind)
    ran(front, SYNC)
    for _ in range(TRIES_MAX):
        if spared(front):
            break
    front._client.say(by_number(7))
    assert front.path.steps_left.startswith(b"B"), "it is spared"
    told_of = m.frame(ord("A"), b"\0\0\0\1ch\0\0") if noted else b""
    if noted:
        front._upstream.say(told_of)
    (cycle,) = front.ledger.take_due()
    assert cycle.drop() == by_number(7)
    front.machine._arm()
    taken = front.taken
    assert ran(front, behind) == told_of + expected
    assert front.taken == taken + 1
    front.leave()


def test_what_is_heard_before_it_is_sent_comes_first() -> None:
    front = known()
    expected = ran(front, by_number(7))
    front._client.say(by_number(7))
    told_of = m.frame(ord("A"), b"\0\0\0\1ch\0\0")
    begun = len(front.read)
    front._upstream.say(told_of)
    assert front.ledger.write_due()
    assert front._to_database.startswith(b"B")
    front.answer()
    assert front.read[begun:] == told_of + expected
    front.leave()
