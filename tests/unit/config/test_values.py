"""Addresses and credential references."""

import copy
import pickle
from pathlib import Path

import pytest

from appliance.config.values import Address, CredentialReference, CredentialSource


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:6432", "127.0.0.1", 6432),
        (":6432", "", 6432),
        ("*:6432", "", 6432),
        ("[::1]:0", "::1", 0),
        ("db.example.com:1", "db.example.com", 1),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = Address(text)
    assert (address.host, address.port, str(address)) == (host, port, text)
    assert pickle.loads(pickle.dumps(address)) == copy.copy(address) == address


@pytest.mark.parametrize("text", ["", "h", "h:", "h:x", "h:65536", "h:-1", "[x]:1", "a b:1", "h:١"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|brackets"):
        Address(text)


def test_references() -> None:
    reference = CredentialReference("file:secrets/a:b")
    assert (reference.source, reference.name) == (CredentialSource.FILE, "secrets/a:b")
    assert reference.relative_to(Path("/etc")).name == "/etc/secrets/a:b"
    assert CredentialReference("file:/x").relative_to(Path("/etc")).name == "/x"
    assert CredentialReference("env:A").relative_to(Path("/etc")) == "env:A"
    assert CredentialReference("credential:db-1.pw").name == "db-1.pw"


@pytest.mark.parametrize(
    "text",
    ["", "secret", "file:", "env:1A", "env:A-B", "credential:../x", "vault:x", "credential:a/b"],
)
def test_bad_references(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|takes"):
        CredentialReference(text)
