"""Tokens: the good ones become principals, every known trick is refused with the one refusal
there is."""

import base64
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from appliance.config.schema import OidcProvider, TokenAlgorithm
from appliance.identity.claims import asks_for_token, peek, provider_of, verify
from appliance.identity.token_keys import TokenKeys
from appliance.model.errors import Refused
from appliance.model.principal import Principal, PrincipalKind

NOW = 1_800_000_000.0
RSA = RSAKey.generate_key(2048, {"kid": "r1", "use": "sig"})
OTHER = RSAKey.generate_key(2048, {"kid": "other"})
EC = ECKey.generate_key("P-256", {"kid": "e1"})
ED = OKPKey.generate_key("Ed25519", {"kid": "o1"})
KEYS = TokenKeys.parse(
    json.dumps({"keys": [k.as_dict(private=False) for k in (RSA, EC, ED)]}).encode()
)
PROVIDER = OidcProvider(
    name="company",
    issuer="https://idp.example/",
    audience=("sallyport", "other"),
    jwks_url="https://idp.example/jwks",
)


def provider(**changes: Any) -> OidcProvider:
    fields = {name: getattr(PROVIDER, name) for name in PROVIDER.__struct_fields__}
    return OidcProvider(**{**fields, **changes})


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "iss": PROVIDER.issuer,
        "aud": "sallyport",
        "sub": "alice",
        "iat": NOW - 10,
        "exp": NOW + 300,
        "groups": ["analyst", "eu"],
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def token(key: Any = RSA, header: dict[str, Any] | None = None, **changes: Any) -> str:
    head = {"alg": "RS256", "kid": key.kid, **(header or {})}
    return jwt.encode(
        {k: v for k, v in head.items() if v is not ...},
        claims(**changes),
        key,
        algorithms=[head["alg"]],
    )


def refused(text: str, of: OidcProvider = PROVIDER) -> str:
    with pytest.raises(Refused) as caught:
        verify(text, of, KEYS, NOW)
    assert caught.value.refusal.message == "authentication failed"
    return caught.value.refusal.rule.removeprefix("identity.token.")


def test_good_token() -> None:
    verified = verify(token(jti="t-1"), PROVIDER, KEYS, NOW)
    assert verified.principal == Principal(
        "alice", PrincipalKind.HUMAN, ("analyst", "eu"), source="company"
    )
    assert verified.expires == NOW + 300
    assert verified.token_id == "t-1"


def test_other_algorithms_when_pinned() -> None:
    pinned = provider(algorithms=(TokenAlgorithm.EDDSA, TokenAlgorithm.ES256))
    assert verify(token(EC, {"alg": "ES256"}), pinned, KEYS, NOW).principal.name == "alice"
    with pytest.warns(UserWarning, match="EdDSA"):
        text = token(ED, {"alg": "EdDSA"})
    assert verify(text, pinned, KEYS, NOW).principal.name == "alice"
    assert refused(token(), pinned) == "algorithm"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"iss": "https://idp.example"}, "issuer"),
        ({"aud": "somebody-else"}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": ...}, "audience"),
        ({"aud": [1, {"a": "sallyport"}]}, "audience"),
        ({"exp": ...}, "expired"),
        ({"exp": NOW - 31}, "expired"),
        ({"exp": "9999999999"}, "form"),
        ({"exp": True}, "form"),
        ({"nbf": NOW + 31}, "not_yet"),
        ({"iat": NOW + 31}, "not_yet"),
        ({"exp": NOW + 90_000}, "lifetime"),
        ({"iat": ..., "exp": NOW + 90_000}, "lifetime"),
        ({"sub": ...}, "name"),
        ({"sub": ""}, "name"),
        ({"sub": 5}, "form"),
        ({"sub": "a\nb"}, "name"),
        ({"sub": "a\0b"}, "name"),
        ({"sub": "x" * 257}, "name"),
        ({"groups": [1]}, "groups"),
        ({"groups": {"a": 1}}, "groups"),
        ({"groups": ["ok", "not\nok"]}, "groups"),
        ({"act": "copilot"}, "actor"),
        ({"act": {}}, "actor"),
        ({"act": {"sub": "bot"}, "on_behalf_of": "bob"}, "actor"),
        ({"on_behalf_of": ["a"]}, "form"),
    ],
)
def test_bad_claims(changes: dict[str, Any], rule: str) -> None:
    assert refused(token(**changes)) == rule


def test_times_have_leeway() -> None:
    for name, time in (("exp", NOW - 29), ("nbf", NOW + 29), ("iat", NOW + 29)):
        changed: dict[str, Any] = {name: time}
        assert verify(token(**changed), PROVIDER, KEYS, NOW).principal.name == "alice"


def test_audience_list_and_no_groups() -> None:
    verified = verify(token(aud=["x", "other"], groups=...), PROVIDER, KEYS, NOW)
    assert verified.principal.groups == ()


def test_forged_signature() -> None:
    head, payload, signature = token().split(".")
    assert refused(f"{head}.{payload}.{signature[:-8]}AAAAAAAA") == "signature"
    other = base64.urlsafe_b64encode(json.dumps(claims(sub="bob")).encode()).rstrip(b"=").decode()
    assert refused(f"{head}.{other}.{signature}") == "signature"
    assert refused(token(OTHER, {"kid": "r1"})) == "signature"


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def test_none_is_no_algorithm() -> None:
    for name in ("none", "None", "NONE", ""):
        assert refused(f"{part({'alg': name, 'kid': 'r1'})}.{part(claims())}.") == "algorithm"


def test_public_key_as_hmac_secret() -> None:
    """The classic confusion: HS256 with the RSA public key's PEM as the secret (RFC 8725, 2.1)."""
    signed = f"{part({'alg': 'HS256', 'kid': 'r1'})}.{part(claims())}"
    mac = hmac.digest(RSA.as_pem(private=False), signed.encode(), "sha256")
    signature = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
    assert refused(f"{signed}.{signature}") == "algorithm"


def test_symmetric_keys_in_the_set_are_dropped() -> None:
    keys = {"keys": [OctKey.generate_key(256, {"kid": "s"}).as_dict(private=True), *raw_rsa()]}
    assert len(TokenKeys.parse(json.dumps(keys).encode())) == 1


def raw_rsa() -> list[dict[str, Any]]:
    return [dict(RSA.as_dict(private=False))]


def test_header_tricks() -> None:
    assert refused(token(header={"kid": "nobody"})) == "key"
    assert refused(token(header={"typ": "logout+jwt"})) == "type"
    assert refused(f"{part({'alg': 'RS256', 'kid': 'r1', 'b64': False})}.e30.x") == "form"
    own = OTHER.as_dict(private=False)
    assert refused(token(OTHER, {"kid": "r1", "jwk": own})) == "signature"
    crit = part({"alg": "RS256", "kid": "r1", "crit": ["x"], "x": 1})
    assert refused(f"{crit}.{part(claims())}.{token().split('.')[2]}") == "signature"
    assert refused(token(EC, {"alg": "ES256", "kid": "r1"})) == "key"


def test_without_key_id_only_when_it_is_clear() -> None:
    assert verify(token(header={"kid": ...}), PROVIDER, KEYS, NOW).principal.name == "alice"
    twice = [RSA.as_dict(private=False), OTHER.as_dict(private=False)]
    keys = TokenKeys.parse(json.dumps({"keys": twice}).encode())
    with pytest.raises(Refused):
        verify(token(header={"kid": ...}), PROVIDER, keys, NOW)


def test_actor_is_the_principal() -> None:
    """RFC 8693: copilot acts for alice."""
    verified = verify(token(act={"sub": "copilot", "act": {"sub": "earlier"}}), PROVIDER, KEYS, NOW)
    assert verified.principal == Principal(
        "copilot", PrincipalKind.AGENT, ("analyst", "eu"), on_behalf_of="alice", source="company"
    )
    agreeing = token(act={"sub": "copilot"}, on_behalf_of="alice")
    assert verify(agreeing, PROVIDER, KEYS, NOW).principal.on_behalf_of == "alice"


def test_actors_can_be_refused_altogether() -> None:
    assert refused(token(act={"sub": "copilot"}), provider(act_claim=None)) == "actor"


def test_on_behalf_of_claim_and_kinds() -> None:
    mapped = provider(
        kind_claim="client_type",
        kinds={"bot": PrincipalKind.AGENT, "daemon": PrincipalKind.SERVICE},
        username_claim="azp",
        username_prefix="company:",
        groups_claim="realm_access.roles",
        groups_prefix="kc-",
    )
    text = token(
        azp="etl", client_type="bot", on_behalf_of="bob", realm_access={"roles": ["r", "r"]}
    )
    assert verify(text, mapped, KEYS, NOW).principal == Principal(
        "company:etl", PrincipalKind.AGENT, ("kc-r",), "company:bob", "company"
    )
    assert refused(token(azp="etl", client_type="alien"), mapped) == "kind"
    assert verify(token(azp="etl"), mapped, KEYS, NOW).principal.kind is PrincipalKind.HUMAN


def test_unverified_email() -> None:
    by_email = provider(username_claim="email")
    assert refused(token(email="a@x.example", email_verified=False), by_email) == (
        "email_not_verified"
    )
    for odd in ("false", "no", 0, None, []):  # some providers send a text
        assert refused(token(email="a@x.example", email_verified=odd), by_email) == (
            "email_not_verified"
        )
    for good in ({}, {"email_verified": True}, {"email_verified": "true"}):
        verified = verify(token(email="a@x.example", **good), by_email, KEYS, NOW)
        assert verified.principal.name == "a@x.example"


def test_issuer_decides_the_provider() -> None:
    second = provider(name="second", issuer="https://two.example/")
    assert provider_of(peek(token(iss=second.issuer)), (PROVIDER, second)) is second
    with pytest.raises(Refused):
        provider_of(peek(token(iss="https://three.example/")), (PROVIDER, second))


def test_login_names() -> None:
    assert asks_for_token("alice@example.com", (PROVIDER,))
    assert not asks_for_token("alice", (PROVIDER,))
    assert not asks_for_token("alice@example.com", ())


@given(st.one_of(st.text(max_size=200), st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True)))
def test_anything_is_refused_calmly(text: str) -> None:
    with pytest.raises(Refused):
        verify(text, PROVIDER, KEYS, NOW)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1, "x", {}, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": 2}]}',
        b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}',
    ],
)
def test_bad_key_sets(text: bytes) -> None:
    with pytest.raises(ValueError, match="key set"):
        TokenKeys.parse(text)


def test_keys_for_other_uses_are_dropped() -> None:
    for change in ({"use": "enc"}, {"key_ops": ["encrypt"]}, {"kty": "future"}):
        entry = {**RSA.as_dict(private=False), **change}
        with pytest.raises(ValueError, match="no public signature key"):
            TokenKeys.parse(json.dumps({"keys": [entry]}).encode())


def test_weak_rsa_keys_are_dropped() -> None:
    with pytest.warns(UserWarning, match="2048"):
        weak = RSAKey.generate_key(1024, {"kid": "weak"})
    with pytest.raises(ValueError, match="no public signature key"):
        TokenKeys.parse(json.dumps({"keys": [weak.as_dict(private=False)]}).encode())


def test_private_parts_are_left_behind() -> None:
    keys = TokenKeys.parse(json.dumps({"keys": [RSA.as_dict(private=True)]}).encode())
    found = keys.find("r1", "RS256")
    assert isinstance(found, RSAKey)
    assert not found.is_private
