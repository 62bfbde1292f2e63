"""Whether a write spares any row, as a question to the database: the SQL of it, made of the
client's own words.

Called by `analysis` for an UPDATE, DELETE or MERGE whose condition is neither always true as far as
`predicates` can tell nor names its rows (`id = 7`): `id > $1` changes everything when $1 is -1, and
only the database knows. The question reads what the write's condition reads, with the same rights.
Its rule: the slices taken from the text must parse to the very trees of the statement, or there is
no question, and the write counts as one of every row.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from appliance.model.facts import ParseFailure, SparingCheck
from appliance.sql.parse import Body, Token, parse_decoded, same, tokens

Node = Any

_OPENING = frozenset({"ASCII_40", "ASCII_91", "CASE"})
_CLOSING = frozenset({"ASCII_41", "ASCII_93", "END_P"})

_AFTER_CTE = frozenset({"ASCII_44", "DELETE_P", "UPDATE", "INSERT", "SELECT", "MERGE"})
"""A comma or the statement that the WITH belongs to."""


class OpenWrite(NamedTuple):
    """A write whose condition may or may not hold anything back."""

    kind: str
    """DeleteStmt, UpdateStmt or MergeStmt."""
    body: Body
    ctes: Mapping[str, Body]
    """CommonTableExpr by name: the WITH queries that it refers to, directly or not, in order."""
    recursive: bool
    """Whether these are WITH RECURSIVE."""
    askable: bool
    """False when asking could do something, or see something else than the write will."""


class Slices:
    """A statement's text, cut at words that stand outside any parenthesis."""

    def __init__(self, text: str, server: int) -> None:
        self.text = text
        self.server = server
        """Its server_version_num."""
        self._tokens: Sequence[Token] = tokens(text)
        self._ascii = text.isascii()
        self._bytes = b"" if self._ascii else text.encode()

    def character(self, location: int) -> int:
        """libpg_query counts bytes."""
        return location if self._ascii else len(self._bytes[:location].decode())

    def words_from(self, location: int) -> Iterator[tuple[Token, str]]:
        """Tokens at the depth of the one at `location`, up to the end of its parenthesis or
        statement, each with the name of the one before it."""
        start, depth, before = self.character(location), 0, ""
        for token in self._tokens:
            if token.start < start or token.name in ("SQL_COMMENT", "C_COMMENT"):
                continue
            if token.name in _CLOSING:
                depth -= 1
                if depth < 0:
                    return
            elif depth == 0 and token.name == "ASCII_59":
                return
            if depth == 0:
                yield token, before
            if token.name in _OPENING:
                depth += 1
            before = token.name

    def parts(self, location: int, words: Sequence[str]) -> dict[str, str]:
        """The text from `location` cut at the first of each of `words`: what follows each, and
        what comes before them all under ''. RETURNING ends the last."""
        cuts: list[tuple[str, int, int]] = [("", self.character(location), 0)]
        end = len(self.text)
        for token, before in self.words_from(location):
            end = token.end + 1
            name = token.name
            if name == "RETURNING":
                end = token.start
                break
            if name in words and not (name == "FROM" and before == "DISTINCT"):
                cuts.append((name, token.end + 1, token.start))
        found: dict[str, str] = {}
        for (name, start, _), after in zip(cuts, [*cuts[1:], ("", 0, end)], strict=True):
            found.setdefault(name, self.text[start : after[2]])
        return found

    def cte(self, body: Body) -> str:
        """`name [(columns)] AS [MATERIALIZED] (query) [SEARCH ...]` of a WITH query."""
        start, end = self.character(body["location"]), len(self.text)
        for token, _ in self.words_from(body["location"]):
            if token.name in _AFTER_CTE:
                end = token.start
                break
        return self.text[start:end]


def checks_of(
    text: str, writes: Sequence[OpenWrite], server: int
) -> tuple[SparingCheck, ...] | None:
    """A question for each of a statement's open writes; None when one cannot be asked."""
    if not writes:
        return ()
    found: list[SparingCheck] = []
    slices = Slices(text, server)
    for write in writes:
        if not write.askable:
            return None
        made = _merge(slices, write) if write.kind == "MergeStmt" else [_write(slices, write)]
        for check in made:
            if check is None:
                return None
            found.append(check)
    return tuple(found)


def _write(slices: Slices, write: OpenWrite) -> SparingCheck | None:
    """UPDATE and DELETE."""
    body = write.body
    joined = "usingClause" if write.kind == "DeleteStmt" else "fromClause"
    join_word = "USING" if write.kind == "DeleteStmt" else "FROM"
    parts = slices.parts(body["relation"]["location"], (join_word, "SET", "WHERE"))
    if "WHERE" not in parts:
        return None
    target, where = _target(body, parts[""]), parts["WHERE"]
    wanted = {"relation": body["relation"], "where": body["whereClause"]}
    if joined not in body:
        spared = f"SELECT FROM {target} WHERE ({where}\n) IS NOT TRUE"
        return _check(slices, write, target, spared, wanted)
    wanted["joined"] = body[joined]
    matched = f"SELECT FROM {parts.get(join_word, '')}\nWHERE {where}"
    return _check(slices, write, target, _unmatched(target, matched), wanted)


def _merge(slices: Slices, write: OpenWrite) -> list[SparingCheck | None]:
    """One question for each WHEN MATCHED: a row is touched by the first that fits, so a MERGE may
    change every row though no single branch does; that is let through."""
    body = write.body
    found: list[SparingCheck | None] = []
    words = list(slices.words_from(body["relation"]["location"]))
    whens = [token for token, _ in words if token.name == "WHEN"]
    using = next((token for token, _ in words if token.name == "USING"), None)
    ons = [t for t, _ in words if t.name == "ON" and whens and t.start < whens[0].start]
    if using is None or not ons:
        return [None]
    start = slices.character(body["relation"]["location"])
    target = _target(body, slices.text[start : using.start])
    source = slices.text[using.end + 1 : ons[-1].start]
    joined = slices.text[ons[-1].end + 1 : whens[0].start]
    for node in body["mergeWhenClauses"]:
        when = node["MergeWhenClause"]
        if when.get("commandType") not in ("CMD_UPDATE", "CMD_DELETE"):
            continue
        condition = _when_condition(slices.text, words, whens, body["mergeWhenClauses"].index(node))
        where = f"({joined}\n) IS TRUE"
        wheres = [body["joinCondition"]]
        if "condition" in when:
            where += f" AND ({condition}\n) IS TRUE"
            wheres.append(when["condition"])
        parts = {
            "relation": body["relation"],
            "joined": [body["sourceRelation"]],
            "where": _all_true(wheres),
        }
        spared = _unmatched(target, f"SELECT FROM {source}\nWHERE {where}")
        found.append(_check(slices, write, target, spared, parts))
    return found


def _all_true(conditions: Sequence[Node]) -> Node:
    tests = [{"BooleanTest": {"arg": node, "booltesttype": "IS_TRUE"}} for node in conditions]
    return tests[0] if len(tests) == 1 else {"BoolExpr": {"boolop": "AND_EXPR", "args": tests}}


def _when_condition(
    text: str, words: Sequence[tuple[Token, str]], whens: Sequence[Token], index: int
) -> str:
    """What stands between AND and THEN of one WHEN."""
    if index >= len(whens):
        return ""
    inside = [token for token, _ in words if token.start > whens[index].start]
    begins = next((token for token in inside if token.name == "AND"), None)
    ends = next((token for token in inside if token.name == "THEN"), None)
    if begins is None or ends is None or begins.start > ends.start:
        return ""
    return text[begins.end + 1 : ends.start]


def _target(body: Body, text: str) -> str:
    return text if body["relation"].get("inh") else f"ONLY {text}"


def _unmatched(target: str, matched: str) -> str:
    return f"SELECT FROM {target}\nWHERE NOT EXISTS ({matched}\n)"


def _check(
    slices: Slices, write: OpenWrite, target: str, spared: str, wanted: Mapping[str, Node]
) -> SparingCheck | None:
    """The question, if it says what the statement says."""
    prefix = _with(slices, write)
    any_row = f"SELECT FROM {target}\n"
    text = f"{prefix}SELECT EXISTS ({any_row}) AND NOT EXISTS ({spared}\n)"
    parsed = parse_decoded(text, len(text.encode()), slices.server)
    if isinstance(parsed, ParseFailure) or len(parsed) != 1 or parsed[0].kind != "SelectStmt":
        return None
    body = parsed[0].body
    if not _says(body, write, wanted):
        return None
    return _renumbered(text, body)


def _with(slices: Slices, write: OpenWrite) -> str:
    if not write.ctes:
        return ""
    queries = ", ".join(slices.cte(body) for body in write.ctes.values())
    return f"WITH {'RECURSIVE ' * write.recursive}{queries}\n"


def _says(body: Body, write: OpenWrite, wanted: Mapping[str, Node]) -> bool:
    """Whether a question's tree holds the statement's own target, joined relations, condition and
    WITH queries."""
    both = body["targetList"][0]["ResTarget"]["val"]["BoolExpr"]["args"]
    spared = both[1]["BoolExpr"]["args"][0]["SubLink"]["subselect"]["SelectStmt"]
    found: dict[str, Node] = {"relation": _only_range(spared)}
    if "joined" in wanted:
        inner = spared["whereClause"]["BoolExpr"]["args"][0]["SubLink"]["subselect"]["SelectStmt"]
        found["joined"], found["where"] = inner.get("fromClause"), inner.get("whereClause")
    else:
        found["where"] = spared["whereClause"]["BooleanTest"]["arg"]
    first = both[0]["SubLink"]["subselect"]["SelectStmt"]
    queries = [node["CommonTableExpr"] for node in body.get("withClause", {}).get("ctes", ())]
    return (
        same(found, wanted)
        and same(_only_range(first), wanted["relation"])
        and same(queries, list(write.ctes.values()))
    )


def _only_range(select: Body) -> Node:
    sources = select.get("fromClause", ())
    return sources[0].get("RangeVar") if len(sources) == 1 else None


def _renumbered(text: str, body: Body) -> SparingCheck | None:
    """Parameters numbered from 1 without gaps: the server wants to know the type of each."""
    content = text.encode()
    places = sorted(_parameters(body), reverse=True)
    numbers = sorted({number for _, number in places})
    for location, number in places:
        found = re.match(rb"\$\d+", content[location:])
        if found is None:
            return None
        new = b"$%d" % (numbers.index(number) + 1)
        content = content[:location] + new + content[location + found.end() :]
    return SparingCheck(content.decode(), tuple(numbers))


def _parameters(node: Node) -> Iterator[tuple[int, int]]:
    stack = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            reference = value.get("ParamRef")
            if reference is not None:
                yield reference.get("location", 0), reference.get("number", 0)
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
