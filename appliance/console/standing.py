"""The documents that the console goes by now: configuration, users, policy. Replaced as a whole.

Made by `console/serve` at the start and on SIGHUP, asked by every request.
"""

from collections.abc import Callable
from typing import NamedTuple

from appliance.config.control import Control
from appliance.config.schema import Configuration
from appliance.identity.verifiers import Directory
from appliance.policy.snapshot import Snapshot


class Standing(NamedTuple):
    """One version of everything."""

    configuration: Configuration
    control: Control
    directory: Directory
    policy: Snapshot | None
    """None: no policy document, everything is denied."""
    documents: tuple[tuple[str, bytes], ...] = ()
    """(name, text) of the policy's documents."""


Current = Callable[[], Standing]


def public_url(control: Control) -> str:
    """How people reach us, without a slash at the end."""
    if control.url:
        return control.url.rstrip("/")
    scheme = "http" if control.tls is None else "https"
    host = control.listen.host or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{control.listen.port}"


def is_secure(control: Control) -> bool:
    """Whether browsers reach us by TLS, ours or that of a proxy in front."""
    return public_url(control).startswith("https:")
