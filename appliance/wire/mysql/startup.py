"""The packets a connection begins with: the server's greeting ("Protocol::HandshakeV10"), and the
client's answers to it ("Protocol::SSLRequest", "Protocol::HandshakeResponse41").

Called by `client_login` (as the server) and `upstream_login` (as a client). Rules: what we offer is
what we implement, and no more than the database behind us has; a capability that was not offered
counts as not asked for, as with a real server; character sets in which a byte of ASCII may be part
of another character are refused, since they would change what a statement's bytes mean.
"""

import enum
import struct

import msgspec

from appliance.model.errors import ProtocolViolation
from appliance.wire.mysql.fields import Reader, lenenc_bytes, nul_bytes

PROTOCOL_VERSION = 10
NONCE_BYTES = 20
ATTRIBUTES_MAX = 64
ATTRIBUTE_BYTES_MAX = 1_024
LOGIN_PACKET_BYTES_MAX = 65_536
"""Longest packet while nobody is logged in: a token as password, and connection attributes."""


class Capability(enum.IntFlag):
    """ "Capabilities Flags"; the names without CLIENT_."""

    LONG_PASSWORD = 1 << 0
    """MariaDB: the peer speaks MySQL's protocol, without MariaDB's own extensions."""
    FOUND_ROWS = 1 << 1
    LONG_FLAG = 1 << 2
    CONNECT_WITH_DB = 1 << 3
    NO_SCHEMA = 1 << 4
    COMPRESS = 1 << 5
    ODBC = 1 << 6
    LOCAL_FILES = 1 << 7
    IGNORE_SPACE = 1 << 8
    PROTOCOL_41 = 1 << 9
    INTERACTIVE = 1 << 10
    SSL = 1 << 11
    IGNORE_SIGPIPE = 1 << 12
    TRANSACTIONS = 1 << 13
    RESERVED = 1 << 14
    SECURE_CONNECTION = 1 << 15
    MULTI_STATEMENTS = 1 << 16
    MULTI_RESULTS = 1 << 17
    PS_MULTI_RESULTS = 1 << 18
    PLUGIN_AUTH = 1 << 19
    CONNECT_ATTRS = 1 << 20
    PLUGIN_AUTH_LENENC = 1 << 21
    CAN_HANDLE_EXPIRED_PASSWORDS = 1 << 22
    SESSION_TRACK = 1 << 23
    DEPRECATE_EOF = 1 << 24
    OPTIONAL_RESULTSET_METADATA = 1 << 25
    ZSTD_COMPRESSION = 1 << 26
    QUERY_ATTRIBUTES = 1 << 27


C = Capability
OURS = (
    C.LONG_PASSWORD
    | C.LONG_FLAG
    | C.CONNECT_WITH_DB
    | C.PROTOCOL_41
    | C.TRANSACTIONS
    | C.SECURE_CONNECTION
    | C.PLUGIN_AUTH
    | C.CONNECT_ATTRS
    | C.PLUGIN_AUTH_LENENC
)
"""Offered to every client, whatever is behind us."""
SHARED = (
    C.FOUND_ROWS
    | C.IGNORE_SPACE
    | C.INTERACTIVE
    | C.MULTI_STATEMENTS
    | C.MULTI_RESULTS
    | C.PS_MULTI_RESULTS
    | C.SESSION_TRACK
    | C.DEPRECATE_EOF
    | C.QUERY_ATTRIBUTES
)
"""Offered if the database has them: they change what it does, or what its answers look like. Both
peers of a session speak with the same of these."""
NEEDED = C.PROTOCOL_41 | C.SECURE_CONNECTION | C.PLUGIN_AUTH
"""What a client must have (MySQL 5.5.7 and younger, every MariaDB)."""

_LATIN1 = frozenset((5, 8, 15, 31, 47, 48, 49, 94))
_ASCII = frozenset((11, 65))
_UTF8MB3 = frozenset((33, 76, 83, *range(192, 216), 223))
_UTF8MB4 = frozenset((45, 46, *range(224, 248), 255))

_HEAD = struct.Struct("<IIB23s")


def character_set(collation: int) -> str | None:
    """Name of the character set that a handshake's collation id (its low byte) belongs to; None for
    those that no client may use here.
    """
    if collation in _UTF8MB4:
        return "utf8mb4"
    if collation in _UTF8MB3:
        return "utf8mb3"
    if collation in _LATIN1:
        return "latin1"
    return "ascii" if collation in _ASCII else None


class Greeting(msgspec.Struct, frozen=True):
    """What a server says first."""

    version: str
    thread: int
    nonce: bytes
    """20 bytes, without the NUL behind them."""
    capabilities: int
    collation: int
    status: int
    plugin: str


def greeting_payload(greeting: Greeting) -> bytes:
    capabilities = int(greeting.capabilities)
    return b"".join(
        (
            bytes((PROTOCOL_VERSION,)),
            nul_bytes(greeting.version.encode()),
            struct.pack("<I", greeting.thread & 0xFFFFFFFF),
            greeting.nonce[:8] + b"\0",
            struct.pack("<H", capabilities & 0xFFFF),
            struct.pack("<BH", greeting.collation, greeting.status),
            struct.pack("<HB", capabilities >> 16, NONCE_BYTES + 1),
            bytes(10),
            greeting.nonce[8:] + b"\0",
            nul_bytes(greeting.plugin.encode()),
        )
    )


def parse_greeting(payload: bytes) -> Greeting:
    """Raises ProtocolViolation, also for a server older than any we speak with."""
    reader = Reader(payload, "upstream")
    if reader.u8() != PROTOCOL_VERSION:
        raise ProtocolViolation("upstream", "unsupported version of the handshake")
    version = reader.nul_bytes().decode("utf-8", "replace")
    thread = reader.u32()
    first = reader.take(8)
    reader.take(1)
    low, collation, status, high = reader.u16(), reader.u8(), reader.u16(), reader.u16()
    length = reader.u8()
    reader.take(10)
    capabilities = low | high << 16
    if NEEDED & ~capabilities:
        raise ProtocolViolation("upstream", "the server is too old")
    second = reader.take(max(13, length - 8))
    plugin = reader.nul_bytes().decode("ascii", "replace")
    return Greeting(
        version, thread, (first + second)[:NONCE_BYTES], capabilities, collation, status, plugin
    )


class Response(msgspec.Struct, frozen=True):
    """Protocol::HandshakeResponse41."""

    capabilities: int
    """As sent; what counts is what was offered, too."""
    packet_bytes_max: int
    collation: int
    user: str
    answer: bytes
    database: str
    plugin: str
    attributes: dict[str, str]

    def __repr__(self) -> str:
        return f"Response({self.user!r})"


def is_ssl_request(payload: bytes) -> bool:
    """The beginning of a HandshakeResponse alone: TLS is asked for."""
    return len(payload) == _HEAD.size and bool(int.from_bytes(payload[:4], "little") & C.SSL)


def parse_response(payload: bytes) -> Response:
    """Laid out by the client's own flags. Raises ProtocolViolation."""
    reader = Reader(payload, "client")
    capabilities, packet_bytes_max, collation, _filler = _HEAD.unpack(reader.take(_HEAD.size))
    if NEEDED & ~capabilities:
        raise ProtocolViolation("client", "the client is too old: it lacks plugin authentication")
    user = _text(reader.nul_bytes())
    if capabilities & C.PLUGIN_AUTH_LENENC:
        answer = reader.lenenc_bytes()
    else:
        answer = reader.take(reader.u8())
    database = _text(reader.nul_bytes()) if capabilities & C.CONNECT_WITH_DB else ""
    plugin = _text(reader.nul_bytes())
    attributes = _attributes(reader) if capabilities & C.CONNECT_ATTRS else {}
    if capabilities & C.ZSTD_COMPRESSION:
        reader.u8()  # its level; compression is never offered
    reader.end()
    return Response(
        capabilities, packet_bytes_max, collation, user, answer, database, plugin, attributes
    )


def parse_change_user(payload: bytes, capabilities: int, collation: int) -> Response:
    """COM_CHANGE_USER, in the shape of a response; `capabilities` are the session's, `collation`
    the one before, which stays when none is named. Raises ProtocolViolation.
    """
    reader = Reader(payload, "client")
    reader.u8()
    user = _text(reader.nul_bytes())
    answer = reader.take(reader.u8())
    database = _text(reader.nul_bytes())
    plugin, attributes = "", dict[str, str]()
    if reader.left:
        collation = reader.u16() & 0xFF
    if reader.left and capabilities & C.PLUGIN_AUTH:
        plugin = _text(reader.nul_bytes())
    if reader.left and capabilities & C.CONNECT_ATTRS:
        attributes = _attributes(reader)
    reader.end()
    return Response(capabilities, 0, collation, user, answer, database, plugin, attributes)


def _attributes(reader: Reader) -> dict[str, str]:
    """Connection attributes, the first `ATTRIBUTES_MAX` of them and no long ones: they only
    describe the client."""
    inner = Reader(reader.lenenc_bytes(), reader.side)
    found: dict[str, str] = {}
    while inner.left:
        name, value = inner.lenenc_bytes(), inner.lenenc_bytes()
        if len(found) < ATTRIBUTES_MAX and len(name) + len(value) <= ATTRIBUTE_BYTES_MAX:
            found[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return found


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("client", "a name that is not UTF-8") from None


def ssl_request(capabilities: int, packet_bytes_max: int, collation: int) -> bytes:
    return _HEAD.pack(capabilities | C.SSL, packet_bytes_max, collation, bytes(23))


def response_payload(response: Response) -> bytes:
    """Our own answer to a database: PLUGIN_AUTH_LENENC, PLUGIN_AUTH and CONNECT_ATTRS are sent as
    `capabilities` says, CONNECT_WITH_DB as `database` does."""
    capabilities = response.capabilities & ~C.CONNECT_WITH_DB
    if response.database:
        capabilities |= C.CONNECT_WITH_DB
    pieces = [
        _HEAD.pack(capabilities, response.packet_bytes_max, response.collation, bytes(23)),
        nul_bytes(response.user.encode()),
    ]
    if capabilities & C.PLUGIN_AUTH_LENENC:
        pieces.append(lenenc_bytes(response.answer))
    else:
        pieces.append(bytes((len(response.answer),)) + response.answer)
    if response.database:
        pieces.append(nul_bytes(response.database.encode()))
    pieces.append(nul_bytes(response.plugin.encode()))
    if capabilities & C.CONNECT_ATTRS:
        pieces.append(attributes_field(response.attributes))
    return b"".join(pieces)


def attributes_field(attributes: dict[str, str]) -> bytes:
    return lenenc_bytes(
        b"".join(
            lenenc_bytes(name.encode()) + lenenc_bytes(value.encode())
            for name, value in attributes.items()
        )
    )
