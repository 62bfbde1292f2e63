"""The real server as oracle: it takes our verifiers, and our client side logs in to it."""

import secrets
import socket
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.identity.scram import (
    SCRAM_SHA_256,
    ScramClient,
    choose_mechanism,
    make_verifier,
    salted_password,
)

PASSWORDS = ["plain ascii", "pä$$wörd 日本", "I\u00adX\u2168", "ä\x07", "\u0627\u0031"]


@pytest.fixture(params=PASSWORDS)
def password(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def admin(postgres: EmbeddedPostgres) -> str:
    return postgres.uri("postgres", postgres.password, "postgres")


def create_role(admin: str, name: str, secret: str) -> None:
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(name)))
        command = sql.SQL("create role {} login password {}")
        connection.execute(command.format(sql.Identifier(name), sql.Literal(secret)))


def test_server_takes_our_verifier(admin: str, postgres: EmbeddedPostgres, password: str) -> None:
    create_role(admin, "verified", make_verifier(password, secrets.token_bytes(16)).render())
    with psycopg.connect(postgres.uri("verified", password, "postgres")) as connection:
        assert connection.execute("select current_user").fetchone() == ("verified",)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.uri("verified", password + "x", "postgres"))


def test_our_client_logs_in_to_the_server(
    admin: str, postgres: EmbeddedPostgres, password: str
) -> None:
    create_role(admin, "hashed", password)  # the server makes this verifier
    parts = urlsplit(postgres.uri("hashed", "x", "postgres"))
    log_in(parts.hostname or "", parts.port or 0, "hashed", password)


def log_in(host: str, port: int, user: str, password: str) -> None:
    """The login by hand (documentation 54.2.1), up to AuthenticationOk."""
    with socket.create_connection((host, port), timeout=10) as connection:
        body = struct.pack("!I", 0x30000) + f"user\0{user}\0database\0postgres\0\0".encode()
        connection.sendall(struct.pack("!I", len(body) + 4) + body)
        stream = connection.makefile("rb")
        offered = message(stream.read, 10).split(b"\0")
        mechanism = choose_mechanism([name.decode() for name in offered if name], None, tls=False)
        assert mechanism == SCRAM_SHA_256
        client = ScramClient(secrets.token_bytes(18))
        first = client.first()
        answer(connection, mechanism.encode() + b"\0" + struct.pack("!I", len(first)) + first)
        salt, iterations = client.challenge(message(stream.read, 11))
        answer(connection, client.final(salted_password(password, salt, iterations)))
        client.verify(message(stream.read, 12))
        assert client.finished
        assert message(stream.read, 0) == b""


def message(read: Callable[[int], bytes], expected: int) -> bytes:
    kind, length = struct.unpack("!cI", read(5))
    body = read(length - 4)
    assert kind == b"R", body
    assert struct.unpack("!I", body[:4])[0] == expected
    return body[4:]


def answer(connection: socket.socket, body: bytes) -> None:
    connection.sendall(b"p" + struct.pack("!I", len(body) + 4) + body)
