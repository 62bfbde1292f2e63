"""sqllex against PostgreSQL's own lexer (pglast.scan), and in linear time on hostile texts."""

import time

import pglast.parser
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from _speedups.sqllex import fold, measure, redact
from _speedups.sqltokens import KIND_NAMES, tokens

PIECES = [
    "'a'", "'it''s'", "'", "''", "E'a\\'b'", "e'\\\\'", "U&'\\0041'", "N'x'", "B'01'", "x'fF'",
    "$$", "$t$", "$a b$", "$1", "$23", "1", "1.", "1.5", ".5", "1e5", "1e", "0x1f", "0b11", "0o7",
    "1_000", "1__0", '"', '"id"', '"a""b"', 'U&"d"', "a", "ab_c", "é", "select", "from", "+", "-",
    "*", "/", "<", ">", "=", "@", "||", "|/", "::", ":=", ":", "..", ".", ",", "(", ")", "[", "]",
    ";", "--", "/*", "*/", " ", "\n", "\t", "\\", "a$b", "-- x\n", "/* y */", "=>", "<=", "!=",
    "~", "#", "&", "`", "?", "%", "^", "UESCAPE", "case", "end", "\r", "\v", "\f",
]  # fmt: skip
SOUP = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
LITERALS = {"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST"}
KINDS = {
    **dict.fromkeys(("SCONST", "USCONST", "BCONST", "XCONST"), "string"),
    **dict.fromkeys(("ICONST", "FCONST"), "number"),
    **dict.fromkeys(("SQL_COMMENT", "C_COMMENT"), "comment"),
    "PARAM": "parameter",
    "UIDENT": "quoted_name",
}


def pglast_tokens(text: str) -> list[tuple[str, int, int]] | None:
    """PostgreSQL's tokens in bytes; None when it does not lex. N'' and B'' joined as ours are."""
    try:
        scanned = pglast.parser.scan(text)
    except pglast.parser.ParseError:
        return None
    offsets = [len(text[:place].encode()) for place in range(len(text) + 1)]
    found: list[tuple[str, int, int]] = []
    for token in scanned:
        start, end = offsets[token.start], offsets[token.end + 1]
        joins = ("NCHAR", "BCONST", "XCONST")
        if (
            token.name == "SCONST"
            and found
            and found[-1][0] in joins
            and found[-1][2] == start
            and text.encode()[start : start + 1] == b"'"
        ):
            found[-1] = ("SCONST", found[-1][1], end)
        else:
            found.append((token.name, start, end))
    return found


@settings(max_examples=1500)
@given(text=SOUP)
def test_cuts_where_postgresql_cuts(text: str) -> None:
    theirs = pglast_tokens(text)
    assume(theirs is not None)
    assert theirs is not None
    ours = [token for token in tokens(text.encode()) if token[0] != "space"]
    assert [token[1:] for token in ours] == [token[1:] for token in theirs]
    for (kind, _, _), (name, _, _) in zip(ours, theirs, strict=True):
        assert kind == KINDS.get(name, kind)
        assert (kind in ("string", "number")) == (name in LITERALS)
    assert measure(text.encode())[3] is True


@given(text=SOUP.map(str.encode) | st.binary(max_size=60), standard=st.booleans())
def test_tokens_cover_the_text_and_nothing_else(text: bytes, standard: bool) -> None:
    found = tokens(text, standard)
    assert {kind for kind, _, _ in found} <= set(KIND_NAMES)
    assert [start for _, start, _ in found] == [0, *(end for _, _, end in found)][: len(found)]
    assert (found[-1][2] if found else 0) == len(text)


@settings(max_examples=500)
@given(text=SOUP.map(str.encode) | st.binary(max_size=60), standard=st.booleans())
def test_no_literal_and_no_comment_survives(text: bytes, standard: bool) -> None:
    redacted = redact(text, standard)
    assert not {kind for kind, _, _ in tokens(redacted)} & {"string", "number", "comment"}
    assert len(redacted) <= 3 * len(text)


CANARY = "zq7"
CANARY_LITERALS = [
    f"'{CANARY}'", f"E'\\'{CANARY}'", f"e'\\\\' '{CANARY}'", f"U&'{CANARY}\\0041'",
    f"N'{CANARY}'", f"$${CANARY}$$", f"$t$ $$ {CANARY}$t$", f"'a'\n -- c\n'{CANARY}'",
    f"-- {CANARY}\n", f"/* /* {CANARY} */ */", f"'''{CANARY}'''", f"'{CANARY}", f"$x${CANARY}",
    f"/* {CANARY}", f'"{CANARY}',
]  # fmt: skip


@given(
    before=st.sampled_from(["", " ", "a", "select", "1", ",", "=", '"x"', "$1"]),
    literal=st.sampled_from(CANARY_LITERALS),
)
def test_canaries_die(before: str, literal: str) -> None:
    text = f"{before} {literal}"
    assert CANARY.encode() not in redact(text.encode())
    if literal[0] not in "$NEeU":  # those letters would join the name before
        assert CANARY.encode() not in redact(f"{before}{literal}".encode())


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (b"select * from t where a='x' and b > 1.5e-3", b"select * from t where a=$_ and b > $_"),
        (b"select'x'from t", b"select $_ from t"),
        (b'select "it\'s", $1, a1, t.c2', b'select "it\'s", $1, a1, t.c2'),
        (b"select 1/* c */+2 -- d\n, 3", b"select $_ +$_ \n, $_"),
        (b"a/**/b", b"a b"),
        (b"values (-1, 0x1F, 1_000, .5, 1.)", b"values (-$_, $_, $_, $_, $_)"),
        (b"select U&\"d\\0061t\" uescape '!'", b'select U&"d\\0061t" uescape $_'),
        (b"select date '2020-01-01', 'a'\n'b'", b"select date $_, $_"),
        (b"select 'open", b"select $_"),
        (b"select /* open", b"select "),
        (b"", b""),
    ],
)
def test_redacted_examples(text: bytes, redacted: bytes) -> None:
    assert redact(text) == redacted


def test_backslashes_count_when_strings_are_not_standard() -> None:
    text = rb"select 'a\'b' || c"
    assert redact(text, False) == b"select $_ || c"
    assert measure(text, False)[3] is True
    assert measure(text, True)[3] is False


@pytest.mark.parametrize(
    ("text", "measured"),
    [
        (b"select 1", (0, 0, False, True)),
        (b"select ((1)), '((('", (2, 0, False, True)),
        (b"select 1 -- (\n /* ( /* ( */ */", (0, 2, False, True)),
        (b"select \0", (0, 0, True, True)),
        (b"case when a then case b when 1 then 2 end end", (2, 0, False, True)),
        (b"select a + b, c + d, e + f", (1, 0, False, True)),
        (b"where a = 1 and b = 2 and c = 3", (1, 0, False, True)),
        (b"select '", (0, 0, False, False)),
        (b'select "', (0, 0, False, False)),
        (b"select /* /* */", (0, 1, False, False)),
        (b"select $a$ $$", (0, 0, False, False)),
        (b"select 1a", (0, 0, False, False)),
    ],
)
def test_measured_examples(text: bytes, measured: tuple[int, int, bool, bool]) -> None:
    assert measure(text) == measured


CHAINS = {
    "parentheses": ("select " + "(" * 400 + "1" + ")" * 400),
    "arrays": ("select " + "array[" * 400 + "1" + "]" * 400),
    "case": ("select " + "case when true then " * 400 + "1" + " end" * 400),
    "case with label": ("select t.end, " + "case when true then " * 400 + "1" + " end" * 400),
    "plus": ("select 1" + " + 1" * 400),
    "signs": ("select " + "- " * 400 + "1"),
    "signs without space": ("select " + "+" * 400 + "1"),
    "not": ("select " + "not " * 400 + "true"),
    "casts": ("select 1" + "::int" * 400),
    "concatenation": ("select a" + "||a" * 400),
    "collate": ("select a" + ' collate "C"' * 400),
    "at time zone": ("select a" + " at time zone 'UTC'" * 400),
    "named operator": ("select a" + " operator(pg_catalog.+) a" * 400),
    "keywords as labels": ("select a.and" + " + a.and" * 400),
    "union": ("select 1" + " union all select 1" * 400),
    "except": ("select a, b" + " except select a, b" * 400),
    "joins": ("select 1 from t" + " join t on a = b and c = d" * 400),
    "subselects": ("select " + "(select " * 400 + "1" + ")" * 400),
    "comments between": ("select 1" + " /* , */ +/**/ 1" * 400),
}


@pytest.mark.parametrize("name", CHAINS)
def test_what_nests_deep_measures_deep(name: str) -> None:
    text = CHAINS[name]
    assert pglast.parser.parse_sql_json(text)
    assert measure(text.encode())[0] >= 400


@pytest.mark.parametrize(
    "text",
    [
        "insert into t values " + ", ".join(["(1, 'a' || 'b', -3)"] * 3000),
        "select * from t where a in (" + ", ".join(["-1"] * 3000) + ")",
        "select 1 from t where " + " or ".join(["(a = 1 and b <> 2)"] * 3000),
        "select " + ", ".join(["t.a as case"] * 3000),
        ";".join(["select a + b from t join u using (x) union select 1"] * 3000),
    ],
)
def test_what_is_long_but_flat_measures_flat(text: str) -> None:
    assert measure(text.encode())[0] <= 6


HOSTILE = [
    b"+", b"<+", b"$a", b"$aaaa$ $aaa", b"'", b"''\n", b"'a'\n--x\n", b"/*", b"(", b"[(", b")",
    b"case ", b"--\n", b"1_", b"1.", b'"', b"e'\\", b"/", b"-", b"- ", b"a.", b"union ", b"\xff",
    b"\0", b";", b"$", b"$$ $", b"*/", b"case (", b"end ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_linear_time(piece: bytes) -> None:
    text = piece * ((4 << 20) // len(piece))
    started = time.process_time()
    measure(text)
    redact(text)
    tokens(text[: 1 << 16])
    assert time.process_time() - started < 1.0


SOUND = [
    piece
    for piece in PIECES
    if piece not in ("'", '"', "$$", "$t$", "/*", "$a b$", "1e", "1__0", "UESCAPE")
    and not piece.startswith("U&")
]
MEAL = st.lists(st.sampled_from([*SOUND, "5", "'x'"]), min_size=1, max_size=12)


@settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(
    text=st.one_of(MEAL.map(" ".join), MEAL.map("".join)),
    numbers=st.lists(st.integers(0, 999_999_999), min_size=12, max_size=12),
)
def test_texts_with_one_key_have_the_same_tokens(text: str, numbers: list[int]) -> None:
    folded = fold(text.encode())
    theirs = pglast_tokens(text)
    assume(folded is not None and theirs is not None)
    assert folded is not None and theirs is not None
    key, offsets = folded
    literals = {start: name for name, start, _ in theirs}
    assert {literals.get(offset) for offset in offsets} <= {"SCONST", "ICONST"}
    pieces = key.split(b"\0")
    other = pieces[0]
    for piece, number in zip(pieces[1:], [*numbers, *[7] * len(pieces)], strict=False):
        other += (b"'%d'" if piece[:1] == b"s" else b"%d") % number + piece[1:]
    again = fold(other)
    assert again is not None and again[0] == key
    varied = pglast_tokens(other.decode())
    assert varied is not None
    assert [name for name, *_ in varied] == [name for name, *_ in theirs]


@pytest.mark.parametrize("text", ["", "a", "1.5", "5000000000", "E'x'", "$$a$$", "$1", "'a", "1\0"])
def test_nothing_to_fold(text: str) -> None:
    assert fold(text.encode()) is None


@pytest.mark.parametrize("text", ["U&'a' UESCAPE '!'", "U&\"a\" uescape '!'", "u&'a' 5"])
def test_what_an_escape_decides_is_not_folded(text: str) -> None:
    assert fold(text.encode()) is None
