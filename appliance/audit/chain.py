"""The hash chain of the audit trail, exactly enough for an independent verifier to be written from
this page.

A worker's chain is a sequence of lines; each ends with LF (0x0A), holds no other LF, and has one of
three forms, which may follow each other in any order, but for the first line of a file, which is
never of the third:

    {"seq":N,"prev":"P","event":"...",...,"hash":"H"}
    {"seq":N,"prev":"P","tail":K,"event":"...",...,"hash":"H"}
    {"seq":N,"like":...,"hash":"H"}    or    {"seq":N,"ends":...,"hash":"H"}

- N: decimal, no leading zeros. 1 for the first line of a worker's chain, then one more per line,
  across segments and restarts. A jump happens only where signed-for records were found lost
  (SpoolRecovered).
- P: the H of the line before it in the chain, also across segments; 64 zeros for the first line
  ever.
- `,"hash":"H"}` and the LF are the last 76 bytes of any line: 9 + 64 + `"}` + LF.
- H, 64 lower-case hex digits, in the first form: SHA-256 of the bytes of this very line from its
  `{` up to, not including, those last 76.
- H in the second form: SHA-256 of the bytes from the `{` up to, not including, the tail, followed
  by the 32 bytes (not digits) of the SHA-256 of the tail. The tail is the K bytes that stand right
  before the last 76. K: decimal, no leading zeros, and small enough for `"event":"` and whatever
  stands before it to lie before the tail. (So that what is the same for every execution of a
  statement is hashed once. Trails written before this form was there have the first one only.)
- H in the third form, a *brief* line: SHA-256 of the bytes from the `{` up to the last 76, followed
  by 32 bytes: what the digits P of the first forms would stand for. (So P, which is the H of the
  line before it, is hashed and not repeated. What such a line means: `brief`.)

What is hashed tells the forms apart (behind N comes `"prev"` or not, behind P either `"event"` or
`"tail"`) and holds K, so two different lines cannot hash the same bytes, unless their tails have
the same SHA-256. So each line is bound to all lines before it, and is checkable alone, a brief one
with the line before it. What signs H: `checkpoint`.
Pure; called by `spool` to write and by `verify` to prove.
"""

import ctypes
import importlib
import re
from collections.abc import Iterable
from hashlib import sha256

import msgspec

from _speedups.auditchain import chain
from _speedups.sha256 import use
from appliance.audit.encode import encode_body
from appliance.audit.record import Record


def use_openssl() -> bool:
    """Has lines and tokens hashed by the library that Python's own hashes are of: several times
    faster than by ours. -> whether it is there.
    """
    try:
        library = ctypes.CDLL(importlib.import_module("_hashlib").__file__)
        use(ctypes.cast(library.SHA256_Transform, ctypes.c_void_p).value)
    except (ImportError, OSError, AttributeError, ValueError):
        return False
    return True


use_openssl()

GENESIS = "0" * 64
"""`prev` of the first line of a chain."""

TAIL_BYTES = 76
_LINE = re.compile(
    rb'\{"seq":([1-9][0-9]{0,18}),"prev":"([0-9a-f]{64})",(?:"tail":([1-9][0-9]{0,8}),)?'
    rb'("event":"[^\n]*),"hash":"([0-9a-f]{64})"\}\n'
)
_BRIEF = re.compile(
    rb'\{"seq":([1-9][0-9]{0,18}),"(?:like|ends)":[^\n]*,"hash":"([0-9a-f]{64})"\}\n'
)
_EVENT_BYTES = 9  # "event":"

Encoded = bytes | tuple[bytes, bytes, bytes]
"""A record that is encoded already, without its braces; in one piece, or as (what varies, tail, the
tail's SHA-256)."""


class Link(msgspec.Struct, frozen=True):
    """A chain's position: the last line's sequence number and hash."""

    seq: int = 0
    head: str = GENESIS


class Line(msgspec.Struct, frozen=True):
    """One parsed line. `sound` = its own hash is right; of a `brief` one that says that it was
    written behind `prev`."""

    seq: int
    prev: str
    hash: str
    sound: bool
    brief: bool = False

    @property
    def link(self) -> Link:
        return Link(self.seq, self.hash)


def link_records(link: Link, records: Iterable[Record | Encoded]) -> tuple[Link, list[bytes]]:
    """Lines for `records` after `link`, and the link after them."""
    encoded = [
        record if isinstance(record, bytes | tuple) else encode_body(record) for record in records
    ]
    after, payload = link_encoded(link, encoded)
    return after, payload.splitlines(keepends=True)


def link_encoded(link: Link, encoded: list[Encoded]) -> tuple[Link, bytes]:
    """All lines in one piece."""
    head, payload = chain(link.seq, link.head.encode(), encoded)
    return Link(link.seq + len(encoded), head.decode()), payload


def parse_line(line: bytes, before: str = "") -> Line | None:
    """None when `line` (LF included) has not the form above; says nothing about what is before it,
    but for a brief one: whether that has the hash `before`, '' = not known."""
    match = _LINE.fullmatch(line)
    if match is None:
        return _parse_brief(line, before)
    seq, prev, tail, body, claimed = match.groups()
    end = len(line) - TAIL_BYTES
    hashed = line[:end]
    if tail is not None:
        begin = end - int(tail)
        if int(tail) > len(body) - _EVENT_BYTES:
            return None
        hashed = line[:begin] + sha256(line[begin:end]).digest()
    return Line(
        int(seq), prev.decode(), claimed.decode(), sha256(hashed).hexdigest().encode() == claimed
    )


def _parse_brief(line: bytes, before: str) -> Line | None:
    match = _BRIEF.fullmatch(line)
    if match is None:
        return None
    seq, claimed = match.groups()
    found = sha256(line[:-TAIL_BYTES] + bytes.fromhex(before)).hexdigest()
    sound = bool(before) and found.encode() == claimed
    return Line(int(seq), before, claimed.decode(), sound, brief=True)


def claimed_hash(line: bytes) -> str:
    """What a line (LF included) says is its hash, '' when it has no form above."""
    match = _LINE.fullmatch(line) or _BRIEF.fullmatch(line)
    return "" if match is None else line[-TAIL_BYTES + 9 : -3].decode()
