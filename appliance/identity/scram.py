"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both sides (RFC 5802, RFC 7677, PostgreSQL documentation
54.3 "SASL").

Called by the session machine (`ScramServer` towards clients, `ScramClient` towards databases).
Pure: nonces are given. The expensive step, `salted_password`, is apart so that a caller can run it
in a thread and keep its result. Malformed messages raise ProtocolViolation, a wrong proof raises
Refused.
"""

import base64
import binascii
import enum
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from appliance.identity.failures import login_refused
from appliance.identity.saslprep import prepared
from appliance.model.errors import ProtocolViolation

SCRAM_SHA_256 = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"
BINDING_NAME = b"tls-server-end-point"

DEFAULT_ITERATIONS = 4096  # PostgreSQL's scram_iterations; RFC 7677 asks for at least this
ITERATIONS_MAX = 10_000_000  # what an upstream may make us compute (some 4 s of one thread)
SALT_BYTES = 16
SALT_BYTES_MAX = 1024
NONCE_BYTES = 18
KEY_BYTES = 32


class Verifier(msgspec.Struct, frozen=True):
    """Stored instead of a password; the text form is PostgreSQL's (pg_authid.rolpassword)."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """`SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, base64. Raises ValueError
        without the text.
        """
        mechanism, _, rest = text.partition("$")
        parameters, _, keys = rest.partition("$")
        iterations, _, salt = parameters.partition(":")
        stored_key, _, server_key = keys.partition(":")
        if mechanism != SCRAM_SHA_256 or not iterations.isascii() or not iterations.isdigit():
            raise ValueError("is not a SCRAM-SHA-256 verifier")
        made = cls(int(iterations[:9]), b64(salt), b64(stored_key), b64(server_key))
        if not 1 <= made.iterations <= ITERATIONS_MAX or not made.salt:
            raise ValueError("is not a SCRAM-SHA-256 verifier")
        if len(made.stored_key) != KEY_BYTES or len(made.server_key) != KEY_BYTES:
            raise ValueError("is not a SCRAM-SHA-256 verifier: a key is not 32 bytes")
        return made

    def render(self) -> str:
        salt, stored, server = (
            base64.b64encode(part).decode()
            for part in (self.salt, self.stored_key, self.server_key)
        )
        return f"{SCRAM_SHA_256}${self.iterations}:{salt}${stored}:{server}"

    def __repr__(self) -> str:
        return f"Verifier(iterations={self.iterations})"


def salted_password(password: str | bytes, salt: bytes, iterations: int) -> bytes:
    """Hi() of RFC 5802: PBKDF2, 1.6 ms for 4,096 rounds; releases the GIL."""
    return hashlib.pbkdf2_hmac("sha256", prepared(password), salt, iterations)


def make_verifier(
    password: str | bytes, salt: bytes, iterations: int = DEFAULT_ITERATIONS
) -> Verifier:
    """`salt`: 16 random bytes."""
    return verifier_of(salted_password(password, salt, iterations), salt, iterations)


def verifier_of(salted: bytes, salt: bytes, iterations: int) -> Verifier:
    return Verifier(
        iterations,
        salt,
        hashlib.sha256(mac(salted, b"Client Key")).digest(),
        mac(salted, b"Server Key"),
    )


def verify_password(verifier: Verifier, password: str | bytes) -> bool:
    """For a password received as it is (cleartext over TLS)."""
    made = make_verifier(password, verifier.salt, verifier.iterations)
    return hmac.compare_digest(made.stored_key, verifier.stored_key)


def mock_verifier(user: str, secret: bytes, iterations: int = DEFAULT_ITERATIONS) -> Verifier:
    """For a name that does not exist: the same salt every time, so that asking twice tells nothing
    (RFC 5802, 9).

    `secret` must be the same for all workers and across restarts, or salts would change. Nobody
    knows a matching password, and the server must be made with `doomed=True` besides.
    """
    seed = user.encode("utf-8", "surrogateescape")
    return Verifier(
        iterations,
        mac(secret, b"salt\0" + seed)[:SALT_BYTES],
        mac(secret, b"stored\0" + seed),
        mac(secret, b"server\0" + seed),
    )


class ScramServer:
    """Our side towards a client. One object per login: `first`, then `final`, each once.

    `nonce`: 18 or more random bytes. `binding`: tls_server_end_point() of our certificate when
    -PLUS was offered, else None. `doomed`: whatever is proved, the login fails (unknown or disabled
    user).
    """

    def __init__(
        self,
        verifier: Verifier,
        nonce: bytes,
        *,
        mechanism: str = SCRAM_SHA_256,
        binding: bytes | None = None,
        doomed: bool = False,
    ) -> None:
        if len(nonce) < NONCE_BYTES:
            raise ValueError("a nonce has at least 18 bytes")
        if mechanism == SCRAM_SHA_256_PLUS and binding is None:
            raise ProtocolViolation("client", "a SASL mechanism that was not offered")
        if mechanism not in {SCRAM_SHA_256, SCRAM_SHA_256_PLUS}:
            raise ProtocolViolation("client", "a SASL mechanism that was not offered")
        self.mechanism = mechanism
        self._verifier = verifier
        self._own_nonce = base64.b64encode(nonce)
        self._binding = binding
        self._doomed = doomed
        self._gs2 = b""
        self._client_first_bare = b""
        self._server_first = b""
        self._nonce = b""
        self._step = Step.FIRST

    def first(self, client_first: bytes) -> bytes:
        """client-first-message -> server-first-message. Raises ProtocolViolation, Refused."""
        self._step = advance(self._step, Step.FIRST, "client")
        self._gs2, self._client_first_bare = self._split_gs2(client_first)
        attributes = self._client_first_bare.split(b",")
        if not attributes[0].startswith(b"n=") or len(attributes) < 2:  # also refuses m=
            raise ProtocolViolation("client", "malformed SCRAM client-first message")
        client_nonce = attribute(attributes[1], b"r", "client")
        if not printable(client_nonce):
            raise ProtocolViolation("client", "malformed SCRAM nonce")
        self._nonce = client_nonce + self._own_nonce
        salt = base64.b64encode(self._verifier.salt)
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, salt, self._verifier.iterations)
        return self._server_first

    def _split_gs2(self, message: bytes) -> tuple[bytes, bytes]:
        """gs2-header (RFC 5801) and the rest; checks the channel-binding flag against what was
        offered.
        """
        parts = message.split(b",", 2)
        if len(parts) != 3:
            raise ProtocolViolation("client", "malformed SCRAM client-first message")
        flag, authzid, bare = parts
        if authzid:
            raise ProtocolViolation("client", "a SCRAM authorization identity is not supported")
        plus = self.mechanism == SCRAM_SHA_256_PLUS
        if plus != (flag == b"p=" + BINDING_NAME) or (not plus and flag not in {b"n", b"y"}):
            raise ProtocolViolation(
                "client", "SCRAM channel-binding flag does not fit the mechanism"
            )
        if flag == b"y" and self._binding is not None:
            # RFC 5802, 6: the client could bind and believes that we cannot; somebody removed our
            # offer.
            raise login_refused("identity.scram.downgrade")
        return flag + b",,", bare

    def final(self, client_final: bytes) -> bytes:
        """client-final-message -> server-final-message. Raises Refused when the proof is wrong."""
        self._step = advance(self._step, Step.FINAL, "client")
        without_proof, separator, proof_text = client_final.rpartition(b",p=")
        attributes = without_proof.split(b",")
        if not separator or len(attributes) < 2:
            raise ProtocolViolation("client", "malformed SCRAM client-final message")
        bound = wire_b64(attribute(attributes[0], b"c", "client"), "client")
        nonce = attribute(attributes[1], b"r", "client")
        proof = wire_b64(proof_text, "client")
        if len(proof) != KEY_BYTES or not hmac.compare_digest(nonce, self._nonce):
            raise ProtocolViolation("client", "malformed SCRAM client-final message")
        plus = self.mechanism == SCRAM_SHA_256_PLUS
        expected = self._gs2 + (self._binding or b"" if plus else b"")
        # All three are computed before any is looked at: the time tells nothing about which one
        # failed.
        message = b",".join((self._client_first_bare, self._server_first, without_proof))
        same_channel = hmac.compare_digest(bound, expected)
        signature = mac(self._verifier.stored_key, message)
        client_key = _xor(proof, signature)
        stored_key = hashlib.sha256(client_key).digest()
        proved = hmac.compare_digest(stored_key, self._verifier.stored_key)
        if not same_channel:
            raise login_refused("identity.scram.channel_binding")
        if not proved or self._doomed:
            raise login_refused("identity.scram.proof")
        return b"v=" + base64.b64encode(mac(self._verifier.server_key, message))


def choose_mechanism(offered: Sequence[str], binding: bytes | None, tls: bool) -> str:
    """The mechanism for `ScramClient` out of a database's AuthenticationSASL list. Raises
    ProtocolViolation.

    -PLUS whenever both sides can, as libpq with channel_binding=prefer.
    """
    if SCRAM_SHA_256_PLUS in offered:
        if not tls:
            raise ProtocolViolation("upstream", "channel binding offered without TLS")
        if binding is not None:
            return SCRAM_SHA_256_PLUS
    if SCRAM_SHA_256 in offered:
        return SCRAM_SHA_256
    raise ProtocolViolation("upstream", "none of the SASL mechanisms offered is known")


class ScramClient:
    """Our side towards a database. One object per login: `first`, `challenge`, `final`, `verify`,
    each once.

    `nonce`: 18 or more random bytes. `binding`: tls_server_end_point() of the database's
    certificate, None without TLS or when it has none. `offered_plus`: whether the database offered
    -PLUS (then the flag 'y' would be a lie). The user name is left empty, as libpq does: the
    startup packet has it.
    """

    def __init__(
        self,
        nonce: bytes,
        *,
        mechanism: str = SCRAM_SHA_256,
        binding: bytes | None = None,
        offered_plus: bool = False,
    ) -> None:
        if len(nonce) < NONCE_BYTES:
            raise ValueError("a nonce has at least 18 bytes")
        if mechanism == SCRAM_SHA_256_PLUS and binding is None:
            raise ValueError("-PLUS needs channel-binding data")
        self.mechanism = mechanism
        self._nonce = base64.b64encode(nonce)
        self._client_first_bare = b"n=,r=" + self._nonce
        if mechanism == SCRAM_SHA_256_PLUS:
            assert binding is not None
            self._gs2, bound = b"p=" + BINDING_NAME + b",,", binding
        else:
            able = binding is not None and not offered_plus
            self._gs2, bound = (b"y,," if able else b"n,,"), b""
        self._bound = base64.b64encode(self._gs2 + bound)
        self._server_first = b""
        self._server_nonce = b""
        self._expected = b""
        self._step = Step.START
        self.salt = b""
        self.iterations = 0

    def first(self) -> bytes:
        """client-first-message, for SASLInitialResponse."""
        self._step = advance(self._step, Step.START, "upstream")
        return self._gs2 + self._client_first_bare

    def challenge(self, server_first: bytes) -> tuple[bytes, int]:
        """server-first-message -> (salt, iterations) for `salted_password`. Raises
        ProtocolViolation.
        """
        self._step = advance(self._step, Step.FIRST, "upstream")
        parts = server_first.split(b",")
        if len(parts) < 3:  # also refuses m=, which would come first
            raise ProtocolViolation("upstream", "malformed SCRAM server-first message")
        nonce = attribute(parts[0], b"r", "upstream")
        salt = wire_b64(attribute(parts[1], b"s", "upstream"), "upstream")
        rounds = attribute(parts[2], b"i", "upstream")
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ProtocolViolation("upstream", "SCRAM nonce is not an extension of ours")
        if not printable(nonce) or not 0 < len(salt) <= SALT_BYTES_MAX:
            raise ProtocolViolation("upstream", "malformed SCRAM server-first message")
        if not rounds.isdigit() or len(rounds) > 8 or not 1 <= int(rounds) <= ITERATIONS_MAX:
            raise ProtocolViolation("upstream", "SCRAM iteration count out of bounds")
        self._server_first, self._server_nonce = server_first, nonce
        self.salt, self.iterations = salt, int(rounds)
        return self.salt, self.iterations

    def final(self, salted: bytes) -> bytes:
        """`salted`: salted_password() for the challenge -> client-final-message."""
        self._step = advance(self._step, Step.FINAL, "upstream")
        without_proof = b"c=%b,r=%b" % (self._bound, self._server_nonce)
        message = b",".join((self._client_first_bare, self._server_first, without_proof))
        client_key = mac(salted, b"Client Key")
        signature = mac(hashlib.sha256(client_key).digest(), message)
        proof = _xor(client_key, signature)
        self._expected = mac(mac(salted, b"Server Key"), message)
        return b"%b,p=%b" % (without_proof, base64.b64encode(proof))

    def verify(self, server_final: bytes) -> None:
        """server-final-message: the database must prove that it knows the password too. Raises
        ProtocolViolation.
        """
        step = advance(self._step, Step.VERIFY, "upstream")
        signature = attribute(server_final.split(b",")[0], b"v", "upstream")
        if not hmac.compare_digest(wire_b64(signature, "upstream"), self._expected):
            raise ProtocolViolation("upstream", "SCRAM server signature is wrong")
        self._step = step

    @property
    def finished(self) -> bool:
        """Whether `verify` has been passed. AuthenticationOk before that is an impostor's."""
        return self._step is Step.DONE


class SaltedPasswords:
    """Bounded memory of `salted_password` results (they depend on the database's salt, which rarely
    changes).
    """

    def __init__(self, entries_max: int = 1024) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[tuple[bytes, bytes, int], bytes] = OrderedDict()

    def get(self, password: bytes, salt: bytes, iterations: int) -> bytes | None:
        key = self._key(password, salt, iterations)
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, password: bytes, salt: bytes, iterations: int, salted: bytes) -> None:
        self._entries[self._key(password, salt, iterations)] = salted
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    @staticmethod
    def _key(password: bytes, salt: bytes, iterations: int) -> tuple[bytes, bytes, int]:
        return (hashlib.sha256(password).digest(), salt, iterations)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"SaltedPasswords({len(self)} entries)"


class Step(enum.Enum):
    """Where an exchange is; each message is taken once and in order."""

    START = 0
    FIRST = 1
    FINAL = 2
    VERIFY = 3
    DONE = 4


def advance(current: Step, expected: Step, side: str) -> Step:
    if current is not expected:
        raise ProtocolViolation(side, "SCRAM message out of order")
    return Step(expected.value + 1)


def mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def attribute(part: bytes, name: bytes, side: str) -> bytes:
    """The value of `x=value`; anything else is malformed."""
    if part[:2] != name + b"=" or len(part) == 2:
        raise ProtocolViolation(side, "malformed SCRAM message")
    return part[2:]


def printable(nonce: bytes) -> bool:
    """RFC 5802, 7: printable ASCII without the comma (which has been split on)."""
    return bool(nonce) and not nonce.translate(None, _PRINTABLE)


_PRINTABLE = bytes(range(0x21, 0x7F))


def _xor(one: bytes, other: bytes) -> bytes:
    """Of two keys (KEY_BYTES each)."""
    mixed = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return mixed.to_bytes(KEY_BYTES, "big")


def b64(text: str | bytes) -> bytes:
    """Strict base64. Raises ValueError without the text."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None


def wire_b64(text: bytes, side: str) -> bytes:
    try:
        return b64(text)
    except ValueError:
        raise ProtocolViolation(side, "malformed base64 in a SCRAM message") from None
