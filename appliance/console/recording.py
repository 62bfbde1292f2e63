"""What the console writes to the audit trail by itself: sign-ins, their failures, tokens.

Used by the routes of sign-in and administration; what people do about requests, grants and sessions
is recorded by the desk. Rules: they wait for it, and what cannot be recorded does not happen; no
secret is ever an argument here.
"""

from collections.abc import Callable

from appliance.approval.request import Person
from appliance.audit.record import (
    AdminActed,
    Record,
    SignedIn,
    SignedOut,
    SignInFailed,
    new_id,
)
from appliance.audit.redact import clean_name
from appliance.console.credentials import Entropy
from appliance.control.desk import Unavailable
from appliance.control.trail import Recorder, TrailUnavailable


class Recording:
    """All methods raise `desk.Unavailable` when nothing can be recorded."""

    def __init__(self, recorder: Recorder, now: Callable[[], float], entropy: Entropy) -> None:
        self._recorder = recorder
        self._now = now
        self._entropy = entropy

    async def signed_in(self, person: Person, method: str, address: str) -> None:
        """`method`: password, oidc:<provider>, device."""
        now, id = self._mint()
        await self._write(
            SignedIn(
                id=id,
                time=now,
                person=clean_name(person.name),
                kind=person.kind,
                method=method,
                address=address,
                via=person.via,
                roles=tuple(sorted(person.roles)),
            )
        )

    async def sign_in_failed(self, claimed: str, method: str, reason: str, address: str) -> None:
        """`claimed` is what the caller said, unproved."""
        now, id = self._mint()
        await self._write(
            SignInFailed(
                id=id,
                time=now,
                claimed=clean_name(claimed),
                reason=reason,
                method=method,
                address=address,
            )
        )

    async def signed_out(self, person: Person) -> None:
        now, id = self._mint()
        await self._write(
            SignedOut(id=id, time=now, person=clean_name(person.name), reason="asked")
        )

    async def administered(self, person: Person, action: str, subject: str, detail: str) -> None:
        """`action`: token_made, token_revoked, sign_in_revoked, device_approved, device_denied."""
        now, id = self._mint()
        await self._write(
            AdminActed(
                id=id,
                time=now,
                person=clean_name(person.name),
                action=action,
                subject=clean_name(subject),
                reason=clean_name(detail),
                via=person.via,
                source=person.source,
            )
        )

    def _mint(self) -> tuple[float, str]:
        now = self._now()
        return now, new_id(now, self._entropy(10))

    async def _write(self, record: Record) -> None:
        try:
            await self._recorder.write((record,))
        except TrailUnavailable as error:
            raise Unavailable("this cannot be recorded now, so nothing was changed") from error
