"""Signing in with name and password of the users file.

Used by `api/sign_in`. Rules: an unknown, a disabled and a password-less user take exactly the way a
known one takes (a verifier of the same cost, PBKDF2, a comparison in constant time), so that
neither words nor time tell them apart; few at once, few per address, few failures per name, in all
processes and appliances together.
"""

import asyncio
from collections.abc import Callable

from appliance.console.pacing import Pace, whence
from appliance.console.people import Identity, identity_of
from appliance.console.shelf import Shelf
from appliance.identity.scram import Verifier, verify_password
from appliance.identity.verifiers import Directory

PASSWORD_BYTES_MAX = 4_096
AT_ONCE_MAX = 2
PER_ADDRESS = (30, 300.0)
FAILURES_PER_NAME = (10, 300.0)


class TooOften(Exception):
    """`seconds`: when to come again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


class Passwords:
    """`secret` keys the verifiers made up for unknown names."""

    def __init__(self, shelf: Shelf, secret: bytes, now: Callable[[], float]) -> None:
        self._secret = secret
        self._addresses = Pace(shelf, "sign-in from", *PER_ADDRESS, now)
        self._names = Pace(shelf, "sign-in as", *FAILURES_PER_NAME, now)
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    async def check(
        self, directory: Directory, name: str, password: str, address: str
    ) -> Identity | None:
        """None = wrong, for whatever reason. Raises TooOften."""
        # Before the slow part: many at once are many.
        if wait := await self._addresses.attempt(whence(address)):
            raise TooOften(wait)
        if wait := await self._names.attempt(name):
            raise TooOften(wait)
        verifier, doomed = directory.verifier_for(name, self._secret)
        async with self._room:
            right = await asyncio.to_thread(_matches, verifier, password)
        principal = directory.principal(name)
        if not right or doomed or principal is None:
            return None
        await self._names.forget(name)
        return identity_of(principal)


def _matches(verifier: Verifier, password: str) -> bool:
    raw = password.encode("utf-8", "surrogatepass")
    return verify_password(verifier, raw) if len(raw) <= PASSWORD_BYTES_MAX else False
