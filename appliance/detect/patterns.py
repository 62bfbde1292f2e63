"""The expressions that find candidates, what verifies each, and how much of a column must fit.

Read by `values`. Rule: RE2's syntax only (linear in the value, whatever the value is), and no large
counted repetition: lengths are checked afterwards, so that all expressions fit one automaton.
`^...$` marks forms so plain that only a whole value of that form counts.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from appliance.detect import checks, national

Check = Callable[[str], bool]

HALF: Final = 0.5
NEARLY_ALL: Final = 0.9
TENTH: Final = 0.1
SPECK: Final = 0.01
"""For what hardly comes about by chance: a few in a long column are worth a word."""


class Detector(NamedTuple):
    """One form of one classification; several may share a classification."""

    classification: str
    pattern: str
    check: Check | None = None
    share_min: float = HALF
    """Of the non-null values, below which it is not proposed."""
    hinted: bool = False
    """Counts only in a column whose name says the same: the form alone says too little."""

    @property
    def whole(self) -> bool:
        """The expression fits a whole value or nothing."""
        return self.pattern.removeprefix("(?i)").startswith("^") and self.pattern.endswith("$")


def _at_least(length: int) -> Check:
    return lambda text: len(text) >= length


def _varied(text: str) -> bool:
    """Not the xxxxxxxx of an example."""
    return len(set(text[4:])) > 6


_LETTERED = (
    Detector("pii.email", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", checks.email),
    Detector("payment.card", r"\b\d(?:[ -]?\d){12,18}\b", checks.card),
    Detector(
        "payment.iban",
        r"(?i)\b[A-Z]{2}\d\d(?: ?[A-Z0-9]){11,30}\b",
        checks.iban,
        share_min=TENTH,
    ),
    Detector("pii.phone", r"\+[1-9](?:[ ()./-]{0,2}\d){7,14}\b", checks.international_phone),
    Detector("pii.phone", r"^(?:1[ .-])?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}$", checks.american_phone),
    Detector(
        "pii.phone", r"^0\d{1,4}[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3}$", checks.national_phone
    ),
    Detector("pii.phone", r"^0[1-9](?:[ .-]\d\d){4}$"),
    Detector("pii.phone", r"^\d{10,12}$", _at_least(10), hinted=True),
    Detector(
        "pii.ip_address", r"^(?:\d{1,3}\.){3}\d{1,3}(?:/\d\d?)?$", checks.ip_address, NEARLY_ALL
    ),
    Detector(
        "pii.ip_address", r"^[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*$", checks.ip_address,
        NEARLY_ALL,
    ),
)  # fmt: skip

_NATIONAL = (
    Detector("pii.us_ssn", r"\b\d{3}-\d\d-\d{4}\b", national.us_ssn),
    Detector("pii.us_ssn", r"^\d{3} ?\d\d ?\d{4}$", national.us_ssn, hinted=True),
    Detector(
        "pii.uk_nino",
        r"(?i)\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]\b",
        national.uk_nino,
    ),
    Detector("pii.de_steuer_id", r"^\d\d ?\d{3} ?\d{3} ?\d{3}$", national.de_steuer_id),
    Detector(
        "pii.fr_nir",
        r"(?i)^[1-478] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d$",
        national.fr_nir,
    ),
    Detector("pii.es_dni", r"(?i)\b(?:\d|[XYZ]-?)\d{7}-?[A-Z]\b", national.es_dni),
    Detector(
        "pii.it_codice_fiscale",
        r"(?i)\b[A-Z]{6}[0-9L-NP-V]{2}[A-EHLMPRST][0-9L-NP-V]{2}[A-Z][0-9L-NP-V]{3}[A-Z]\b",
        national.it_codice_fiscale,
    ),
    Detector("pii.br_cpf", r"\b\d{3}\.\d{3}\.\d{3}-\d\d\b", national.br_cpf),
    Detector("pii.br_cpf", r"^\d{11}$", national.br_cpf),
    Detector("pii.br_cnpj", r"\b\d\d\.\d{3}\.\d{3}/\d{4}-\d\d\b", national.br_cnpj),
    Detector("pii.br_cnpj", r"^\d{14}$", national.br_cnpj),
    Detector("pii.pl_pesel", r"^\d{11}$", national.pl_pesel),
    Detector("pii.nl_bsn", r"^\d{9}$", national.nl_bsn),
    Detector("pii.se_personnummer", r"^(?:\d\d)?\d{6}[-+]?\d{4}$", national.se_personnummer),
    Detector("pii.in_aadhaar", r"^[2-9]\d{3} ?\d{4} ?\d{4}$", national.in_aadhaar),
    Detector("pii.in_pan", r"\b[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]\b"),
    Detector("pii.ca_sin", r"^\d{3}[ -]?\d{3}[ -]?\d{3}$", national.ca_sin),
    Detector("pii.au_tfn", r"^\d{3} ?\d{3} ?\d{3}$", national.au_tfn),
)


def _secret(name: str, pattern: str, check: Check | None = _varied) -> Detector:
    return Detector(f"secret.{name}", pattern, check, share_min=SPECK)


_SECRETS = (
    _secret("aws", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    _secret("github", r"\bgh[pousr]_[A-Za-z0-9]{36}"),
    _secret("github", r"\bgithub_pat_[A-Za-z0-9]+_[A-Za-z0-9]+", _at_least(80)),
    _secret("gitlab", r"\bgl(?:pat|ptt|dt|rt|cbt|soat|ft|imt|agent)-[A-Za-z0-9_-]{20}"),
    _secret("slack", r"\bxox[abeoprs]-[A-Za-z0-9-]{10}"),
    _secret("slack", r"\bhooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{20}"),
    _secret("stripe", r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16}"),
    _secret("stripe", r"\bwhsec_[A-Za-z0-9+/=]{24}"),
    _secret("google", r"\bAIza[0-9A-Za-z_-]{35}"),
    _secret("google", r"\b(?:GOCSPX-|ya29\.)[0-9A-Za-z_-]{20}"),
    _secret("openai", r"\bsk-(?:proj-|svcacct-|admin-|ant-)?[A-Za-z0-9_-]{20}"),
    _secret("twilio", r"\b(?:AC|SK)[0-9a-f]{32}\b"),
    _secret("sendgrid", r"\bSG\.[A-Za-z0-9_-]{20}[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+", _at_least(60)),
    _secret("mailgun", r"\bkey-[0-9a-f]{32}\b"),
    _secret("npm", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _secret("pypi", r"\bpypi-AgE[A-Za-z0-9_-]+", _at_least(50)),
    _secret("azure", r"\bAccountKey=[A-Za-z0-9+/]+==", _at_least(80)),
    _secret("telegram", r"\b\d{8,10}:[A-Za-z0-9_-]{35}\b"),
    _secret("huggingface", r"\bhf_[A-Za-z]{34}\b"),
    _secret("shopify", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b"),
    _secret("databricks", r"\bdapi[0-9a-f]{32}\b"),
    _secret("digitalocean", r"\bdo[opr]_v1_[0-9a-f]+\b", _at_least(60)),
    _secret("vault", r"\bhv[sbr]\.[A-Za-z0-9_-]{24}"),
    _secret("docker", r"\bdckr_pat_[A-Za-z0-9_-]{20}"),
    _secret("jwt", r"\beyJ[A-Za-z0-9_-]{8}[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.", checks.jwt),
    _secret("private_key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----", None),
    _secret("password_hash", r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]+", _at_least(60)),
    _secret("password_hash", r"\$(?:argon2(?:id|i|d)\$v=|scrypt\$ln=|[156]\$)[^\s$]+\$", None),
    _secret("password_hash", r"\b(?:SCRAM-SHA-256\$\d+:|pbkdf2_sha256\$\d+\$)[^\s]+", None),
    _secret("url_password", r"\b[a-z][a-z0-9+]+://[^\s:/@]+:[^\s/@]+@[A-Za-z0-9]", None),
)
"""Forms as their makers document them; what has no prefix of its own (an AWS secret key) is found
by the column's name only."""

DETECTORS: Final[tuple[Detector, ...]] = (*_LETTERED, *_NATIONAL, *_SECRETS)
SHARE_MIN: Final = {d.classification: d.share_min for d in DETECTORS}
