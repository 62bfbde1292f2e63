"""The next session on a connection: what a server without a profiler answers is no failure."""

from typing import Any

import pytest

from appliance.model.errors import ProtocolViolation
from appliance.wire.conversation import Receive, Send, UpstreamRejected
from appliance.wire.mysql import upstream_login
from tests.unit.wire.mysql.packets_said import column, eof, error, ok, text_row

PROFILES = (b"\x01", column("Query_ID"), eof(), text_row("1"), eof())
NONE = (b"\x01", column("Query_ID"), eof(), eof())


def said(*answers: tuple[bytes, ...]) -> list[str]:
    """Statements that are sent, each answered by the next of `answers`."""
    texts: list[str] = []
    coming = list(answers)
    steps = upstream_login._unprofiled(0)
    unread = b""
    value: Any = None
    while True:
        try:
            step = steps.send(value)
        except StopIteration:
            assert not coming and not unread
            return texts
        value = None
        if isinstance(step, Send):
            texts.append(bytes(step.octets[5:]).decode())
            payloads = coming.pop(0)
            unread = b"".join(
                len(p).to_bytes(3, "little") + bytes((number,)) + p
                for number, p in enumerate(payloads, 1)
            )
        elif isinstance(step, Receive):
            value, unread = unread[: step.count], unread[step.count :]


def test_no_profile_needs_no_cleaning() -> None:
    assert said(NONE) == ["SHOW PROFILES"]


def test_profiles_are_taken_away() -> None:
    texts = said(PROFILES, *[(ok(),)] * len(upstream_login.UNPROFILED), NONE)
    assert texts[0] == texts[-1] == "SHOW PROFILES" and len(texts) == 6


def test_profiles_that_stay_end_the_connection() -> None:
    with pytest.raises(ProtocolViolation):
        said(PROFILES, *[(ok(),)] * len(upstream_login.UNPROFILED), PROFILES)


@pytest.mark.parametrize("number", [1064, 1235, 1289])
def test_a_server_without_a_profiler_has_none(number: int) -> None:
    assert said((error(number),)) == ["SHOW PROFILES"]


def test_any_other_error_is_one() -> None:
    with pytest.raises(UpstreamRejected):
        said((error(1227),))
