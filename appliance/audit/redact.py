"""Bounds and cleans every text that a client or a database chose before it goes into a record.

Called by whoever builds records (`audit/compose`, the worker). Literals in SQL are not this
module's work: they are gone already (`_speedups.sqllex.redact`, in `Facts.redacted`). The rule: a
record's size has a bound whatever a client sends, every string in it is valid UTF-8, and printing a
name cannot steer a terminal.
"""

from collections.abc import Iterable

from appliance.model.limits import (
    AUDIT_NAME_CHARS_MAX,
    AUDIT_NAMES_MAX,
    AUDIT_TEXT_BYTES_MAX,
)

CUT = "…"


def clean_name(text: str, chars_max: int = AUDIT_NAME_CHARS_MAX) -> str:
    """A name (application, statement, user, relation): unprintable characters become `?`, length is
    bounded.

    Unprintable is what `str.isprintable` says: controls, surrogates, bidirectional overrides.
    """
    if len(text) <= chars_max and text.isprintable():
        return text
    kept = text[:chars_max]
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() else "?" for c in kept)
    return kept if len(text) <= chars_max else kept[: chars_max - 1] + CUT


def clean_names(names: Iterable[str], count_max: int = AUDIT_NAMES_MAX) -> tuple[str, ...]:
    """Names without repetitions, in order of first appearance; what is beyond the bound becomes one
    '…'."""
    unique = list(dict.fromkeys(names))
    kept = tuple([clean_name(name) for name in unique[:count_max]])
    return kept if len(unique) <= count_max else (*kept, CUT)


def clean_text(text: str, bytes_max: int = AUDIT_TEXT_BYTES_MAX) -> str:
    """SQL text (redacted by the caller unless configured otherwise), cut to `bytes_max` bytes of
    UTF-8."""
    if len(text) * 4 <= bytes_max and text.isascii():
        return text
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= bytes_max:
        return encoded.decode("utf-8")
    return encoded[: bytes_max - len(CUT.encode())].decode("utf-8", "ignore") + CUT
