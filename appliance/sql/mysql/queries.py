"""A query into the ledger: what it reads, what its columns are, what it calls. Called by
`statements`; `utility` and `writes` read the expressions of other statements through it."""

from collections.abc import Sequence

from sqlglot import exp

from appliance.model.facts import Action, Flag
from appliance.sql.mysql.calls import note_calls
from appliance.sql.mysql.growth import is_endless, is_unbounded
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.reading import Result
from appliance.sql.mysql.tree import tree_of
from appliance.sql.mysql.words import NAME, NUMBER, QUOTED_NAME, STRING, VARIABLE, Word


def read_query(ledger: Ledger, tree: exp.Expr) -> Result:
    """A tree that is a query."""
    result = ledger.reader.query(tree)
    note_tree(ledger, tree)
    return result


def note_tree(ledger: Ledger, tree: exp.Expr) -> None:
    """Relations read, calls and growth of a tree whose names the reader has looked up."""
    reader = ledger.reader
    for node in tree.find_all(exp.Table):
        if not isinstance(node.this, exp.Identifier):
            continue
        if id(node) in reader.commons or id(node) in reader.named_targets:
            continue
        place = reader.places.get(id(node))
        if place is not None and not place.written:
            relation = ledger.lineage.catalog.relations[place.oid] if ledger.lineage else None
            if relation is not None:
                ledger.use_known(Action.SELECT, relation)
                _foreign(ledger, relation.kind, relation.schema, relation.name)
        elif place is None and node.name.upper() != "DUAL":
            ledger.use(Action.SELECT, node.db, node.name)
    note_calls(ledger, tree)
    for select in tree.find_all(exp.Select):
        if is_unbounded(select, reader):
            ledger.flags.add(Flag.UNBOUNDED)
    if any(is_endless(with_) for with_ in tree.find_all(exp.With)):
        ledger.flags.add(Flag.UNBOUNDED)
    if any(use[0] is Action.SELECT for use in ledger.uses):
        ledger.act(Action.SELECT)


def _foreign(ledger: Ledger, kind: str, schema: str, name: str) -> None:
    """A table whose engine fetches its rows from elsewhere may show any table's cells under
    another name."""
    if kind == "f":
        ledger.puzzle(f"where the rows of {schema}.{name} come from is not known")


def read_expressions(ledger: Ledger, words: Sequence[Word]) -> None:
    """Expressions separated by commas that give no result: everything in them is used."""
    if not words:
        return
    select = Word(NAME, "SELECT", words[0].start, words[0].start, "SELECT")
    tree = tree_of([select, *words])
    fields = read_query(ledger, tree).fields
    ledger.reader.consume(fields)


class Into:
    """Where a SELECT puts its rows instead of sending them."""

    __slots__ = ("file", "rest")

    def __init__(self, rest: list[Word], file: bool) -> None:
        self.rest = rest
        """The query without its INTO."""
        self.file = file
        """Whether that is a file of the server; variables otherwise."""


def cut_into(words: Sequence[Word]) -> Into | None:
    """Finds INTO outside parentheses in a query; None when there is none.

    `SELECT a INTO @x FROM t`, `SELECT a FROM t INTO OUTFILE 'f' FIELDS ... LINES ...`
    (https://dev.mysql.com/doc/refman/8.0/en/select-into.html).
    """
    depth = 0
    for index, word in enumerate(words):
        depth += {"(": 1, ")": -1}.get(word.upper, 0)
        if word.upper != "INTO" or depth or index == 0 or _follows_dot(words, index):
            continue
        following = words[index + 1].upper if index + 1 < len(words) else ""
        file = following in ("OUTFILE", "DUMPFILE")
        end = _clause_end(words, index + 2) if file else _list_end(words, index + 1)
        return Into([*words[:index], *words[end:]], file)
    return None


def _follows_dot(words: Sequence[Word], index: int) -> bool:
    return words[index - 1].upper == "."


def _list_end(words: Sequence[Word], index: int) -> int:
    """Past the variables of INTO."""
    while index < len(words) and words[index].kind in (VARIABLE, NAME, QUOTED_NAME):
        index += 1
        if index < len(words) and words[index].upper == ",":
            index += 1
            continue
        break
    return index


def _clause_end(words: Sequence[Word], index: int) -> int:
    """Past a file's name and format: up to FROM, a lock, or the end."""
    while index < len(words):
        if words[index].upper in ("FROM", "FOR", "LOCK"):
            return index
        if words[index].kind not in (STRING, NAME, NUMBER):
            return index
        index += 1
    return index
