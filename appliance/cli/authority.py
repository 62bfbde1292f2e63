"""A small certificate authority: a real CA, and leaves with subject alternative names and key
usages.

Called by `pki` (the command), the demo and tests. Keys are ECDSA P-256 with SHA-256, so that
channel binding works (RFC 5929 defines none for Ed25519). Private keys are written with mode 600.
"""

import datetime
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.cli.files import write_private

AUTHORITY_DAYS = 3_650
LEAF_DAYS = 397
BACKDATED = datetime.timedelta(minutes=5)  # clocks of clients that are a little behind
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\-]{0,100}\Z")


class Pair(NamedTuple):
    """Paths of a PEM certificate and its PEM key."""

    certificate: Path
    key: Path


def make_authority(folder: Path, name: str = "Sallyport CA", days: int = AUTHORITY_DAYS) -> Pair:
    """Writes `ca.crt` and `ca.key` into `folder` (made when missing). Raises FileExistsError
    rather than replace one."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(folder / "ca.crt", folder / "ca.key")
    for path in pair:
        if path.exists():
            raise FileExistsError(17, "is there already", str(path))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        begun(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(sign_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    write_pair(pair, [certificate], key)
    return pair


def issue(
    folder: Path,
    name: str,
    sans: Sequence[str] = (),
    client: bool = False,
    *,
    units: Sequence[str] = (),
    days: int = LEAF_DAYS,
    into: Path | None = None,
) -> Pair:
    """A leaf of the authority in `folder`: NAME.crt and NAME.key there (or in `into`).

    `name` becomes the common name. `sans`: host names, IP addresses, e-mail addresses and URIs,
    told apart by form; a server without any gets its name. `units`: organisational units, which a
    mapping can take as groups. Raises ValueError for a name that is no file name, FileNotFoundError
    without an authority.
    """
    if not FILE_NAME.match(name) or name == "ca":
        raise ValueError("the name makes a file name: letters, digits, _ . @ and -")
    issuer = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    issuer_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not one that `pki init` makes")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        + [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    )
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        begun(subject, issuer.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    names = [general_name(san) for san in (sans or (() if client else (name,)))]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pair = Pair((into or folder) / f"{name}.crt", (into or folder) / f"{name}.key")
    write_pair(pair, [builder.sign(issuer_key, hashes.SHA256()), issuer], key)
    return pair


def begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def general_name(text: str) -> x509.GeneralName:
    """By form: IP address, URI (has ://), e-mail address (has @), else host name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    return x509.RFC822Name(text) if "@" in text else x509.DNSName(text)


def write_pair(
    pair: Pair, chain: Sequence[x509.Certificate], key: ec.EllipticCurvePrivateKey
) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(pair.key, private)
    public = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    write_private(pair.certificate, public, mode=0o644)
