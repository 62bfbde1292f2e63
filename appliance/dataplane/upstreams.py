"""Opening a session with a PostgreSQL database: SSLRequest, startup, authentication, ReadyForQuery.

Named in `protocols`; called through it by `login` for a client's session and by `catalogs` for
ours. Rule: the database proves itself as far as the configuration asks (verify-full by default),
and its words are checked like a client's: a malicious upstream must not get past
`ProtocolViolation`.
"""

import asyncio
import secrets
import sys

from appliance.config.schema import TargetConfig, TargetTlsMode
from appliance.dataplane.connections import (
    Login,
    Row,
    Upstream,
    UpstreamRefused,
    UpstreamUnreachable,
    connect_plain,
    secured,
    unreachable,
)
from appliance.dataplane.looking import Repeated
from appliance.dataplane.transport import Side
from appliance.identity.binding import tls_server_end_point
from appliance.identity.md5 import md5_answer
from appliance.identity.scram import (
    SCRAM_SHA_256_PLUS,
    SaltedPasswords,
    ScramClient,
    choose_mechanism,
    salted_password,
)
from appliance.model.errors import ProtocolViolation
from appliance.model.limits import MIB
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import startup

_salted = SaltedPasswords()
_scram_threads = asyncio.Semaphore(2)


GREETING_BYTES_MAX = 1 * MIB
"""Settings and notices between AuthenticationOk and ReadyForQuery, which are kept for the client.
"""


async def open_upstream(
    target: TargetConfig, login: Login, database: str, settings: dict[str, str]
) -> Upstream:
    """Raises UpstreamRefused, UpstreamUnreachable, ProtocolViolation. Callers set the deadline."""
    side = await connect(target, login)
    try:
        side.write(
            startup.startup_message(
                startup.PROTOCOL_MINOR_NEWEST,
                {"user": login.user, "database": database, "client_encoding": "UTF8"} | settings,
            )
        )
        await _authenticate(side, login)
        return await _until_ready(side)
    except ConnectionResetError:
        side.abort()
        raise UpstreamUnreachable("the database closed the connection during login") from None
    except BaseException:
        side.abort()
        raise


async def connect(target: TargetConfig, login: Login | None) -> Side:
    """TCP and TLS as the target's ladder says; nothing is sent beyond SSLRequest."""
    try:
        side = await connect_plain(target)
    except OSError as error:
        raise unreachable(error) from None
    if target.tls.mode is TargetTlsMode.DISABLE:
        return side
    try:
        await _tls_as_wanted(side, target, login)
    except OSError as error:
        side.close()  # behind what TLS has to say of it
        raise unreachable(error) from None
    except BaseException:
        side.abort()
        raise
    return side


async def _tls_as_wanted(side: Side, target: TargetConfig, login: Login | None) -> None:
    """Raises OSError, UpstreamUnreachable, ProtocolViolation."""
    side.write(startup.SSL_REQUEST)
    answer = bytes((await side.at_least(1))[:1])
    side.take(1)
    if answer == b"S":
        await secured(side, target, login)
    elif answer != b"N":
        # 'E': the server could not even begin a process for us ("SSL Session Encryption").
        raise UpstreamUnreachable("the database cannot take a connection at the moment")
    elif target.tls.mode not in (TargetTlsMode.PREFER, TargetTlsMode.ALLOW):
        # (With `allow` libpq tries plaintext first; the server's refusal of it comes only with its
        # login answer. We go the stronger way round: TLS if it is there.)
        raise UpstreamUnreachable("the database does not offer TLS")


async def _authenticate(side: Side, login: Login) -> None:
    """Answers Authentication* requests until AuthenticationOk."""
    scram: ScramClient | None = None
    while True:
        kind, frame = await side.message()
        if kind == m.ERROR_RESPONSE:
            raise UpstreamRefused(m.parse_error_fields(frame[5:]))
        if kind in (m.NEGOTIATE_PROTOCOL_VERSION, m.NOTICE_RESPONSE):
            continue  # an older server serves 3.0: every message we use is the same there
        if kind != m.AUTHENTICATION:
            raise ProtocolViolation("upstream", "unexpected message during authentication")
        code, rest = m.parse_authentication(frame[5:])
        if code == m.AUTH_OK:
            if scram is not None and not scram.finished:
                raise ProtocolViolation("upstream", "login accepted before the server's proof")
            return
        if code == m.AUTH_CLEARTEXT:
            if side.ssl is None:
                raise UpstreamUnreachable("the database asks for a cleartext password without TLS")
            side.write(m.password(_secret(login)))
        elif code == m.AUTH_MD5:
            side.write(m.password(md5_answer(login.user, _secret(login), rest)))
        elif code == m.AUTH_SASL and scram is None:
            scram = _scram_begin(side, rest)
        elif code == m.AUTH_SASL_CONTINUE and scram is not None:
            salt, iterations = scram.challenge(rest)
            salted = await _salt(_secret(login), salt, iterations)
            side.write(m.frame(m.PASSWORD, scram.final(salted)))
        elif code == m.AUTH_SASL_FINAL and scram is not None:
            scram.verify(rest)
        else:
            raise UpstreamUnreachable("the database asks for an authentication we do not speak")


def _secret(login: Login) -> bytes:
    if login.password is None:
        raise UpstreamUnreachable("the database asks for a password and the role has no credential")
    return login.password


def _scram_begin(side: Side, offered: bytes) -> ScramClient:
    mechanisms = [name.decode("ascii", "replace") for name in offered.split(b"\0") if name]
    tls = side.ssl is not None
    certificate = side.certificate()
    binding = None if certificate is None else tls_server_end_point(certificate)
    mechanism = choose_mechanism(mechanisms, binding, tls)
    scram = ScramClient(
        secrets.token_bytes(18),
        mechanism=mechanism,
        binding=binding,
        offered_plus=SCRAM_SHA_256_PLUS in mechanisms,
    )
    side.write(m.sasl_initial_response(mechanism, scram.first()))
    return scram


async def _salt(password: bytes, salt: bytes, iterations: int) -> bytes:
    """PBKDF2 outside the event loop, remembered: a database's salt rarely changes."""
    known = _salted.get(password, salt, iterations)
    if known is None:
        async with _scram_threads:
            known = await asyncio.to_thread(salted_password, password, salt, iterations)
        _salted.put(password, salt, iterations, known)
    return known


async def _until_ready(side: Side) -> Upstream:
    parameters: dict[str, str] = {}
    notices: list[bytes] = []
    pid, secret = 0, b""
    kept = 0
    while True:
        kind, frame = await side.message()
        body = frame[5:]
        kept += len(frame)
        if kept > GREETING_BYTES_MAX:
            raise ProtocolViolation("upstream", "too much before ReadyForQuery")
        if kind == m.PARAMETER_STATUS:
            name, value = (
                each.decode("utf-8", "replace") for each in m.parse_parameter_status(body)
            )
            parameters[sys.intern(name)] = sys.intern(value)  # the same in most sessions
        elif kind == m.BACKEND_KEY_DATA:
            pid, secret = m.parse_backend_key_data(body)
        elif kind == m.NOTICE_RESPONSE:
            notices.append(frame)
        elif kind == m.ERROR_RESPONSE:
            raise UpstreamRefused(m.parse_error_fields(body))
        elif kind == m.READY_FOR_QUERY:
            m.parse_ready_for_query(body)
            return Upstream(side, parameters, pid, secret, notices)
        elif kind != m.NEGOTIATE_PROTOCOL_VERSION:
            raise ProtocolViolation("upstream", "unexpected message before ReadyForQuery")


async def cancel(target: TargetConfig, _login: Login, upstream: Upstream) -> bool:
    """Sends a CancelRequest, over TLS where the target demands it. The server never answers one; it
    closes the connection once the signal is sent. -> whether it did.
    """
    side = await connect(target, None)
    try:
        side.write(startup.cancel_request(upstream.pid, upstream.secret))
        try:
            async with asyncio.timeout(5):
                await side.at_least(1)
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return False
    finally:
        side.close()


async def simple_query(upstream: Upstream, text: str) -> list[Row]:
    """Runs one of our own statements, for catalogs: all rows, values as text. Raises
    UpstreamRefused on an error.
    """
    side = upstream.side
    side.write(m.query(text.encode()))
    rows: list[Row] = []
    failure: dict[str, str] | None = None
    while True:
        kind, frame = await _row_message(side)
        if kind == m.DATA_ROW:
            rows.append(_row(frame))
        elif kind == m.ERROR_RESPONSE:
            failure = m.parse_error_fields(frame[5:])
        elif kind == m.READY_FOR_QUERY:
            if failure is not None:
                raise UpstreamRefused(failure)
            return rows


def repeated(text: str, row: tuple[str, ...]) -> Repeated:
    """One of our own statements as it is asked again and again, whose answer is expected to be this
    one row, in ASCII."""
    values = b"".join(len(value).to_bytes(4, "big") + value.encode() for value in row)
    ending = m.frame(m.DATA_ROW, len(row).to_bytes(2, "big") + values)
    ending += m.frame(m.COMMAND_COMPLETE, b"SELECT 1\0") + _IDLE

    def is_expected(answer: bytes) -> bool:
        columns = 1 + int.from_bytes(answer[1:5], "big")
        return answer[:1] == _COLUMNS and answer[columns:] == ending

    return Repeated(m.query(text.encode()), lambda answer: answer.endswith(_IDLE), is_expected)


_IDLE = m.ready_for_query(ord("I"))
_COLUMNS = bytes((m.ROW_DESCRIPTION,))


async def _row_message(side: Side) -> tuple[int, bytes]:
    """Like Side.message, but a row of ours (a view's definition) may be large."""
    head = await side.at_least(5)
    length = int.from_bytes(head[1:5], "big")
    if not 4 <= length <= CATALOG_ROW_BYTES_MAX:
        raise ProtocolViolation("upstream", "message of impossible length")
    while side.pending < length + 1:
        await side.receive()
    frame = side.take(length + 1)
    return frame[0], frame


CATALOG_ROW_BYTES_MAX = 16 * 1024 * 1024


def _row(frame: bytes) -> Row:
    reader = m.Reader(frame[5:], "upstream")
    values: list[str | None] = []
    for _ in range(reader.u16()):
        length = reader.i32()
        values.append(None if length < 0 else reader.take(length).decode("utf-8", "replace"))
    reader.end()
    return tuple(values)
