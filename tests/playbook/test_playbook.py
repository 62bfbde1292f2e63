"""The playbook itself: it can fail."""

from typing import Any

import pytest

from appliance.session.effects import EndSession
from appliance.wire.postgres import messages as m
from tests.playbook.playbook import Playbook, answers, happens, says
from tests.playbook.speech import IDLE, SYNC, TERMINATE, query
from tests.playbook.transcript import Asks, Decided, client, error, upstream
from tests.playbook.world import ANN, SECRET, Session


def book() -> Playbook:
    return Playbook(lambda: Session(ANN))


def test_what_was_not_named() -> None:
    with pytest.raises(AssertionError, match=r"\+ upstream  SYNC"):
        assert book() >> says(SYNC)
    with pytest.raises(AssertionError, match=r"\+  request  EndSession"):
        assert book() >> says(TERMINATE) << upstream(TERMINATE)


def test_what_did_not_happen() -> None:
    with pytest.raises(AssertionError, match=r"- upstream  SYNC"):
        assert book() >> says(SYNC) << upstream(SYNC, SYNC)
    with pytest.raises(AssertionError, match=r"-  request  EndSession"):
        assert book() >> says(SYNC) << upstream(SYNC) << Asks(EndSession)


def test_the_wrong_order() -> None:
    with pytest.raises(AssertionError, match="another way"):
        assert (
            book()
            >> says(query("SELECT 1"), SYNC)
            << Decided()
            << upstream(SYNC, query("SELECT 1"))
        )


def test_the_wrong_words() -> None:
    sent = m.error_fields(m.ERROR_RESPONSE, {"S": "FATAL", "V": "FATAL", "C": "57P01", "M": "bye"})
    assert book() >> answers(sent) << error("57P01", "bye")
    with pytest.raises(AssertionError, match="another way"):
        assert book() >> answers(sent) << error("57P01", "good night")
    with pytest.raises(AssertionError, match="another way"):
        assert book() >> answers(sent) << error("57P01", lacks=["bye"])


def test_a_split_that_matters() -> None:
    """A machine that takes note of how often it was called."""

    def counting() -> Session:
        session = Session()
        calls: list[int] = []
        take = session.machine.client_received

        def counted(chunk: Any, now: float) -> Any:
            calls.append(1)
            turn = take(chunk, now)
            if turn.upstream:
                turn.client.append(m.frame(m.NOTIFICATION_RESPONSE, bytes([len(calls)])))
            return turn

        session.machine.client_received = counted  # type: ignore[method-assign]
        return session

    with pytest.raises(AssertionError, match="in pieces"):
        expected = m.frame(m.NOTIFICATION_RESPONSE, b"\1")
        assert Playbook(counting) >> says(SYNC) << upstream(SYNC) << client(expected)


def _forged(act: Any) -> Playbook:
    return book() >> happens("forged", act)


def test_the_guard_sees_what_is_forwarded_unrecorded() -> None:
    def act(session: Session, now: float) -> Any:
        turn = session.machine.client_received(query("SELECT 1"), now)
        turn.records.clear()
        return turn

    with pytest.raises(AssertionError):
        assert _forged(act) << upstream(query("SELECT 1"))


def test_the_guard_sees_another_text_than_was_recorded() -> None:
    def act(session: Session, now: float) -> Any:
        turn = session.machine.client_received(query("SELECT 1"), now)
        turn.upstream[0] = query("SELECT 2")
        return turn

    with pytest.raises(AssertionError):
        assert _forged(act) << Decided() << upstream(query("SELECT 2"))


def test_the_guard_sees_what_never_finishes() -> None:
    def act(session: Session, now: float) -> Any:
        turn = session.machine.client_received(query("SELECT 1"), now)
        session.state.expected.pop(session.state.expected.head.kind)  # type: ignore[union-attr]
        return turn

    with pytest.raises(AssertionError, match="never finished"):
        assert _forged(act) << Decided() << upstream(query("SELECT 1"))


def test_the_guard_reads_along() -> None:
    said = m.error_fields(m.NOTICE_RESPONSE, {"C": "00000", "M": SECRET})

    with pytest.raises(AssertionError, match="a masked value reached"):
        assert book() >> answers(said) << client(said)
    assert book() >> says(SYNC) << upstream(SYNC) >> answers(IDLE) << client(IDLE)
