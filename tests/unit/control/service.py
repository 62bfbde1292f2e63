"""Runs the supervisor as a process of its own, with the fake worker. `python service.py CONFIG
WORKERS`.
"""

import sys
from pathlib import Path

from appliance.control import workers
from appliance.control.documents import read
from appliance.control.sockets import Bound
from appliance.control.supervisor import ADMIN_NAME, CONTROL_NAME, Service, run_service


def show(bound: tuple[Bound, ...]) -> None:
    clients = [one for one in bound if one.name not in (ADMIN_NAME, CONTROL_NAME)]
    print("ready", *(f"{one.name}={one.host}:{one.port}" for one in clients), flush=True)


def main() -> int:
    source = Path(sys.argv[1])
    workers.HEARTBEAT_MISSED_SECONDS_MAX = 2.0  # type: ignore[attr-defined]
    first = read(source, 1)
    return run_service(
        Service(
            first=first,
            source=source,
            workers=int(sys.argv[2]),
            on_ready=show,
            log_json=True,
            worker_module="fake_worker",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
