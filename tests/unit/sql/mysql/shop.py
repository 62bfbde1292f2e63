"""A catalog of a shop that no server has, and facts under it."""

from appliance.model.catalog import Catalog, Column, Function, Relation, SessionSettings
from appliance.model.facts import Facts, StatementFacts
from appliance.model.limits import Limits
from appliance.sql.mysql.analysis import analyse
from appliance.sql.mysql.lineage import MyLineage

CUSTOMERS, ORDERS, VIEW, REMOTE, LOGGED, PROCESSES, TABLES, USERS, HISTORY = range(11, 20)
SSN = (CUSTOMERS, 3)
INDEXES, STATUS = 31, 32
F, P, NOTED, FORGOT = 900, 901, 903, 904


def _relation(oid: int, database: str, name: str, columns: str, **more: object) -> Relation:
    made = tuple(
        Column(n, each.rstrip("!"), 0, not_null=each.endswith("!"))
        for n, each in enumerate(columns.split(), 1)
    )
    kind = str(more.pop("kind", "r"))
    return Relation(oid, database, name, kind, made, **more)  # type: ignore[arg-type]


RELATIONS = (
    _relation(CUSTOMERS, "shop", "customers", "id! name ssn email country"),
    _relation(ORDERS, "shop", "orders", "id! customer_id! total status"),
    _relation(
        VIEW,
        "shop",
        "named",
        "id ssn",
        kind="v",
        definition="select `shop`.`customers`.`id` AS `id`,`shop`.`customers`.`ssn` AS `ssn`"
        " from `shop`.`customers`",
    ),
    _relation(REMOTE, "shop", "remote", "id ssn", kind="f"),
    _relation(LOGGED, "shop", "logged", "id x", has_triggers=True, triggers=(NOTED, FORGOT)),
    _relation(PROCESSES, "information_schema", "PROCESSLIST", "ID USER HOST INFO"),
    _relation(TABLES, "information_schema", "TABLES", "TABLE_SCHEMA TABLE_NAME"),
    _relation(USERS, "mysql", "user", "Host User Password"),
    _relation(INDEXES, "information_schema", "STATISTICS", "INDEX_NAME CARDINALITY"),
    _relation(STATUS, "information_schema", "SESSION_STATUS", "VARIABLE_NAME VARIABLE_VALUE"),
    _relation(HISTORY, "performance_schema", "events_statements_history", "SQL_TEXT"),
)
LINEAGE = MyLineage(
    Catalog(
        target="t",
        database="shop",
        version="1",
        server_version_num=101106,
        schemas=("shop", "information_schema", "mysql", "performance_schema"),
        relations={r.oid: r for r in RELATIONS},
        by_name={(r.schema, r.name): r.oid for r in RELATIONS},
        functions={
            ("shop", "f"): (Function(F, "shop", "f", "f", "sql", "int"),),
            ("shop", "upper"): (Function(902, "shop", "upper", "f", "sql", "int"),),
            ("shop", "noted"): (Function(NOTED, "shop", "noted", "t", "sql", "update"),),
            ("shop", "forgot"): (Function(FORGOT, "shop", "forgot", "t", "sql", "delete"),),
            ("shop", "p"): (Function(P, "shop", "p", "p", "sql", ""),),
        },
        primary_keys={CUSTOMERS: (1,), ORDERS: (1,)},
    )
)
SETTINGS = SessionSettings(database="shop")


def facts(
    text: str | bytes, settings: SessionSettings = SETTINGS, lineage: MyLineage | None = LINEAGE
) -> Facts:
    raw = text if isinstance(text, bytes) else text.encode()
    return analyse(raw, lineage, settings, Limits())


def only(text: str, settings: SessionSettings = SETTINGS) -> StatementFacts:
    (statement,) = facts(text, settings).statements
    return statement
