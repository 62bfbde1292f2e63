"""A client's way in: greeting, TLS, the answer, and the proof of who it is.

Driven step by step by `dataplane/conversing`. What a client is asked for does not depend on whether
its user exists: with a password it always comes to caching_sha2_password, whose fast way works for
those who have proved themselves to this process before, and whose full way takes the password
itself, over TLS or encrypted for our key. mysql_native_password, where it is enabled, is only ever
a shortcut before that.
"""

from collections.abc import Callable, Generator
from typing import Any

import msgspec

from appliance.model.errors import ProtocolViolation, Refused
from appliance.model.principal import AuthMethod
from appliance.model.refusal import Refusal, RefusalCode
from appliance.wire.conversation import (
    Asks,
    BegunAgain,
    Certificate,
    ClientStep,
    Compute,
    Disproved,
    Identify,
    Meet,
    Met,
    Password,
    Proved,
    Recall,
    Remember,
    Secure,
    Stored,
    Token,
)
from appliance.wire.mysql import auth, words
from appliance.wire.mysql.line import Line
from appliance.wire.mysql.startup import (
    LOGIN_PACKET_BYTES_MAX,
    NONCE_BYTES,
    OURS,
    SHARED,
    Capability,
    Greeting,
    Response,
    character_set,
    greeting_payload,
    is_ssl_request,
    parse_change_user,
    parse_response,
)

AUTOCOMMIT = 0x0002
"""SERVER_STATUS_AUTOCOMMIT"""
GREETING_COLLATION = 45  # utf8mb4_general_ci
PROGRAM = "program_name"
"""The connection attribute that names an application."""

UNMET = Met("8.0.0-unknown", 0)
"""Of a database that does not answer: the client is only told so, by its login's failure."""

Steps = Generator[ClientStep, Any, None]


class ClientLogin:
    """One client on its way in. `steps` is the conversation; what follows it is said by `welcome`
    or by one of the words of farewell. `entropy`: 40 random bytes; `native`: whether
    mysql_native_password is taken; `private_key`: PEM, RSA.
    """

    def __init__(
        self,
        *,
        thread: int,
        entropy: bytes,
        tls: bool,
        native: bool,
        private_key: Callable[[], bytes],
        again: BegunAgain | None = None,
        secure: bool = False,
    ) -> None:
        self._line = Line("client", LOGIN_PACKET_BYTES_MAX)
        self._thread = thread
        self._tls_offered = tls
        self._native = native
        self._private_key = private_key
        self._nonce = auth.nonce_of(entropy[:NONCE_BYTES])
        self._second_nonce = auth.nonce_of(entropy[NONCE_BYTES:])
        self._tls = secure
        self._again = again
        self._offered = Capability(0)
        self.capabilities = 0
        """What both have, once the client has answered."""

    def steps(self) -> Steps:
        if self._again is not None:
            yield from self._steps_again(self._again)
            return
        met = yield Meet()
        yield from self._line.send(greeting_payload(self._greeting(met or UNMET)))
        payload = yield from self._line.read()
        if is_ssl_request(payload):
            if not self._tls_offered:
                raise ProtocolViolation("client", "TLS was not offered")
            yield Secure()
            self._tls = True
            payload = yield from self._line.read()
        response = parse_response(payload)
        self.capabilities = int(response.capabilities & self._offered & ~Capability.SSL)
        yield from self._proof(response)

    def _steps_again(self, again: BegunAgain) -> Steps:
        """COM_CHANGE_USER. Its answer was made for a nonce of long ago: the client is asked anew,
        by a method with one of its own.
        """
        self._line.sequence = again.sequence + 1 & 0xFF
        self.capabilities = int(again.settings["capabilities"])
        collation = int(again.settings["collation"])
        asked = parse_change_user(again.words, self.capabilities, collation)
        yield from self._proof(msgspec.structs.replace(asked, answer=b"", plugin=""))

    def _proof(self, response: Response) -> Steps:
        asks = yield Identify(
            response.user,
            response.database,
            response.attributes.get(PROGRAM, ""),
            self._settings(response),
        )
        if asks is Asks.CERTIFICATE:
            yield Certificate()
        elif asks is Asks.TOKEN:
            yield from self._token(response)
        else:
            yield from self._password(response)

    def _greeting(self, met: Met) -> Greeting:
        self._offered = OURS | (SHARED & Capability(met.capabilities))
        if self._tls_offered:
            self._offered |= Capability.SSL
        return Greeting(
            met.version,
            self._thread,
            self._nonce,
            self._offered,
            GREETING_COLLATION,
            AUTOCOMMIT,
            auth.CACHING_SHA2,
        )

    def _settings(self, response: Response) -> dict[str, str]:
        """What its session with the database begins with. Raises Refused."""
        if character_set(response.collation) is None:
            raise Refused(_character_set_refused(response.collation))
        return {
            "capabilities": str(self.capabilities),
            "collation": str(response.collation),
        }

    # --- proofs -----------------------------------------------------------------------------------

    def _token(self, response: Response) -> Steps:
        answer = response.answer
        if response.plugin != auth.CLEAR or not answer:
            answer = yield from self._switched(auth.CLEAR, b"")
        if not self._tls:
            raise ProtocolViolation("client", "a cleartext password without TLS")
        yield Token(auth.without_end(answer))

    def _password(self, response: Response) -> Steps:
        if self._native and response.plugin == auth.NATIVE and response.answer:
            stored = yield Stored(auth.NATIVE)
            if stored is not None and auth.native_proves(stored, self._nonce, response.answer):
                yield Proved(AuthMethod.NATIVE_PASSWORD)
                return
        nonce, answer = self._nonce, response.answer
        if response.plugin != auth.CACHING_SHA2:
            nonce = self._second_nonce
            answer = yield from self._switched(auth.CACHING_SHA2, nonce)
        if answer in (b"", b"\0"):
            yield Disproved("identity.password.empty")
        remembered = yield Recall()
        if remembered is not None and auth.sha2_proves(remembered, nonce, answer):
            yield Proved(AuthMethod.CACHING_SHA2)
            yield from self._line.send(auth.more(bytes((auth.FAST_DONE,))))
            return
        yield from self._line.send(auth.more(bytes((auth.FULL_WANTED,))))
        password = yield from self._full(nonce)
        yield Password(password, AuthMethod.CACHING_SHA2)
        yield Remember(auth.sha2_digest(password))

    def _full(self, nonce: bytes) -> Generator[ClientStep, Any, bytes]:
        """The password itself."""
        answer = yield from self._line.read()
        if self._tls:
            return auth.without_end(answer)
        key = self._private_key()
        if answer == auth.CACHING_SHA2_KEY_WANTED:
            yield from self._line.send(auth.more(auth.public_key_text(key)))
            answer = yield from self._line.read()
        password = yield Compute(lambda: auth.decrypted(key, answer, nonce))
        if password is None or password[-1:] != b"\0":
            yield Disproved("identity.password.encryption")
        return auth.without_end(password)

    def _switched(self, plugin: str, nonce: bytes) -> Generator[ClientStep, Any, bytes]:
        yield from self._line.send(auth.switch(plugin, nonce))
        return (yield from self._line.read())

    # --- last words -------------------------------------------------------------------------------

    def welcome(self, reported: dict[str, str]) -> bytes:
        """The OK packet that ends the login, with the database's own flags."""
        status = int(reported.get("status", str(AUTOCOMMIT)))
        return self._line.framed(b"\0\0\0" + status.to_bytes(2, "little") + b"\0\0")

    def farewell(self, sqlstate: str, message: str, hint: str = "") -> bytes:
        return self._line.framed(words.last_words(sqlstate, message, hint))

    def refused(self, refusal: Refusal) -> bytes:
        return self._line.framed(words.refused_words(refusal))

    def passed_on(self, fields: dict[str, str]) -> bytes:
        """A database's refusal of our login, in its own words."""
        code = int(fields.get("N", str(words.UNKNOWN)))
        said = words.error_payload(code, fields.get("C", "HY000"), fields.get("M", ""))
        return self._line.framed(said)


def _character_set_refused(collation: int) -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        f"collation {collation} is not accepted at connection start",
        "connect with utf8mb4 (--default-character-set=utf8mb4, charset=utf8mb4)",
        rule="builtin:startup-settings",
        sqlstate="42501",
    )
