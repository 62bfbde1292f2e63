"""`sallyport pki ...`: a small certificate authority for trying things out and for closed networks.

The functions are `authority`'s; `make_authority` and `issue` can be imported from here as well.
"""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from appliance.cli.authority import AUTHORITY_DAYS, LEAF_DAYS, Pair, issue, make_authority

__all__ = ["Pair", "issue", "make_authority", "pki_app"]

pki_app = App(name="pki", help="Make a small certificate authority and its certificates.")

Days = Annotated[int, Parameter(help="Days the certificate is valid.")]
Names = Annotated[
    tuple[str, ...],
    Parameter(
        name="--san",
        negative="",
        help="Host name, IP address, e-mail address or URI; may be given again.",
    ),
]


@pki_app.command
def init(
    folder: Path,
    *,
    name: Annotated[str, Parameter(help="Name of the authority.")] = "Sallyport CA",
    days: Days = AUTHORITY_DAYS,
) -> int:
    """Make an authority: FOLDER/ca.crt and FOLDER/ca.key."""
    try:
        return shown(make_authority(folder, name, days))
    except (OSError, ValueError) as problem:
        return failed(problem)


@pki_app.command
def issue_server(folder: Path, name: str, *, san: Names = (), days: Days = LEAF_DAYS) -> int:
    """A server certificate of the authority in FOLDER, for host NAME."""
    try:
        return shown(issue(folder, name, san, days=days))
    except (OSError, ValueError) as problem:
        return failed(problem)


@pki_app.command
def issue_client(
    folder: Path,
    name: str,
    *,
    san: Names = (),
    unit: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="Organisational unit (can be mapped to a group)."),
    ] = (),
    days: Days = LEAF_DAYS,
) -> int:
    """A client certificate of the authority in FOLDER; NAME is the subject's common name."""
    try:
        return shown(issue(folder, name, san, client=True, units=unit, days=days))
    except (OSError, ValueError) as problem:
        return failed(problem)


def shown(pair: Pair) -> int:
    print(f"certificate {pair.certificate}\nkey         {pair.key}")
    return 0


def failed(problem: OSError | ValueError) -> int:
    text = (
        f"{problem.filename}: {problem.strerror}" if isinstance(problem, OSError) else str(problem)
    )
    print(f"sallyport: {text}", file=sys.stderr)
    return 1
