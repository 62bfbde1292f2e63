"""The sample database: the same for the same seed, and rich enough for the tour."""

import random
from typing import TYPE_CHECKING

import psycopg
import pytest

from appliance.cli.demo import postgres_shop
from appliance.cli.demo import shop as shop_database
from appliance.cli.demo.shop import Size, card_number, contents, iban

if TYPE_CHECKING:
    from tests.conftest import Shop

SMALL = Size(customers=50, orders=100, employees=10, api_keys=4)


def plain(seed: int) -> dict[str, list[list[str]]]:
    return {
        table: [[str(getattr(cell, "obj", cell)) for cell in row] for row in rows]
        for table, rows in contents(SMALL, seed).items()
    }


def test_the_seed_decides_everything() -> None:
    assert plain(1) == plain(1)
    assert plain(1)["customers"] != plain(2)["customers"]


def test_numbers_carry_right_check_digits() -> None:
    dice = random.Random(7)
    for _ in range(50):
        digits = [int(d) for d in reversed(card_number(dice))]
        doubled = [
            d if place % 2 == 0 else sum(divmod(2 * d, 10)) for place, d in enumerate(digits)
        ]
        assert len(digits) == 16 and sum(doubled) % 10 == 0
        account = iban(dice)
        moved = account[4:] + "1314" + account[2:4]
        assert int(moved) % 97 == 1


@pytest.mark.parametrize(
    ("relation", "least"),
    [
        ("customers", 2000),
        ("orders", 8000),
        ("payments", 4000),
        ("employees", 100),
        ("api_keys", 40),
        ("customer_contacts", 2000),
        ("best_customers", 100),
        ("orders_2025", 1000),
    ],
)
def test_there_are_rows_to_look_at(shop: "Shop", relation: str, least: int) -> None:
    with psycopg.connect(shop.uri("app_analyst")) as connection:
        row = connection.execute(f"select count(*) from {relation}".encode()).fetchone()
    assert row is not None and row[0] >= least


def test_it_loads_again_over_itself_with_new_passwords(shop: "Shop") -> None:
    other = dict.fromkeys(shop_database.ROLES, "another")
    postgres_shop.load(shop.server.uri(), other, SMALL)
    with psycopg.connect(shop.server.uri("app_agent", "another", "shop")) as connection:
        assert connection.execute("select count(*) from customers").fetchone() == (50,)
    from tests.conftest import ROLE_PASSWORDS

    postgres_shop.load(shop.server.uri(), ROLE_PASSWORDS)
