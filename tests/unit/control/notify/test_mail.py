"""Mail against a real SMTP server (aiosmtpd) with TLS of our own."""

import asyncio
import contextlib
import email
import email.policy
import ssl
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

from appliance.approval.request import Request, State
from appliance.config.control import Mail, MailTls
from appliance.config.credentials import Secret
from appliance.config.values import Address, CredentialReference
from appliance.control.notify.mail import MailSink
from appliance.control.notify.mail_message import composed, recipients
from appliance.control.notify.notice import Event, Notice, of_request
from appliance.control.notify.sink import NotDelivered, Undeliverable
from appliance.model.approval import Need
from tests.clusters import Authority
from tests.desk import START, asked, terms
from tests.unit.control.notify.standins import URL

PASSWORD = "correct horse"


class Box:
    """Keeps messages; `reply` of each step is what the test wants."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.tls: list[bool] = []
        self.logins: list[bytes] = []
        self.rcpt = "250 OK"
        self.data = "250 OK"
        self.stuck = asyncio.Event()

    async def handle_RCPT(
        self, server: SMTP, session: Any, envelope: Envelope, address: str, _: Any
    ) -> str:
        if self.rcpt == "hang":
            self.stuck.set()
            await asyncio.Event().wait()
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        if self.data.startswith("250"):
            self.envelopes.append(envelope)
            self.tls.append(session.ssl is not None)
        return self.data

    def authenticate(
        self, server: SMTP, session: Any, envelope: Any, mechanism: str, given: Any
    ) -> AuthResult:
        assert isinstance(given, LoginPassword) and session.ssl is not None
        self.logins.append(given.login)
        return AuthResult(success=given.password == PASSWORD.encode(), handled=False)

    def message(self) -> EmailMessage:
        content = self.envelopes[-1].content
        assert isinstance(content, bytes)
        found = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(found, EmailMessage)
        return found


@contextlib.asynccontextmanager
async def serving(
    box: Box, tls: ssl.SSLContext | None, login: bool = True
) -> AsyncIterator[Address]:
    loop = asyncio.get_running_loop()

    def made() -> SMTP:
        return SMTP(
            box,
            hostname="localhost",
            tls_context=tls,
            require_starttls=tls is not None,
            authenticator=box.authenticate if login else None,
            auth_required=login,
            loop=loop,
        )

    server = await loop.create_server(made, "127.0.0.1", 0)
    try:
        yield Address(f"localhost:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


def context(authority: Authority, name: str = "localhost") -> ssl.SSLContext:
    leaf = authority.issue(name, name)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(leaf.certificate, leaf.key)
    return made


def configured(server: Address, authority: Authority | None = None, **different: Any) -> Mail:
    usual: dict[str, Any] = {
        "server": server,
        "tls": MailTls.STARTTLS,
        "ca": None if authority is None else authority.certificate,
        "user": "relay",
        "password": CredentialReference("env:X"),
        "sender": "sallyport@example.org",
        "recipients": {"*": ("all@example.org",), "dba": ("bob@example.org",)},
    }
    return Mail(**{**usual, **different})


def sink(mail: Mail, password: str = PASSWORD) -> MailSink:
    secret = Secret(password.encode()) if mail.user else None
    return MailSink(mail, secret, ("approvers",), lambda: START)


def notice(**different: Any) -> Notice:
    return next(
        of_request(Request(asked=asked(**different), state=State.PENDING, expires=START + 300), URL)
    )


async def sent(one: MailSink, told: Notice) -> None:
    try:
        await one.deliver(told, "")
    finally:
        await one.close()


async def test_over_starttls_with_a_login(authority: Authority) -> None:
    box = Box()
    async with serving(box, context(authority)) as address:
        await sent(
            sink(configured(address, authority)),
            notice(terms=terms(needs=(Need("r", 1, ("dba",)),))),
        )
    assert box.tls == [True] and box.logins == [b"relay"]
    assert box.envelopes[0].mail_from == "sallyport@example.org"
    assert box.envelopes[0].rcpt_tos == ["all@example.org", "bob@example.org"]
    message = box.message()
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Id"] == "Sallyport approvals <approvals.sallyport.example.org>"
    assert message.get_content_type() == "multipart/alternative"
    plain, html = (part.get_content() for part in message.iter_parts())
    for text in (plain, html):
        assert "UPDATE shop.orders SET status = ? WHERE id = ?" in text
        assert f"{URL}/requests/" in text and "'sent'" not in text


@pytest.mark.parametrize("name", ["elsewhere.example"])
async def test_another_server_s_certificate_gets_nothing(authority: Authority, name: str) -> None:
    box = Box()
    async with serving(box, context(authority, name)) as address:
        with pytest.raises(NotDelivered, match="SSLCertVerificationError"):
            await sent(sink(configured(address, authority)), notice())
    assert not box.logins and not box.envelopes


async def test_an_unknown_authority_gets_nothing(authority: Authority, tmp_path: Path) -> None:
    box = Box()
    other = Authority.create(tmp_path / "other")
    async with serving(box, context(authority)) as address:
        with pytest.raises(NotDelivered, match="SSLCertVerificationError"):
            await sent(sink(configured(address, other)), notice())
    assert not box.logins


async def test_starttls_is_required_not_tried(authority: Authority) -> None:
    box = Box()
    async with serving(box, None, login=False) as address:
        with pytest.raises(NotDelivered, match="STARTTLS"):
            await sent(sink(configured(address, authority)), notice())
    assert not box.envelopes


async def test_a_wrong_password_is_tried_again_later(authority: Authority) -> None:
    box = Box()
    async with serving(box, context(authority)) as address:
        with pytest.raises(NotDelivered, match="535") as caught:
            await sent(sink(configured(address, authority), "wrong"), notice())
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "reply", "raises"),
    [
        ("rcpt", "450 mailbox busy", NotDelivered),
        ("rcpt", "550 no such user", Undeliverable),
        ("data", "451 later", NotDelivered),
        ("data", "554 looks like spam", Undeliverable),
    ],
)
async def test_replies(step: str, reply: str, raises: type[Exception]) -> None:
    box = Box()
    setattr(box, step, reply)
    async with serving(box, None, login=False) as address:
        mail = configured(address, tls=MailTls.NONE, user="", password=None)
        with pytest.raises(raises, match=reply[:3]) as caught:
            await sent(sink(mail), notice())
    assert reply[4:] not in str(caught.value)


async def test_a_cancelled_attempt_leaves_no_thread_behind() -> None:
    box = Box()
    box.rcpt = "hang"
    async with serving(box, None, login=False) as address:
        one = sink(configured(address, tls=MailTls.NONE, user="", password=None))
        attempt = asyncio.create_task(one.deliver(notice(), ""))
        await asyncio.wait_for(box.stuck.wait(), 20)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await asyncio.wait_for(asyncio.to_thread(one._threads.shutdown), 8)  # below a step's bound


def test_updates_thread() -> None:
    made = notice()
    later = msgspec.structs.replace(
        made, id=f"{made.subject}.approved", event=Event.APPROVED, by="bob"
    )
    first, second = (
        composed(one, "s@example.org", ["a@example.org"], START) for one in (made, later)
    )
    assert first["Message-ID"] != second["Message-ID"]
    assert first["References"] == second["References"] == second["In-Reply-To"]
    assert second["Subject"].startswith("Re: copilot") and second["Subject"].endswith("approved")
    assert (
        composed(made, "s@example.org", ["a@example.org"], START)["Message-ID"]
        == first["Message-ID"]
    )


def test_nothing_that_a_client_chose_becomes_a_header_or_markup() -> None:
    evil = "x\r\nBcc: evil@example.org\r\n\r\n<script>alert(1)</script>"
    told = notice(principal=evil, target=evil, application=evil, redacted=evil, reasons=(evil,))
    message = composed(told, "s@example.org", ["a@example.org"], START)
    again = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
    assert "Bcc" not in again and again["To"] == "a@example.org"
    assert len(again.keys()) == len(set(again.keys()))
    assert isinstance(again, EmailMessage)
    html = list(again.iter_parts())[1].get_content()
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_who_is_told() -> None:
    addresses = {"*": ("all@x.y",), "dba": ("d@x.y",), "sec": ("s@x.y",), "approvers": ("a@x.y",)}
    anybody = notice()
    assert recipients(anybody, addresses, ("approvers",)) == ["all@x.y", "a@x.y"]
    needs = terms(needs=(Need("r", 1, ("dba",)),), escalate_groups=("sec",), escalate_seconds=9)
    some = Request(asked=asked(terms=needs), state=State.PENDING, expires=START)
    assert recipients(next(of_request(some, URL)), addresses, ()) == ["all@x.y", "d@x.y"]
    escalated = msgspec.structs.replace(some, escalated=True)
    assert "s@x.y" in recipients(list(of_request(escalated, URL))[1], addresses, ())
    loud = msgspec.structs.replace(anybody, event=Event.BREAK_GLASS)
    assert len(recipients(loud, addresses, ())) == 4


@pytest.mark.parametrize(
    "different",
    [
        {"sender": "a@b.c\nBcc: x@y.z"},
        {"sender": "Sally <a@b.c>"},
        {"recipients": {"*": ("a@b.c,d@e.f",)}},
        {"user": ""},
        {"tls": MailTls.NONE, "server": Address("mail.example.org:25")},
    ],
)
def test_configurations_that_are_refused(different: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"`\.(sender|user|tls)`"):
        configured(different.pop("server", Address("localhost:25")), **different)
