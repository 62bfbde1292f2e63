"""The lexer of MySQL and MariaDB: what ends where, what a server runs of a comment, and that no
literal survives redaction."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups import mylex

ANSI, PLAIN = mylex.ANSI_QUOTES, mylex.NO_BACKSLASH_ESCAPES


def words(text: bytes, modes: int = 0) -> list[tuple[str, bytes]]:
    found = mylex.tokens(text, modes)
    return [(mylex.KIND_NAMES[kind], text[start:end]) for kind, start, end in found if kind]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb"'a\'b''c'", [("string", rb"'a\'b''c'")]),
        (b"'a' 'b'", [("string", b"'a'"), ("string", b"'b'")]),
        (b'"a""b"', [("string", b'"a""b"')]),
        (b"`a``b`", [("quoted_name", b"`a``b`")]),
        (b"N'x' x'41' b'1' _utf8'y'", [
            ("string", b"N'x'"), ("number", b"x'41'"), ("number", b"b'1'"), ("name", b"_utf8"),
            ("string", b"'y'"),
        ]),
        (b"1a 1e5 1e .5 1. 0x41 0X41 0xg", [
            ("name", b"1a"), ("number", b"1e5"), ("name", b"1e"), ("number", b".5"),
            ("number", b"1."), ("number", b"0x41"), ("name", b"0X41"), ("name", b"0xg"),
        ]),
        (b"t.1a", [("name", b"t"), ("other", b"."), ("name", b"1a")]),
        (b"t.1e5", [("name", b"t"), ("other", b"."), ("name", b"1e5")]),
        (b"`t`.1", [("quoted_name", b"`t`"), ("number", b".1")]),
        (b"5--1", [("number", b"5"), ("operator", b"-"), ("operator", b"-"), ("number", b"1")]),
        (b"5-- 1\n+", [("number", b"5"), ("comment", b"-- 1"), ("operator", b"+")]),
        (b"5--\t1\r+2", [("number", b"5"), ("comment", b"--\t1\r+2")]),
        (b"5 #1\r'\n+2", [
            ("number", b"5"), ("comment", b"#1\r'"), ("operator", b"+"), ("number", b"2")
        ]),
        (b"1--", [("number", b"1"), ("comment", b"--")]),
        (b"/* a /* b */ c", [("comment", b"/* a /* b */"), ("name", b"c")]),
        (b"/*+ h */", [("hint", b"/*+ h */")]),
        (b"/*!50000 a */ /*!1 b*/ /*M!c */", [
            ("executable", b"/*!50000"), ("name", b"a"), ("executable_end", b"*/"),
            ("executable", b"/*!"), ("number", b"1"), ("name", b"b"), ("executable_end", b"*/"),
            ("executable", b"/*M!"), ("name", b"c"), ("executable_end", b"*/"),
        ]),
        (b"@a.b$ @'q' @`z` @@global.x", [
            ("variable", b"@a.b$"), ("variable", b"@'q'"), ("variable", b"@`z`"),
            ("variable", b"@@"), ("name", b"global"), ("other", b"."), ("name", b"x"),
        ]),
        (b"a<=>b->>'c':=\\N||d", [
            ("name", b"a"), ("operator", b"<=>"), ("name", b"b"), ("operator", b"->>"),
            ("string", b"'c'"), ("operator", b":="), ("other", b"\\N"), ("operator", b"||"),
            ("name", b"d"),
        ]),
        ("é$ = ü".encode(), [("name", "é$".encode()), ("operator", b"="), ("name", "ü".encode())]),
    ],
)  # fmt: skip
def test_words(text: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert words(text) == expected


def test_quotes_are_names_under_ansi_quotes() -> None:
    assert words(rb'"a\" b', ANSI) == [("quoted_name", rb'"a\"'), ("name", b"b")]
    assert words(rb'"a\" b"') == [("string", rb'"a\" b"')]
    assert words(rb'@"a\" b', ANSI) == [("variable", rb'@"a\"'), ("name", b"b")]


def test_a_backslash_is_itself_under_no_backslash_escapes() -> None:
    assert words(rb"'a\' b", PLAIN) == [("string", rb"'a\'"), ("name", b"b")]
    assert words(rb"'a\' b'") == [("string", rb"'a\' b'")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"( ( case 1 ) )", (3, 0, False, True)),
        (b"'a", (0, 0, False, False)),
        (b"`a", (0, 0, False, False)),
        (b"/* a", (0, 1, False, False)),
        (b"a\0b", (0, 0, True, False)),
        (b"a [1]", (0, 0, False, False)),
        (b"?a", (0, 0, False, False)),
        (b"-- a\n# b\n/* c */ 1", (0, 3, False, True)),
        (b"1.5e", (0, 0, False, False)),
    ],
)
def test_measure(text: bytes, expected: tuple[int, int, bool, bool]) -> None:
    assert mylex.measure(text) == expected


MARIADB, MYSQL = (101106, True), (80036, False)


@pytest.mark.parametrize(
    ("text", "server", "expected"),
    [
        (b"a /*!50000 b */ c", MARIADB, b"a          b    c"),
        (b"a /*!50000 b */ c", MYSQL, b"a          b    c"),
        (b"a /*! b */ c", (0, False), b"a     b    c"),
        (b"a /*!80000 b */ c", MARIADB, b"a               c"),  # MySQL 5.7 and later: not for it
        (b"a /*!80000 b */ c", MYSQL, b"a          b    c"),
        (b"a /*!80037 b */ c", MYSQL, b"a               c"),
        (b"a /*M! b */ c", MARIADB, b"a      b    c"),
        (b"a /*M! b */ c", MYSQL, b"a           c"),
        (b"a /*M!80000 b */ c", MARIADB, b"a           b    c"),
        (b"a /*!101107 b */ c", MARIADB, b"a                c"),
        (b"a /*!100000 b */ c", MARIADB, b"a           b    c"),
        (b"a /*!500001 b */ c", MYSQL, b"a                c"),
        (b"a /*!80000 ' */ c", MARIADB, b"a               c"),
        (b"/*!50000 '*/' */", MARIADB, b"         '*/'   "),
        (b"a", MARIADB, b"a"),
        (b"a /* ' */ b", MARIADB, b"a /* ' */ b"),
    ],
)
def test_what_a_server_runs_of_a_comment(
    text: bytes, server: tuple[int, bool], expected: bytes
) -> None:
    assert mylex.unwrap(text, 0, *server) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"/*!50000 a /* b */ */",
        b"/*!50000 a -- b */\n",
        b"/*!50000 a # b */\n",
        b"/*!50000 a /*!50000 b */ */",
        b"/*!80000 a /* b */ c */",
        b"/*!50000 a",
        b"/*!80000 a",
        b"a */ b",
        b"/*!50000 a */ */",
    ],
)
def test_what_not_every_server_reads_alike_is_not_unwrapped(text: bytes) -> None:
    assert mylex.unwrap(text, 0, *MARIADB) == mylex.MIXED


def test_without_a_known_server_only_what_all_run_is_unwrapped() -> None:
    assert mylex.unwrap(b"/*!40101 a */", 0, 0, False) == b"         a   "
    assert mylex.unwrap(b"/*!50700 a */", 0, 0, False) == mylex.MIXED
    assert mylex.unwrap(b"/*!100100 a */", 0, 0, False) == mylex.MIXED
    assert mylex.unwrap(b"/*M! a */", 0, 0, False) == mylex.MIXED


@pytest.mark.parametrize(
    ("text", "modes", "expected"),
    [
        (b"select 'secret', 12, x'41' -- secret\n", 0, b"select $_, $_, $_ \n"),
        (rb"select 'se\'cret', a", 0, b"select $_, a"),
        (rb"select 'se\', secret, ' cret", 0, b"select $_ cret"),
        (rb"select 'se\', name, 'cret'", PLAIN, b"select $_, name, $_"),
        (b'select "secret", `name`', 0, b"select $_, `name`"),
        (b'select "name"', ANSI, b'select "name"'),
        (b"select 'secret", 0, b"select $_"),
        (b"select `secret", 0, b"select $_"),
        (b"select @'name, secret", 0, b"select $_"),
        (b"select 1'a'b", 0, b"select $_ $_ b"),
        (b"select /*+ secret */ a", 0, b"select  a"),
        (b"select _utf8mb4'secret', N'secret'", 0, b"select _utf8mb4 $_, $_"),
    ],
)
def test_redacted(text: bytes, modes: int, expected: bytes) -> None:
    assert mylex.redact(text, modes) == expected


def test_folded() -> None:
    one = mylex.fold(b"select a from t where b = 'x' and c in (1, 22)")
    other = mylex.fold(b"select a from t where b = 'long one' and c in (333, 4)")
    assert one is not None and other is not None
    assert one[0] == other[0] and one[1] == (26, 40, 43)
    assert mylex.fold(b"select a from t where b = 1234567890") is None
    assert mylex.fold(b"select a /*!50000 b */ where c = 1") is None
    assert mylex.fold(b"select 'a") is None
    assert mylex.fold(b"select a") is None
    assert mylex.fold(b"select x'41', 1.5, N'x'") is None


PIECES = st.sampled_from(
    [b"'", b'"', b"`", b"\\", b"/*", b"*/", b"/*!", b"/*!50000 ", b"/*M!", b"--", b" ", b"\n", b"#",
     b"@", b"@@", b"a", b"1", b"e", b".", b"x'", b"N'", b"(", b")", b";", b"?", b"-", b">", b"\0",
     b"case", "é".encode(), b"\xff", b"$", b"_", b"0x", b"0b"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30).map(b"".join), st.integers(0, 3))
@settings(max_examples=400)
def test_every_byte_is_in_one_token(text: bytes, modes: int) -> None:
    at = 0
    for _, start, end in mylex.tokens(text, modes):
        assert start == at and end > start
        at = end
    assert at == len(text)
    bare = mylex.unwrap(text, modes, *MARIADB)
    assert isinstance(bare, int) or len(bare) == len(text)
    mylex.measure(text, modes)
    mylex.fold(text, modes)


WHOLE = st.sampled_from(
    [
        b"a",
        b"`b`",
        b"(",
        b",",
        b" ",
        b"-- c\n",
        b"/* d */",
        b"#e\n",
        b"@f",
        b"=",
        b".",
        b"1",
        b"'g'",
    ]
)
SECRETS = st.sampled_from(
    [b"'secret'", b'"secret"', b"N'secret'", b"'it''s secret'", b"'a\\'secret'", b"'secret",
     b"/* secret */", b"-- secret\n", b"_latin1'secret'", b"'secret\\"]
)  # fmt: skip


@given(st.lists(WHOLE, max_size=12).map(b" ".join), SECRETS, st.lists(WHOLE).map(b" ".join))
@settings(max_examples=300)
def test_no_literal_is_left_when_redacted(before: bytes, secret: bytes, after: bytes) -> None:
    assert b"secret" not in mylex.redact(before + b" " + secret + after)
