"""The app with its desk, shelf and trail, and people who are signed in to it."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from appliance.config.load import parse
from appliance.console.app import make_app, services_of
from appliance.console.people import ROLES, Identity
from appliance.console.recording import Recording
from appliance.console.services import Services
from appliance.console.standing import Standing
from appliance.console.store_shelf import StoreShelf
from appliance.control.desk import LiveSession
from appliance.control.policies import PolicyVersions
from appliance.control.store_sqlite import MEMORY, SqliteStore
from appliance.control.witness import Witness
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User
from appliance.link.approvals import SessionSeen
from appliance.model.principal import PrincipalKind
from appliance.policy.compile import compile_documents
from tests.desk import Clock, Desks, desks_over

HOST = "console.test"
ORIGIN = f"https://{HOST}"
PASSWORD = "correct horse"
PEOPLE = {
    "norole": ("staff",),
    "breaker": ("oncall",),
    "viewer": ("lookers",),
    "approver": ("approvers",),
    "admin": ("admins",),
    "auditor": ("auditors",),
}
CONFIGURATION = """
data: {data}
listeners: [{{name: main, address: "127.0.0.1:0", target: shop, tls: {{mode: disable}}}}]
targets:
  - name: shop
    host: 127.0.0.1
    port: 1
    databases: [shop]
    tls: {{mode: disable}}
    roles: [{{principals: ["*"], user: app}}]
control:
  url: {url}
  listen: "127.0.0.1:0"
  roles:
    viewer: [lookers]
    approver: [approvers]
    admin: [admins]
    auditor: [auditors]
    break_glass: [oncall]
{more}
"""
POLICY = b"""
version: 1
classifications: {pii.email: [shop.public.customers.email]}
rules:
  - {id: read, effect: allow, actions: [read]}
  - {id: mask-email, effect: mask, classifications: [pii.email], mask: {method: redact},
     principals: {not_groups: [admins]}}
"""


class Live:
    """One session, which can be ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def live(self) -> list[LiveSession]:
        seen = SessionSeen("s-1", "carol", "human", "shop", "shop", "10.0.0.1", 1.0)
        return [] if self.ended else [LiveSession("node-1", 0, seen)]

    async def end(self, session: str, by: str, reason: str) -> bool:
        self.ended.append(session)
        return True


class Stage(msgspec.Struct):
    services: Services
    desks: Desks
    client: httpx.AsyncClient
    app: Any
    standing: list[Standing]
    """The last one counts."""
    live: Live

    @property
    def clock(self) -> Clock:
        return self.desks.clock

    async def token(self, name: str, roles: tuple[str, ...] | None = None) -> dict[str, str]:
        """An Authorization header of this person."""
        groups = PEOPLE.get(name, ())
        held = ROLES if roles is None else roles
        secret, _, _ = await self.services.tokens.make(
            Identity(name, groups=groups), "test", held, 3_600.0
        )
        return {"Authorization": f"Bearer {secret}"}

    async def sign_in(self, name: str) -> tuple[dict[str, str], str]:
        """(cookies, CSRF token)."""
        self.client.cookies.clear()
        answer = await self.client.post("/sign-in", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        cookies = dict(answer.cookies)
        self.client.cookies.clear()
        return cookies, answer.json()["csrf"]


def user(name: str, *groups: str, **different: Any) -> User:
    verifier = make_verifier(PASSWORD, secrets.token_bytes(16), 16).render()
    return User(name=name, groups=groups, **{"verifier": verifier, **different})


def directory() -> Directory:
    people = [user(name, *groups) for name, groups in PEOPLE.items()]
    people.append(user("copilot", "agents", kind=PrincipalKind.AGENT, on_behalf_of="norole"))
    people.append(user("gone", "admins", disabled=True))
    people.append(user("passwordless", "admins", verifier=None))
    return Directory(people)


def standing_of(folder: Path, url: str = ORIGIN, more: str = "") -> Standing:
    configuration = parse(CONFIGURATION.format(data=folder, url=url, more=more))
    assert configuration.control is not None
    documents = (("policy.yaml", POLICY),)
    return Standing(
        configuration, configuration.control, directory(), compile_documents(documents), documents
    )


@contextlib.asynccontextmanager
async def open_stage(folder: Path, url: str = ORIGIN, more: str = "") -> AsyncIterator[Stage]:
    store = SqliteStore(MEMORY)
    await store.open()
    try:
        live = Live()
        desks = desks_over(store, sessions=live)
        standing = [standing_of(folder, url, more)]
        services = services_of(
            lambda: standing[-1],
            desks.approvals,
            PolicyVersions(desks.changes, "node-1"),
            Witness(desks.changes, folder, "node-1", lambda chains: None).seen,
            StoreShelf(store),
            Recording(desks.trail, desks.clock, secrets.token_bytes),
            desks.clock,
        )
        app = make_app(services)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            yield Stage(services, desks, client, app, standing, live)
        await services.providers.close()
    finally:
        await store.close()
