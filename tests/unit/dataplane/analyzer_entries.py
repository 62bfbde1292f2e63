"""What the analyzer child runs in tests, in place of the SQL analysis (`--dialect
analyzer_entries:DIALECT`).
"""

import os
import signal
import time

from appliance.model.catalog import Catalog, SessionSettings
from appliance.model.facts import Facts
from appliance.model.limits import Limits

made: list[str] = []


class Lineage:
    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        made.append(catalog.version)


def behave(
    text: bytes, lineage: Lineage | None, settings: SessionSettings, limits: Limits
) -> Facts:
    verb, _, argument = text.decode().partition(" ")
    if verb == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif verb == "hang":
        time.sleep(60)
    elif verb == "spin":
        signal.setitimer(signal.ITIMER_REAL, 0)
        while True:
            pass
    elif verb == "raise":
        raise RuntimeError("secret text")
    elif verb == "exhaust":
        held = bytearray(1 << 40)
        return Facts(statements=(), fingerprint=str(len(held)))
    elif verb == "sleep":
        time.sleep(float(argument))
    elif verb == "pid":
        return Facts(statements=(), fingerprint=str(os.getpid()))
    elif verb == "made":
        return Facts(statements=(), fingerprint=",".join(made))
    version = "" if lineage is None else lineage.catalog.version
    return Facts(
        statements=(),
        fingerprint=argument,
        settings_digest=settings.digest(),
        catalog_version=version,
    )


class Behaving:
    """As far as the child needs a `session.dialect.Dialect`."""

    analyse = staticmethod(behave)


DIALECT = Behaving()

raise_at_import = os.environ.get("ANALYZER_ENTRY_BROKEN") == "1"
if raise_at_import:
    raise SystemExit(3)
