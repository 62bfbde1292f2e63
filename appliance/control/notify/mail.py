"""Notices by e-mail, over SMTP (RFC 5321).

A sink of `dispatch`. Rules: where STARTTLS or TLS is configured, nothing is sent, no password
either, before the server was verified; smtplib runs in threads of its own, and an attempt that is
cancelled has its connection cut, so that no thread stays behind; refusals are judged by their code,
what the server says is not repeated.
"""

import asyncio
import contextlib
import smtplib
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

from appliance.config.control import Mail, MailTls
from appliance.config.credentials import Secret
from appliance.control.notify.mail_message import composed, recipients
from appliance.control.notify.notice import Notice
from appliance.control.notify.sink import NotDelivered, Undeliverable

STEP_SECONDS_MAX = 10.0
THREADS = 4
HELLO_NAME = "sallyport"


class MailSink:
    name = "mail"
    for_people = True

    def __init__(
        self,
        mail: Mail,
        password: Secret | None,
        approvers: tuple[str, ...],
        now: Callable[[], float],
    ) -> None:
        """`approvers`: groups of the role, told where a rule names no groups. Raises OSError for
        authorities that cannot be read."""
        self._mail = mail
        self._password = password
        self._approvers = approvers
        self._now = now
        self._threads = ThreadPoolExecutor(THREADS, "mail")
        self._tls = ssl.create_default_context(cafile=None if mail.ca is None else str(mail.ca))

    async def deliver(self, notice: Notice, reference: str) -> str:
        to = recipients(notice, self._mail.recipients, self._approvers)
        if not to:
            return ""
        message = composed(notice, self._mail.sender, to, self._now())
        conversation = Conversation(self._mail, self._password, self._tls)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, conversation.send, message, to)
        except asyncio.CancelledError:
            conversation.cut()
            raise
        return ""

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Conversation:
    """One connection to the server, for one message. `send` blocks; `cut` ends it from another
    thread."""

    def __init__(self, mail: Mail, password: Secret | None, tls: ssl.SSLContext) -> None:
        self._mail = mail
        self._password = password
        self._tls = tls
        self._socket: socket.socket | None = None
        self._cut = False

    def send(self, message: EmailMessage, to: list[str]) -> None:
        """Raises NotDelivered, Undeliverable."""
        try:
            with self._connected() as server:
                self._log_in(server)
                server.send_message(message, self._mail.sender, to)
        except smtplib.SMTPRecipientsRefused as refused:
            codes = [code for code, _ in refused.recipients.values()]
            self._judge(min(codes, default=0), "recipients")
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as refused:
            self._judge(refused.smtp_code, "message")
        except smtplib.SMTPAuthenticationError as refused:
            raise NotDelivered(f"the server refused the login: {refused.smtp_code}") from None
        except smtplib.SMTPNotSupportedError:
            raise NotDelivered("the server offers no STARTTLS or no login") from None
        except (smtplib.SMTPException, OSError) as problem:
            raise NotDelivered(type(problem).__name__) from None

    def cut(self) -> None:
        self._cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _judge(code: int, what: str) -> None:
        if 500 <= code < 600:
            raise Undeliverable(f"the server refused the {what}: {code}") from None
        raise NotDelivered(f"the server refused the {what}: {code}") from None

    def _connected(self) -> smtplib.SMTP:
        address = self._mail.server
        server: smtplib.SMTP
        if self._mail.tls is MailTls.TLS:
            server = smtplib.SMTP_SSL(
                local_hostname=HELLO_NAME, timeout=STEP_SECONDS_MAX, context=self._tls
            )
        else:
            server = smtplib.SMTP(local_hostname=HELLO_NAME, timeout=STEP_SECONDS_MAX)
        # `connect` alone does not note the name that the certificate has to be for.
        server._host = address.host  # type: ignore[attr-defined]
        code, _ = server.connect(address.host, address.port)
        self._socket = server.sock
        if self._cut:
            raise OSError("given up")
        if code != 220:
            server.close()
            raise smtplib.SMTPConnectError(code, "")
        return server

    def _log_in(self, server: smtplib.SMTP) -> None:
        if self._mail.tls is MailTls.STARTTLS:
            code, _ = server.starttls(context=self._tls)  # verifies, or raises
            self._socket = server.sock
            if code != 220:
                raise smtplib.SMTPNotSupportedError
        if self._password is not None:
            server.login(self._mail.user, self._password.reveal().decode())
