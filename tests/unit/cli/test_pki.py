"""Certificates: OpenSSL (through the standard library) must accept them for what they are, and
refuse the rest."""

import contextlib
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from appliance.cli.main import main
from appliance.cli.pki import Pair, issue, make_authority


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_authority(tmp_path)
    return tmp_path


def shake(folder: Path, server: Pair, client: Pair | None, name: str) -> str | None:
    """A TLS handshake in memory; -> the client's common name as the server sees it. Raises
    ssl.SSLError."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(*server)
    theirs.load_verify_locations(folder / "ca.crt")
    theirs.verify_mode = ssl.CERT_REQUIRED if client else ssl.CERT_NONE
    ours = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if client:
        ours.load_cert_chain(*client)
    a, b, c, d = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    one = ours.wrap_bio(a, b, server_hostname=name)
    two = theirs.wrap_bio(c, d, server_side=True)
    for _ in range(6):
        for side in (one, two):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            c.write(b.read())
            a.write(d.read())
    if not client:
        return None
    der = two.getpeercert(binary_form=True)
    assert der is not None
    subject = x509.load_der_x509_certificate(der).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_server_and_client(folder: Path) -> None:
    server = issue(folder, "db.example.com", ["db.example.com", "127.0.0.1"])
    client = issue(folder, "alice", client=True)
    assert shake(folder, server, client, "db.example.com") == "alice"
    assert shake(folder, server, client, "127.0.0.1") == "alice"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(folder, server, None, "other.example.com")


def test_purposes_are_kept_apart(folder: Path) -> None:
    server, client = issue(folder, "localhost"), issue(folder, "alice", client=True)
    with pytest.raises(ssl.SSLError):
        shake(folder, client, None, "alice")
    with pytest.raises(ssl.SSLError):
        shake(folder, server, server, "localhost")


def test_another_authority_is_not_trusted(folder: Path) -> None:
    make_authority(folder / "other")
    server = issue(folder / "other", "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(folder, server, None, "localhost")


def test_keys_are_private_and_nothing_is_replaced(folder: Path) -> None:
    pair = issue(folder, "localhost")
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600
    before = (folder / "ca.key").read_bytes()
    with pytest.raises(FileExistsError):
        make_authority(folder)
    assert (folder / "ca.key").read_bytes() == before


@pytest.mark.parametrize("name", ["../x", "", "a/b", "ca", ".hidden"])
def test_names_are_file_names(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        issue(folder, name)


def test_forms_of_alternative_names(folder: Path) -> None:
    sans = ["h.example.com", "::1", "a@example.com", "spiffe://example.com/x"]
    pair = issue(folder, "mixed", sans, client=True)
    leaf = x509.load_pem_x509_certificates(pair.certificate.read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [type(name) for name in names] == [
        x509.DNSName,
        x509.IPAddress,
        x509.RFC822Name,
        x509.UniformResourceIdentifier,
    ]


def test_commands(tmp_path: Path) -> None:
    folder = str(tmp_path / "pki")
    for arguments, code in (
        (["issue-server", folder, "localhost"], 1),
        (["init", folder], 0),
        (["init", folder], 1),
        (["issue-server", folder, "localhost", "--san", "localhost", "--san", "127.0.0.1"], 0),
        (["issue-client", folder, "alice", "--unit", "analyst"], 0),
        (["issue-client", folder, "../alice"], 1),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["pki", *arguments])
        assert caught.value.code == code
    made = {path.name for path in (tmp_path / "pki").iterdir()}
    assert made == {f"{n}.{e}" for n in ("ca", "localhost", "alice") for e in ("crt", "key")}
