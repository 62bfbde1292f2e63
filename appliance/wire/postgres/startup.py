"""The unframed packets a connection begins with: SSLRequest, GSSENCRequest, CancelRequest,
StartupMessage.

Called by `session/login` (as the server) and `dataplane/upstreams` (as a client). Rule: a startup
parameter is data to be checked against an allow-list; `options` is parsed into settings, never
passed on as it is.
"""

import struct

import msgspec

from appliance.model.errors import ProtocolViolation
from appliance.model.limits import STARTUP_PACKET_BYTES_MAX
from appliance.wire.postgres.messages import Reader, cstring

SSL_REQUEST_CODE = 80877103
GSSENC_REQUEST_CODE = 80877104
CANCEL_REQUEST_CODE = 80877102
PROTOCOL_MAJOR = 3
PROTOCOL_MINOR_NEWEST = 2
CANCEL_KEY_BYTES_MAX = 256

_HEADER = struct.Struct("!II")

SSL_REQUEST = _HEADER.pack(8, SSL_REQUEST_CODE)
SSL_GRANTED = b"S"

SETTINGS_ALLOWED = frozenset(
    (
        "application_name",
        "client_encoding",
        "client_min_messages",
        "datestyle",
        "default_transaction_deferrable",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "enable_bitmapscan",
        "enable_hashjoin",
        "enable_indexonlyscan",
        "enable_indexscan",
        "enable_mergejoin",
        "enable_nestloop",
        "enable_seqscan",
        "enable_sort",
        "extra_float_digits",
        "geqo",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "intervalstyle",
        "jit",
        "lc_messages",
        "lc_monetary",
        "lc_numeric",
        "lc_time",
        "lock_timeout",
        "max_parallel_workers_per_gather",
        "plan_cache_mode",
        "random_page_cost",
        "search_path",
        "statement_timeout",
        "synchronous_commit",
        "tcp_keepalives_count",
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_user_timeout",
        "timezone",
        "transaction_timeout",
        "work_mem",
        "default_tablespace",
        "bytea_output",
        "xmloption",
        "xmlbinary",
        "gin_fuzzy_search_limit",
        "join_collapse_limit",
        "from_collapse_limit",
        "default_table_access_method",
        "vacuum_cost_delay",
        "commit_delay",
        "temp_buffers",
        "temp_tablespaces",
        "maintenance_work_mem",
        "hash_mem_multiplier",
    )
)
"""Settings a client may bring in its startup packet: none changes who it is, how SQL is lexed or
what is loaded.
"""


class SslRequest(msgspec.Struct, frozen=True):
    pass


class GssEncRequest(msgspec.Struct, frozen=True):
    pass


class CancelRequest(msgspec.Struct, frozen=True):
    pid: int
    secret: bytes


class StartupMessage(msgspec.Struct, frozen=True):
    minor: int
    parameters: dict[str, str]
    """As sent, without `options` (see `settings`) and `_pq_.` entries (see `extensions`)."""
    settings: dict[str, str]
    """Settings from parameters and `options`, lower-case names."""
    extensions: tuple[str, ...]


Packet = SslRequest | GssEncRequest | CancelRequest | StartupMessage


def packet_length(received: bytes | bytearray) -> int | None:
    """Length of the packet `received` begins with, None while its length is incomplete."""
    if len(received) < 4:
        return None
    length = int.from_bytes(received[:4], "big")
    if not 8 <= length <= STARTUP_PACKET_BYTES_MAX:
        raise ProtocolViolation("client", "invalid length of startup packet")
    return length


def parse_packet(packet: bytes) -> Packet:
    """One whole packet, its length field included."""
    reader = Reader(packet, "client")
    reader.u32()
    code = reader.u32()
    if code == SSL_REQUEST_CODE:
        reader.end()
        return SslRequest()
    if code == GSSENC_REQUEST_CODE:
        reader.end()
        return GssEncRequest()
    if code == CANCEL_REQUEST_CODE:
        pid, secret = reader.u32(), reader.rest()
        if not 4 <= len(secret) <= CANCEL_KEY_BYTES_MAX:
            raise ProtocolViolation("client", "invalid length of cancel key")
        return CancelRequest(pid, secret)
    if code >> 16 != PROTOCOL_MAJOR:
        raise ProtocolViolation("client", "unsupported frontend protocol")
    return _parse_startup(reader, code & 0xFFFF)


def _parse_startup(reader: Reader, minor: int) -> StartupMessage:
    parameters: dict[str, str] = {}
    settings: dict[str, str] = {}
    extensions: list[str] = []
    while name := _text(reader):
        value = _text(reader)
        if name.startswith("_pq_."):
            extensions.append(name)
        elif name == "options":
            settings.update(parse_options(value))
        elif name in ("user", "database", "replication"):
            parameters[name] = value
        else:
            settings[name.lower()] = value
    reader.end()
    if not parameters.get("user"):
        raise ProtocolViolation("client", "no user name in startup packet")
    return StartupMessage(minor, parameters, settings, tuple(extensions))


def _text(reader: Reader) -> str:
    try:
        return reader.cstring().decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("client", "startup packet is not UTF-8") from None


def parse_options(options: str) -> dict[str, str]:
    """`-c name=value`, `-cname=value` and `--name=value`, split as the server splits them
    (pg_split_opts: white space separates, a backslash keeps the next character). Anything else is a
    violation: other switches are not for clients.
    """
    settings: dict[str, str] = {}
    words = iter(_split_options(options))
    for word in words:
        if word == "-c":
            assignment = next(words, "")
        elif word.startswith(("-c", "--")):
            assignment = word[2:]
        else:
            raise ProtocolViolation("client", "unsupported switch in startup options")
        name, equals, value = assignment.partition("=")
        if not name or not equals:
            raise ProtocolViolation("client", "malformed startup options")
        settings[name.replace("-", "_").lower()] = value
    return settings


def _split_options(options: str) -> list[str]:
    words: list[str] = []
    word: list[str] = []
    begun = False
    characters = iter(options)
    for character in characters:
        if character.isspace():
            if begun:
                words.append("".join(word))
                word, begun = [], False
            continue
        begun = True
        word.append(next(characters, "") if character == "\\" else character)
    if begun:
        words.append("".join(word))
    return words


def startup_message(minor: int, parameters: dict[str, str]) -> bytes:
    body = struct.pack("!I", PROTOCOL_MAJOR << 16 | minor)
    body += b"".join(cstring(name) + cstring(value) for name, value in parameters.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def cancel_request(pid: int, secret: bytes) -> bytes:
    return _HEADER.pack(12 + len(secret), CANCEL_REQUEST_CODE) + struct.pack("!I", pid) + secret
