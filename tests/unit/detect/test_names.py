"""What names, types and comments say, and how evidence adds up."""

import pytest

from appliance.detect.names import Hint, hints, spoken_of
from appliance.detect.proposals import Evidence, proposed
from appliance.detect.values import Finding

SAY = {
    "pii.email": "email e_mail E-Mail mail userEmail customer_email_address EMAIL courriel "
    "correo_electronico kontakt_email primaryEMail",
    "pii.phone": "phone tel mobile_number Telefonnummer phoneNumber telefono telefoon home_phone2",
    "pii.birth_date": "dob date_of_birth Geburtsdatum fecha_nacimiento dateOfBirth birthday",
    "payment.iban": "iban kunden_iban IBAN",
    "payment.card": "card_number creditCard kreditkartennummer cc_number",
    "secret.password": "password passwort PasswordHash user_pwd mot_de_passe contraseña",
    "secret.token": "api_key refreshToken client_secret",
    "pii.us_ssn": "ssn employee_ssn social_security_number",
    "pii.name": "first_name lastName Nachname prénom apellidos",
    "pii.address": "street Straße shipping_address adresse",
    "pii.de_steuer_id": "steuer_id Steuernummer",
    "": "id comment body discard snail_total email_verified email_sent_at card_count mailbox_size "
    "telemetry total phones_count is_email telling has_phone password_reset_required created_at",
}


@pytest.mark.parametrize(
    ("classification", "name"), [(c, n) for c, names in SAY.items() for n in names.split()]
)
def test_names(classification: str, name: str) -> None:
    assert spoken_of(name) == classification


@pytest.mark.parametrize(
    ("name", "type_name", "expected"),
    [
        ("email", "bool", ()),
        ("email", "timestamptz", ()),
        ("dob", "date", (Hint("pii.birth_date", "name"),)),
        ("phone", "int8", (Hint("pii.phone", "name"),)),
        ("ssn", "int4", (Hint("pii.us_ssn", "name"),)),
        ("password", "int4", ()),
        ("address", "inet", (Hint("pii.ip_address", "type"),)),
        ("contact", "email", (Hint("pii.email", "type"),)),
    ],
)
def test_types(name: str, type_name: str, expected: tuple[Hint, ...]) -> None:
    assert hints(name, type_name) == expected


def test_comments() -> None:
    said = hints("c1", "text", "The customer's private e-mail (GDPR)")
    assert said == (Hint("pii.email", "comment"),)
    assert hints("c1", "text", "x" * 600 + " email") == ()


def test_evidence_adds_up() -> None:
    told = proposed(
        (Hint("pii.email", "name"), Hint("pii.email", "comment"), Hint("pii.phone", "type")),
        (Finding("pii.us_ssn", 190, 200), Finding("pii.email", 122, 200)),
    )
    assert [e.classification for e in told] == ["pii.email", "pii.us_ssn", "pii.phone"]
    assert told[0].words() == "61% of 200 sampled values, name, comment"
    assert told[2] == Evidence("pii.phone", ("type",))


def test_a_precise_finding_makes_the_general_name_needless() -> None:
    told = proposed((Hint("secret.token", "name"),), (Finding("secret.github", 20, 20),))
    assert [e.classification for e in told] == ["secret.github"]


def test_not_too_many() -> None:
    findings = [Finding(f"pii.{n}", 100, 100) for n in range(9)]
    assert len(proposed((), findings)) == 3
