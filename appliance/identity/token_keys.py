"""An issuer's public keys (JWK set, RFC 7517) as parsed, filtered and looked up by `claims`.

The text comes from `dataplane/jwks` (URL or file). Rule: only public signature keys of sufficient
strength are kept; a symmetric key in the set is dropped, so that no HMAC can ever be checked with
it.
"""

import warnings
from collections.abc import Mapping
from typing import Any, TypeGuard

import msgspec
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

PublicKey = RSAKey | ECKey | OKPKey

KEYS_MAX = 256
RSA_BITS_MIN = 2048
PUBLIC_PARTS = ("kty", "n", "e", "crv", "x", "y")  # private ones and x5c are left behind
KINDS: Mapping[str, type[PublicKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
CURVES = {
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
    "Ed25519": "Ed25519",
}


class TokenKey(msgspec.Struct, frozen=True):
    kid: str | None
    algorithm: str | None
    """The JWK's own `alg`, None when it does not say."""
    key: PublicKey

    def suits(self, algorithm: str) -> bool:
        if self.algorithm is not None and self.algorithm != algorithm:
            return False
        if algorithm.startswith(("RS", "PS")):
            return isinstance(self.key, RSAKey)
        return getattr(self.key, "curve_name", None) == CURVES.get(algorithm, "")


class TokenKeys:
    """The usable keys of one issuer. Immutable."""

    def __init__(self, keys: tuple[TokenKey, ...] = ()) -> None:
        self.keys = keys

    @classmethod
    def parse(cls, text: bytes) -> "TokenKeys":
        """Raises ValueError when it is no JWK set, or none of its keys can be used."""
        try:
            tree = msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise ValueError("the key set is not JSON") from None
        entries = tree.get("keys") if isinstance(tree, dict) else None
        if not isinstance(entries, list) or len(entries) > KEYS_MAX:
            raise ValueError("the key set has no list `keys` of at most 256 entries")
        made = tuple(key for entry in entries if (key := token_key(entry)) is not None)
        if not made:
            raise ValueError("the key set has no public signature key")
        return cls(made)

    def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """By key id; without one, only when a single key suits the algorithm."""
        fitting = [k for k in self.keys if (kid is None or k.kid == kid) and k.suits(algorithm)]
        return fitting[0].key if len(fitting) == 1 else None

    def __len__(self) -> int:
        return len(self.keys)


def token_key(entry: object) -> TokenKey | None:
    """None for a key that is not for checking signatures, is symmetric, weak, or not understood
    (RFC 7517, 5)."""
    if not is_object(entry) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops")
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    kind = KINDS.get(str(entry.get("kty")))
    if kind is None:
        return None
    public: dict[str, str | list[str]] = {
        str(name): entry[name] for name in PUBLIC_PARTS if name in entry
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # weak keys are dropped just below
            key = kind.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if isinstance(key, RSAKey) and key.raw_value.key_size < RSA_BITS_MIN:
        return None
    kid, algorithm = entry.get("kid"), entry.get("alg")
    return TokenKey(
        kid if isinstance(kid, str) else None,
        algorithm if isinstance(algorithm, str) else None,
        key,
    )


def is_object(entry: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(entry, dict)
