"""A client certificate that TLS has already verified (chain, dates, purpose) -> principal, by the
configured rules.

Called by the session machine after the handshake. The first rule that fits is taken; an ambiguous
subject fits none.
"""

import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID

from appliance.config.schema import CertificateField, CertificateRule
from appliance.identity.failures import login_refused
from appliance.identity.names import GROUPS_MAX, acceptable_name
from appliance.model.principal import CERTIFICATES, Principal

VALUE_CHARS_MAX = 1_024  # longer ones are not matched at all


def certificate_principal(der: bytes, rules: Sequence[CertificateRule]) -> Principal:
    """Raises Refused when it is no certificate, or no rule fits it."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        found = [fitting(certificate, rule) for rule in rules]
        units = attribute_values(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
    except ValueError:
        raise login_refused("identity.certificate.form") from None
    for rule, name in zip(rules, found, strict=True):
        if name is None:
            continue
        groups = (*rule.groups, *units) if rule.groups_from_ou else rule.groups
        if len(groups) > GROUPS_MAX or not all(acceptable_name(group) for group in groups):
            raise login_refused("identity.certificate.groups")
        return Principal(name, rule.kind, tuple(dict.fromkeys(groups)), source=CERTIFICATES)
    raise login_refused("identity.certificate.mapping")


def fitting(certificate: x509.Certificate, rule: CertificateRule) -> str | None:
    """The name this rule finds; None when it finds none or several."""
    pattern = re.compile(rule.pattern)
    names = {
        match["name"]
        for value in field_values(certificate, rule.field)
        if len(value) <= VALUE_CHARS_MAX and (match := pattern.fullmatch(value))
    }
    name = names.pop() if len(names) == 1 else None
    return name if name is not None and acceptable_name(name) else None


def field_values(certificate: x509.Certificate, field: CertificateField) -> list[str]:
    if field is CertificateField.SUBJECT_CN:
        return attribute_values(certificate, NameOID.COMMON_NAME)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if field is CertificateField.SAN_EMAIL:
        return names.get_values_for_type(x509.RFC822Name)
    if field is CertificateField.SAN_URI:
        return names.get_values_for_type(x509.UniformResourceIdentifier)
    return names.get_values_for_type(x509.DNSName)


def attribute_values(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    values = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid)]
    return [value for value in values if isinstance(value, str)]
