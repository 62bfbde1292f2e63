"""Notices of a control process: sinks made from the configuration, and what keeps them going.

Whoever composes the control process makes `notices_of(control)`, keeps its `run` going and mounts
its `interaction`; where no console is served, `run(control)` alone is a service. Rule: a secret
that cannot be read stops the start, not a delivery.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from appliance.config.control import Control, Mail, Webhook
from appliance.config.credentials import Credentials
from appliance.config.schema import Configuration
from appliance.config.values import CredentialReference
from appliance.control.desk import Desk, Policies
from appliance.control.notify.clock import Clock, SystemClock
from appliance.control.notify.dispatch import Dispatcher
from appliance.control.notify.mail import MailSink
from appliance.control.notify.outbox import Outbox
from appliance.control.notify.outgoing import client
from appliance.control.notify.people import People
from appliance.control.notify.sink import Sink
from appliance.control.notify.slack import SlackApi, SlackSink
from appliance.control.notify.slack_interactions import Answer, Interactions
from appliance.control.notify.webhook import WebhookSink, signing_key
from appliance.control.store import Store
from appliance.identity.verifiers import Directory, parse_users
from appliance.telemetry.log import Log

CLOCK = SystemClock()

log = Log("notify")


class Notices:
    """`run` for the control process, `interaction` for Slack's endpoint."""

    def __init__(self, dispatcher: Dispatcher | None, interactions: Interactions | None) -> None:
        self._dispatcher = dispatcher
        self._interactions = interactions

    async def run(self) -> None:
        """Until cancelled, also when nobody is to be told: a service that ends is a failure."""
        try:
            if self._dispatcher is not None:
                await self._dispatcher.run()
            await asyncio.Event().wait()
        finally:
            if self._interactions is not None:
                await self._interactions.close()

    async def interaction(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """(status, JSON). `headers`: lower-case names. 404 without Slack."""
        if self._interactions is None:
            return 404, {}
        return await self._interactions.interaction(headers, body)


class Running(Protocol):
    """What we need of a control process (`control/main.Control`)."""

    @property
    def configuration(self) -> Configuration: ...

    @property
    def desk(self) -> Desk: ...

    @property
    def store(self) -> Store: ...

    @property
    def url(self) -> str: ...

    @property
    def policies(self) -> Policies | None: ...


def notices_of(control: Running) -> Notices:
    """Raises ValueError, OSError."""
    return notices(
        control.configuration,
        control.desk,
        control.store,
        url=control.url,
        policies=control.policies,
        warn=lambda text: log.warning("secret_readable_by_others", reason=text),
    )


async def run(control: Running) -> None:
    """Notices without Slack's buttons, until cancelled. Raises ValueError, OSError."""
    await notices_of(control).run()


def notices(
    configuration: Configuration,
    desk: Desk,
    store: Store,
    *,
    url: str,
    policies: Policies | None = None,
    clock: Clock = CLOCK,
    warn: Callable[[str], None] = lambda text: None,
) -> Notices:
    """`url`: how people reach the console. Raises ValueError (CredentialUnavailable) and OSError,
    with texts for the administrator."""
    control = configuration.control
    if control is None:
        return Notices(None, None)
    credentials = Credentials(references(control), warn=warn)
    sinks: list[Sink] = [
        webhook_sink(one, credentials, clock.now) for one in control.notify.webhooks
    ]
    interactions = None
    if control.notify.slack is not None:
        slack = control.notify.slack
        api = SlackApi(slack.api_url, credentials[slack.token], client())
        sinks.append(SlackSink(api, slack.channel))
        people = People(slack.people, control, lambda: users(configuration))
        interactions = Interactions(desk, people, api, credentials[slack.signing_secret], clock.now)
    if control.notify.mail is not None:
        sinks.append(mail_sink(control.notify.mail, control, credentials, clock.now))
    if not sinks:
        return Notices(None, None)
    dispatcher = Dispatcher(
        desk,
        Outbox(store),
        sinks,
        url=url,
        clock=clock,
        hours_max=control.notify.hours_max,
        policies=policies,
    )
    return Notices(dispatcher, interactions)


def references(control: Control) -> list[CredentialReference]:
    """Every secret that sinks need."""
    found: list[CredentialReference | None] = []
    for webhook in control.notify.webhooks:
        found += [webhook.secret, webhook.former_secret]
    if control.notify.slack is not None:
        found += [control.notify.slack.token, control.notify.slack.signing_secret]
    if control.notify.mail is not None:
        found.append(control.notify.mail.password)
    return [one for one in found if one is not None]


def webhook_sink(
    webhook: Webhook, credentials: Credentials, now: Callable[[], float]
) -> WebhookSink:
    given = [one for one in (webhook.secret, webhook.former_secret) if one is not None]
    secrets = [signing_key(credentials[one].reveal()) for one in given]
    return WebhookSink(webhook.name, webhook.url, secrets, client(webhook.ca), now)


def mail_sink(
    mail: Mail, control: Control, credentials: Credentials, now: Callable[[], float]
) -> MailSink:
    password = None if mail.password is None else credentials[mail.password]
    return MailSink(mail, password, control.roles.approver, now)


def users(configuration: Configuration) -> Directory:
    """The users file as it is now. Raises OSError, ValueError."""
    path = configuration.identities.users
    return Directory() if path is None else parse_users(path.read_text(), path.name)
