"""What the console has to have written to the audit trail: a port that the control process fills.

Used by the routes of sign-in and administration. Rule: they wait for it, and what cannot be
recorded does not happen (`desk.Unavailable`).
"""

from typing import Protocol

from appliance.approval.request import Person


class Recorder(Protocol):
    """All methods raise `desk.Unavailable` when nothing can be recorded. No argument may hold a
    secret."""

    async def signed_in(self, person: Person, how: str, address: str) -> None:
        """`how`: password, oidc:<provider>."""
        ...

    async def sign_in_failed(self, claimed: str, how: str, reason: str, address: str) -> None:
        """`claimed` is what the caller said, unproved."""
        ...

    async def signed_out(self, person: Person, address: str) -> None: ...

    async def administered(self, person: Person, action: str, subject: str, detail: str) -> None:
        """Something that only concerns access: `action` is token_made, token_revoked,
        sign_in_ended, device_approved, device_denied."""
        ...
