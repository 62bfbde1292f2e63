"""Startup packets, and the settings in them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.errors import ProtocolViolation
from appliance.model.limits import STARTUP_PACKET_BYTES_MAX
from appliance.wire.postgres import startup
from appliance.wire.postgres.startup import (
    CancelRequest,
    GssEncRequest,
    SslRequest,
    StartupMessage,
    parse_options,
    parse_packet,
)


def test_packets() -> None:
    assert parse_packet(startup.SSL_REQUEST) == SslRequest()
    assert parse_packet(struct.pack("!II", 8, startup.GSSENC_REQUEST_CODE)) == GssEncRequest()
    assert parse_packet(startup.cancel_request(7, b"abcd")) == CancelRequest(7, b"abcd")
    sent = {
        "user": "ann",
        "database": "shop",
        "TimeZone": "UTC",
        "options": "-c search_path=a",
        "_pq_.x": "1",
    }
    assert parse_packet(startup.startup_message(2, sent)) == StartupMessage(
        2,
        {"user": "ann", "database": "shop"},
        {"timezone": "UTC", "search_path": "a"},
        ("_pq_.x",),
    )


@pytest.mark.parametrize(
    "packet",
    [
        startup.startup_message(0, {"database": "shop"}),
        startup.startup_message(0, {"user": ""}),
        startup.startup_message(0, {"user": "ann"}) + b"more",
        struct.pack("!II", 9, 2 << 16) + b"\0",
        struct.pack("!II", 9, 4 << 16) + b"\0",
        struct.pack("!II", 14, 3 << 16) + b"user\0\xff",
        startup.SSL_REQUEST + b"x",
        startup.cancel_request(1, b"abc"),
        startup.cancel_request(1, b"a" * 257),
        struct.pack("!II", 21, 3 << 16) + b"user\0\xff\0" + b"\0" * 6,
    ],
)
def test_packets_that_are_none(packet: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_packet(packet)


@given(st.binary(max_size=60))
def test_any_bytes(content: bytes) -> None:
    for code in (b"\0\3\0\0", b"\0\3\0\2", b""):
        try:
            parse_packet(b"\0\0\0\x40" + code + content)
        except ProtocolViolation as violation:
            assert violation.side == "client"


@pytest.mark.parametrize("minor", [0, 2])
def test_cut_at_every_byte(minor: int) -> None:
    whole = startup.startup_message(minor, {"user": "ann", "options": "-c jit=off"})
    for end in range(len(whole)):
        with pytest.raises(ProtocolViolation):
            parse_packet(whole[:end])


def test_lengths() -> None:
    assert startup.packet_length(b"\0\0\0") is None
    assert startup.packet_length(b"\0\0\0\x08") == 8
    assert startup.packet_length(STARTUP_PACKET_BYTES_MAX.to_bytes(4, "big")) is not None
    for length in (0, 7, STARTUP_PACKET_BYTES_MAX + 1, 2**32 - 1):
        with pytest.raises(ProtocolViolation):
            startup.packet_length(length.to_bytes(4, "big"))


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        ("  \t\n ", {}),
        ("-c search_path=a,b", {"search_path": "a,b"}),
        ("-csearch_path=a", {"search_path": "a"}),
        ("--search-path=a", {"search_path": "a"}),
        ("-c Work_Mem=64MB  --jit=off", {"work_mem": "64MB", "jit": "off"}),
        (r"-c application_name=two\ words", {"application_name": "two words"}),
        (r"-c application_name=back\\slash", {"application_name": r"back\slash"}),
        ("-c a=b=c", {"a": "b=c"}),
        ("-c a=", {"a": ""}),
        ("-c a=1 -c a=2", {"a": "2"}),
        ("-c a=1\\", {"a": "1"}),
    ],
)
def test_options(options: str, settings: dict[str, str]) -> None:
    assert parse_options(options) == settings


@pytest.mark.parametrize(
    "options", ["-c", "-c a", "-c =1", "--", "--a", "a=1", "-d 5", "-e", "-E", "-cc", "-c -c a=1"]
)
def test_options_that_are_not_for_clients(options: str) -> None:
    if options == "-c -c a=1":
        with pytest.raises(ProtocolViolation):
            parse_options("-c -c")
        return
    with pytest.raises(ProtocolViolation):
        parse_options(options)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=8)))
def test_what_is_escaped_comes_back(settings: dict[str, str]) -> None:
    written = " ".join(
        "-c " + name + "=" + "".join("\\" + c for c in value) for name, value in settings.items()
    )
    assert parse_options(written) == settings


@pytest.mark.parametrize(
    "name",
    [
        "session_authorization",
        "role",
        "standard_conforming_strings",
        "backslash_quote",
        "session_preload_libraries",
        "local_preload_libraries",
        "dynamic_library_path",
        "row_security",
        "session_replication_role",
        "log_statement",
        "allow_system_table_mods",
    ],
)
def test_settings_that_are_not_for_clients(name: str) -> None:
    assert name not in startup.SETTINGS_ALLOWED
    assert all(allowed == allowed.lower() for allowed in startup.SETTINGS_ALLOWED)
