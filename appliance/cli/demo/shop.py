"""The sample database `shop`: a small web shop with secrets in it, the same for the same seed.

What is in it; the samples make it, each on its kind of database. Dictionaries and lists are for
whatever the database has for them. No value is anybody's: card numbers are in a test range, e-mail
domains are reserved (RFC 2606).
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files

DATABASE = "shop"
OWNER = "app_dba"
ROLES = (OWNER, "app_analyst", "app_agent")
SEED = 20_241

Row = tuple[object, ...]

FIRST = """
    Ada Amir Anna Bela Boris Carla Chen Clara David Dina Elena Emil Farid Fatima Grace Hana Hugo
    Ines Ivan Jana Jonas Kemal Kofi Lena Liam Lucia Malik Mara Mei Milan Nadia Nils Nora Omar
    Paula Petra Quentin Ravi Rosa Sami Sara Sven Tara Tomas Ursula Vera Viktor Wanda Yara Zoe
""".split()
LAST = """
    Abara Adler Almeida Bauer Becker Bianchi Castro Chavez Cohen Costa Dahl Diaz Dubois Eklund
    Ferrari Fischer Garcia Gupta Haddad Hansen Ito Ivanova Jansen Kaya Khan Kim Kowalski Larsen
    Lopez Marino Mbeki Meyer Moreau Nagy Novak Okafor Olsen Patel Petrov Popescu Rossi Santos
    Sato Schmidt Silva Suzuki Tanaka Torres Virtanen Weber Wolf Yilmaz Zhang
""".split()
COUNTRIES = ("DE", "FR", "US", "ES", "IT", "PL", "JP", "BR", "NG", "IN")
ITEMS = ("lamp", "chair", "desk", "kettle", "clock", "vase", "rug", "shelf", "mirror", "blanket")
STYLES = ("oak", "steel", "linen", "blue", "small", "large")
STATES = ("paid", "paid", "paid", "shipped", "shipped", "cancelled", "new")
DEPARTMENTS = ("sales", "support", "engineering", "finance", "legal")
TAGS = ("newsletter", "vip", "b2b", "fraud-watch", "beta", "wholesale")
MIDNIGHT_2024 = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Size:
    customers: int = 2_000
    orders: int = 8_000
    employees: int = 120
    api_keys: int = 40


def script(name: str) -> tuple[str, str]:
    """What a file beside this one makes before the tables are filled, and after."""
    text = files(__package__).joinpath(name).read_text("utf-8")
    tables, _, rest = text.partition("-- filled\n")
    return tables, rest


def contents(size: Size, seed: int = SEED) -> dict[str, Iterable[Row]]:
    """Rows by table, in an order that foreign keys allow."""
    dice = random.Random(seed)
    products = list(_products(dice))
    customers = list(_customers(dice, size.customers))
    orders = list(_orders(dice, size.orders, size.customers, products))
    return {
        "customers": customers,
        "products": products,
        "orders": orders,
        "payments": _payments(dice, orders, customers),
        "employees": _employees(dice, size.employees),
        "api_keys": _api_keys(dice, size.api_keys),
        "support_tickets(customer_id, opened_by, subject)": _tickets(dice, size.customers),
    }


def _customers(dice: random.Random, count: int) -> Iterator[Row]:
    for number in range(1, count + 1):
        first, last = dice.choice(FIRST), dice.choice(LAST)
        yield (
            number,
            f"{first} {last}",
            f"{first[0].lower()}.{last.lower()}{number}@example.com",
            f"+1-202-555-{dice.randrange(10_000):04d}",
            f"{dice.randrange(900, 1000)}-{dice.randrange(100):02d}-{dice.randrange(10_000):04d}",
            date(1940, 1, 1) + timedelta(days=dice.randrange(24_000)),
            card_number(dice),
            f"{dice.randrange(-50_000, 2_000_000) / 100:.2f}",
            dice.randrange(300, 851),
            dice.choice(COUNTRIES),
            {"language": dice.choice(("en", "de", "fr")), "dark_mode": dice.random() < 0.5},
            sorted(dice.sample(TAGS, dice.randrange(3))),
            MIDNIGHT_2024 + timedelta(minutes=dice.randrange(1_300_000)),
        )


def _products(dice: random.Random) -> Iterator[Row]:
    titles = [f"{style} {item}" for style in STYLES for item in ITEMS]
    for number, title in enumerate(titles, 1):
        yield (number, f"SKU-{number:04d}", title, f"{dice.randrange(500, 50_000) / 100:.2f}")


def _orders(dice: random.Random, count: int, customers: int, products: list[Row]) -> Iterator[Row]:
    for number in range(1, count + 1):
        product, quantity = dice.choice(products), dice.randrange(1, 5)
        yield (
            number,
            dice.randrange(1, customers + 1),
            product[0],
            date(2024, 1, 1) + timedelta(days=dice.randrange(1_000)),
            dice.choice(STATES),
            quantity,
            f"{float(str(product[3])) * quantity:.2f}",
        )


def _payments(dice: random.Random, orders: list[Row], customers: list[Row]) -> Iterator[Row]:
    for number, order in enumerate((o for o in orders if o[4] in ("paid", "shipped")), 1):
        by_card = dice.random() < 0.8
        placed = order[3]
        customer = customers[int(str(order[1])) - 1]
        assert isinstance(placed, date)
        paid = datetime(placed.year, placed.month, placed.day, tzinfo=UTC)
        yield (
            number,
            order[0],
            order[1],
            paid + timedelta(minutes=dice.randrange(2_880)),
            order[6],
            "card" if by_card else "transfer",
            customer[6] if by_card else None,
            None if by_card else iban(dice),
        )


def _employees(dice: random.Random, count: int) -> Iterator[Row]:
    for number in range(1, count + 1):
        first, last = dice.choice(FIRST), dice.choice(LAST)
        yield (
            number,
            f"{first} {last}",
            f"{first.lower()}.{last.lower()}.{number}@shop.example",
            dice.choice(DEPARTMENTS),
            None if number <= 3 else dice.randrange(1, max(2, number // 4)),
            dice.randrange(38_000, 190_000),
            date(2012, 1, 1) + timedelta(days=dice.randrange(4_900)),
            iban(dice),
        )


def _api_keys(dice: random.Random, count: int) -> Iterator[Row]:
    for number in range(1, count + 1):
        yield (
            number,
            dice.choice(DEPARTMENTS),
            sorted(dice.sample(("read", "write", "refund", "admin"), 2)),
            f"sk_live_{dice.getrandbits(128):032x}",
            MIDNIGHT_2024 + timedelta(hours=dice.randrange(20_000)),
            dice.random() < 0.3,
        )


def _tickets(dice: random.Random, customers: int) -> Iterator[Row]:
    subjects = ("late parcel", "broken on arrival", "wrong colour", "invoice question")
    for _ in range(60):
        yield (dice.randrange(1, customers + 1), dice.choice(FIRST).lower(), dice.choice(subjects))


def card_number(dice: random.Random) -> str:
    """Sixteen digits in a test range with a right check digit (ISO/IEC 7812-1, Luhn)."""
    body = f"400000{dice.randrange(10**9):09d}"
    doubled = [int(d) * (2 if place % 2 == 0 else 1) for place, d in enumerate(body)]
    total = sum(d - 9 if d > 9 else d for d in doubled)
    return f"{body}{-total % 10}"


def iban(dice: random.Random) -> str:
    """A German IBAN of a bank that does not exist, with right check digits (ISO 13616)."""
    account = f"00000000{dice.randrange(10**10):010d}"
    check = 98 - int(f"{account}131400") % 97  # D = 13, E = 14, then 00
    return f"DE{check:02d}{account}"
