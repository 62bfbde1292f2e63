"""Random statements over a world: PostgreSQL's syntax, typed so that most of them run.

Used by `trials`. A case is a list of texts and a way to ask them; literals are often values of the
raw database, because a guess that is right is what an attacker has.
"""

import random
from dataclasses import dataclass

from tests.differential.noninterference import values
from tests.differential.noninterference.values import literal
from tests.differential.noninterference.worlds import Column, Table, World

DEPTH = 3


@dataclass(frozen=True)
class Item:
    """One FROM item."""

    alias: str
    columns: tuple[tuple[str, str], ...]
    """(name, kind)."""


@dataclass(frozen=True)
class Case:
    texts: tuple[str, ...]
    way: str
    writes: bool = False
    """It writes a table with masked columns: constraints of the twin may be others."""


class Grammar:
    """Statements of one world from one source of randomness."""

    def __init__(self, world: World, random_: random.Random) -> None:
        self.world = world
        self.random = random_
        self._aliases = 0

    def case(self) -> Case:
        kinds = [self._select_case] * 10 + [
            self._write,
            self._write,
            self._copy,
            self._prepared,
            self._cursor,
            self._temporary,
            self._explained,
            self._transaction,
        ]
        return self.random.choice(kinds)()

    # --- cases ---------------------------------------------------------------------------------

    def _way(self) -> str:
        return self.random.choice(("simple", "text", "binary", "undescribed", "prepared", "pieces"))

    def _select_case(self) -> Case:
        return Case((self.query(),), self._way())

    def _copy(self) -> Case:
        options = self.random.choice(("", " (FORMAT csv, HEADER)", " (FORMAT binary)"))
        if self.random.random() < 0.5:
            return Case((f"COPY ({self.query()}) TO STDOUT{options}",), "simple")
        table = self.random.choice(self.world.tables)
        names = [c.name for c in self._some(table.given)]
        # The twin's generated columns are plain ones, which a COPY of all columns includes.
        plain = not any(column.generated and column.mask for column in table.columns)
        listed = "" if plain and self.random.random() < 0.3 else f" ({', '.join(names)})"
        return Case((f"COPY {self._named(table)}{listed} TO STDOUT{options}",), "simple")

    def _prepared(self) -> Case:
        table = self.random.choice(self.world.shown)
        column = self.random.choice(table.columns)
        kind = "text" if column.kind in values.TEXTS else column.kind
        text = f"SELECT count(*), max(id::text) FROM (SELECT 1 AS id FROM {self._named(table)} x"
        text += f" WHERE x.{column.name}::{kind} = $1) y"
        if self.random.random() < 0.5:
            text = f"SELECT * FROM {self._named(table)} x WHERE x.{column.name}::{kind} = $1"
        guesses = [self._guess(table, column), self._literal(kind)]
        steps = [f"PREPARE p ({kind}) AS {text}", *(f"EXECUTE p ({guess})" for guess in guesses)]
        return Case((*steps, "DEALLOCATE p"), "simple")

    def _cursor(self) -> Case:
        fetches = self.random.choice((["FETCH 2 FROM k", "FETCH ALL FROM k"], ["FETCH ALL FROM k"]))
        return Case(
            ("BEGIN", f"DECLARE k CURSOR FOR {self.query()}", *fetches, "ROLLBACK"), "simple"
        )

    def _temporary(self) -> Case:
        make = f"CREATE TEMP TABLE tmp AS {self.query()}"
        if self.random.random() < 0.4:
            table = self.random.choice(self.world.shown)
            column = self.random.choice(table.columns)
            take = f"INSERT INTO tmp SELECT x.{column.name}::text FROM {self._named(table)} x"
            return Case(
                ("BEGIN", "CREATE TEMP TABLE tmp (a text)", take, "TABLE tmp", "ROLLBACK"), "simple"
            )
        return Case(("BEGIN", make, "SELECT * FROM tmp", "ROLLBACK"), "simple")

    def _explained(self) -> Case:
        options = self.random.choice(("COSTS OFF", "COSTS OFF, VERBOSE"))
        return Case((f"EXPLAIN ({options}) {self.query()}",), "simple")

    def _transaction(self) -> Case:
        return Case(
            ("BEGIN", self.query(), "SAVEPOINT s", self.query(), "ROLLBACK TO s", "ROLLBACK"),
            "simple",
        )

    def _write(self) -> Case:
        table = self.random.choice(self.world.tables)
        made = self.random.choice((self._insert, self._update, self._delete, self._into_other))
        text, writes = made(table)
        return Case(("BEGIN", text, "ROLLBACK"), self.random.choice(("simple", "text")), writes)

    def _insert(self, table: Table) -> tuple[str, bool]:
        cells = []
        for column in table.given:
            if column.name == "id":
                cells.append(str(self.random.randrange(1, 40)))
            elif column.reference or column.name == "part":
                cells.append(str(self.random.randrange(1, 4)))
            elif self.random.random() < 0.4:
                cells.append(self._guess(table, column))
            else:
                cells.append(self._literal(column.kind))
        names = ", ".join(column.name for column in table.given)
        text = f"INSERT INTO {self._named(table)} ({names}) VALUES ({', '.join(cells)})"
        if self.random.random() < 0.3:
            unique = [c.name for c in table.columns if c.unique] or ["id"]
            text += f" ON CONFLICT ({self.random.choice(unique)}) DO NOTHING"
        return text + self._returning(table), table.masked

    def _update(self, table: Table) -> tuple[str, bool]:
        column = self.random.choice(table.given[1:] or table.given)
        scope = self._scope(table, "x")
        new = self._literal(column.kind)
        if self.random.random() < 0.3:
            new = self._expression(column.kind, scope, 1)
        text = f"UPDATE {self._named(table)} x SET {column.name} = {new}"
        if self.random.random() < 0.8:
            text += f" WHERE {self._condition(scope, 1)}"
        return text + self._returning(table, "x"), table.masked

    def _delete(self, table: Table) -> tuple[str, bool]:
        condition = self._condition(self._scope(table, "x"), 1)
        text = f"DELETE FROM {self._named(table)} x WHERE {condition}"
        return text + self._returning(table, "x"), table.masked

    def _into_other(self, table: Table) -> tuple[str, bool]:
        item = self._scope(table, "x")
        free = [c for c in table.given if c.name not in ("id", "part") and not c.reference]
        column = self.random.choice(free or table.given)
        target = (
            f"{self._named(table)} (id, {column.name})"
            if column.name != "id"
            else f"{self._named(table)} (id)"
        )
        listed = "x.id + 1000" + (
            f", {self._expression(column.kind, item, 1)}" if column.name != "id" else ""
        )
        return (
            f"INSERT INTO {target} SELECT {listed} FROM {self._named(table)} x"
            + self._returning(table),
            table.masked,
        )

    def _returning(self, table: Table, alias: str = "") -> str:
        choice = self.random.random()
        if choice < 0.3:
            return ""
        if choice < 0.5:
            return " RETURNING *"
        item = self._scope(table, alias or table.name)
        return f" RETURNING {self._expression(self._kind(), item, 2)} AS r"

    # --- queries -------------------------------------------------------------------------------

    def query(self, depth: int = DEPTH) -> str:
        choice = self.random.random()
        if depth > 1 and choice < 0.12:
            return self._set_operation(depth)
        if depth > 1 and choice < 0.22:
            inner = self.query(depth - 2)
            return f"WITH q AS ({inner}) SELECT * FROM q" + self.random.choice(("", " ORDER BY 1"))
        return self._select(depth)

    def _set_operation(self, depth: int) -> str:
        kind = self._kind()
        word = self.random.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT"))
        sides = []
        for _ in range(2):
            froms, scope = self._from(depth - 1)
            sides.append(f"SELECT {self._expression(kind, scope, 1)} AS a FROM {froms}")
        return f"{sides[0]} {word} {sides[1]}" + self.random.choice(("", " ORDER BY 1"))

    def _select(self, depth: int) -> str:
        froms, scope = self._from(depth)
        where = f" WHERE {self._condition(scope, depth)}" if self.random.random() < 0.6 else ""
        if self.random.random() < 0.3:
            return self._grouped(froms, where, scope, depth)
        listed = self._targets(scope, depth)
        word = "SELECT DISTINCT" if self.random.random() < 0.12 else "SELECT"
        text = f"{word} {listed} FROM {froms}{where}"
        if word == "SELECT" and self.random.random() < 0.4:
            text += f" ORDER BY {self._expression(self._sortable(), scope, 1)}"
            text += self.random.choice(("", " DESC", " NULLS FIRST"))
            if all(any(name == "id" for name, _ in item.columns) for item in scope):
                text += "".join(f", {item.alias}.id" for item in scope)
        elif self.random.random() < 0.3:
            text += " ORDER BY 1"
        if self.random.random() < 0.2:
            text += f" LIMIT {self.random.randrange(1, 6)}"
        return text

    def _grouped(self, froms: str, where: str, scope: list[Item], depth: int) -> str:
        key = self._expression(self._sortable(), scope, 1)
        aggregates = ", ".join(self._aggregate(scope, depth) for _ in range(2))
        text = f"SELECT {key} AS g, {aggregates} FROM {froms}{where} GROUP BY 1"
        if self.random.random() < 0.3:
            text += f" HAVING {self._count(scope)} > 1"
        return text + self.random.choice(("", " ORDER BY 1", " ORDER BY 2, 1"))

    def _count(self, scope: list[Item]) -> str:
        return f"count({self._expression(self._kind(), scope, 1)})"

    def _aggregate(self, scope: list[Item], depth: int) -> str:
        number = self._expression(self.random.choice(("int4", "numeric(12,2)")), scope, 1)
        text = self._expression("text", scope, 1)
        condition = self._condition(scope, 1)
        return self.random.choice(
            (
                "count(*)",
                self._count(scope),
                f"count(DISTINCT {text})",
                f"sum({number})",
                f"avg({number})",
                f"min({text})",
                f"max({number})",
                f"string_agg({text}, ',' ORDER BY {text})",
                f"count(*) FILTER (WHERE {condition})",
                f"bool_or({condition})",
                f"jsonb_agg({text} ORDER BY {text})",
                f"percentile_disc(0.5) WITHIN GROUP (ORDER BY {number})",
            )
        )

    def _targets(self, scope: list[Item], depth: int) -> str:
        if self.random.random() < 0.2:
            return "*"
        made = []
        for place in range(self.random.randrange(1, 4)):
            choice = self.random.random()
            item = self.random.choice(scope)
            if choice < 0.35:
                made.append(f"{item.alias}.{self.random.choice(item.columns)[0]}")
            elif choice < 0.4:
                made.append(f"{item.alias}.*")
            elif choice < 0.47:
                function = self.random.choice(("row_to_json", "to_jsonb", "to_json"))
                made.append(f"{function}({item.alias}) AS w{place}")
            elif choice < 0.57:
                made.append(f"{self._windowed(scope)} AS o{place}")
            else:
                made.append(f"{self._expression(self._kind(), scope, depth)} AS e{place}")
        return ", ".join(made)

    def _windowed(self, scope: list[Item]) -> str:
        partition = self._expression(self._sortable(), scope, 0)
        order = self._expression(self._sortable(), scope, 0)
        function = self.random.choice(
            ("row_number()", "rank()", f"lag({order})", f"first_value({partition})", "count(*)")
        )
        return f"{function} OVER (PARTITION BY {partition} ORDER BY {order})"

    def _from(self, depth: int) -> tuple[str, list[Item]]:
        text, item = self._item(depth)
        scope = [item]
        for _ in range(self.random.choice((0, 0, 0, 1, 1, 2))):
            word = self.random.choice(("JOIN", "LEFT JOIN", "FULL JOIN", "CROSS JOIN"))
            more, item = self._item(depth - 1)
            scope.append(item)
            text += f" {word} {more}"
            if word == "FULL JOIN":
                text += f" ON {self._equal(scope)}"
            elif word != "CROSS JOIN":
                text += f" ON {self._condition(scope, 1)}"
        return text, scope

    def _equal(self, scope: list[Item]) -> str:
        left, right = scope[0], scope[-1]
        a, b = self.random.choice(left.columns)[0], self.random.choice(right.columns)[0]
        return f"{left.alias}.{a}::text = {right.alias}.{b}::text"

    def _item(self, depth: int) -> tuple[str, Item]:
        self._aliases += 1
        alias = f"x{self._aliases}"
        choice = self.random.random()
        if depth > 1 and choice < 0.12:
            froms, scope = self._from(depth - 2)
            kinds = [self._kind() for _ in range(2)]
            listed = ", ".join(
                f"{self._expression(kind, scope, 1)} AS s{place}"
                for place, kind in enumerate(kinds)
            )
            columns = tuple((f"s{place}", kind) for place, kind in enumerate(kinds))
            return f"(SELECT {listed} FROM {froms}) {alias}", Item(alias, columns)
        table = self.random.choice(self.world.shown)
        name = self._named(table)
        if table.stored and choice > 0.94:
            return f"{name} AS {alias} TABLESAMPLE SYSTEM (100)", self._scope(table, alias)[0]
        if table.stored and choice > 0.9:
            name = f"ONLY {name}"
        return f"{name} AS {alias}", self._scope(table, alias)[0]

    def _scope(self, table: Table, alias: str) -> list[Item]:
        return [Item(alias, tuple((column.name, column.kind) for column in table.columns))]

    def _named(self, table: Table) -> str:
        return f"{self.world.name}.{table.name}"

    def _some(self, columns: list[Column]) -> list[Column]:
        return self.random.sample(columns, self.random.randrange(1, len(columns) + 1))

    # --- expressions ---------------------------------------------------------------------------

    def _kind(self) -> str:
        return self.random.choice(
            ("int4", "text", "text", "numeric(12,2)", "bool", "date", "jsonb", "text[]", "float8")
        )

    def _sortable(self) -> str:
        return self.random.choice(("int4", "text", "numeric(12,2)", "date", "bool"))

    def _guess(self, table: Table, column: Column) -> str:
        """A value that is there, where values are known."""
        if table.rows and column in table.given:
            row = self.random.choice(table.rows)
            kind = "text" if column.kind in values.TEXTS else column.kind
            return literal(kind, row[table.given.index(column)])
        return self._literal(column.kind)

    def _literal(self, kind: str) -> str:
        made = literal(kind, values.value(self.random, kind))
        for own in ("tag", "mood", "pair"):
            made = made.replace(f"::{own}", f"::{self.world.name}.{own}")
        return made

    def _any_guess(self, kind: str) -> str:
        found = [
            self._guess(table, column)
            for table in self.world.tables
            for column in table.given
            if column.kind == kind
        ]
        return (
            self.random.choice(found)
            if found and self.random.random() < 0.6
            else self._literal(kind)
        )

    def _column_of(self, kind: str, scope: list[Item]) -> str | None:
        # A mask is of a domain's underlying type, which an ARRAY would show.
        same = [
            f"{item.alias}.{name}" + ("::text" if other == "tag" else "")
            for item in scope
            for name, other in item.columns
            if other == kind or (kind == "text" and other in values.TEXTS)
        ]
        return self.random.choice(same) if same else None

    def _expression(self, kind: str, scope: list[Item], depth: int) -> str:
        column = self._column_of(kind, scope)
        if depth <= 0 or self.random.random() < 0.25:
            return column or self._converted(kind, scope)
        if self.random.random() < 0.08:
            return self._subquery(kind, depth)
        return self.random.choice(self._forms(kind, scope, depth - 1))

    def _converted(self, kind: str, scope: list[Item]) -> str:
        item = self.random.choice(scope)
        name, _ = self.random.choice(item.columns)
        if kind == "text":
            return f"{item.alias}.{name}::text"
        if kind == "int4":
            return f"length({item.alias}.{name}::text)"
        if kind == "bool":
            return f"({item.alias}.{name} IS NULL)"
        if kind == "jsonb":
            return f"to_jsonb({item.alias}.{name})"
        return self._any_guess(kind)

    def _subquery(self, kind: str, depth: int) -> str:
        froms, scope = self._from(0)
        inner = self._expression(kind, scope, depth - 1)
        if kind == "text[]":
            text = self._expression("text", scope, 0)
            return f"ARRAY(SELECT ({text})::text AS o FROM {froms} ORDER BY 1)"
        order = "max" if kind in ("int4", "text", "numeric(12,2)", "date", "float8") else "count"
        if order == "count":
            return {
                "bool": f"EXISTS (SELECT 1 FROM {froms} WHERE {self._condition(scope, 0)})"
            }.get(kind, f"(SELECT to_jsonb(count({inner})) FROM {froms})")
        return f"(SELECT max({inner}) FROM {froms})"

    def _forms(self, kind: str, scope: list[Item], depth: int) -> list[str]:
        def e(wanted: str) -> str:
            return self._expression(wanted, scope, depth)

        common = [
            f"CASE WHEN {e('bool')} THEN {e(kind)} ELSE {e(kind)} END",
            f"coalesce({e(kind)}, {self._any_guess(kind)})",
        ]
        match kind:
            case "text":
                return [
                    *common,
                    f"upper({e('text')})",
                    f"({e('text')} || {e('text')})",
                    f"left({e('text')}, 4)",
                    f"replace({e('text')}, 'a', 'b')",
                    f"md5({e('text')})",
                    f"({e('int4')})::text",
                    f"concat({e('text')}, {e('date')})",
                    f"split_part({e('text')}, '@', 1)",
                    f"({e('jsonb')} ->> 'k')",
                    f"array_to_string({e('text[]')}, '-')",
                    f"nullif({e('text')}, {self._any_guess('text')})",
                ]
            case "int4":
                return [
                    *common,
                    f"({e('int4')} - {e('int4')})",
                    f"length({e('text')})",
                    f"abs({e('int4')} % 1000)",
                    f"cardinality({e('text[]')})",
                    f"(date_part('year', {e('date')}))::int4",
                    f"strpos({e('text')}, '@')",
                ]
            case "numeric(12,2)":
                return [*common, f"round({e('numeric(12,2)')} / 3, 1)", f"({e('int4')})::numeric"]
            case "float8":
                return [*common, f"({e('int4')})::float8", f"sqrt(abs({e('float8')}))"]
            case "bool":
                return [*common, self._condition(scope, depth)]
            case "date":
                return [*common, f"({e('date')} + 1)", f"date_trunc('year', {e('date')})::date"]
            case "jsonb":
                return [
                    *common,
                    f"({e('jsonb')} -> 'a')",
                    f"to_jsonb({e('text')})",
                    f"jsonb_build_object('t', {e('text')}, 'n', {e('int4')})",
                ]
            case _:
                return [
                    *common,
                    f"ARRAY[{e('text')}, {e('text')}]",
                    f"string_to_array({e('text')}, '@')",
                ]

    def _condition(self, scope: list[Item], depth: int) -> str:
        kind = self.random.choice(("int4", "text", "text", "numeric(12,2)", "date"))

        def e() -> str:
            return self._expression(kind, scope, depth - 1)

        guess = self._any_guess(kind)
        text = self._expression("text", scope, depth - 1)
        forms = [
            f"{e()} = {guess}",
            f"{e()} {self.random.choice(('<', '>', '<=', '<>'))} {guess}",
            f"{e()} = {e()}",
            f"{e()} IS NOT NULL",
            f"{e()} IS NOT DISTINCT FROM {guess}",
            f"{e()} IN ({guess}, {self._any_guess(kind)})",
            f"{text} LIKE '%a%'",
            f"{text} ~ '^[a-f]'",
            f"{e()} BETWEEN {guess} AND {self._any_guess(kind)}",
        ]
        if depth > 1:
            forms += [
                f"({self._condition(scope, depth - 1)} AND {self._condition(scope, depth - 1)})",
                f"({self._condition(scope, depth - 1)} OR {self._condition(scope, depth - 1)})",
                f"NOT ({self._condition(scope, depth - 1)})",
            ]
        return self.random.choice(forms)
