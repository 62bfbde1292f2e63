"""A catalog that no server has, for what names mean."""

import pytest

from appliance.model.catalog import Catalog, Column, Relation
from appliance.sql.mysql.lineage import MyLineage

CUSTOMERS, ORDERS, VIEW, COUNTED = 11, 12, 13, 14
SSN = (CUSTOMERS, 3)


def _relation(oid: int, name: str, columns: str, **more: object) -> Relation:
    made = tuple(
        Column(n, each, 253, type_text="varchar(20)", charset="utf8mb4")
        for n, each in enumerate(columns.split(), 1)
    )
    return Relation(oid, "shop", name, str(more.pop("kind", "r")), made, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lineage() -> MyLineage:
    relations = (
        _relation(CUSTOMERS, "customers", "id name ssn"),
        _relation(ORDERS, "orders", "id customer_id total"),
        _relation(
            VIEW,
            "named",
            "id ssn shout",
            kind="v",
            definition="select `shop`.`customers`.`id` AS `id`,`shop`.`customers`.`ssn` AS `ssn`,"
            "ucase(`shop`.`customers`.`ssn`) AS `shout` from `shop`.`customers`",
        ),
        _relation(
            COUNTED,
            "counted",
            "n",
            kind="v",
            definition="select count(0) AS `n` from `shop`.`customers`"
            " where `shop`.`customers`.`ssn` like '1%'",
        ),
    )
    return MyLineage(
        Catalog(
            target="t",
            database="shop",
            version="1",
            server_version_num=101100,
            schemas=("shop",),
            relations={r.oid: r for r in relations},
            by_name={(r.schema, r.name): r.oid for r in relations},
            functions={},
        )
    )
