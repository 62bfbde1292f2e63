"""Texts whose strings end in one place, however the server reads strings."""

import random
from collections.abc import Iterator

import pglast
import pytest

from _speedups.sqltokens import tokens
from appliance.sql.escapes import settled_strings

ALIKE = (
    "select 1",
    r"select 'C:\path', '\d+', e'\'', E'a\\', $$ \' $$, $q$'\'$q$",
    r"""select "a\'b" -- '\'""",
    r"select /* '\' */ 1",
    r"select b'1', x'1f', u&'\0061'",
)
SPELLED = {
    r"select '\'": r"select  E'\\'",
    r"select'\', ' union all select s from l.secrets --'": (
        r"select E'\\', ' union all select s from l.secrets --'"
    ),
    r"select 'a\''b\', 'c'": r"select  E'a\\''b\\', 'c'",
    "select 'a'\n  'b\\'": "select  E'a'\n  'b\\\\'",
    "select 'a' -- \\\n  'b\\'": "select  E'a' -- \\\\\n  'b\\\\'",
    r"select n'\', N'a\''b'": r"select  NCHAR E'\\',  NCHAR E'a\\''b'",
    r"select x from t where x like '%\%' escape '\'": (
        r"select x from t where x like '%\%' escape  E'\\'"
    ),
    r"select u&'!0061' uescape '!', '\'": r"select u&'!0061' uescape '!',  E'\\'",
    r"select foo'\'": r"select foo E'\\'",
}


@pytest.mark.parametrize("text", ALIKE)
def test_texts_that_are_read_alike_stay_as_they_are(text: str) -> None:
    assert settled_strings(text.encode()) == text.encode()


@pytest.mark.parametrize("text", SPELLED)
def test_strings_that_could_end_elsewhere_are_spelled_so_that_they_cannot(text: str) -> None:
    assert settled_strings(text.encode()).decode() == SPELLED[text]


def extents(text: bytes, standard: bool) -> list[tuple[str, int, int]]:
    return [token for token in tokens(text, standard) if token[0] not in ("space", "comment")]


def texts(seed: int, count: int) -> Iterator[str]:
    """Of pieces in which quotes and backslashes meet in every way."""
    pieces = [
        "'", "''", "\\", "\\\\", "\\'", "'a'", "'\\'", "'a\\''b'", " ", "\n", "--", "/*", "*/",
        "$$", '"', "E'", "n'", "N'\\'", "U&'", 'u&"', "b'", "x", ",", "select ", "1", "||", ";",
        "é", "'\n'", "'--\n'",
    ]  # fmt: skip
    chosen = random.Random(seed)
    for _ in range(count):
        yield "select " + "".join(chosen.choices(pieces, k=chosen.randint(1, 14)))


def test_whatever_can_be_parsed_is_read_alike_and_means_the_same() -> None:
    """Its tokens are the same both ways, and the parser's tree is that of the text it was."""
    changed = 0
    for text in texts(20261129, 60_000):
        try:
            meant = pglast.parse_sql(text)
        except pglast.parser.ParseError:
            continue
        sent = settled_strings(text.encode())
        if extents(sent, True) != extents(sent, False):
            # What the other setting refuses as unsafe is no string of ours (scan.l, xus).
            assert "&'" in text, text
            continue
        assert pglast.parse_sql(sent.decode()) == meant, text
        changed += sent != text.encode()
    assert changed > 200
