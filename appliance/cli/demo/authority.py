"""A throw-away certificate authority for the demo and the tests; never for production.

Keys are P-256, certificates live a day (RFC 5280; names are subject alternative names, RFC 6125).
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.cli.demo.postgres import ServerCertificate, write_private


@dataclass(frozen=True)
class Authority:
    """A CA in `folder`, where what it issues goes as well; its own key stays in memory."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    itself: x509.Certificate

    @classmethod
    def create(cls, folder: Path, name: str = "Sallyport throw-away CA") -> "Authority":
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _draft(subject, subject, key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        authority = cls(folder, key, builder.sign(key, hashes.SHA256()))
        authority.certificate.write_bytes(authority.itself.public_bytes(serialization.Encoding.PEM))
        return authority

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    def issue(
        self, name: str, *hosts: str, client: bool = False, emails: tuple[str, ...] = ()
    ) -> ServerCertificate:
        """A leaf for a server of `hosts` (names and addresses) or for the client `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            _draft(subject, self.itself.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        names: list[x509.GeneralName] = [*map(_host, hosts), *map(x509.RFC822Name, emails)]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        leaf = builder.sign(self.key, hashes.SHA256())
        paths[0].write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        write_private(paths[1], _pem(key))
        return ServerCertificate(paths[0], paths[1], self.certificate)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
