"""Everything a route may use, made once by `console/app.services_of`."""

from collections.abc import Callable
from typing import NamedTuple

from appliance.console.credentials import Entropy
from appliance.console.device import Devices
from appliance.console.metering import Metering
from appliance.console.oidc import Providers
from appliance.console.pacing import Pace
from appliance.console.passwords import Passwords
from appliance.console.recording import Recorder
from appliance.console.sessions import SignInSessions
from appliance.console.standing import Current
from appliance.console.studies import Studies
from appliance.console.tokens import ApiTokens
from appliance.console.trails import Trails
from appliance.control.desk import Desk


class Services(NamedTuple):
    current: Current
    desk: Desk
    recorder: Recorder
    sessions: SignInSessions
    tokens: ApiTokens
    devices: Devices
    passwords: Passwords
    providers: Providers
    trails: Trails
    studies: Studies
    metering: Metering
    codes: Pace
    """Codes that people type, per person and address."""
    now: Callable[[], float]
    entropy: Entropy
