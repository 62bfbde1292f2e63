"""What a configuration says about store and trail -> the store and the trail's recorder.

Called by `main` at its start. Rule: two control processes never share a data folder: the trail's
lock, which the kernel gives back when a process dies, decides it.
"""

import errno
import os
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from appliance.audit.record import Record
from appliance.config.control import SQLITE, Control
from appliance.config.credentials import resolve
from appliance.config.schema import Configuration
from appliance.control.store import Store
from appliance.control.store_sqlite import SqliteStore
from appliance.control.trail import SpoolRecorder
from appliance.model.limits import CONTROL_CHAIN
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer
from appliance.telemetry.log import Log

log = Log("control")

SQLITE_NAME = "control.sqlite"


def open_recorder(
    configuration: Configuration, count: Callable[[Sequence[Record]], None]
) -> tuple[Spool, SpoolRecorder]:
    """`count` hears of every record. Raises ValueError when another control process has it, OSError
    without a signing key."""
    signer = load_or_create_signer(configuration.data / "keys")
    spool = Spool(
        configuration.data / "audit", CONTROL_CHAIN, signer, configuration.durability.value
    )
    if spool.fault == errno.errorcode[errno.EWOULDBLOCK]:
        spool.close()
        raise ValueError(f"another control process uses the data folder {configuration.data}")
    return spool, SpoolRecorder(spool, count)


def open_store(section: Control, folder: Path) -> Store:
    """Not open yet. `folder`: the data folder. Raises ValueError and OSError for what it would need
    and is not there."""
    if section.store == SQLITE:
        return SqliteStore(folder / SQLITE_NAME)
    try:
        from appliance.control.store_postgres import PostgresStore, Server
    except ImportError as error:
        raise ValueError(
            "a store in PostgreSQL needs asyncpg: pip install 'sallyport[postgres]'"
        ) from error
    authorities = section.store_ca
    trust = None if authorities is None else ssl.create_default_context(cafile=authorities)
    return PostgresStore(Server(section.store, _password(section), trust))


def _password(section: Control) -> str | None:
    if section.store_password is None:
        return None
    return resolve(section.store_password, os.environ, _warn).reveal().decode()


def _warn(text: str) -> None:
    log.warning("warning", reason=text)
