"""A statement over masked relations: the execution of masking at the source.

Called by `rewriting` for what clients send and by itself for the definitions of views. Every
reference to a relation with masked cells becomes a subselect in which those cells are their masks;
a column of a relation that is written becomes its mask wherever it is read. What the server
computes with is then never a raw value, so nothing downstream can show one.

Its rules: a word that names a masked relation and stands for nothing that was understood is not
rewritten but refused (`Unmaskable`); every relation comes out under its database's name; outputs
keep the names that the client's own words give them; the result is read again and must be the
rewritten tree (`splice.same`).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from sqlglot import exp

from appliance.model.catalog import SessionSettings
from appliance.sql.mysql.masked import INNER, Masked, MyMaskedRelations
from appliance.sql.mysql.reading import Place, Reader
from appliance.sql.mysql.scope import folded
from appliance.sql.mysql.splice import (
    BRIEF_EXPRESSION,
    BRIEF_SUBSELECT,
    Edit,
    Replaced,
    Unmaskable,
    expression_of,
    quoted,
    same,
    spliced,
    subselect_of,
)
from appliance.sql.mysql.tree import Unreadable, statement_of, tree_of
from appliance.sql.mysql.words import (
    NAME,
    QUOTED_NAME,
    Word,
    is_mariadb,
    modes_of,
    words_of,
)
from appliance.sql.mysql.writing import written_by

VIEW_DEPTH_MAX = 16
_SUBSELECT = subselect_of(BRIEF_SUBSELECT)
ALIAS_CHARACTERS_MAX = 256
"""MAX_ALIAS_NAME (sql/sql_const.h)."""
_HINTS = frozenset({"USE", "FORCE", "IGNORE"})
_INDEXES = frozenset({"INDEX", "KEY"})
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)
_WRITES = (exp.Insert, exp.Update, exp.Delete)
_ENDING = """FROM WHERE GROUP HAVING ORDER LIMIT UNION EXCEPT INTERSECT INTO FOR LOCK WINDOW
    PROCEDURE OFFSET FETCH MINUS"""
_ENDS_OF_LIST = frozenset(_ENDING.split())
"""What comes behind a select list."""
_MODIFYING = """ALL DISTINCT DISTINCTROW HIGH_PRIORITY STRAIGHT_JOIN SQL_SMALL_RESULT SQL_BIG_RESULT
    SQL_BUFFER_RESULT SQL_CACHE SQL_NO_CACHE SQL_CALC_FOUND_ROWS"""
_MODIFIERS = frozenset(_MODIFYING.split())
"""What stands before a select list."""


class Rewriter:
    """One statement, or the definition of one view."""

    def __init__(
        self,
        relations: MyMaskedRelations,
        settings: SessionSettings,
        text: bytes,
        words: Sequence[Word],
        depth: int = 0,
    ) -> None:
        self._relations = relations
        self._settings = settings
        self._text = text
        self._words = words
        self._depth = depth
        self._edits: list[Edit] = []
        self._replaced: dict[int, Replaced] = {}
        self._index = {word.start: number for number, word in enumerate(words)}

    def rewritten(self) -> str:
        """The statement over masked relations. Raises Unmaskable."""
        try:
            self._tree = tree_of(self._words)
        except (Unreadable, RecursionError):
            raise Unmaskable("it could not be read") from None
        self._reading = Reader(self._relations.lineage, self._settings)
        self._read()
        if self._reading.unresolved:
            raise Unmaskable(next(iter(self._reading.unresolved)))
        self._require_accounted()
        for table in self._tree.find_all(exp.Table):
            self._relation(table)
        for column in self._tree.find_all(exp.Column):
            self._column(column)
        self._require_supported()
        self._name_outputs()
        self._verify(spliced(self._text, self._words, self._edits, brief=True))
        return spliced(self._text, self._words, self._edits)

    def _read(self) -> None:
        if isinstance(self._tree, _QUERIES):
            self._reading.query(self._tree)
        elif isinstance(self._tree, _WRITES):
            written_by(self._reading, self._tree)
        else:
            raise Unmaskable(f"{self._tree.key} can not be masked at the source")

    def _verify(self, made: str) -> None:
        try:
            again = statement_of(made, modes_of(self._settings))
        except (Unreadable, RecursionError):
            raise Unmaskable("its rewritten form can not be read") from None
        if not same(self._tree, again, self._replaced):
            raise Unmaskable("its rewritten form would be read in another way")

    def _require_accounted(self) -> None:
        """Every word that could name a masked relation is a name in the tree."""
        known = {
            node.meta.get("start") for node in self._tree.find_all(exp.Identifier) if node.meta
        }
        for word in self._words:
            if word.kind not in (NAME, QUOTED_NAME) or word.start in known:
                continue
            if self._relations.names_masked(word.text):
                raise Unmaskable(f"what {word.text} stands for here is not understood")

    # Relations.

    def _relation(self, node: exp.Table) -> None:
        reading = self._reading
        if id(node) in reading.commons or id(node) in reading.named_targets:
            return
        place = reading.places.get(id(node))
        if place is None:
            if isinstance(node.this, exp.Identifier) and node.name.upper() != "DUAL":
                raise Unmaskable(f"the relation {node.name} is not understood here")
            return
        masked = self._relations.of(place.oid)
        if masked is None or place.written:
            self._require_open(masked, place)
            self._qualify(node, place)
        else:
            self._replace(node, place, masked)

    @staticmethod
    def _require_open(masked: Masked | None, place: Place) -> None:
        if masked is not None and masked.expanded:
            raise Unmaskable(f"{place.alias} computes with masked columns and is written")

    def _qualify(self, node: exp.Table, place: Place) -> None:
        if node.args.get("db"):
            return
        relation = self._relations.lineage.catalog.relations[place.oid]
        start = self._start(node.this)
        self._edits.append(Edit(start, start, quoted(relation.schema) + "."))
        self._replaced[id(node)] = Replaced(exp.Table(db=exp.Identifier(this=relation.schema)))

    def _replace(self, node: exp.Table, place: Place, masked: Masked) -> None:
        if node.args.get("partition") or node.args.get("version"):
            raise Unmaskable("PARTITION or FOR SYSTEM_TIME of a masked relation")
        start = self._start(node.args.get("db") or node.this)
        end = node.this.meta["end"]
        if self._words[self._index[start] - 1].upper == "TABLE" and self._index[start]:
            raise Unmaskable("TABLE with a masked relation: say SELECT * FROM it")
        hinted = {n.name.lower() for h in node.args.get("hints") or () for n in h.expressions}
        if hinted.intersection(name.lower() for name in self._relations.telling_indexes(masked)):
            raise Unmaskable("an index hint that names an index of masked columns")
        hints = self._cut_hints(node, end)
        source = self._kept_subselect(masked, hints, self._locking(node, masked))
        self._relations.require_whole(source, modes_of(self._settings))
        named = "" if node.args.get("alias") else f" AS {quoted(place.alias)}"
        self._edits.append(Edit(start, end, source + named, BRIEF_SUBSELECT + named))
        self._replaced[id(node)] = Replaced(_SUBSELECT, place.alias)

    def _cut_hints(self, node: exp.Table, end: int) -> str:
        """USE INDEX and the like, which belong to the relation inside."""
        if not node.args.get("hints"):
            return ""
        alias = node.args.get("alias")
        last = end if alias is None else alias.this.meta["end"]
        after = next(n for n, word in enumerate(self._words) if word.start >= last)
        stop = after
        while (
            stop + 1 < len(self._words)
            and self._words[stop].upper in _HINTS
            and self._words[stop + 1].upper in _INDEXES
        ):
            stop = self._closing(stop) + 1
        if stop == after:
            raise Unmaskable("an index hint is not understood")
        self._edits.append(Edit(self._words[after].start, self._words[stop - 1].end, ""))
        words = self._words[after:stop]
        return " " + spliced(self._text, words, [])

    def _closing(self, number: int) -> int:
        """The word that closes the first parenthesis behind a word."""
        depth = 0
        for at in range(number, len(self._words)):
            sign = self._words[at].upper
            depth += (sign == "(") - (sign == ")")
            if sign == ")" and depth == 0:
                return at
        raise Unmaskable("an index hint is not understood")

    def _locking(self, node: exp.Table, masked: Masked) -> str:
        """FOR UPDATE and the like of the query that reads a relation: it has to stand in the
        subselect, too, which is merged with that query all the same, so that the same rows are
        locked (measured: MariaDB 10.11)."""
        select = node.find_ancestor(exp.Select)
        locks = [] if select is None else select.args.get("locks") or []
        if not locks:
            return ""
        if masked.expanded:
            raise Unmaskable("a locking read of a view that computes with masked columns")
        version = self._relations.lineage.catalog.server_version_num
        found = [locking_text(lock, is_mariadb(version)) for lock in locks]
        if len(found) != 1 or not found[0]:
            raise Unmaskable("this kind of locking read")
        return " " + found[0]

    def _kept_subselect(self, masked: Masked, hints: str, locking: str) -> str:
        columns = masked.relation.columns
        shown = frozenset(c.name for c in columns if c.invisible and self._names(c.name))
        key = (masked.relation.oid, shown)
        plain = not (hints or locking)
        found = self._relations.fragments.get(key) if plain else None
        if found is None:
            found = self._subselect(masked, shown, hints, locking)
            if plain:
                self._relations.keep(key, found)
        return found

    def _subselect(
        self, masked: Masked, shown: frozenset[str], hints: str, locking: str = ""
    ) -> str:
        relation = masked.relation
        if masked.expanded:
            source = f"({self._definition(masked)})"
        else:
            source = f"{quoted(relation.schema)}.{quoted(relation.name)}"
        cells = []
        for column in relation.columns:
            if column.invisible and column.name not in shown:
                continue
            reference = f"{quoted(INNER)}.{quoted(column.name)}"
            made = self._relations.cell(masked, column.name, reference)
            named = made == reference
            cells.append(made if named else f"{made} AS {quoted(column.name)}")
        if telling := self._relations.telling_indexes(masked):
            # Rows must not come in the order of what is masked.
            hints += f" IGNORE INDEX ({', '.join(map(quoted, telling))})"
        return f"(SELECT {', '.join(cells)} FROM {source} AS {quoted(INNER)}{hints}{locking})"  # noqa: S608

    def _names(self, name: str) -> bool:
        """Whether the statement names an invisible column, which a star must then not give."""
        named = any(node.name.lower() == name.lower() for node in self._tree.find_all(exp.Column))
        if named and self._reading.stars:
            raise Unmaskable("a star beside an invisible column of a masked relation")
        return named

    def _definition(self, masked: Masked) -> str:
        if self._depth >= VIEW_DEPTH_MAX:
            raise Unmaskable("views are nested too deeply")
        relation = masked.relation
        text = relation.definition.encode()
        try:
            words = words_of(text, 0)
        except ValueError:
            raise Unmaskable(f"the definition of {relation.name} is not understood") from None
        settings = SessionSettings(database=relation.schema)
        return Rewriter(self._relations, settings, text, words, self._depth + 1).rewritten()

    # Columns.

    def _column(self, node: exp.Column) -> None:
        if id(node) in self._reading.assigned:
            return
        holder = self._reading.holders.get(id(node))
        place = None if holder is None else self._reading.places.get(holder.place)
        if place is not None and place.written:
            self._target_cell(node, place)
        elif node.args.get("db"):
            self._unqualify(node)

    def _target_cell(self, node: exp.Column, place: Place) -> None:
        masked = self._relations.of(place.oid)
        names = {field.name for field in self._reading.columns.get(id(node), ())}
        if masked is None or names.isdisjoint(masked.hidden):
            return
        (name,) = names if len(names) == 1 else ("",)
        if not name or _is_assigned(node):
            raise Unmaskable(
                f"the value of {node.name} that this would store is a mask, not what is there"
            )
        made = self._relations.cell(masked, name, f"{quoted(place.alias)}.{quoted(name)}")
        start, end = self._span(node)
        text, named = f"({made})", ""
        self._relations.require_whole(text, modes_of(self._settings))
        if isinstance(node.parent, exp.Returning):
            named = f" AS {quoted(node.name)}"
        self._edits.append(Edit(start, end, text + named, BRIEF_EXPRESSION + named))
        self._replaced[id(node)] = Replaced(expression_of(BRIEF_EXPRESSION + named))

    def _unqualify(self, node: exp.Column) -> None:
        """`database.relation.column` of a relation that was replaced."""
        oid = self._meant(node)
        if self._relations.of(oid) is None:
            return
        if any(p.written and p.oid == oid for p in self._reading.places.values()):
            raise Unmaskable(f"{node.table} is written and read at once")
        for other in self._tree.find_all(exp.Table, exp.Subquery, exp.Lateral, exp.Values):
            if folded(other.alias_or_name) == folded(node.table):
                place = self._reading.places.get(id(other))
                if place is None or place.oid != oid:
                    raise Unmaskable(f"several things are called {node.table}")
        database, table = node.args["db"], node.args["table"]
        self._edits.append(Edit(self._start(database), self._start(table), ""))
        made = node.copy()
        made.set("db", None)
        self._replaced[id(node)] = Replaced(made)

    def _meant(self, node: exp.Column) -> int:
        """OID of the relation that `database.relation.column`, or `database.relation.*`, names."""
        holder = self._reading.holders.get(id(node))
        oids = {
            place.oid
            for at, place in self._reading.places.items()
            if (holder is None and folded(place.alias) == folded(node.table))
            or (holder is not None and at == holder.place)
        }
        if len(oids) != 1:
            raise Unmaskable(f"several things are called {node.table}")
        return oids.pop()

    @staticmethod
    def _start(node: exp.Expr) -> int:
        start: int = node.meta["start"]
        return start

    def _span(self, node: exp.Column) -> tuple[int, int]:
        first = node.args.get("db") or node.args.get("table") or node.this
        end: int = node.this.meta["end"]
        return self._start(first), end

    # What can not be said.

    def _require_supported(self) -> None:
        if not self._replaced and not self._edits:
            return
        masked = [n for n in self._replaced.values() if isinstance(n.node, exp.Subquery)]
        for match in self._tree.find_all(exp.MatchAgainst) if masked else ():
            self._require_searchable(match)
        others = self._tree.find_all(exp.SetOperation, exp.Subquery)
        if masked and any(node.args.get("locks") for node in others):
            raise Unmaskable("a locking read of more than one query with a masked relation")
        written = {p.oid for p in self._reading.places.values() if p.written}
        hidden = {key for key in self._reading.merged_columns if key in self._relations.owed}
        if any(oid in written for oid, _ in hidden):
            raise Unmaskable("USING or NATURAL JOIN with a masked column of what is written")
        clause = self._tree.args.get("returning")
        if clause is None or not any(self._relations.of(oid) for oid in written):
            return
        for projection in clause.expressions:
            if not isinstance(projection, (exp.Column, exp.Alias)) or isinstance(
                projection.this, exp.Star
            ):
                raise Unmaskable("RETURNING of more than columns and what has a name")

    def _require_searchable(self, match: exp.MatchAgainst) -> None:
        """A search in columns that are shown as they are finds its index in a subselect, too, as
        long as that is merged with the query; where it is not, the server says so."""
        for column in match.expressions:
            holder = self._reading.holders.get(id(column))
            place = None if holder is None else self._reading.places.get(holder.place)
            names = {field.name for field in self._reading.columns.get(id(column), ())}
            masked = None if place is None else self._relations.of(place.oid)
            shown = masked is None or (not masked.expanded and names.isdisjoint(masked.hidden))
            if place is None or not names or not shown:
                raise Unmaskable("full-text search in masked columns, or in what is computed")

    # Names of outputs.

    def _name_outputs(self) -> None:
        """A column without a name of its own is named by its text, as the client wrote it: where
        that text changes, it becomes a name. Lists further inside keep what they are."""
        select, depth = self._first_select()
        if select is None:
            return
        changed = {
            id(projection)
            for node in (*self._tree.find_all(exp.Table), *self._tree.find_all(exp.Column))
            if id(node) in self._replaced
            and (projection := _projection_with(node, select)) is not None
        }
        elements = self._select_list(select, depth)
        if elements is None:
            named = (exp.Alias, exp.Column, exp.Star)
            if any(id(p) in changed and not isinstance(p, named) for p in select.expressions):
                raise Unmaskable("an output without a name: give it one with AS")
            return
        for projection, (start, end) in zip(select.expressions, elements, strict=True):
            if isinstance(projection, exp.Column):
                self._keep_case(projection, end)
            if isinstance(projection, (exp.Alias, exp.Column, exp.Star)):
                continue
            if id(projection) in changed or self._has_comment(start, end):
                self._name(projection, start, end)

    def _keep_case(self, node: exp.Column, end: int) -> None:
        """`SELECT ID`: the server gives a table's column the name it was called by, one of a
        subselect its own."""
        holder = self._reading.holders.get(id(node))
        place = None if holder is None else self._reading.places.get(holder.place)
        fields = self._reading.columns.get(id(node), ())
        if place is None or place.written or self._relations.of(place.oid) is None:
            return
        if all(field.name == node.name for field in fields):
            return
        self._edits.append(Edit(end, end, f" AS {quoted(node.name)}"))
        before = self._replaced.get(id(node))
        alias = exp.Alias(alias=exp.Identifier(this=node.name, quoted=True))
        alias.args["this"] = node if before is None else before.node
        self._replaced[id(node)] = Replaced(alias, node.name)

    def _has_comment(self, start: int, end: int) -> bool:
        inside = [word for word in self._words if start <= word.start < end]
        return any(self._text[one.end : other.start].strip() for one, other in pairwise(inside))

    def _first_select(self) -> tuple[exp.Expr | None, int]:
        """The SELECT whose list names the columns of the result, and in how many parentheses it
        is."""
        node: exp.Expr | None = self._tree
        depth = 0
        while isinstance(node, (exp.SetOperation, exp.Subquery)):
            depth += isinstance(node, exp.Subquery)
            node = node.this
        return (node, depth) if isinstance(node, exp.Select) else (None, 0)

    def _name(self, projection: exp.Expr, start: int, end: int) -> None:
        text = self._text[start:end].decode(errors="replace")
        if len(text) > ALIAS_CHARACTERS_MAX or "\ufffd" in text:
            raise Unmaskable("an output without a name is too long: give it one with AS")
        self._edits.append(Edit(end, end, f" AS {quoted(text)}"))
        alias = exp.Alias(alias=exp.Identifier(this=text, quoted=True))
        alias.args["this"] = projection
        self._replaced[id(projection)] = Replaced(alias, text)

    def _select_list(self, select: exp.Expr, depth: int) -> list[tuple[int, int]] | None:
        """First and last byte of each element of a select list; None when it can not be told from
        the words which one it is."""
        for number, level in self._levels():
            if level == depth and self._words[number].upper == "SELECT":
                elements = self._elements(number + 1)
                if _holds(select.expressions, elements):
                    return elements
        return None

    def _levels(self) -> Iterator[tuple[int, int]]:
        """Each word's number, and in how many parentheses it is."""
        level = 0
        for number, word in enumerate(self._words):
            level -= word.upper == ")"
            yield number, level
            level += word.upper == "("

    def _elements(self, number: int) -> list[tuple[int, int]]:
        """Of the select list that begins with a word, modifiers left out."""
        while number < len(self._words) and self._words[number].upper in _MODIFIERS:
            number += 1
        found: list[tuple[int, int]] = []
        start, level = -1, 0
        for at in range(number, len(self._words)):
            word = self._words[at]
            level -= word.upper == ")"
            if level < 0 or (level == 0 and word.upper in _ENDS_OF_LIST):
                break
            if level == 0 and word.upper == ",":
                found.append((start, self._words[at - 1].end))
                start = -1
                continue
            start = word.start if start < 0 else start
            level += word.upper == "("
            end = word.end
        if start >= 0:
            found.append((start, end))
        return found


def locking_text(lock: exp.Expr, mariadb: bool) -> str:
    """FOR UPDATE, LOCK IN SHARE MODE and what may follow them; '' for what is not understood."""
    if set(lock.args) - {"update", "wait", "expressions", "key"}:
        return ""
    if lock.args.get("expressions") or lock.args.get("key"):
        return ""
    wait = lock.args.get("wait")
    kind = "FOR UPDATE"
    if not lock.args.get("update"):
        kind = "LOCK IN SHARE MODE" if mariadb or wait is None else "FOR SHARE"
    if wait is None:
        return kind
    if isinstance(wait, exp.Literal) and not wait.is_string and wait.this.isdigit():
        return f"{kind} WAIT {wait.this}"
    if wait is True or wait is False:
        return f"{kind} {'NOWAIT' if wait else 'SKIP LOCKED'}"
    return ""


def _holds(projections: Sequence[exp.Expr], elements: Sequence[tuple[int, int]]) -> bool:
    """Whether each projection's names stand in its element."""
    if len(projections) != len(elements):
        return False
    return all(
        start <= name.meta["start"] < end
        for projection, (start, end) in zip(projections, elements, strict=True)
        for name in projection.find_all(exp.Identifier)
        if "start" in name.meta
    )


def _projection_with(node: exp.Expr, select: exp.Expr) -> exp.Expr | None:
    """The element of the select list that a node is in."""
    while node.parent is not None:
        if node.parent is select:
            return node if node.arg_key == "expressions" else None
        node = node.parent
    return None


def _is_assigned(node: exp.Expr) -> bool:
    """Whether a node is part of a value that is stored."""
    for above in _above(node):
        parent = above.parent
        if isinstance(parent, (exp.Update, exp.OnConflict)) and above.arg_key == "expressions":
            return True
        if isinstance(parent, exp.Insert) and above.arg_key == "expression":
            return True
    return False


def _above(node: exp.Expr) -> Iterator[exp.Expr]:
    current: exp.Expr | None = node
    while current is not None:
        yield current
        current = current.parent
