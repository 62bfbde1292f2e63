"""Each detector: what it must find, and what looks like it and is not."""

import time

import pytest
import re2

from appliance.detect import checks, values
from appliance.detect.patterns import DETECTORS, SHARE_MIN
from appliance.detect.values import Tally, detect

HEX = "0123456789abcdef" * 4
MIXED = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYzAbCdEfGhIjKlMnOpQrStUvWxYz0123456789aBcDeFgHi"

TRUE = {
    "pii.email": "a.b+c@example.com|write to jane.doe@mail.example.co.uk, please|X_1@a-b.travel",
    "pii.phone": "+49 30 901820|+1 (415) 555-2671|+442079460958|(415) 555-2671|415-555-2671"
    "|030 901820-10|01 42 68 53 00|0171/1234567|call +33 1 42 68 53 00 now",
    "pii.ip_address": "192.0.2.17|10.0.0.0/8|2001:db8::1|::ffff:192.0.2.1",
    "payment.card": "4111111111111111|4111 1111 1111 1111|5555-5555-5555-4444|378282246310005"
    "|paid with 3782 822463 10005 yesterday|6011111111111117|3530111333300000|30569309025904"
    "|2223003122003222",
    "payment.iban": "DE89370400440532013000|DE89 3704 0044 0532 0130 00|GB29 NWBK 6016 1331 9268 19"
    "|to FR1420041010050500013M02606 please|NO9386011117947|nl91abna0417164300",
    "pii.us_ssn": "123-45-6789|his SSN is 536-22-1234.",
    "pii.uk_nino": "AB123456C|QQ no: JG 10 37 59 A",
    "pii.de_steuer_id": "86095742719|47036892816|65 929 970 489",
    "pii.fr_nir": "255081416802538|2 55 08 14 168 025 38|1 85 05 2A 006 084 35",
    "pii.es_dni": "12345678Z|X1234567L|Y0123456Y|dni 00000000-T",
    "pii.it_codice_fiscale": "RSSMRA85T10A562S|rssmra85t10a562s",
    "pii.br_cpf": "529.982.247-25|52998224725",
    "pii.br_cnpj": "11.222.333/0001-81|11222333000181",
    "pii.pl_pesel": "44051401359|02070803628",
    "pii.nl_bsn": "111222333|123456782",
    "pii.se_personnummer": "811228-9874|19811228-9874|8112289874",
    "pii.in_aadhaar": "234123412346|2341 2341 2346",
    "pii.in_pan": "ABCPE1234F",
    "pii.ca_sin": "130692544|130 692 544",
    "pii.au_tfn": "123456782|123 456 782",
    "secret.aws": "AKIAIOSFODNN7EXAMPLE|key=ASIAQWERTYUIOPASDFGH;",
    "secret.github": f"ghp_{MIXED[:36]}|github_pat_{MIXED[:22]}_{MIXED[:59]}",
    "secret.gitlab": f"glpat-{MIXED[:20]}",
    "secret.slack": f"xoxb-123456789012-{MIXED[:12]}"
    f"|https://hooks.slack.com/services/T0ABC/B0DEF/{MIXED[:24]}",
    "secret.stripe": f"sk_live_{MIXED[:24]}|whsec_{MIXED[:32]}",
    "secret.google": f"AIza{MIXED[:35]}|GOCSPX-{MIXED[:28]}",
    "secret.openai": f"sk-proj-{MIXED[:40]}|sk-{MIXED[:40]}",
    "secret.twilio": f"AC{HEX[:32]}",
    "secret.sendgrid": f"SG.{MIXED[:22]}.{MIXED[:43]}",
    "secret.mailgun": f"key-{HEX[:32]}",
    "secret.npm": f"npm_{MIXED[:36]}",
    "secret.pypi": f"pypi-AgEIcHlwaS5vcmc{MIXED}",
    "secret.azure": f"AccountName=x;AccountKey={(MIXED + MIXED)[:86]}==;",
    "secret.telegram": f"123456789:{MIXED[:35]}",
    "secret.huggingface": f"hf_{'abcdefghijKLMNOPQRst' * 2}"[:37],
    "secret.shopify": f"shpat_{HEX[:32]}",
    "secret.databricks": f"dapi{HEX[:32]}",
    "secret.digitalocean": f"dop_v1_{HEX}",
    "secret.vault": f"hvs.{MIXED[:40]}",
    "secret.docker": f"dckr_pat_{MIXED[:27]}",
    "secret.jwt": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "secret.private_key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE|-----BEGIN PRIVATE KEY-----"
    "|-----BEGIN OPENSSH PRIVATE KEY-----|-----BEGIN PGP PRIVATE KEY BLOCK-----",
    "secret.password_hash": f"$2b$12${MIXED[:53]}|$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"
    "|SCRAM-SHA-256$4096:c2FsdA==$a:b",
    "secret.url_password": "postgresql://app:hunter2@db.example.com/shop",
}

FALSE = {
    "pii.email": "logo@2x.png|@handle|a@b|a..b@example.com|user@example.c0m|x@-a.com|me @ home.de",
    "pii.phone": "+999 12|2024-01-02|01/02/2003 10:20|12-11-2003 10|115-555-2671|000 000 0000"
    "|1234567890|+0 123 456 789",
    "pii.ip_address": "1.2.3|256.1.1.1|10:20:30|1.2.3.4.5|12:30",
    "payment.card": "4111111111111112|1234567812345670|4111 111111111111|0000000000000000"
    "|41111111111111111|9111111111111111",
    "payment.iban": "DE89370400440532013001|XX89370400440532013000|DE8937040044053201300|DE89",
    "pii.us_ssn": "000-12-3456|666-12-3456|912-34-5678|123-00-4567|123-45-0000|123456789"
    "|078-05-1120|2123-45-67891",
    "pii.uk_nino": "BG123456C|AB123456E|DB123456A|AO123456A|AB12345C",
    "pii.de_steuer_id": "86095742710|12345678901|00000000000|11111111111|06095742719",
    "pii.fr_nir": "255081416802539|255131416802538|955081416802538",
    "pii.es_dni": "12345678A|X1234567A|1234567Z",
    "pii.it_codice_fiscale": "RSSMRA85T10A562T|RSSMRA85F10A562S|RSSMRA85T10A562",
    "pii.br_cpf": "529.982.247-26|11111111111|529.982.24725",
    "pii.br_cnpj": "11.222.333/0001-82|00000000000000",
    "pii.pl_pesel": "44051401358|44133201359|00000000000",
    "pii.nl_bsn": "111222334|000000000|12345678",
    "pii.se_personnummer": "811228-9875|811328-9874|8112289",
    "pii.in_aadhaar": "234123412347|134123412346|23412341234",
    "pii.in_pan": "ABCDE1234F|ABCPE123F|abcpe1234f",
    "pii.ca_sin": "130692545|000000000|830692544",
    "pii.au_tfn": "123456781|000000000",
    "secret.aws": "AKIAIOSFODNN7EXAMPL|akiaiosfodnn7example",
    "secret.github": f"ghp_{'x' * 36}|ghp_short|github_pat_a_b",
    "secret.gitlab": "glpat-short",
    "secret.slack": "xoxb-short|xoxz-123456789012",
    "secret.stripe": f"sk_demo_{MIXED[:24]}|sk_live_xxxxxxxxxxxxxxxxxxxxxxxx",
    "secret.openai": "sk-|task-force-one|sk-xxxxxxxxxxxxxxxxxxxxxxxx",
    "secret.jwt": "eyJub3RoaW5nIjoxfQ.eyJzdWIiOiIxIn0.x|eyJ!!!!!!!!.a.b|eyJhbGciOiJIUzI1NiI.eyJz.x",
    "secret.private_key": "-----BEGIN CERTIFICATE-----|-----BEGIN PUBLIC KEY-----",
    "secret.password_hash": "$2b$12$short|$100$",
    "secret.url_password": "https://example.com/a@b|https://user@example.com",
}


def seen(value: str) -> set[str]:
    tally = Tally()
    tally.add([value.encode()])
    return set(tally._plain)


def each(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, text in table.items() for value in text.split("|")]


@pytest.mark.parametrize(("classification", "value"), each(TRUE))
def test_what_is_one(classification: str, value: str) -> None:
    assert classification in seen(value)


@pytest.mark.parametrize(("classification", "value"), each(FALSE))
def test_what_only_looks_like_one(classification: str, value: str) -> None:
    assert classification not in seen(value)


def test_every_detector_has_its_examples() -> None:
    assert set(TRUE) == {d.classification for d in DETECTORS} == set(SHARE_MIN)
    for detector in DETECTORS:
        single = re2.compile(detector.pattern)
        found = [v for v in TRUE[detector.classification].split("|") if single.search(v)]
        assert found or detector.hinted, detector.pattern


@pytest.mark.parametrize("place", range(12))
def test_a_wrong_digit_is_noticed(place: int) -> None:
    """Each of these rules notices every single wrong digit."""
    for name, number in {
        "payment.card": "4111111111111111",
        "payment.iban": "DE89370400440532013000",
        "pii.in_aadhaar": "234123412346",
        "pii.ca_sin": "130692544",
    }.items():
        at = place + 4 if name == "payment.iban" else place % (len(number) - 1) + 1
        at = min(at, len(number) - 1)
        for digit in "0123456789":
            wrong = number[:at] + digit + number[at + 1 :]
            assert (name in seen(wrong)) == (wrong == number)


# --- shares -------------------------------------------------------------------------------------


def mixture(good: int, all_of_them: int, value: str = "jane{}@example.com") -> list[bytes]:
    rest = ["delivered, thanks, {}"] * (all_of_them - good)
    return [text.format(n).encode() for n, text in enumerate([value] * good + rest)]


def test_a_share_of_the_values() -> None:
    (finding,) = detect(mixture(122, 200))
    assert (finding.classification, finding.matches, finding.values) == ("pii.email", 122, 200)
    assert finding.share == pytest.approx(0.61)


def test_thresholds() -> None:
    assert not detect(mixture(99, 200))
    assert detect(mixture(100, 200))
    assert not detect(mixture(19, 19)), "too few values"
    assert detect(mixture(20, 20))
    key = f"key is ghp_{MIXED[:36]} {{}}"
    assert detect(mixture(2, 200, key))[0].classification == "secret.github"
    assert not detect(mixture(1, 200, key))
    assert not detect(mixture(2, 300, key))


def test_empty_values_do_not_count() -> None:
    assert detect([*mixture(20, 20), *[b" "] * 500])[0].values == 20


def test_a_hinted_form_needs_the_name() -> None:
    numbers = [str(219_000_000 + n * 7919).encode() for n in range(100)]
    assert "pii.us_ssn" not in {f.classification for f in detect(numbers)}
    assert "pii.us_ssn" in {f.classification for f in detect(numbers, ["pii.us_ssn"])}


def test_numbers_that_are_only_numbers() -> None:
    """A serial number passes a check digit one time in ten: never half of the time."""
    for width in (9, 10, 11, 12, 14, 16):
        numbers = [str(10 ** (width - 1) + n * 7919 + n % 13).encode() for n in range(1000)]
        assert detect(numbers) == ()


def test_prose_codes_and_times_are_nothing() -> None:
    column = [
        *(f"Order {n} shipped on 2024-0{n % 9 + 1}-11 10:0{n % 9}:00+02" for n in range(50)),
        *(f"SKU-{n:06}-{n % 7}A" for n in range(50)),
        *(f"{n:08x}-{n:04x}-4{n:03x}-a{n:03x}-{n:012x}" for n in range(50)),
        *(f"https://example.com/p/{n}?ref=mail@home" for n in range(50)),
    ]
    assert detect([text.encode() for text in column]) == ()


# --- bounds -------------------------------------------------------------------------------------

EVIL = {
    "dots": "a." * 300_000,
    "ats": "@" * 600_000,
    "mails": "a@a." * 150_000,
    "digits": "1 " * 300_000,
    "plus": "+1 2-3" * 100_000,
    "begin": "-----BEGIN " * 60_000,
    "jwt": "eyJaaaaaaaaaa." * 40_000,
    "iban": "DE89 3704 " * 60_000,
    "url": "a://b:" * 100_000,
    "spaces": " " * 600_000,
}


@pytest.mark.parametrize("name", EVIL)
def test_time_is_linear(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the length cap lifted: four times the text, about four times the time."""
    monkeypatch.setattr(values, "VALUE_BYTES_MAX", 10_000_000)
    whole = EVIL[name].encode()
    short = best(whole[: len(whole) // 4])
    assert best(whole) < 12 * short + 0.01


def best(value: bytes) -> float:
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        Tally().add([value])
        times.append(time.perf_counter() - begun)
    return min(times)


def test_a_value_is_cut() -> None:
    assert not seen("x" * 500 + " jane@example.com " + "y" * 100)
    assert "pii.email" in seen("jane@example.com " + "x" * 5_000)


def test_a_batch_is_cut() -> None:
    assert detect([b"jane@example.com"] * 10_000)[0].values == values.VALUES_MAX


def test_arbitrary_bytes() -> None:
    tally = Tally()
    tally.add(bytes(range(n, 256)) + b"\xff\xfe\0jane@example.com" for n in range(256))
    assert tally.values == 256


def test_a_full_automaton_still_finds() -> None:
    """More distinct texts than the automaton has room for: it begins anew, and misses nothing."""
    tally = Tally()
    for n in range(3_000):
        tally.add([f"{n * 7919:x}@{n}.{'ab' * (n % 50)}-{n:b}".encode()])
    for classification, value in each(TRUE):
        assert classification in seen(value)


def test_nothing_of_a_value_stays() -> None:
    tally = Tally()
    tally.add([b"jane@example.com"] * 30)
    kept = repr([getattr(tally, slot) for slot in Tally.__slots__]) + repr(tally.findings())
    assert "jane" not in kept


def test_known_sums() -> None:
    assert checks.luhn("79927398713") and not checks.luhn("79927398710")
    assert checks.iban("GB82WEST12345698765432") and not checks.iban("GB82WEST12345698765431")
