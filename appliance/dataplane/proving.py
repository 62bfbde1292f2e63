"""Who a client is, whatever protocol it proves that in: one login's dealings with `identity`.

Made by the `arriving_*` modules. Rule: a name that is not known takes the same way, and the same
time, as a wrong password; nothing here tells which check failed but the rule for the audit trail.
"""

import asyncio

from appliance.config.schema import Listener
from appliance.dataplane.arriving import Believed
from appliance.dataplane.services import Services
from appliance.dataplane.transport import Side
from appliance.identity.certificates import certificate_principal
from appliance.identity.claims import peek, provider_of, verify
from appliance.identity.failures import login_refused
from appliance.identity.proof import Challenge, challenge_for, proved
from appliance.identity.scram import Verifier, verify_password
from appliance.model.principal import AuthMethod

_threads = asyncio.Semaphore(2)


class Proving:
    """`identify` first; then one of the others until one returns a `Believed`."""

    def __init__(self, side: Side, listener: Listener, services: Services) -> None:
        self._side = side
        self._listener = listener
        self._services = services
        self._governance = services.governance
        self.user = ""
        self.method: AuthMethod | None = None

    def identify(self, user: str) -> Challenge:
        """What a client of this name is asked for. Raises Refused when nothing is left to ask."""
        self.user = user
        return challenge_for(
            user,
            self._listener,
            self._governance.configuration.identities.oidc,
            tls=self._side.ssl is not None,
            certificate=self._side.certificate() is not None,
        )

    def certificate(self) -> Believed:
        self.method = AuthMethod.CERTIFICATE
        shown = self._side.certificate()
        if shown is None:
            raise login_refused("identity.certificate.none")
        rules = self._governance.configuration.identities.certificates
        found = certificate_principal(shown, rules)
        return Believed(proved(self.user, found, self._governance.directory), self.method)

    async def token(self, token: str) -> Believed:
        self.method = AuthMethod.OIDC
        peeked = peek(token)
        provider = provider_of(peeked, self._governance.configuration.identities.oidc)
        source = self._governance.key_sources[provider.issuer]
        keys = await source.find(peeked.kid, peeked.algorithm)
        verified = verify(token, provider, keys, self._services.now())
        principal = proved(self.user, verified.principal, self._governance.directory)
        return Believed(principal, self.method, verified.expires + provider.leeway_s)

    def verifier(self) -> tuple[Verifier, bool]:
        """(verifier, doomed) as `Directory.verifier_for`."""
        return self._governance.directory.verifier_for(self.user, self._services.mock_secret)

    async def password(self, password: bytes, method: AuthMethod) -> Believed:
        """The password itself, held against the users file's verifier beside the event loop."""
        self.method = method
        verifier, doomed = self.verifier()
        async with _threads:
            same = await asyncio.to_thread(verify_password, verifier, password)
        if doomed or not same:
            raise login_refused("identity.password.proof")
        return self.local(method)

    def local(self, method: AuthMethod) -> Believed:
        """The client proved that it knows what is stored, or remembered, for its name."""
        self.method = method
        principal = self._governance.directory.principal(self.user)
        if principal is None:
            raise login_refused("identity.proof.unknown")
        return Believed(principal, method)

    def recall(self) -> bytes | None:
        verifier, doomed = self.verifier()
        return None if doomed else self._services.remembered.get(self.user, verifier)

    def remember(self, digest: bytes) -> None:
        verifier, doomed = self.verifier()
        if not doomed:
            self._services.remembered.put(self.user, verifier, digest)

    def stored(self) -> bytes | None:
        """The digest for old clients, where the users file has one."""
        return self._governance.directory.native_digest(self.user)
