"""SASLprep: RFC 4013's examples; what cannot be prepared is taken raw, as PostgreSQL does."""

import pytest

from appliance.identity.saslprep import prepared


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("user", "user"),
        ("USER", "USER"),
        ("I\u00adX", "IX"),  # soft hyphen mapped to nothing
        ("\u00aa", "a"),  # NFKC
        ("\u2168", "IX"),  # NFKC
        ("a\u00a0b", "a b"),  # non-ASCII space
        ("\x07", "\x07"),  # ASCII is never touched
        ("\u0627\u0031", "\u0627\u0031"),  # right-to-left rule broken: raw
        ("ä\x07", "ä\x07"),  # prohibited: raw
        ("\u00ad", "\u00ad"),  # nothing left: raw
        ("", ""),
    ],
)
def test_prepared(password: str, expected: str) -> None:
    assert prepared(password) == expected.encode()
    assert prepared(password.encode()) == expected.encode()


def test_bytes_that_are_not_utf8_are_taken_raw() -> None:
    assert prepared(b"\xff\xfepass") == b"\xff\xfepass"
