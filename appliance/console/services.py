"""Everything a route may use, made once by `console/app.services_of`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from appliance.console.credentials import Entropy
from appliance.console.device import Devices
from appliance.console.metering import Metering
from appliance.console.oidc import Providers
from appliance.console.pacing import Pace
from appliance.console.passwords import Passwords
from appliance.console.people import Acquaintances
from appliance.console.recording import Recording
from appliance.console.sessions import SignInSessions
from appliance.console.standing import Current
from appliance.console.studies import Studies
from appliance.console.tokens import ApiTokens
from appliance.console.trails import Trails
from appliance.control.desk import Desk, Policies

Slack = Callable[[Mapping[str, str], bytes], Awaitable[tuple[int, dict[str, Any]]]]
"""Header fields (lower-case names) and body -> status and JSON."""


class Services(NamedTuple):
    current: Current
    desk: Desk
    policies: Policies
    recorder: Recording
    sessions: SignInSessions
    tokens: ApiTokens
    people: Acquaintances
    devices: Devices
    passwords: Passwords
    providers: Providers
    trails: Trails
    studies: Studies
    metering: Metering
    codes: Pace
    """Codes that people type, per person and address."""
    slack: Slack | None
    now: Callable[[], float]
    entropy: Entropy
