"""Corpus files: reading them, and which of their items a server cannot run.

Used by `runs`. An item that a server lacks the means for (an extension, a version) would fail there
without Sallyport as well: it is listed as skipped, and never counts as held.
"""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "corpus" / "postgres"
KINDS = ("attacks", "benign", "guard")
OWN = {"attacks": "own.jsonl", "benign": "own_benign.jsonl", "guard": "own_guard.jsonl"}
PUBLIC = {"attacks": "public.jsonl", "benign": "benign.jsonl", "guard": "guard.jsonl"}

Item = dict[str, Any]

# What of an extension's a text may use; names that the server itself has too are left out.
WORDS = {
    "dblink": r"dblink\w*",
    "tablefunc": r"crosstab\w*|connectby|normal_rand",
    "hstore": r"hstore|hstore_to_\w+|avals|akeys|svals|skeys",
    "pg_trgm": r"similarity|show_trgm|word_similarity|strict_word_similarity|g(?:in|ist)_trgm_ops",
    "fuzzystrmatch": r"levenshtein\w*|soundex|difference|d?metaphone(?:_alt)?|daitch_mokotoff",
    "pg_stat_statements": r"pg_stat_statements\w*",
    "postgres_fdw": r"postgres_fdw\w*",
    "pgcrypto": (
        r"digest|hmac|crypt|gen_salt|pgp_\w+|encrypt(?:_iv)?|decrypt(?:_iv)?|gen_random_bytes"
        r"|armor|dearmor"
    ),
    "xml2": (
        r"xpath_(?:table|string|number|bool|list|nodeset)|xml_(?:valid|encode_special_chars)"
        r"|xslt_process|xml_is_well_formed"
    ),
}
SYSTEM_USER_SINCE = 16
"""Since then SYSTEM_USER is a keyword (a function), where it is not quoted or qualified."""
_SYSTEM_USER = re.compile(r'(?<![."\\w])system_user\b', re.IGNORECASE)
_XML = re.compile(
    r"\b(?:xml(?:agg|attributes|comment|concat|element|exists|forest|parse|pi|root|serialize|table"
    r"|_is_well_formed\w*)|xpath\w*|(?:query|table|schema|database|cursor)_to_xml\w*)\s*\("
    r"|::\s*xml\b|\bas xml\b",
    re.IGNORECASE,
)
_CREATES = re.compile(r"create\s+extension\s+(?:if\s+not\s+exists\s+)?\"?(\w+)", re.IGNORECASE)
_REQUIRES_VERSION = re.compile(r"server\s*(<=|>=|<|>|=)\s*(\d+)")


@dataclass(frozen=True)
class Means:
    """What a server has."""

    version: int
    extensions: frozenset[str]
    xml: bool = True
    """Built with libxml."""


def read(path: Path) -> list[Item]:
    """One JSON object a line; empty lines do not count."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def limits(path: Path) -> dict[str, str]:
    """Id -> which limit that README names lets it through, for those where one does. They count as
    leaked all the same."""
    return {item["id"]: item["limit"] for item in read(path) if item.get("limit")}


def write(path: Path, items: Iterable[Item]) -> None:
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), "utf-8")


def missing(item: Item, means: Means) -> str:
    """Why a server with `means` cannot run `item`; '' when it can."""
    for requirement in _requirements(item):
        version = _REQUIRES_VERSION.fullmatch(requirement)
        if version and not _holds(means.version, version[1], int(version[2])):
            return f"requires {requirement}"
        if requirement in WORDS and requirement not in means.extensions:
            return f"no extension {requirement}"
    text = json.dumps([item.get(part) for part in ("steps", "pair", "effect")])
    if means.version >= SYSTEM_USER_SINCE and _SYSTEM_USER.search(text):
        return "system_user is a keyword there"
    if not means.xml and _XML.search(text):
        return "no libxml"
    for name in _CREATES.findall(text):
        if name not in means.extensions:
            return f"no extension {name}"
    for name, words in WORDS.items():
        called = re.search(rf"(?<![\w']){name}(?![\w'])|\b(?:{words})\s*\(", text, re.IGNORECASE)
        if name not in means.extensions and called:
            return f"no extension {name}"
    return ""


def split(items: Iterable[Item], means: Means) -> tuple[list[Item], dict[str, str]]:
    """(what can run, id -> why not)."""
    able: list[Item] = []
    skipped: dict[str, str] = {}
    for item in items:
        if reason := missing(item, means):
            skipped[item["id"]] = reason
        else:
            able.append(item)
    return able, skipped


def share(items: list[Item], part: int, parts: int) -> list[Item]:
    """Every `parts`-th item; neighbours, which cost alike, go to different parts."""
    return items[part::parts]


def selected(items: Iterable[Item], only: Collection[str]) -> list[Item]:
    """Those with an id in `only`; all when it is empty."""
    return [item for item in items if not only or item["id"] in only]


def _requirements(item: Item) -> list[str]:
    wanted = item.get("requires") or []
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _holds(have: int, sign: str, wanted: int) -> bool:
    return {
        "<": have < wanted,
        "<=": have <= wanted,
        ">": have > wanted,
        ">=": have >= wanted,
        "=": have == wanted,
    }[sign]
