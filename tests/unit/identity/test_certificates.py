"""Client certificates made by our own authority -> principals."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.cli.authority import issue, make_authority
from appliance.config.schema import CertificateField, CertificateRule
from appliance.identity.certificates import certificate_principal
from appliance.model.errors import Refused
from appliance.model.principal import CERTIFICATES, Principal, PrincipalKind


@pytest.fixture(scope="module")
def der(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("pki")
    make_authority(folder)
    sans = ["alice@example.com", "spiffe://example.com/service/etl", "etl.example.com", "b@x.org"]
    pair = issue(folder, "alice", sans, client=True, units=["analyst", "eu"])
    return certificate_der(pair.certificate)


def certificate_der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def test_subject(der: bytes) -> None:
    rule = CertificateRule(
        field=CertificateField.SUBJECT_CN, groups=("certified",), groups_from_ou=True
    )
    assert certificate_principal(der, [rule]) == Principal(
        "alice", PrincipalKind.HUMAN, ("certified", "analyst", "eu"), source=CERTIFICATES
    )


def test_alternative_names(der: bytes) -> None:
    service = CertificateRule(
        field=CertificateField.SAN_URI,
        pattern=r"spiffe://example\.com/service/(?P<name>[a-z]+)",
        kind=PrincipalKind.SERVICE,
    )
    assert certificate_principal(der, [service]) == Principal(
        "etl", PrincipalKind.SERVICE, source=CERTIFICATES
    )
    email = CertificateRule(
        field=CertificateField.SAN_EMAIL, pattern=r"(?P<name>[a-z]+)@example\.com"
    )
    assert certificate_principal(der, [email]).name == "alice"
    dns = CertificateRule(field=CertificateField.SAN_DNS)
    assert certificate_principal(der, [dns]).name == "etl.example.com"


def test_first_rule_that_fits(der: bytes) -> None:
    nobody = CertificateRule(field=CertificateField.SUBJECT_CN, pattern="(?P<name>eve)")
    email = CertificateRule(field=CertificateField.SAN_EMAIL, pattern=r"(?P<name>.*@example\.com)")
    assert certificate_principal(der, [nobody, email]).name == "alice@example.com"


@pytest.mark.parametrize(
    "rule",
    [
        CertificateRule(field=CertificateField.SAN_EMAIL),  # two of them: ambiguous
        CertificateRule(field=CertificateField.SUBJECT_CN, pattern="(?P<name>al)"),  # whole value
        CertificateRule(field=CertificateField.SUBJECT_CN, pattern="alice(?P<name>)"),  # empty name
    ],
)
def test_no_rule_fits(der: bytes, rule: CertificateRule) -> None:
    for rules in ([rule], []):
        with pytest.raises(Refused) as caught:
            certificate_principal(der, rules)
        assert caught.value.refusal.rule == "identity.certificate.mapping"


def test_rubbish_is_no_certificate() -> None:
    with pytest.raises(Refused):
        certificate_principal(b"rubbish", [CertificateRule(field=CertificateField.SUBJECT_CN)])
