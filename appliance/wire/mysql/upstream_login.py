"""Our way into a database of MySQL's family: greeting, TLS, the answer, and whatever methods the
server asks for.

Driven step by step by `dataplane/conversing`. Rules: a password leaves in the clear only over TLS;
what the server says is checked like a client's words; a method that is not known here is an error,
never a guess.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

import msgspec

from appliance.model.errors import ProtocolViolation
from appliance.wire.conversation import (
    Compute,
    Met,
    Secure,
    Unacceptable,
    UpstreamRejected,
    UpstreamStep,
)
from appliance.wire.mysql import auth, words
from appliance.wire.mysql.ed25519 import signature
from appliance.wire.mysql.fields import PAYLOAD_BYTES_MAX, Reader, nul_bytes
from appliance.wire.mysql.line import Line
from appliance.wire.mysql.simple import CHANGE_USER, query
from appliance.wire.mysql.startup import (
    LOGIN_PACKET_BYTES_MAX,
    OURS,
    SHARED,
    Capability,
    Response,
    attributes_field,
    parse_greeting,
    response_payload,
    ssl_request,
)

ROUNDS_MAX = 8
"""Methods and answers a server may ask for, one after another."""
IN_TRANSACTION = 0x0001
"""SERVER_STATUS_IN_TRANS"""
UNPROFILED = (
    b"SET SESSION profiling = 1, profiling_history_size = 0",
    b"SET SESSION profiling = 1",
    b"SET SESSION profiling = 0",
    b"SET SESSION profiling_history_size = DEFAULT",
)
SHOW_PROFILES = b"SHOW PROFILES"
UNPROFILING = frozenset(("1064", "1235", "1289"))
"""What servers answer that were built without a profiler, and have none to forget: a syntax error,
not supported, a disabled feature."""
DEFAULT_COLLATION = 45  # utf8mb4_general_ci
CAPABILITIES, COLLATION, PROGRAM = "capabilities", "collation", "program_name"
VARIABLES = (
    "version",
    "sql_mode",
    "character_set_client",
    "character_set_connection",
    "character_set_results",
    "collation_connection",
    "lower_case_table_names",
    "autocommit",
    "time_zone",
    "max_allowed_packet",
)
"""What the meaning of statements rests on."""
VARIABLES_QUERY = b"SELECT " + b", ".join(b"@@" + name.encode() for name in VARIABLES)


class Wanted(msgspec.Struct, frozen=True):
    """How we log in. `tls`: 'disable', 'prefer' or 'require' (verification is the driver's)."""

    user: str
    password: bytes | None
    database: str
    tls: str
    settings: dict[str, str]
    """`capabilities` (of `startup.SHARED`, what the client has) and `collation`; all others become
    connection attributes, which the database shows and nobody can change."""

    @property
    def capabilities(self) -> Capability:
        return SHARED & Capability(int(self.settings.get(CAPABILITIES, "0")))

    @property
    def collation(self) -> int:
        return int(self.settings.get(COLLATION, "0")) or DEFAULT_COLLATION

    @property
    def attributes(self) -> dict[str, str]:
        own = {
            PROGRAM if name == "application_name" else name: value
            for name, value in self.settings.items()
            if name not in (CAPABILITIES, COLLATION)
        }
        return {"_client_name": "sallyport", **own}

    def __repr__(self) -> str:
        return f"Wanted({self.user!r})"


class Established(msgspec.Struct, frozen=True):
    """What a server said of itself and of the session."""

    thread: int
    met: Met
    capabilities: int
    """What both have."""
    nonce: bytes
    """Of the greeting: a change of user begins with it."""
    secure: bool
    parameters: dict[str, str]
    """The session's variables (`VARIABLES`), and `status`, `capabilities`, `collation` as of the
    login."""


Steps = Generator[UpstreamStep, Any, Any]


class UpstreamLogin:
    """One login. `steps` returns what was established."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._line = Line("upstream", LOGIN_PACKET_BYTES_MAX)
        self._secure = False

    def steps(self) -> Generator[UpstreamStep, Any, Established]:
        payload = yield from self._line.read()
        if payload[:1] == bytes((auth.ERROR,)):
            raise UpstreamRejected(words.parse_error(payload))
        greeting = parse_greeting(payload)
        shared = self._wanted.capabilities
        if shared & ~greeting.capabilities:
            raise Unacceptable("the database no longer has what its clients were offered")
        flags = int((OURS | shared) & Capability(greeting.capabilities))
        flags &= ~(Capability.SSL | Capability.CONNECT_WITH_DB)
        yield from self._encrypted(greeting.capabilities, flags)
        plugin = greeting.plugin
        if plugin not in _ANSWERS:
            plugin = auth.NATIVE  # the server switches to what it wants
        answer = yield from self._first_answer(plugin, greeting.nonce)
        response = Response(
            flags,
            PAYLOAD_BYTES_MAX,
            self._wanted.collation,
            self._wanted.user,
            answer,
            self._wanted.database,
            plugin,
            self._wanted.attributes,
        )
        yield from self._line.send(response_payload(self._secured(response)))
        status = yield from authenticated(
            self._line, self._wanted, plugin, greeting.nonce, self._secure
        )
        parameters = yield from variables(flags)
        parameters |= {
            "status": str(status),
            CAPABILITIES: str(flags),
            COLLATION: str(self._wanted.collation),
        }
        met = Met(greeting.version, greeting.capabilities)
        return Established(greeting.thread, met, flags, greeting.nonce, self._secure, parameters)

    def _secured(self, response: Response) -> Response:
        if not self._secure:
            return response
        flags = response.capabilities | Capability.SSL
        return msgspec.structs.replace(response, capabilities=int(flags))

    def _encrypted(self, offered: int, flags: int) -> Steps:
        if self._wanted.tls == "disable":
            return
        if not offered & Capability.SSL:
            if self._wanted.tls == "prefer":
                return
            raise Unacceptable("the database does not offer TLS")
        if self._wanted.database:  # MariaDB looks at the flags of the first packet only
            flags |= Capability.CONNECT_WITH_DB
        request = ssl_request(flags, PAYLOAD_BYTES_MAX, self._wanted.collation)
        yield from self._line.send(request)
        yield Secure()
        self._secure = True

    def _first_answer(self, plugin: str, nonce: bytes) -> Generator[UpstreamStep, Any, bytes]:
        """Without a credential: nothing, which a server takes for no password."""
        if not self._wanted.password:
            return b""
        return (yield from answered(plugin, self._wanted, nonce, self._secure))


def meet() -> Generator[UpstreamStep, Any, Met]:
    """A server's greeting alone. Raises UpstreamRejected, ProtocolViolation."""
    payload = yield from Line("upstream", LOGIN_PACKET_BYTES_MAX).read()
    if payload[:1] == bytes((auth.ERROR,)):
        raise UpstreamRejected(words.parse_error(payload))
    greeting = parse_greeting(payload)
    return Met(greeting.version, greeting.capabilities)


def variables(capabilities: int) -> Generator[UpstreamStep, Any, dict[str, str]]:
    """What the session's variables are, by name."""
    rows = yield from query(VARIABLES_QUERY, capabilities)
    if len(rows) != 1 or len(rows[0]) != len(VARIABLES):
        raise ProtocolViolation("upstream", "not the answer of a statement of ours")
    return {name: value or "" for name, value in zip(VARIABLES, rows[0], strict=True)}


def authenticated(
    line: Line, wanted: Wanted, plugin: str, nonce: bytes, secure: bool
) -> Generator[UpstreamStep, Any, int]:
    """What the server asks for after an answer, until it says OK. -> its status flags. Raises
    UpstreamRejected, Unacceptable, ProtocolViolation.
    """
    for _ in range(ROUNDS_MAX):
        payload = yield from line.read()
        kind = payload[0] if payload else -1
        if kind == auth.OK:
            return _status(payload)
        if kind == auth.ERROR:
            raise UpstreamRejected(words.parse_error(payload))
        if kind == auth.SWITCH:
            plugin, nonce = auth.parse_switch(payload)
            if plugin not in _ANSWERS:
                raise Unacceptable("the database asks for an authentication we do not speak")
            answer = b""
            if wanted.password is not None:
                answer = yield from answered(plugin, wanted, nonce, secure)
            yield from line.send(answer)
        elif kind == auth.MORE:
            yield from _more(line, wanted, plugin, nonce, secure, payload[1:])
        else:
            raise ProtocolViolation("upstream", "unexpected packet during authentication")
    raise ProtocolViolation("upstream", "authentication does not end")


def answered(
    plugin: str, wanted: Wanted, nonce: bytes, secure: bool
) -> Generator[UpstreamStep, Any, bytes]:
    """The first answer of a method."""
    password = wanted.password
    if password is None:
        raise Unacceptable("the database asks for a password and the role has no credential")
    if plugin == auth.NATIVE:
        return auth.native_answer(password, nonce)
    if plugin == auth.CACHING_SHA2:
        return auth.sha2_answer(password, nonce)
    if plugin == auth.ED25519:
        signed: bytes = yield Compute(partial(signature, password, nonce))
        return signed
    if secure:  # mysql_clear_password, sha256_password
        return password + b"\0"
    if plugin == auth.SHA256:
        return auth.SHA256_KEY_WANTED
    raise Unacceptable("the database asks for a cleartext password without TLS")


def _more(
    line: Line, wanted: Wanted, plugin: str, nonce: bytes, secure: bool, said: bytes
) -> Steps:
    """AuthMoreData of the two SHA-256 methods."""
    fast = plugin == auth.CACHING_SHA2 and len(said) == 1
    if fast and said[0] == auth.FAST_DONE:
        return
    if wanted.password is None or plugin not in (auth.CACHING_SHA2, auth.SHA256):
        raise ProtocolViolation("upstream", "unexpected packet during authentication")
    if fast and said[0] == auth.FULL_WANTED:
        if secure:
            yield from line.send(wanted.password + b"\0")
            return
        yield from line.send(auth.CACHING_SHA2_KEY_WANTED)
        payload = yield from line.read()
        if payload[:1] == bytes((auth.ERROR,)):
            raise UpstreamRejected(words.parse_error(payload))
        if payload[:1] != bytes((auth.MORE,)):
            raise ProtocolViolation("upstream", "expected its public key")
        said = payload[1:]
    elif plugin == auth.CACHING_SHA2 or secure:
        raise ProtocolViolation("upstream", "unexpected packet during authentication")
    encrypted = yield Compute(partial(auth.encrypted, said, wanted.password, nonce))
    yield from line.send(encrypted)


def _status(payload: bytes) -> int:
    """Of an OK packet: affected rows, last id, status, warnings, and more that is not looked at."""
    reader = Reader(payload, "upstream")
    reader.u8()
    reader.lenenc()
    reader.lenenc()
    status = reader.u16()
    reader.u16()
    return status


_ANSWERS = (auth.NATIVE, auth.CACHING_SHA2, auth.SHA256, auth.CLEAR, auth.ED25519)


def change_user(
    established: Established, wanted: Wanted, seeds: tuple[int, int]
) -> Generator[UpstreamStep, Any, dict[str, str]]:
    """The session of before is over, and one like after a login begins, with these settings. ->
    its variables. `seeds`: two random numbers of 30 bits; what RAND() gives is not among what the
    server forgets ("COM_CHANGE_USER").
    """
    line = Line("upstream", LOGIN_PACKET_BYTES_MAX)
    nonce = established.nonce
    answer = b"" if not wanted.password else auth.native_answer(wanted.password, nonce)
    payload = [
        bytes((CHANGE_USER,)),
        nul_bytes(wanted.user.encode()),
        bytes((len(answer),)) + answer,
        nul_bytes(wanted.database.encode()),
        wanted.collation.to_bytes(2, "little"),
        nul_bytes(auth.NATIVE.encode()),
    ]
    if established.capabilities & Capability.CONNECT_ATTRS:
        payload.append(attributes_field(wanted.attributes))
    yield from line.send(b"".join(payload))
    status = yield from authenticated(line, wanted, auth.NATIVE, nonce, established.secure)
    if status & IN_TRANSACTION:
        raise ProtocolViolation("upstream", "a new session in the middle of a transaction")
    flags = established.capabilities
    yield from _unprofiled(flags)
    yield from query(b"SET SESSION rand_seed1 = %d, rand_seed2 = %d" % seeds, flags)
    parameters = yield from variables(flags)
    return parameters | {
        name: established.parameters[name] for name in ("status", CAPABILITIES, COLLATION)
    }


def _unprofiled(capabilities: int) -> Steps:
    """The profiler keeps the texts of statements beyond the session that they were of, and goes
    on with it. A history of no length is cut when one more statement comes.
    """
    try:
        kept = yield from query(SHOW_PROFILES, capabilities)
    except UpstreamRejected as error:
        if error.fields.get("N") in UNPROFILING:
            return
        raise
    if not kept:
        return  # it was never on: else there would at least be the statements of the cleaning
    for text in UNPROFILED:
        yield from query(text, capabilities)
    if (yield from query(SHOW_PROFILES, capabilities)):
        raise ProtocolViolation("upstream", "texts of another session are left")


def log_in(
    user: str, password: bytes | None, database: str, tls: str, settings: dict[str, str]
) -> Generator[UpstreamStep, Any, Established]:
    """One login, as `dataplane/upstream_steps` has it."""
    return UpstreamLogin(Wanted(user, password, database, tls, settings)).steps()


def next_session(
    established: Established,
    user: str,
    password: bytes | None,
    database: str,
    settings: dict[str, str],
    seeds: tuple[int, int],
) -> Generator[UpstreamStep, Any, dict[str, str]]:
    """`change_user`, as `dataplane/keeping_steps` has it."""
    return change_user(established, Wanted(user, password, database, "", settings), seeds)
