"""Shapes: a text that is recalled has the very key that folding gives it."""

from itertools import pairwise, product

from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups.sqlfolds import Folds
from _speedups.sqllex import fold
from tests.unit.speedups.test_sqllex import PIECES, SOUP

CONSTANTS = [
    "5", "0", "123456789", "1234567890", "1_0", "0x1", "1.", "1e5", "1a", "", "$1", "'b'", "''",
    "'b''c'", "'b' 'c'", "'b'\n'c'", "'", "'\\'", "'é'", "'--'", "'/*'", "'\n'",
    "5'b'", "'b'5", "N'b'", "-5",
]  # fmt: skip
AROUND = "1'a -\n.$e"


def folded(text: bytes) -> bytes | None:
    found = fold(text)
    return None if found is None else found[0]


def with_constants(text: bytes, constants: list[str]) -> bytes:
    """The text with others in place of its constants, as far as these go."""
    found = fold(text)
    if found is None:
        return text
    offsets = [*found[1], len(text)]
    out = text[: offsets[0]]
    for index, (start, end) in enumerate(pairwise(offsets)):
        tail = text[start:end]
        if index < len(constants):
            kind = tail[:1] == b"'"
            stop = tail.index(b"'", 1) + 1 if kind else len(tail) - len(tail.lstrip(b"0123456789"))
            tail = constants[index].encode() + tail[stop:]
        out += tail
    return out


def require_right(folds: Folds, text: bytes) -> bool:
    recalled = folds.recalled(text)
    assert recalled is None or recalled == folded(text), text
    return recalled is not None


@settings(max_examples=2000)
@given(text=SOUP, constants=st.lists(st.sampled_from(CONSTANTS), min_size=1, max_size=4))
def test_recalled_is_folded_with_other_constants(text: str, constants: list[str]) -> None:
    folds = Folds()
    known = text.encode()
    assert folds.key(known) == folded(known)
    require_right(folds, with_constants(known, constants))


@settings(max_examples=1000)
@given(texts=st.lists(SOUP, max_size=6), at=st.integers(0, 40), piece=st.sampled_from(PIECES))
def test_recalled_is_folded_with_a_piece_put_in(texts: list[str], at: int, piece: str) -> None:
    folds = Folds()
    for text in texts:
        folds.key(text.encode())
    for text in texts:
        require_right(folds, (text[:at] + piece + text[at:]).encode())
        require_right(folds, (text[:at] + piece + text[at + 1 :]).encode())


def test_recalled_is_folded_for_every_short_text() -> None:
    recalled = 0
    for letters in product(AROUND, repeat=4):
        known = "".join(letters).encode()
        if folded(known) is None:
            continue
        folds = Folds()
        folds.key(known)
        for constant in CONSTANTS:
            recalled += require_right(folds, with_constants(known, [constant]))
    assert recalled > 3000


def test_what_is_recalled() -> None:
    folds = Folds()
    key = folds.key(b"SELECT a FROM t WHERE b = 12 AND c = 'x' -- 7")
    assert key is not None
    assert folds.recalled(b"SELECT a FROM t WHERE b = 3 AND c = 'it is' -- 7") == key
    for other in (
        b"SELECT a FROM t WHERE b = 3 AND c = 'it is' -- 8",
        b"SELECT a FROM t WHERE b = 3 AND c = 'it''s' -- 7",
        b"SELECT a FROM t WHERE b = 3 AND c = 'it' -- 7;",
        b"SELECT a FROM t WHERE b = 1234567890 AND c = 'x' -- 7",
        b"SELECT a FROM t WHERE b = 3 AND c = '\\' -- 7",
        b"SELECT a FROM t WHERE b = 3 AND c = '\0' -- 7",
        "SELECT a FROM t WHERE b = 3 AND c = 'é' -- 7".encode(),  # of an encoding
        b"SELECT a FROM t WHERE b = 3 AND c = '",
        b"SELECT a FROM t WHERE b = ",
        b"",
    ):
        assert folds.recalled(other) is None


def test_the_last_four_shapes_are_kept() -> None:
    folds = Folds()
    texts = [b"SELECT %c = 1" % letter for letter in b"abcde"]
    for text in texts:
        folds.key(text)
    assert [folds.recalled(text) is not None for text in texts] == [False] + [True] * 4
    folds.recalled(texts[1])  # the next one to go is the one that was not seen for longest
    folds.key(b"SELECT f = 1")
    assert [folds.recalled(text) is not None for text in texts] == [False, True, False, True, True]


def test_long_texts_and_those_of_many_constants_are_not_kept() -> None:
    for text in (b"SELECT 1" + b" " * 2048, b"SELECT " + b"1," * 16 + b"1"):
        folds = Folds()
        assert folds.key(text) == folded(text)
        assert folds.recalled(text) is None
    folds = Folds()
    longest = b"SELECT " + b"1," * 15 + b"1"
    longest += b" " * (2048 - len(longest))
    assert folds.key(longest) == folds.recalled(longest) is not None
