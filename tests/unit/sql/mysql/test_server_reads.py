"""What our lexer takes for a text's words is what a MariaDB reads: each text gives the same rows as
its own words, spelled out again without comments, escapes and introducers' tricks."""

from contextlib import closing
from typing import Any

import pymysql
import pytest

from _speedups import mylex
from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.sql.mysql.catalog_rows import version_number
from appliance.sql.mysql.words import (
    NUMBER,
    QUOTED_NAME,
    STRING,
    VARIABLE,
    Word,
    is_mariadb,
    words_of,
)
from tests.mariadb import connect

TEXTS = [
    r"SELECT 'it''s', 'a\'b', 'tab\there', 'per\%cent', 'under\_score', 'x\qy', 'nul\0end', '\\'",
    r"""SELECT "dou""ble", "it's", 'say "x"', "a\"b" """,
    "SELECT 'a' 'b' 'c', 'x'\n'y'",
    "SELECT N'x', n'y', _utf8mb4'z', _latin1'q', x'4142', X'43', 0x44, b'1000001', 0b1000010",
    "SELECT 1--1, 1-- 1\n, 2 --\t x\n, 3 --4\n",
    "SELECT 1 # it's a comment\n, 2",
    "SELECT /* it's */ 1, 2 /* /* */, 3",
    "SELECT 1 /*! + 1 */, 2 /*!50000 + 1 */, 3 /*!80000 + 1 */, 4 /*!99999 + 1 */",
    "SELECT 1 /*!100100 + 1 */, 2 /*!999999 + 1 */, 3 /*M! + 1 */, 4 /*M!100100 + 1 */",
    "SELECT 1 /*M!80000 + 1 */, 2 /*M!999999 + 1 */",
    "/*!40101 SELECT */ 5 /*!, 6 */",
    "SELECT/*!*/1",
    "SELECT 1e1, 1.5e-2, .5, 1., 1.e1, 0.1e+1, 00012",
    "SELECT 1e FROM (SELECT 5 AS 1e) t",
    "SELECT 1a, `1b` FROM (SELECT 5 AS 1a, 6 AS `1b`) t",
    "SELECT t.1e1 FROM (SELECT 7 AS `1e1`) t",
    "SELECT 0X41 FROM (SELECT 8 AS 0X41) t",
    "SELECT 0xg FROM (SELECT 9 AS 0xg) t",
    "SELECT `a``b` FROM (SELECT 1 AS `a``b`) t",
    "SELECT `a\\` FROM (SELECT 1 AS `a\\`) t",
    "SELECT a$b, é FROM (SELECT 1 AS a$b, 2 AS é) t",
    "SELECT @x := 5, @x, @`x`, @'x', @\"x\"",
    "SELECT @a.b := 3, @a.b, @a$",
    "SELECT @@global.port > 0, @@version_comment IS NULL, @@session . sql_mode IS NULL",
    "SELECT 1 <=> NULL, 1<>2, 1!=2, 1<=2, 2>=1, 1<<2, 8>>1, !0, NOT 0, 1&&0, 1||0, ~0, 5^1",
    "SELECT 5&3, 5|3, 5&-3, 5|~3",
    "SELECT 5 DIV 2, 5%3, 5 MOD 3, 1 XOR 1, -  -1, - -1, +-1",
    r"SELECT \N, NULL",
    "SELECT 1a.1a FROM (SELECT 4 AS 1a) 1a",
    "SELECT (1)-1,(2)--2,3-(-3)",
    "SELECT 1;",
    "SELECT _foo FROM (SELECT 1 AS _foo) t",
    "SELECT\v1,\f2,\r3",
    "SELECT 1 -- \r\n, 2",
    "SELECT 1 #\r, 2",
    "SELECT 'a' -- b\n 'c'",
    "SELECT 'a' /* b */ 'c'",
    "SELECT 1 /* */ + /**/ 2 /***/ + /****/ 3",
    "SELECT COUNT(*), MAX( 1 ), UPPER ('x'), CONCAT  ('a','b')",
]

ANSI = [
    'SELECT "a" FROM (SELECT 1 AS a) t',
    'SELECT "a""b" FROM (SELECT 1 AS "a""b") t',
    'SELECT "a\\" FROM (SELECT 1 AS "a\\") t',
    'SELECT @"x\\" := 1',
    "SELECT COUNT (*), 'a' 'b'",
]
PLAIN = [r"SELECT 'a\', 'b\\c', '\n'", r"SELECT 'it''s\'", r'SELECT "a\"']


def spelled(word: Word) -> str:
    if word.kind == STRING:
        return f"CONVERT(x'{word.text.encode().hex()}' USING utf8mb4)"
    if word.kind == QUOTED_NAME:
        return "`" + word.text.replace("`", "``") + "`"
    if word.kind == VARIABLE and word.text != "@@":
        return "@`" + word.text.replace("`", "``") + "`"
    if word.kind == NUMBER and word.text[-1] == "'":
        return word.text
    return word.text


def respelled(words: list[Word]) -> str:
    """The words with strings as hexadecimal numbers (one that follows another continues it)."""
    parts: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        introduced = bool(parts) and parts[-1].upper() in ("_UTF8MB4", "_LATIN1")
        if word.kind == STRING and introduced:
            parts[-1] = ""
        if word.kind == STRING:
            value = word.text
            while at + 1 < len(words) and words[at + 1].kind == STRING:
                at += 1
                value += words[at].text
            word = word._replace(text=value)
        glued = bool(parts) and (word.text == "." or parts[-1] in (".", "@@"))
        called = word.upper == "("
        parts += [spelled(word)] if glued or called else [" ", spelled(word)]
        at += 1
    return "".join(parts).rstrip("; ")


def answer(connection: Any, text: str) -> list[list[str | None]] | int:
    """The rows as text; the number of the error when there is one."""
    with closing(connection.cursor()) as cursor:
        try:
            cursor.execute(text)
        except pymysql.Error as error:
            return int(error.args[0])
        return [
            [
                None if v is None else (v.decode("latin1") if isinstance(v, bytes) else str(v))
                for v in row
            ]
            for row in cursor.fetchall()
        ]


@pytest.mark.parametrize(
    ("mode", "modes", "text"),
    [
        *(("", 0, text) for text in TEXTS),
        *(("ANSI_QUOTES,IGNORE_SPACE", mylex.ANSI_QUOTES, text) for text in ANSI),
        *(("NO_BACKSLASH_ESCAPES", mylex.NO_BACKSLASH_ESCAPES, text) for text in PLAIN),
    ],
)
def test_the_server_reads_these_words(
    mariadb: EmbeddedMariaDB, mode: str, modes: int, text: str
) -> None:
    with closing(connect(mariadb)) as connection:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT VERSION()")
            version = version_number(cursor.fetchone()[0])  # type: ignore[index]
            cursor.execute(f"SET sql_mode = '{mode}'")
        bare = mylex.unwrap(text.encode(), modes, version, is_mariadb(version))
        assert isinstance(bare, bytes), text
        expected = answer(connection, text)
        found = answer(connection, respelled(words_of(bare, modes)))
        assert not isinstance(expected, int), (text, expected)
        assert found == expected
