"""Words that are names to an older server: read as names, and everything stays where it stands."""

import pytest

from appliance.model.facts import ParseFailure
from appliance.model.limits import Limits
from appliance.sql.older_words import NEWEST, SINCE
from appliance.sql.parse import RawStatement, parse, same

OLD = 150_000


def read(text: str, server: int = OLD) -> list[RawStatement]:
    parsed = parse(text.encode(), Limits(), server)
    assert isinstance(parsed, list), parsed
    return parsed


def failure(text: str, server: int = OLD) -> ParseFailure:
    parsed = parse(text.encode(), Limits(), server)
    assert isinstance(parsed, ParseFailure), parsed
    return parsed


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("SELECT system_user FROM t", 'SELECT "system_user" FROM t'),
        ("SELECT System_User x FROM t", 'SELECT "system_user" x FROM t'),
        ("COPY t (id, system_user) TO STDOUT", 'COPY t (id, "system_user") TO STDOUT'),
        ("INSERT INTO system_user (SYSTEM_USER) VALUES ($1)",
         'INSERT INTO "system_user" ("system_user") VALUES ($1)'),
        ("SELECT 'system_user', $$system_user$$, system_user FROM t -- system_user",
         "SELECT 'system_user', 'system_user', \"system_user\" FROM t"),
        ("SELECT 'é', system_user FROM t", "SELECT 'é', \"system_user\" FROM t"),
        ("SELECT json_array(1), json_scalar(2)", 'SELECT "json_array"(1), "json_scalar"(2)'),
        ("SELECT json_object('{a,b}')", "SELECT \"json_object\"('{a,b}')"),
        ("CREATE TABLE t (system_user text, json_query int)",
         'CREATE TABLE t ("system_user" text, "json_query" int)'),
        (r"SELECT E'\x7a\n', system_user", "SELECT E'\\x7a\\n', \"system_user\""),
    ],
)  # fmt: skip
def test_it_is_read_as_if_it_stood_in_quotes(text: str, quoted: str) -> None:
    (one,), (other,) = read(text), read(quoted, NEWEST)
    assert one.kind == other.kind and same(one.body, other.body)
    assert (one.offset, one.length) == (0, len(text.encode()))


def test_statements_and_errors_keep_their_places() -> None:
    text = "SELECT 'é', system_user; SELECT system_user, 2 FROM t"
    second = read(text)[1]
    at = len("SELECT 'é', system_user; ".encode())
    assert (second.offset, second.length) == (at, len(text.encode()) - at)
    place = second.body["targetList"][1]["ResTarget"]["location"]
    assert text.encode()[place:].startswith(b"2 FROM")
    told = failure("SELECT 1 FROM t system_user system_user")
    assert told.code == "syntax" and told.cursor == 29
    assert told.message == 'syntax error at or near "system_user"'


@pytest.mark.parametrize("server", [160_000, 180_000])
def test_a_server_that_knows_the_word_reads_it_so(server: int) -> None:
    (found,) = read("SELECT system_user", server)
    assert "FuncCall" in found.body["targetList"][0]["ResTarget"]["val"]
    assert failure("COPY t (id, system_user) TO STDOUT", server).code == "syntax"


@pytest.mark.parametrize("word", SINCE)
def test_each_word_is_a_function_or_column_of_its_name(word: str) -> None:
    before = SINCE[word] - 1
    (called,) = read(f"SELECT {word}(1)", before)
    call = called.body["targetList"][0]["ResTarget"]["val"]["FuncCall"]
    assert call["funcname"] == [{"String": {"sval": word}}]
    (named,) = read(f"SELECT {word} FROM t", before)
    assert "ColumnRef" in named.body["targetList"][0]["ResTarget"]["val"]


def stand_in(word: str, ending: str) -> str:
    return "abcdefghijkl"[list(SINCE).index(word)] * (len(word) - 1) + ending


def test_a_name_that_is_a_stand_in_is_not_taken_for_the_word() -> None:
    plain = stand_in("system_user", "a")
    (found,) = read(f"SELECT {plain}, system_user FROM t")
    names = [
        target["ResTarget"]["val"]["ColumnRef"]["fields"][0]["String"]["sval"]
        for target in found.body["targetList"]
    ]
    assert names == [plain, "system_user"]
    for ending in "ab":
        escaped = "".join(f"\\{ord(letter):04x}" for letter in stand_in("system_user", ending))
        told = failure(f'SELECT U&"{escaped}", system_user FROM t')
        assert told.code == "crashed"
    every = ", ".join(stand_in("system_user", chr(ord("a") + n)) for n in range(26))
    assert failure(f"SELECT {every}, system_user").code == "crashed"
