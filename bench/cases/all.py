"""The cases of `python -m bench`, by database, in the order of its table."""

from bench.cases import Case
from bench.cases.bulk import Bulk, Many
from bench.cases.idle import Idle
from bench.cases.load import Pgbench
from bench.cases.misses import Misses
from bench.cases.points import PointSelects
from bench.wire import BulkClient
from bench.wire_mysql import MyBulkClient

MODES = ("simple", "extended", "prepared")
CLIENTS = (1, 8, 32)
IDLE_OWN, IDLE_SHARED = 150, 2000
"""Each with a connection to the database of its own, of which that allows 400; and without."""
SHARING = (32, 200)
"""Clients on SHARED_CONNECTIONS connections."""
MANY_CLIENTS = 6
"""Enough for the kernel to give two workers some each."""

TRANSACTION = """\\set aid random(1, 100000)
BEGIN;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
COMMIT;
"""

POSTGRESQL: tuple[Case, ...] = (
    Pgbench("select1-one-cpu", "simple", 1, "SELECT 1;\n", one_cpu=True),
    *(Pgbench(f"S-{mode}-c{n}", mode, n) for mode in MODES for n in CLIENTS),
    *(Pgbench(f"transaction-{mode}-c8", mode, 8, TRANSACTION) for mode in MODES),
    *(Pgbench(f"S-{mode}-c8-tls", mode, 8, tls=True) for mode in ("simple", "prepared")),
    Pgbench("connect", "simple", 1, "SELECT 1;\n", connecting=True),
    Pgbench("connect-tls", "simple", 1, "SELECT 1;\n", connecting=True, tls=True),
    *(Pgbench(f"shared-{mode}-c{n}", mode, n, kind="shared") for mode in MODES for n in SHARING),
    Misses(),
    *(
        Bulk(form, columns, BulkClient)
        for form in ("text", "binary", "copy")
        for columns in ("masked", "plain")
    ),
    *(
        Bulk(form, columns, BulkClient, canned=True)
        for form in ("text", "binary", "copy")
        for columns in ("masked", "plain")
    ),
    Many(MANY_CLIENTS),
    Idle("idle", IDLE_OWN, "queries"),
    Idle("idle-shared", IDLE_SHARED, "shared"),
)

MYSQL: tuple[Case, ...] = (
    *(PointSelects(f"S-{mode}-c{n}", mode, n) for mode in ("text", "prepared") for n in CLIENTS),
    *(
        Bulk(form, columns, MyBulkClient)
        for form in ("text", "binary")
        for columns in ("masked", "plain")
    ),
)
