"""Random schemas with data and classifications, deterministic by seed.

Used by `trials` and `statements`. A world lives in a schema of its own name, so that one policy can
speak of many worlds: tables, partitions, children, views over views, materialised views, generated
columns, domains, enums, composites, row security, constraints. `ddl` makes the database whose
values are `rows`; `other` gives the statements that make its sibling of it.
"""

import random
from dataclasses import dataclass, field

from appliance.model.decision import Mask, MaskMethod
from tests.differential.noninterference import values
from tests.differential.noninterference.values import Value, literal

ROWS = 9


@dataclass
class Column:
    name: str
    kind: str
    mask: Mask | None = None
    nullable: bool = True
    unique: bool = False
    checked: bool = False
    reference: bool = False
    """A foreign key to the first table's id."""
    generated: str = ""


@dataclass
class Table:
    """Something that can stand in FROM; `stored` tables hold rows of their own."""

    name: str
    columns: list[Column]
    stored: bool = True
    partitioned: bool = False
    parent: str = ""
    key: str = "id"
    secured: bool = False
    rows: list[list[Value]] = field(default_factory=list)

    @property
    def masked(self) -> bool:
        return any(column.mask is not None for column in self.columns)

    @property
    def given(self) -> list[Column]:
        return [column for column in self.columns if not column.generated]


@dataclass
class World:
    name: str
    seed: int
    tables: list[Table]
    views: list[tuple[str, str]]
    """(name, definition) in order of creation; `MATERIALIZED ` before a materialised one's name."""
    shown: list[Table]
    """What statements may name: tables and views with their columns."""

    def masks(self) -> dict[tuple[str, str, str], Mask]:
        return {
            (self.name, table.name, column.name): column.mask
            for table in self.tables
            for column in table.columns
            if column.mask is not None
        }

    def ddl(self) -> list[str]:
        """Raw database A, as SQL."""
        lines = [
            f"CREATE SCHEMA {self.name}",
            f"SET search_path = {self.name}",
            f"CREATE TYPE mood AS ENUM ({', '.join(literal('text', m) for m in values.MOODS)})",
            "CREATE DOMAIN tag AS text CHECK (length(VALUE) < 60)",
            "CREATE TYPE pair AS (a int, b text)",
        ]
        for table in self.tables:
            lines += _create(table)
        for table in self.tables:
            lines += self._inserts(table)
        lines += [f"CREATE {_view_kind(name)} AS {body}" for name, body in self.views]
        return lines

    @staticmethod
    def _inserts(table: Table) -> list[str]:
        names = ", ".join(column.name for column in table.given)
        return [
            f"INSERT INTO {table.name} ({names}) VALUES ("
            + ", ".join(literal(c.kind, v) for c, v in zip(table.given, row, strict=True))
            + ")"
            for row in table.rows
        ]

    def other(self) -> list[str]:
        """What makes raw database B of a copy of A: every sensitive cell another, same masks."""
        random_ = random.Random(self.seed + 1)
        lines = [f"SET search_path = {self.name}"]
        for table in self.tables:
            changed = [column for column in table.given if column.mask is not None]
            taken: dict[str, set[Value]] = {column.name: set() for column in changed}
            if changed:
                lines += [self._change(random_, table, row, taken) for row in table.rows]
        return lines

    def _change(
        self,
        random_: random.Random,
        table: Table,
        row: list[Value],
        taken: dict[str, set[Value]],
    ) -> str:
        assigned = []
        for column, own in zip(table.given, row, strict=True):
            if column.mask is not None:
                new = self._new(random_, column, own, taken[column.name])
                assigned.append(f"{column.name} = {literal(column.kind, new)}")
        return f"UPDATE {table.name} SET {', '.join(assigned)} WHERE id = {row[0]}"

    def _new(self, random_: random.Random, column: Column, own: Value, taken: set[Value]) -> Value:
        assert column.mask is not None
        if column.reference:
            return str(random_.randrange(1, ROWS + 1))
        for _ in range(50):
            new = values.sibling(random_, column.kind, column.mask, own, column.nullable)
            # Raw values of the same column may collide while the rows change one by one.
            if not column.unique or new is None or new not in taken:
                break
        taken.add(new)
        return new


def _view_kind(name: str) -> str:
    return name if name.startswith("MATERIALIZED") else f"VIEW {name}"


def _create(table: Table) -> list[str]:
    own = table.columns if not table.parent else []
    parts = [_column(column) for column in own]
    if not table.parent:
        parts.append("PRIMARY KEY (id)" if not table.partitioned else "PRIMARY KEY (id, part)")
    text = f"CREATE TABLE {table.name} ({', '.join(parts)})"
    if table.parent:
        extra = table.columns[-1]
        text = f"CREATE TABLE {table.name} ({_column(extra)}) INHERITS ({table.parent})"
    if not table.partitioned:
        lines = [text]
    else:
        lines = [text + " PARTITION BY LIST (part)"]
        lines.append(f"CREATE TABLE {table.name}_1 PARTITION OF {table.name} FOR VALUES IN (1, 2)")
        lines.append(f"CREATE TABLE {table.name}_d PARTITION OF {table.name} DEFAULT")
    if table.secured:
        lines.append(f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY")
        lines.append(f"CREATE POLICY own ON {table.name} USING (id % 4 <> 0)")
    return lines


def _column(column: Column) -> str:
    text = f"{column.name} {column.kind}"
    if column.generated:
        return f"{text} GENERATED ALWAYS AS ({column.generated}) STORED"
    if not column.nullable:
        text += " NOT NULL"
    if column.unique:
        text += " UNIQUE"
    if column.checked:
        text += f" CHECK ({column.name}::text <> 'never')"
    if column.reference:
        text += " REFERENCES t0 (id)"
    return text


def make_world(seed: int) -> World:
    """The world of this seed; its schema is called after it."""
    random_ = random.Random(seed)
    name = f"w{seed}"
    tables = [_table(random_, number) for number in range(random_.choice((2, 3, 3)))]
    if random_.random() < 0.5:
        tables.append(_partitioned(random_))
    if random_.random() < 0.4:
        tables.append(_child(random_, tables[0]))
    if not any(table.masked for table in tables):
        tables[0].columns[-1].mask = Mask(MaskMethod.NULL)
    for table in tables:
        table.rows = _rows(random_, table)
    world = World(name, seed, tables, [], list(tables))
    world.shown += [
        Table(f"{table.name}_1", table.columns, stored=False)
        for table in tables
        if table.partitioned
    ]
    _views(random_, world)
    return world


def _table(random_: random.Random, number: int) -> Table:
    columns = [Column("id", "int4", nullable=False)]
    count = random_.randrange(3, 7)
    columns += [_random_column(random_, f"c{place}") for place in range(count)]
    if number and random_.random() < 0.6:
        masked = Mask(MaskMethod.NULL) if random_.random() < 0.3 else None
        columns.append(Column("ref", "int4", masked, reference=True))
    _add_generated(random_, columns)
    return Table(f"t{number}", columns, secured=random_.random() < 0.15)


def _random_column(random_: random.Random, name: str) -> Column:
    kind = random_.choice(values.KINDS + values.TEXTS + values.NUMBERS)
    column = Column(name, kind, nullable=random_.random() < 0.7)
    if random_.random() < 0.45:
        column.mask = values.mask_for(random_, kind)
    many = kind in (*values.TEXTS, *values.NUMBERS, "uuid")
    column.unique = many and random_.random() < 0.15
    column.checked = random_.random() < 0.1
    return column


def _add_generated(random_: random.Random, columns: list[Column]) -> None:
    texts = [column for column in columns if column.kind == "text"]
    numbers = [column for column in columns[1:] if column.kind == "int4"]
    if texts and random_.random() < 0.4:
        base = random_.choice(texts)
        mask = Mask(MaskMethod.NULL) if random_.random() < 0.3 else None
        columns.append(Column("gen", "text", mask, generated=f"lower({base.name})"))
    elif numbers and random_.random() < 0.4:
        base = random_.choice(numbers)
        columns.append(Column("gen", "int4", generated=f"{base.name} * 2 + id"))


def _partitioned(random_: random.Random) -> Table:
    columns = [Column("id", "int4", nullable=False), Column("part", "int4", nullable=False)]
    for place in range(3):
        column = _random_column(random_, f"c{place}")
        column.unique = False
        columns.append(column)
    return Table("tp", columns, partitioned=True)


def _child(random_: random.Random, parent: Table) -> Table:
    inherited = [
        Column(c.name, c.kind, c.mask, c.nullable, generated=c.generated, checked=c.checked)
        for c in parent.columns
    ]
    extra = _random_column(random_, "extra")
    extra.unique = False
    return Table("child", [*inherited, extra], parent=parent.name)


def _rows(random_: random.Random, table: Table) -> list[list[Value]]:
    taken: dict[str, set[Value]] = {column.name: set() for column in table.columns}
    first = 1 if not table.parent else 100
    return [_row(random_, table, number, taken) for number in range(first, first + ROWS)]


def _row(
    random_: random.Random, table: Table, number: int, taken: dict[str, set[Value]]
) -> list[Value]:
    row: list[Value] = [str(number)]
    for column in table.given[1:]:
        made: Value
        if column.reference:
            made = str(random_.randrange(1, ROWS + 1))
        elif column.name == "part":
            made = str(number % 3 + 1)
        elif column.nullable and random_.random() < 0.15:
            made = None
        else:
            made = values.value(random_, column.kind)
            while column.unique and made in taken[column.name]:
                made = values.value(random_, column.kind)
        taken[column.name].add(made)
        row.append(made)
    return row


def _views(random_: random.Random, world: World) -> None:
    """Views of columns and of expressions, views of views, materialised ones."""
    for number in range(random_.randrange(1, 4)):
        below = random_.choice(world.shown)
        chosen = random_.sample(below.columns, min(len(below.columns), 4))
        made = [_view_column(random_, place, column) for place, column in enumerate(chosen)]
        columns = [column for column, _ in made]
        body = f"SELECT {', '.join(text for _, text in made)} FROM {below.name}"
        if random_.random() < 0.4:
            body += f" WHERE {random_.choice(below.columns).name} IS NOT NULL"
        materialised = random_.random() < 0.3
        name = f"m{number}" if materialised else f"view{number}"
        world.views.append((f"MATERIALIZED VIEW {name}" if materialised else name, body))
        world.shown.append(Table(name, columns, stored=False))


def _view_column(random_: random.Random, place: int, column: Column) -> tuple[Column, str]:
    """A column of a view, and what defines it."""
    new = Column(f"v{place}", column.kind, column.mask)
    text = column.name
    if column.kind in ("text", "varchar(24)") and random_.random() < 0.4:
        text, new.kind = f"upper({column.name})", "text"
    elif column.kind == "int4" and random_.random() < 0.4:
        text = f"{column.name} + 1"
    return new, f"{text} AS {new.name}"
