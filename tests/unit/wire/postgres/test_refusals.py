"""Errors of our own, and what is left of the database's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.refusal import Refusal, RefusalCode
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals

VALUE = "ada.byron@example.org"
FIELDS = "SVCMDHPpqWsdtncFLRxyz"
KINDS = (m.ERROR_RESPONSE, m.NOTICE_RESPONSE)


def said(frame: bytes) -> dict[str, str]:
    return m.parse_error_fields(frame[5:])


def withheld(kind: int, fields: dict[str, str]) -> dict[str, str]:
    return said(refusals.withhold_values(m.error_fields(kind, fields)[5:], kind))


@pytest.mark.parametrize("kind", KINDS)
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), st.just(VALUE)),
    sqlstate=st.sampled_from(["P0001", "22P02", "23505", "42601", "XX000", "57014", None]),
)
def test_fields_that_could_carry_values(
    kind: int, fields: dict[str, str], sqlstate: str | None
) -> None:
    """Never DETAIL, HINT, CONTEXT, the internal query, or what nobody knows."""
    fields = {**fields, **({"C": sqlstate} if sqlstate else {})}
    left = withheld(kind, fields)
    assert VALUE not in [left.get(letter) for letter in "DHWqxyz"]
    assert set(left) <= set("SVCMDPFLRstdnc")
    assert ("withheld" in left.get("D", "")) is bool(fields.keys() & set("DHWqpxyz"))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_to_be_withheld_where_nothing_was(kind: int) -> None:
    plain = {"S": "ERROR", "C": "42P01", "M": 'relation "x" does not exist', "P": "15", "t": "x"}
    assert "D" not in withheld(kind, plain)
    assert "withheld" in withheld(kind, plain | {"H": "Perhaps you meant y."})["D"]


@given(st.sampled_from(["P0001", "22P02", "22003", "XX000", "99999"]))
def test_messages_of_their_own_choice(sqlstate: str) -> None:
    left = withheld(m.ERROR_RESPONSE, {"C": sqlstate, "M": VALUE})
    assert VALUE not in left["M"] and sqlstate in left["M"]


def test_notices_lose_their_text_always() -> None:
    assert withheld(m.NOTICE_RESPONSE, {"C": "42601", "M": VALUE})["M"] == "notice withheld"


def test_messages_that_name_objects_only() -> None:
    assert withheld(m.ERROR_RESPONSE, {"C": "42P01", "M": 'relation "x"'})["M"] == 'relation "x"'


def test_what_a_function_says_is_its_own_choice() -> None:
    """With a CONTEXT even a harmless SQLSTATE says nothing about the words."""
    fields = dict.fromkeys("Mstdnc", VALUE) | {"C": "42P01", "W": "PL/pgSQL function leak()"}
    fields["C"] = "42P01"
    assert VALUE not in withheld(m.ERROR_RESPONSE, fields).values()


def test_our_errors() -> None:
    refusal = Refusal(RefusalCode.DENIED, "no", "ask", rule="no-drop", reference="r1", position=3)
    assert said(refusals.error_response(refusal)) == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "42501",
        "M": "no",
        "D": "code: denied, rule: no-drop",
        "H": "ask (quote r1)",
        "P": "3",
        "R": "sallyport",
    }
    bare = said(refusals.error_response(Refusal(RefusalCode.STALE, "old"), "FATAL"))
    assert bare["S"] == "FATAL" and bare["D"] == "code: stale" and "H" not in bare
    assert said(refusals.fatal("57P01", "bye"))["S"] == "FATAL"
    assert "500 ms" in said(refusals.timed_out(500))["M"]
    assert said(refusals.notice("01000", "x"))["S"] == "NOTICE"


def test_rejected_messages_are_of_the_same_type() -> None:
    """So that the server's reply stands where the client expects one."""
    assert refusals.rejected_query()[0] == m.QUERY
    assert m.parse_parse(refusals.rejected_parse()[5:]).text == refusals.REFUSED_TEXT
    assert m.parse_bind(refusals.rejected_bind()[5:]).statement == refusals.REFUSED_NAME
    assert m.parse_execute(refusals.rejected_execute()[5:]) == (refusals.REFUSED_NAME, 0)
    assert m.parse_describe_or_close(refusals.rejected_describe(m.PORTAL)[5:])[0] == m.PORTAL
    assert refusals.REFUSED_NAME.startswith(refusals.RESERVED)
    assert refusals.PROBE_NAME.startswith(refusals.RESERVED)
