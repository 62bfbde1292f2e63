"""`sallyport serve`: runs the service from a configuration file. `cli/main` imports this when the
command is given.
"""

import datetime
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from appliance.cli.config import checkers
from appliance.config.check import Severity, check
from appliance.config.schema import Configuration
from appliance.control.documents import read
from appliance.control.sockets import Bound
from appliance.control.supervisor import ADMIN_NAME, CONTROL_NAME, Service, run_service

CONSOLE_MODULE = "appliance.console.serve"
"""The control process with API and console."""
DEFAULT_CONFIGURATION = Path("/etc/sallyport/sallyport.yaml")


def serve(
    config: Path = DEFAULT_CONFIGURATION,
    workers: int | None = None,
    log_format: Literal["auto", "json", "text"] = "auto",
) -> int:
    """Runs Sallyport until SIGTERM (finishes running statements) or SIGINT (at once).

    SIGHUP reads the configuration and policies again; what does not validate is refused and the
    old stays in use. Returns the exit status: 0, 1 when it could not start, 2 when the
    configuration is wrong.

    Parameters
    ----------
    config
        The configuration file.
    workers
        Worker processes, instead of the configuration's.
    log_format
        auto is text for a terminal or the journal, JSON otherwise.
    """
    try:
        first = read(config, generation=1, checks=(sound,))
    except ValueError as error:
        print(f"sallyport: {error}", file=sys.stderr)
        return 2
    if not first.documents.policies:
        print("sallyport: no policy file is configured: everything is denied", file=sys.stderr)
    return run_service(
        Service(
            first=first,
            source=config,
            workers=workers or 0,
            checks=(sound,),
            on_ready=functools.partial(tell_ready, first.configuration),
            log_json=in_json(log_format),
            control_module=CONSOLE_MODULE,
        )
    )


def tell_ready(configuration: Configuration, places: Sequence[Bound]) -> None:
    """One line per listener on standard output, for whoever started this and waits: where it
    really listens, where the admin listener and the control process do, and the data folder.
    `sallyport try` says the same."""
    admin = next((shown(place) for place in places if place.name == ADMIN_NAME), "")
    control = next((f" control={shown(p)}" for p in places if p.name == CONTROL_NAME), "")
    protocols = {one.name: configuration.protocol_of(one) for one in configuration.listeners}
    for place in places:
        if place.name in protocols:
            where = f"{protocols[place.name]} {shown(place)} listener={place.name}"
            print(f"ready {where} admin={admin} data={configuration.data}{control}", flush=True)


def shown(place: Bound) -> str:
    """host:port, an IPv6 address in brackets."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{host}:{place.port}"


def sound(configuration: Configuration) -> None:
    """Everything `check-config` looks at. Raises ValueError with what would not work."""
    findings = check(configuration, checkers(), datetime.datetime.now(datetime.UTC))
    bad = [found for found in findings if found.severity is Severity.ERROR]
    if bad:
        raise ValueError("; ".join(f"{found.path}: {found.message}" for found in bad))


def in_json(log_format: str) -> bool:
    """What `auto` means."""
    if log_format != "auto":
        return log_format == "json"
    return not (sys.stderr.isatty() or os.environ.get("JOURNAL_STREAM"))
