"""Drivers in this process: PyMySQL, asyncmy, mysqlclient where it is there, and SQLAlchemy."""

import contextlib
import datetime
import decimal
from typing import Any

import asyncmy
import asyncmy.cursors
import pymysql
import pymysql.cursors
import pytest
import sqlalchemy
from sqlalchemy import orm

from appliance.cli.demo.mariadb import UNPACKED
from tests.conformance.mysql.conftest import DATABASE, Side

KINDS: dict[str, object] = {
    "tiny": -128,
    "small": 65535,
    "medium": -8388608,
    "normal": 2147483647,
    "big": 18446744073709551615,
    "exact": decimal.Decimal("-12345.678901"),
    "single": 1.5,
    "twice": 2.25,
    "flag": b"\x01\x01",
    "day": datetime.date(2024, 2, 29),
    "moment": datetime.datetime(2024, 2, 29, 23, 59, 59, 123456),
    "clock": -datetime.timedelta(hours=12, minutes=34, seconds=56, milliseconds=789),
    "y": 2024,
    "fixed": "abc",
    "words": "Größe 日本 🙂",
    "longer": "long",
    "bytes": b"\x00\xff\x10",
    "blobs": b"\xde\xad\xbe\xef",
    "picked": "a,c",
}


def connect(side: Side, **options: Any) -> "pymysql.connections.Connection[Any]":
    given: dict[str, Any] = {"database": DATABASE, "autocommit": True, **options}
    return pymysql.connect(
        host=side.host,
        port=side.port,
        user=side.user,
        password=side.password,
        ssl=side.context(),
        read_timeout=30,
        **given,
    )


def test_pymysql_reads_masked_and_other_columns(side: Side) -> None:
    with contextlib.closing(connect(side)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT id, name, email FROM people ORDER BY id")
        assert cursor.fetchall() == tuple(
            (n, name, side.email(n))
            for n, name in enumerate(("Mara Lind", "Otto Berg", "Yuki Arai"), start=1)
        )
        assert [one[0] for one in cursor.description] == ["id", "name", "email"]


def test_pymysql_reads_every_type(side: Side) -> None:
    with contextlib.closing(connect(side, cursorclass=pymysql.cursors.DictCursor)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT * FROM kinds ORDER BY id")
        full, empty = cursor.fetchall()
        assert {name: full[name] for name in KINDS} == KINDS
        assert all(value is None for name, value in empty.items() if name != "id")


def test_pymysql_writes_and_transactions(side: Side) -> None:
    with contextlib.closing(connect(side, autocommit=False)) as connection:
        cursor = connection.cursor()
        cursor.executemany(
            "INSERT INTO scratch_notes (body, number) VALUES (%s, %s)",
            [("one", 1), ("it's \\ two", 2), ("🙂", None)],
        )
        assert cursor.rowcount == 3
        cursor.execute("SELECT body, number FROM scratch_notes ORDER BY id")
        assert cursor.fetchall() == (("one", 1), ("it's \\ two", 2), ("🙂", None))
        cursor.execute("UPDATE scratch_notes SET number = number + 1 WHERE body = %s", ("one",))
        assert cursor.rowcount == 1
        connection.rollback()
        cursor.execute("SELECT COUNT(*) FROM scratch_notes")
        assert cursor.fetchone() == (0,)


def test_pymysql_says_what_went_wrong(side: Side) -> None:
    with contextlib.closing(connect(side)) as connection:
        cursor = connection.cursor()
        with pytest.raises(pymysql.err.IntegrityError) as caught:
            cursor.execute("INSERT INTO goods (sku, title, price) VALUES ('A-1', 'x', 1)")
        assert caught.value.args[0] == 1062
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_pymysql_streams_rows(side: Side) -> None:
    with contextlib.closing(connect(side, cursorclass=pymysql.cursors.SSCursor)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT a.id, b.email FROM kinds a, people b, goods c, goods d, sales e")
        count = 0
        for _, email in cursor:
            assert email in {side.email(n) for n in (1, 2, 3)}
            count += 1
        assert count == 2 * 3 * 3 * 3 * 4


async def test_asyncmy(side: Side) -> None:
    connection = await asyncmy.connect(
        host=side.host,
        port=side.port,
        user=side.user,
        password=side.password,
        db=DATABASE,
        ssl=side.context(),
        autocommit=True,
    )
    try:
        async with connection.cursor(asyncmy.cursors.DictCursor) as cursor:
            await cursor.execute("SELECT id, email FROM people WHERE id > %s ORDER BY id", (1,))
            assert await cursor.fetchall() == [{"id": n, "email": side.email(n)} for n in (2, 3)]
            await cursor.execute("SELECT words, exact FROM kinds WHERE id = 1")
            assert await cursor.fetchone() == {
                "words": KINDS["words"],
                "exact": KINDS["exact"],
            }
        async with connection.cursor() as cursor:
            await cursor.execute("INSERT INTO scratch_notes (body) VALUES (%s)", ("gone",))
            assert cursor.rowcount == 1
            await cursor.execute("DELETE FROM scratch_notes WHERE body = 'gone'")
            assert cursor.rowcount == 1
    finally:
        await connection.ensure_closed()


def test_mysqlclient(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scripts/mariadb.sh could build it."""
    monkeypatch.syspath_prepend(str(UNPACKED / "python"))
    driver = pytest.importorskip("MySQLdb")
    connection = driver.connect(
        host=side.host,
        port=side.port,
        user=side.user,
        passwd=side.password,
        db=DATABASE,
        charset="utf8mb4",
        ssl={"ca": str(side.ca)},
    )
    with contextlib.closing(connection):
        cursor = connection.cursor()
        cursor.execute("SELECT id, email FROM people ORDER BY id")
        assert cursor.fetchall() == tuple((n, side.email(n)) for n in (1, 2, 3))
        cursor.execute("SELECT big, moment, words FROM kinds WHERE id = 1")
        assert cursor.fetchone() == (KINDS["big"], KINDS["moment"], KINDS["words"])


# --- SQLAlchemy -----------------------------------------------------------------------------------


class Base(orm.DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sqlalchemy.String(60))
    email: orm.Mapped[str] = orm.mapped_column(sqlalchemy.String(80))
    sales: orm.Mapped[list["Sale"]] = orm.relationship(back_populates="person")


class Sale(Base):
    __tablename__ = "sales"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    person_id: orm.Mapped[int] = orm.mapped_column(sqlalchemy.ForeignKey("people.id"))
    good_id: orm.Mapped[int]
    quantity: orm.Mapped[int]
    sold_on: orm.Mapped[datetime.date]
    person: orm.Mapped[Person] = orm.relationship(back_populates="sales")


@pytest.fixture
def engine(side: Side) -> sqlalchemy.Engine:
    address = sqlalchemy.URL.create(
        "mysql+pymysql", side.user, side.password, side.host, side.port, DATABASE
    )
    made = sqlalchemy.create_engine(address, connect_args={"ssl": side.context()}, pool_size=1)
    yield made
    made.dispose()


def test_sqlalchemy_orm(side: Side, engine: sqlalchemy.Engine) -> None:
    with orm.Session(engine) as session:
        query = sqlalchemy.select(Person).options(orm.selectinload(Person.sales))
        found = session.scalars(query.order_by(Person.id)).all()
        assert [(one.name, one.email, len(one.sales)) for one in found] == [
            ("Mara Lind", side.email(1), 2),
            ("Otto Berg", side.email(2), 1),
            ("Yuki Arai", side.email(3), 1),
        ]
        joined = (
            sqlalchemy.select(Person.name, sqlalchemy.func.sum(Sale.quantity))
            .join(Sale)
            .group_by(Person.id, Person.name)
            .order_by(Person.id)
        )
        assert session.execute(joined).all() == [
            ("Mara Lind", decimal.Decimal(3)),
            ("Otto Berg", decimal.Decimal(1)),
            ("Yuki Arai", decimal.Decimal(9)),
        ]
        sale = Sale(person_id=1, good_id=1, quantity=5, sold_on=datetime.date(2024, 6, 1))
        session.add(sale)
        session.flush()
        assert sale.id > 4
        session.rollback()


def test_sqlalchemy_reflection(side: Side, engine: sqlalchemy.Engine) -> None:
    inspector = sqlalchemy.inspect(engine)
    assert set(inspector.get_table_names()) >= {"people", "goods", "sales", "kinds"}
    assert set(inspector.get_view_names()) == {"addresses", "totals"}
    assert inspector.has_table("people") and not inspector.has_table("nowhere")
    assert inspector.get_pk_constraint("sales")["constrained_columns"] == ["id"]
    keys = {one["name"]: one["referred_table"] for one in inspector.get_foreign_keys("sales")}
    assert keys == {"sold_to": "people", "sold_what": "goods"}
    assert [one["name"] for one in inspector.get_indexes("people")] == ["by_country"]
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine, views=True)
    people = metadata.tables["people"]
    assert isinstance(people.c.email.type, sqlalchemy.String) and people.c.email.type.length == 80
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.select(people).order_by(people.c.id)).all()
        assert [row.email for row in rows] == [side.email(n) for n in (1, 2, 3)]
        if side.through:
            view = metadata.tables["addresses"]
            shown = connection.execute(sqlalchemy.select(view.c.address)).scalars().all()
            assert not any("bazaar.invalid" in address for address in shown)
