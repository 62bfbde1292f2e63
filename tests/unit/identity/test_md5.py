"""md5 password answers: the value libpq computes for a known case."""

import hashlib

import pytest

from appliance.identity.md5 import md5_answer
from appliance.model.errors import ProtocolViolation


def test_answer() -> None:
    stored = hashlib.md5(b"secretpostgres").hexdigest()
    expected = b"md5" + hashlib.md5(stored.encode() + b"\x01\x02\x03\x04").hexdigest().encode()
    assert md5_answer("postgres", b"secret", b"\x01\x02\x03\x04") == expected
    assert len(expected) == 35


def test_salt_of_another_length() -> None:
    with pytest.raises(ProtocolViolation):
        md5_answer("postgres", b"secret", b"\x01")
