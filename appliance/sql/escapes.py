"""Texts that mean the same under both values of standard_conforming_strings.

A server may change that setting where nobody sees it in time: a trigger does, beneath a text in
front of this one, or its configuration is read again. Then `'\\'` no longer ends where it ended
when the text was judged, and what was a string is SQL. So such a string is sent as an escape string
constant, which ends there in any case (PostgreSQL's documentation, 4.1.2.2).
"""

from _speedups.sqltokens import unsure_strings

_MARK = b"\\'"
"""Only behind a backslash is it unsure what a quote is."""


def settled_strings(text: bytes) -> bytes:
    """The text itself where all its strings end in one place; else with those that do not spelled
    E'...'. It must have been parsed under standard_conforming_strings = on.
    """
    if _MARK not in text:
        return text
    parts: list[bytes] = []
    done = 0
    for start, end in unsure_strings(text):
        national, _, rest = text[start:end].partition(b"'")
        prefix = b" NCHAR E'" if national else b" E'"
        parts += text[done:start], prefix, rest.replace(b"\\", b"\\\\")
        done = end
    parts.append(text[done:])
    return b"".join(parts)
