"""Which rows are passed on for samples: those the pace allows, as they were sent, and no others."""

import random

import pytest

from appliance.model.principal import Principal
from appliance.policy.compile import compile_documents
from appliance.policy.presets import PERMISSIVE
from appliance.session.effects import SampleRows, Turn
from appliance.session.pace import DESCRIPTION_BYTES_MAX, DULLS_MAX, SamplePace
from tests.playbook import speech as say
from tests.playbook.world import ANN, DAN, EMAIL, SECRET, Session
from tests.unit.session.hit_fronts import READ, Front

SHAPE = say.described(say.ID_COLUMN, say.NAME_COLUMN, say.EMAIL_COLUMN)
ROWS = say.rows(("1", "Ada", SECRET), ("2", "Bo", SECRET))
TEXT = "SELECT id, name, email FROM customers"


def begin(who: Principal, per_second: int = 4) -> Session:
    session = Session(who)
    session.state.pace = SamplePace(per_second)
    return session


def samples(turn: Turn) -> list[SampleRows]:
    return [request for request in turn.requests if isinstance(request, SampleRows)]


def simple(session: Session, now: float, shape: bytes = SHAPE) -> Turn:
    session.machine.client_received(say.query(TEXT), now)
    reply = shape + ROWS + say.complete("SELECT 2") + say.IDLE
    return session.machine.upstream_received(memoryview(bytearray(reply)), now)


def test_what_was_sent_is_passed_on() -> None:
    turn = simple(begin(DAN), 1.0)
    (sample,) = samples(turn)
    assert sample.rows == ROWS and sample.count == 2
    assert sample.description == SHAPE[5:]
    assert any(sent is sample.rows for sent in turn.client), "no copy"
    assert any(EMAIL in known for known in sample.classified)


def test_masked_cells_are_masked_in_the_sample_too() -> None:
    (sample,) = samples(simple(begin(ANN), 1.0))
    assert SECRET.encode() not in sample.rows
    assert any(EMAIL in known for known in sample.classified)


def test_the_pace() -> None:
    session = begin(DAN, 4)
    times = (1.0, 1.1, 1.2, 1.26, 1.3, 1.6)
    assert [len(samples(simple(session, now))) for now in times] == [1, 0, 0, 1, 0, 1]


def test_off() -> None:
    session = begin(DAN, 0)
    assert not session.state.pace.on
    assert not samples(simple(session, 1e12))
    session.state.pace.change(4)
    assert samples(simple(session, 1e12))
    session.state.pace.change(0)
    assert not samples(simple(session, 2e12))


def test_a_long_description_is_not_kept() -> None:
    wide = say.described(*[say.ID_COLUMN] * (DESCRIPTION_BYTES_MAX // 20))
    assert not samples(simple(begin(DAN), 1.0, wide))


@pytest.mark.parametrize("what", ["statement", "portal"])
def test_prepared(what: str) -> None:
    session = begin(DAN)
    asked = say.parse(TEXT, "s") + (say.describe_statement("s") if what == "statement" else b"")
    session.machine.client_received(asked + say.SYNC, 1.0)
    told = say.PARSED + (say.parameters() + SHAPE if what == "statement" else b"") + say.IDLE
    session.machine.upstream_received(told, 1.0)
    session.machine.client_received(
        say.bind("s") + (say.describe_portal() if what == "portal" else b"") + say.execute()
        + say.SYNC,
        2.0,
    )  # fmt: skip
    described = SHAPE  # a Describe of ours or the client's: a portal with a counted column has one
    reply = say.BOUND + described + ROWS + say.complete("SELECT 2") + say.IDLE
    (sample,) = samples(session.machine.upstream_received(reply, 2.0))
    assert sample.rows == ROWS
    assert sample.description == SHAPE[5:]


def test_rows_without_a_description_are_not_looked_at() -> None:
    session = Session(DAN, policy=compile_documents([("policy", PERMISSIVE)]))
    session.state.pace = SamplePace(4)
    text = "SELECT id, body FROM notes"
    session.machine.client_received(say.parse(text) + say.bind() + say.execute() + say.SYNC, 1.0)
    reply = say.PARSED + say.BOUND + say.row("1", "x") + say.complete("SELECT 1") + say.IDLE
    assert not samples(session.machine.upstream_received(reply, 1.0))


def test_what_is_not_worth_looking_at_is_known_to_other_sessions() -> None:
    """Of the same principal, under the same epoch."""
    pace = SamplePace(4)
    dulls = []
    for front in (Front(who, True, random.Random(1)) for who in (DAN, DAN, ANN)):
        hits = front.session.state.hits
        hits._pace = pace
        assert front.path is not None
        for _ in range(3):
            front.say(say.query(READ))
            front.answer()
        dulls.append(front.path.exact[READ.encode()].dull)
    assert dulls[0] is dulls[1]
    assert dulls[0] is not dulls[2]


def test_what_is_known_of_kinds_of_statements_has_an_end() -> None:
    pace = SamplePace(4)
    first = pace.dull_of("first")
    for other in range(DULLS_MAX - 1):
        assert pace.dull_of(other) is not first
    assert pace.dull_of("first") is first
    pace.dull_of("one more")
    assert pace.dull_of("first") is not first
