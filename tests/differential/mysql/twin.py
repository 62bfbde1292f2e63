"""The masked twin on MariaDB: the corpus's databases on two servers, one of which holds masks in
place of what is masked; and a principal who owes those masks, judged as a session would be, without
a session.

Used by `test_twin`. What a governed statement gives on the raw server, masked on the wire or at the
source, must be what the client's own text gives on the twin, or a refusal.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pymysql
from pymysql.constants import CLIENT, FLAG

from _speedups.maskops import MaskOp
from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.masking.attribution import DescribedColumn, bind
from appliance.masking.masked_relations import Unmaskable
from appliance.masking.plan import MaskPlan, plan, source_plan
from appliance.model.catalog import Column, ColumnKey, SessionSettings
from appliance.model.decision import Decision, Effect, Mask, MaskMethod
from appliance.model.errors import Refused
from appliance.model.facts import Facts
from appliance.model.limits import Limits
from appliance.model.refusal import RefusalCode
from appliance.session.dialect import joined
from appliance.sql.mysql import catalog
from appliance.sql.mysql.analysis import analyse
from appliance.sql.mysql.catalog_rows import build_catalog
from appliance.sql.mysql.lineage import MyLineage
from appliance.sql.mysql.mask_forms import sql_form
from appliance.sql.mysql.masked import MyMaskedRelations
from appliance.sql.mysql.rewriting import forms_of
from appliance.sql.mysql.splice import quoted
from appliance.wire import exchange
from appliance.wire.mysql.cells import cell_op
from appliance.wire.mysql.messages import ENUM, SET
from tests.mariadb import connect, run

SCHEMA = Path(__file__).parents[2] / "corpus/mysql/schema.sql"
DATABASE = "crm"
MODES = "ERROR_FOR_DIVISION_BY_ZERO NO_AUTO_CREATE_USER NO_ENGINE_SUBSTITUTION STRICT_TRANS_TABLES"
OCTETS = 63
"""Collation of what is no text."""

_Cut, _Keep = MaskMethod.TRUNCATE_NUMBER, MaskMethod.KEEP_LAST
MASKS: Mapping[tuple[str, str], Mapping[str, Mask]] = {
    ("crm", "customers"): {
        "email": Mask(MaskMethod.EMAIL),
        "ssn": Mask(_Keep, keep=4),
        "phone": Mask(MaskMethod.KEEP_FIRST, keep=3),
        "card_number": Mask(MaskMethod.REDACT),
        "notes": Mask(MaskMethod.FIXED, value="(hidden)"),
        "dob": Mask(MaskMethod.TRUNCATE_DATE, unit="year"),
        "balance": Mask(_Cut, step=1000),
        "pin": Mask(_Cut, step=1000),
        "profile": Mask(MaskMethod.NULL),
        "token": Mask(MaskMethod.REDACT),
        "photo": Mask(MaskMethod.NULL),
        "home": Mask(MaskMethod.NULL),
        "badge": Mask(MaskMethod.REDACT),
        "seen": Mask(MaskMethod.TRUNCATE_DATE, unit="month"),
    },
    ("hr", "employees"): {
        "salary": Mask(_Cut, step=100_000),
        "bank_account": Mask(_Keep, keep=4),
        "bonus": Mask(MaskMethod.REDACT),
    },
    ("crm", "secrets"): {"api_key": Mask(MaskMethod.REDACT)},
    ("crm", "payments"): {"card_pan": Mask(_Keep, keep=4)},
    ("crm", "patients"): {
        "nickname": Mask(MaskMethod.NULL),
        "diagnosis": Mask(MaskMethod.FIXED, value="ill"),
    },
    ("crm", "documents"): {"body": Mask(MaskMethod.REDACT)},
    ("crm", "audit_log"): {"row_image": Mask(MaskMethod.NULL)},
    ("crm", "contracts"): {"terms": Mask(MaskMethod.REDACT)},
    ("crm", "Weird Table"): {"Sécret Col": Mask(MaskMethod.KEEP_FIRST, keep=2)},
}
Row = tuple[bytes | Decimal | None, ...]


class Answer(NamedTuple):
    """What a statement came to."""

    how: str
    """wire, source, direct, refused, error"""
    names: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    count: int = 0
    why: str = ""
    """Why it was refused, or the number of the server's error."""

    @property
    def given(self) -> tuple[object, ...]:
        return (self.names, self.rows, self.count, self.why)


class Sides:
    """Both servers, in transactions that are rolled back after each statement."""

    def __init__(self, raw: EmbeddedMariaDB, twin: EmbeddedMariaDB) -> None:
        for server in (raw, twin):
            _load(server)
        self.lineage = lineage_of(raw)
        self.owed = dict(_owed(self.lineage))
        self.relations = MyMaskedRelations(self.lineage, self.owed)
        _mask(twin, self.lineage)
        raw_bytes: Any = {"use_unicode": False, "conv": {}}
        self.raw = connect(raw, database=DATABASE, **raw_bytes)
        self.twin = connect(twin, database=DATABASE, **raw_bytes)
        for connection in (self.raw, self.twin):
            connection.query("SET autocommit = 0")
        self._settings = SessionSettings(database=DATABASE, modes=tuple(MODES.split()))
        self._decision = Decision(
            Effect.ALLOW, (), owes_masks=True, owed=self.owed, masks=self.owed
        )

    def close(self) -> None:
        self.raw.close()
        self.twin.close()

    def back(self) -> None:
        self.raw.rollback()
        self.twin.rollback()

    def governed(self, text: str) -> Answer:
        """On the raw server, as a session would have it."""
        try:
            plans, sent = self._judged(text)
            names, rows, count, fields = _asked(self.raw, sent)
            masks = self._bound(plans[0], fields)
        except Refused as refused:
            return Answer("refused", why=refused.refusal.message)
        except Unmaskable as error:
            return Answer("refused", why=str(error))
        except pymysql.err.Error as error:
            return Answer("error", why=str(error.args[0]))
        ops = [
            None if mask is None else MaskOp(cell_op(mask, _column(field), {}))
            for mask, field in zip(masks, fields, strict=True)
        ]
        masked = [
            tuple(value if op is None else op.apply(value) for value, op in zip(row, ops))  # noqa: B905
            for row in rows
        ]
        return _answer("source" if plans[0].at_source else "wire", text, names, masked, count)

    def direct(self, text: str) -> Answer:
        """On the twin."""
        try:
            names, rows, count, _ = _asked(self.twin, text)
        except pymysql.err.Error as error:
            return Answer("error", why=str(error.args[0]))
        return _answer("direct", text, names, rows, count)

    def held(self, table: str, masked: bool) -> list[Row]:
        """What a table holds: masked on the raw server, as it is on the twin."""
        database, _, name = table.partition(".")
        relation = self.lineage.relation_named(database, name)
        assert relation is not None
        hidden = self.relations.of(relation.oid) if masked else None
        cells = [f"t.{quoted(column.name)}" for column in relation.columns]
        if hidden is not None:
            cells = [
                self.relations.cell(hidden, column.name, cell)
                for column, cell in zip(relation.columns, cells, strict=True)
            ]
        text = f"SELECT {', '.join(cells)} FROM {table} AS t"
        _, rows, _, _ = _asked(self.raw if masked else self.twin, text)
        return sorted((tuple(map(_plain, row)) for row in rows), key=repr)

    def _judged(self, text: str) -> tuple[list[MaskPlan], str]:
        facts = analyse(text.encode(), self.lineage, self._settings, Limits())
        plans = [self._planned(facts, index) for index in range(len(facts.statements))]
        at_source = [each.at_source for each in plans]
        if not any(at_source):
            return plans, text
        forms = forms_of(
            text.encode(),
            at_source,
            facts,
            self.lineage,
            self._settings,
            self.relations,
            Limits(),
        )
        return plans, joined(text.encode(), at_source, facts, forms).decode()

    def _planned(self, facts: Facts, index: int) -> MaskPlan:
        try:
            return plan(facts, index, self._decision, self.owed, self.lineage)
        except Refused as refused:
            if refused.refusal.code not in (
                RefusalCode.MASKED_COLUMN_USED,
                RefusalCode.UNMASKABLE,
            ):
                raise
            made = source_plan(facts, index, self.owed, self.lineage)
            if made is None:
                raise
            return made

    def _bound(self, made: MaskPlan, fields: Sequence[Any]) -> tuple[Mask | None, ...]:
        if not fields:
            return ()
        described = [
            DescribedColumn(
                _text(field.name),
                *(
                    self.lineage.reported(
                        _text(field.db), _text(field.org_table), _text(field.org_name)
                    )
                    or (0, 0)
                ),
                field.type_code,
                0,
            )
            for field in fields
        ]
        return bind(made, described, self.owed, self.lineage)


def lineage_of(server: EmbeddedMariaDB) -> MyLineage:
    with contextlib.closing(connect(server)) as connection, connection.cursor() as cursor:
        for text in catalog.PREPARE:
            cursor.execute(text)
        rows: dict[str, Any] = {}
        for name, query in catalog.QUERIES.items():
            cursor.execute(query)
            rows[name] = [tuple(v if v is None else str(v) for v in r) for r in cursor.fetchall()]
    return MyLineage(build_catalog("twin", "", rows))


def _load(server: EmbeddedMariaDB) -> None:
    options: Any = {"client_flag": CLIENT.MULTI_STATEMENTS}
    with contextlib.closing(connect(server, **options)) as connection:
        cursor = connection.cursor()
        cursor.execute(SCHEMA.read_text())
        while cursor.nextset():
            pass
    run(
        server,
        "DROP TRIGGER crm.kept",  # as calls that nobody knows they would have writes refused
        "DROP TRIGGER scratch.copied",
        "ALTER TABLE crm.patients ENGINE = InnoDB",  # so that deletions can be rolled back
    )


def _masked_columns(lineage: MyLineage) -> Iterator[tuple[str, str, int, Column, Mask]]:
    for (database, name), masks in MASKS.items():
        relation = lineage.relation_named(database, name)
        assert relation is not None
        for column_name, mask in masks.items():
            column = relation.column(column_name)
            assert column is not None
            yield database, name, relation.oid, column, mask


def _owed(lineage: MyLineage) -> Iterator[tuple[ColumnKey, Mask]]:
    for _, _, oid, column, mask in _masked_columns(lineage):
        yield (oid, column.attnum), mask


def _mask(server: EmbeddedMariaDB, lineage: MyLineage) -> None:
    """Masks are not unique; and no order is that of masks, where nobody sorts."""
    texts = ["ALTER TABLE crm.customers DROP KEY by_email, ADD KEY by_email (tier)"]
    for database, name, _, column, mask in _masked_columns(lineage):
        form = sql_form(mask, column, quoted(column.name))
        table = f"{quoted(database)}.{quoted(name)}"
        texts.append(f"UPDATE {table} SET {quoted(column.name)} = {form}")
    run(server, *texts)


def _asked(connection: Any, text: str) -> tuple[list[str], list[Any], int, list[Any]]:
    with connection.cursor() as cursor:
        cursor.execute(text)
        fields = list(getattr(cursor._result, "fields", None) or ())
        return [_text(f.name) for f in fields], list(cursor.fetchall()), cursor.rowcount, fields


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _answer(how: str, text: str, names: list[str], rows: list[Any], count: int) -> Answer:
    """Rows that nobody sorts come in any order."""
    plain = [tuple(map(_plain, row)) for row in rows]
    if "ORDER BY" not in text.upper():
        plain.sort(key=repr)
    return Answer(how, tuple(names), tuple(plain), count)


def _plain(value: bytes | None) -> bytes | Decimal | None:
    """The same number, and the same time, may be written in several ways."""
    if value is None:
        return None
    if re.fullmatch(rb"[0-9-]+ [0-9:]+\.0+", value):
        return value.partition(b".")[0]
    if re.fullmatch(rb"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", value):
        return Decimal(value.decode()).normalize()
    return value


def _column(field: Any) -> exchange.Column:
    own_words = ENUM if field.flags & FLAG.ENUM else SET if field.flags & FLAG.SET else 0
    return exchange.Column(
        name="",
        schema="",
        relation="",
        column="",
        kind=own_words or field.type_code,
        binary=False,
        unsigned=bool(field.flags & FLAG.UNSIGNED),
        characters=field.charsetnr != OCTETS,
        width=field.length,
        decimals=field.scale,
    )
