"""Functions an administrator vouches for: what is written, and which of a catalog's it means.

`compile` reads the entries with `identity_of`, `snapshot` asks `trust_in` once per catalog, and
`sallyport policy trust` prints what to write. Rule: an entry is for one function in one state; a
function with another digest is not trusted, and one that no entry names is not either.
"""

import re
from collections.abc import Iterable

import msgspec

from appliance.model.catalog import Catalog, Function
from appliance.model.decision import NO_TRUST, Trust
from appliance.policy.rules import Where

Identity = tuple[str, str, str]
"""(schema, name, argument types as `Function.arguments` has them)"""

DIGEST_PREFIX = "sha256:"

_NAME = r'"(?:[^"]|"")+"|[a-z_\u0080-\U0010ffff][a-z0-9_$\u0080-\U0010ffff]*'
_IDENTITY = re.compile(rf"\s*({_NAME})\s*\.\s*({_NAME})\s*\((.*)\)\s*", re.DOTALL)
_PLAIN = re.compile("[a-z_][a-z0-9_$]*")
_ALIASES = {
    "bool": "boolean",
    "char": "character",
    "decimal": "numeric",
    "float": "double precision",
    "float4": "real",
    "float8": "double precision",
    "int": "integer",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "varbit": "bit varying",
    "varchar": "character varying",
}
"""Other names of types (parse_type and gram.y) -> what format_type() calls them."""


class TrustEntry(msgspec.Struct, frozen=True):
    """One compiled entry."""

    identity: Identity
    digest: str
    """As in `Function.digest`."""
    where: Where


def identity_of(text: str) -> Identity:
    """Reads `schema.name(type, ...)`. Raises ValueError with words for a person."""
    found = _IDENTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"expected schema.name(argument types), not {text!r}")
    schema, name = _unquoted(found[1]), _unquoted(found[2])
    if schema.startswith("pg_"):
        raise ValueError(f"functions of {schema} can not be declared trusted")
    return schema, name, _types(found[3])


def identity_text(function: Function) -> str:
    """What `identity_of` reads back."""
    return f"{_quoted(function.schema)}.{_quoted(function.name)}({function.arguments})"


def trust_in(entries: Iterable[TrustEntry], catalog: Catalog | None) -> Trust:
    """The functions of a catalog that entries (of this target and database) are about."""
    declared: dict[Identity, set[str]] = {}
    for entry in entries:
        declared.setdefault(entry.identity, set()).add(entry.digest)
    if not declared or catalog is None:
        return NO_TRUST
    functions: set[int] = set()
    changed: set[int] = set()
    for identity, digests in declared.items():
        for function in catalog.functions.get(identity[:2], ()):
            # (Types are named as the database prints them, which is not the same everywhere.)
            if identity[2] in (function.arguments, _types(function.arguments)):
                (functions if function.digest in digests else changed).add(function.oid)
    return Trust(frozenset(functions), frozenset(changed))


def _unquoted(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _types(text: str) -> str:
    """Argument types, spaced and named as the server prints them."""
    kinds = []
    for kind in text.split(",") if text.strip() else ():
        plain = " ".join(kind.split())
        word = re.sub(r"(?:\[\])*\Z", "", plain, count=1)
        kinds.append(_ALIASES.get(word, word) + plain[len(word) :])
    return ", ".join(kinds)
