"""What a connection may begin with."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.errors import ProtocolViolation
from appliance.wire.postgres import startup
from appliance.wire.postgres.startup import (
    CancelRequest,
    GssEncRequest,
    SslRequest,
    StartupMessage,
    parse_options,
    parse_packet,
)


def packet(body: bytes) -> bytes:
    return struct.pack("!I", len(body) + 4) + body


def message(*pairs: str, version: int = 3 << 16, tail: bytes = b"\0") -> bytes:
    return packet(struct.pack("!I", version) + b"".join(p.encode() + b"\0" for p in pairs) + tail)


def test_requests() -> None:
    assert isinstance(parse_packet(startup.SSL_REQUEST), SslRequest)
    assert isinstance(parse_packet(packet(struct.pack("!I", 80877104))), GssEncRequest)
    for key in (b"1234", b"k" * 32, b"k" * 256):
        assert parse_packet(startup.cancel_request(7, key)) == CancelRequest(7, key)


@pytest.mark.parametrize(
    "bad",
    [
        packet(struct.pack("!I", 80877103) + b"x"),
        packet(struct.pack("!I", 80877104) + b"\0"),
        startup.cancel_request(7, b"123"),
        startup.cancel_request(7, b"k" * 257),
        packet(struct.pack("!I", 80877102) + b"\0"),
        packet(struct.pack("!I", 2 << 16)),
        message(),
        message("user", "", "database", "x"),
        message("user", "a", tail=b""),
        message("user", "a", tail=b"\0\0"),
        message("user", "a", "database", tail=b""),
        packet(struct.pack("!I", 3 << 16) + b"user\0\xff\xfe\0\0"),
        message("user", "a", "options", "-e"),
    ],
)
def test_what_is_not_one(bad: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_packet(bad)


@pytest.mark.parametrize("length", [0, 4, 7, 10_001, 1 << 31, (1 << 32) - 1])
def test_lengths(length: int) -> None:
    with pytest.raises(ProtocolViolation):
        startup.packet_length(struct.pack("!I", length) + b"....")


def test_incomplete_lengths() -> None:
    assert startup.packet_length(b"\0\0\0") is None
    assert startup.packet_length(b"\0\0\0\x08") == 8


def test_parameters_are_sorted_out() -> None:
    found = parse_packet(
        message(
            *("user", "ann", "database", "shop", "Application_Name", "psql"),
            *("_pq_.colour", "blue", "options", "-c geqo=off --work-mem=4MB", "replication", "0"),
            version=3 << 16 | 2,
        )
    )
    assert found == StartupMessage(
        2,
        {"user": "ann", "database": "shop", "replication": "0"},
        {"application_name": "psql", "geqo": "off", "work_mem": "4MB"},
        ("_pq_.colour",),
    )


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        ("   ", {}),
        ("-c a=b", {"a": "b"}),
        ("-ca=b", {"a": "b"}),
        ("--a-b=c", {"a_b": "c"}),
        (r"-c a=b\ c", {"a": "b c"}),
        (r"-c a=b\\c", {"a": r"b\c"}),
        ("-c a=b -c a=c", {"a": "c"}),
        ("-c a=b=c", {"a": "b=c"}),
        ("-c\ta=b\n--c=d", {"a": "b", "c": "d"}),
        (r"-c ro\le=x", {"role": "x"}),
        ("-c a=", {"a": ""}),
        ("-c A.B=c", {"a.b": "c"}),
    ],
)
def test_options(options: str, settings: dict[str, str]) -> None:
    assert parse_options(options) == settings


@pytest.mark.parametrize("options", ["-c", "-c a", "a=b", "-x", "--", "-c =b", "-- a=b", "-d5"])
def test_other_switches(options: str) -> None:
    with pytest.raises(ProtocolViolation):
        parse_options(options)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
            lambda name: name not in ("options",) and not name.startswith("_pq_.")
        ),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        max_size=6,
    )
)
def test_round_trip(settings: dict[str, str]) -> None:
    """What is built is read as the same names and values; nothing runs into anything else."""
    settings = {name.lower(): value for name, value in settings.items()}
    found = parse_packet(startup.startup_message(0, {**settings, "user": "ann"}))
    assert isinstance(found, StartupMessage)
    expected = {"user": "ann"} | {
        name: value for name, value in settings.items() if name in ("database", "replication")
    }
    assert found.parameters == expected
    assert found.settings == {k: v for k, v in settings.items() if k not in expected}


@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    try:
        parse_packet(packet(content))
    except ProtocolViolation:
        return


def test_nothing_dangerous_is_allowed() -> None:
    for name in (
        *(
            "role",
            "session_authorization",
            "standard_conforming_strings",
            "session_preload_libraries",
        ),
        *("local_preload_libraries", "row_security", "session_replication_role", "log_statement"),
        *("sallyport.principal", "backslash_quote", "options", "replication", "search_path_"),
    ):
        assert name not in startup.SETTINGS_ALLOWED
