"""What a column's name, type and comment say about it, in several languages.

Called by `sallyport classify scan` and, for findings that need it, by `dataplane/alarm`. Rule:
whole words only (`card` is not in `discard`), and a name that speaks *about* such a value
(`email_verified`, `card_count`) names none.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

import msgspec

COMMENT_CHARS_MAX: Final = 500

_WORDS: Final[Mapping[str, str]] = {
    "pii.email": (
        "email emails e_mail e_mails mail mails mailaddress mail_address emailaddress courriel "
        "correo correo_electronico posta_elettronica epost e_post user_email contact_email"
    ),
    "pii.phone": (
        "phone phones telephone tel mobile mobile_number cell cell_phone cellphone fax msisdn "
        "phone_number phonenumber telefon telefonnummer handy handynummer mobil mobilnummer "
        "rufnummer telefono movil celular telefone telemovel portable numero_telephone cellulare "
        "telefoon telefoonnummer mobiel komorka numer_telefonu whatsapp"
    ),
    "payment.iban": "iban ibans bank_account bankaccount kontonummer account_iban",
    "payment.card": (
        "card_number cardnumber card_no cc_number ccnumber ccnum credit_card creditcard card pan "
        "kreditkarte kartennummer kreditkartennummer carte_bancaire numero_carte tarjeta "
        "numero_tarjeta carta_di_credito cartao numero_cartao karta_kredytowa"
    ),
    "payment.card_code": "cvv cvv2 cvc cvc2 csc card_code security_code pruefziffer_karte",
    "pii.birth_date": (
        "birthdate birth_date date_of_birth dateofbirth birthday dob bday born geburtsdatum "
        "geburtstag geb_datum gebdat date_naissance date_de_naissance naissance fecha_nacimiento "
        "fecha_de_nacimiento data_nascita data_di_nascita data_nascimento data_de_nascimento "
        "geboortedatum data_urodzenia fodelsedatum"
    ),
    "pii.us_ssn": "ssn social_security social_security_number socialsecuritynumber ssn_number",
    "pii.uk_nino": "nino national_insurance national_insurance_number ni_number",
    "pii.de_steuer_id": (
        "steuer_id steuerid steueridnr steuer_idnr steuernummer idnr "
        "steueridentifikationsnummer identifikationsnummer"
    ),
    "pii.fr_nir": "nir numero_securite_sociale securite_sociale insee_number numero_secu",
    "pii.es_dni": "dni nie documento_identidad",
    "pii.it_codice_fiscale": "codice_fiscale codicefiscale cod_fiscale",
    "pii.br_cpf": "cpf",
    "pii.br_cnpj": "cnpj",
    "pii.pl_pesel": "pesel",
    "pii.nl_bsn": "bsn burgerservicenummer sofinummer",
    "pii.se_personnummer": "personnummer personnr",
    "pii.in_aadhaar": "aadhaar aadhar uidai",
    "pii.in_pan": "pan_number pan_no",
    "pii.ca_sin": "social_insurance_number sin_number",
    "pii.au_tfn": "tfn tax_file_number",
    "pii.national_id": (
        "national_id nationalid passport passport_number passport_no passnummer reisepass "
        "personalausweis ausweisnummer id_card_number tax_id taxid pasaporte passaporto "
        "passeport numero_passeport drivers_license driver_license license_number "
        "fuehrerschein fuhrerschein"
    ),
    "pii.name": (
        "first_name firstname last_name lastname full_name fullname surname given_name givenname "
        "family_name familyname middle_name maiden_name vorname nachname familienname prenom "
        "nom_de_famille nombre_completo apellido apellidos cognome sobrenome achternaam voornaam "
        "imie nazwisko fornamn efternamn"
    ),
    "pii.address": (
        "street street_address address_line address_line1 address_line2 address1 address2 "
        "home_address postal_address billing_address shipping_address strasse hausnummer anschrift "
        "adresse adresse_postale rue direccion domicilio indirizzo endereco adres ulica gatuadress"
    ),
    "pii.ip_address": "ip ip_address ipaddress ipaddr ip_addr remote_addr client_ip remote_ip",
    "pii.location": "latitude longitude lat lng geo_location gps",
    "pii.health": "diagnosis diagnose blood_type allergies medical_record icd10",
    "pii.salary": "salary gehalt lohn salaire salario stipendio wage wages",
    "secret.password": (
        "password passwd passwort kennwort pwd passphrase mot_de_passe motdepasse contrasena "
        "clave senha parola_chiave wachtwoord haslo losenord pin_code password_hash "
        "passwordhash pass_hash hashed_password encrypted_password"
    ),
    "secret.token": (
        "token api_key apikey secret_key access_key access_token refresh_token auth_token "
        "session_token bearer_token client_secret private_key privatekey secret webhook_secret "
        "totp_secret otp_secret mfa_secret geheimnis"
    ),
}

_TYPES: Final[Mapping[str, str]] = {"inet": "pii.ip_address"}
"""A type that says it all by itself. A domain's name is read like a column's."""

_ABOUT: Final = frozenset(
    (
        "count verified verify confirmed confirmation sent enabled disabled valid validated "
        "opened clicked bounced status state type kind template subject flag has is opt optin "
        "optout consent updated created changed expires expiry expired attempts length domain "
        "provider prefix format label policy reset required allowed notifications notification "
        "anzahl bestaetigt verifiziert gueltig versendet at on"
    ).split()
)
_DATES: Final = frozenset({"date", "timestamp", "timestamptz", "time", "timetz", "interval"})
_NUMBERS: Final = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8", "money"})
_NUMERIC_CLASSES: Final = frozenset({"pii.phone", "payment.card", "pii.salary", "pii.location"})
_SPLIT = re.compile(r"[^a-z0-9]+")
_NUMBER = re.compile(r"[0-9]+_")
_CAMEL = re.compile(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])")

_PHRASES: Final[Mapping[str, str]] = {
    f"_{phrase}_": classification
    for classification, phrases in _WORDS.items()
    for phrase in phrases.split()
}
_LONGEST_FIRST: Final = sorted(_PHRASES, key=len, reverse=True)


class Hint(msgspec.Struct, frozen=True):
    """`evidence`: name, type or comment."""

    classification: str
    evidence: str


def hints(name: str, type_name: str = "text", comment: str = "") -> tuple[Hint, ...]:
    """What a column is said to hold, at most one classification by name, type and comment each."""
    if type_name in ("bool", "uuid") or (name.startswith("_") and name.endswith("_")):
        return ()
    found: list[Hint] = []
    by_type = _TYPES.get(type_name) or spoken_of(type_name)
    for classification, evidence in (
        (spoken_of(name), "name"),
        (by_type, "type"),
        (spoken_of(comment[:COMMENT_CHARS_MAX]), "comment"),
    ):
        if classification and _fits(classification, type_name):
            found.append(Hint(classification, evidence))
    return tuple(found)


def spoken_of(text: str) -> str:
    """The classification whose words are in `text` (the longest phrase wins), '' for none."""
    words = [word for word in _SPLIT.split(_plain(text)) if word]
    if _ABOUT.intersection(words):
        return ""
    exact = f"_{'_'.join(words)}_"
    for whole in (exact, _NUMBER.sub("_", exact)):  # phone2 is a phone
        for phrase in _LONGEST_FIRST:
            if phrase in whole:
                return _PHRASES[phrase]
    return ""


def _plain(text: str) -> str:
    """Lower case, camelCase taken apart, without accents (ü as u; ß as ss)."""
    apart = _CAMEL.sub(lambda m: f"{m[1] or m[3]}_{m[2] or m[4]}", text)
    bare = unicodedata.normalize("NFKD", apart.replace("ß", "ss"))
    return "".join(c for c in bare if not unicodedata.combining(c)).casefold()


def _fits(classification: str, type_name: str) -> bool:
    """A date is no phone number, whatever its name."""
    if type_name in _DATES:
        return classification == "pii.birth_date"
    if type_name in _NUMBERS:
        named = classification in _NUMERIC_CLASSES
        return named or (classification.startswith("pii.") and classification[6:7] == "_")
    return True
