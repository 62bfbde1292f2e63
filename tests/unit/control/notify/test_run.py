"""From a configuration to what runs, with secrets from files."""

import asyncio
import urllib.parse
from pathlib import Path
from typing import NamedTuple

import pytest

from appliance.config.load import parse
from appliance.config.schema import Configuration
from appliance.control.desk import Desk, Policies
from appliance.control.notify.run import notices, notices_of, run, users
from appliance.control.store import Store
from tests.desk import Desks, asked
from tests.unit.control.notify.standins import URL, HandClock, HttpServer, becomes, http

TEXT = """
listeners: [{name: main, address: '127.0.0.1:0', target: shop, tls: {mode: disable}}]
targets: [{name: shop, host: localhost, roles: [{principals: ['*'], user: app}]}]
identities: {users: users.yaml}
control:
  roles: {approver: [approvers]}
  notify:
"""


class Running(NamedTuple):
    configuration: Configuration
    desk: Desk
    store: Store
    url: str
    policies: Policies | None = None


def configuration(folder: Path, notify: str) -> Configuration:
    return parse(TEXT + notify, folder)


def written(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text + "\n")
    (folder / name).chmod(0o600)


async def test_all_of_them(desks: Desks, tmp_path: Path) -> None:
    written(tmp_path, "hook", "a secret of more than 24 bytes")
    written(tmp_path, "slack", "xoxb-1")
    written(tmp_path, "users.yaml", "users: [{name: bob, groups: [approvers]}]")
    answer = http(200, b'{"ok": true, "channel": "C", "ts": "1.1"}')
    async with HttpServer(answer) as server:
        found = configuration(
            tmp_path,
            f"    webhooks: [{{name: siem, url: '{server.url}/w', secret: 'file:hook'}}]\n"
            f"    slack: {{token: 'file:slack', signing_secret: 'file:slack', channel: C,"
            f" api_url: '{server.url}/api', people: {{U1: bob}}}}\n"
            "    mail: {server: 'localhost:1', tls: none, sender: a@b.c,"
            " recipients: {'*': [d@e.f]}}\n",
        )
        made = notices(found, desks.approvals, desks.store, url=URL, clock=HandClock(desks))
        task = asyncio.create_task(made.run())
        await asyncio.sleep(0.2)
        await desks.held.ask(asked(), True)
        await becomes(lambda: len(server.seen) >= 2)
        status, _ = await made.interaction({}, urllib.parse.urlencode({"payload": "{}"}).encode())
        task.cancel()
        await asyncio.wait((task,))
    assert {seen.line.split()[1] for seen in server.seen} == {"/w", "/api/chat.postMessage"}
    assert status == 401
    assert users(found).principal("bob") is not None


async def test_nobody_to_tell(desks: Desks, tmp_path: Path) -> None:
    control = Running(configuration(tmp_path, "    {}\n"), desks.approvals, desks.store, URL)
    service = asyncio.create_task(run(control))
    done, _ = await asyncio.wait((service,), timeout=0.1)
    assert not done  # a service that ends by itself is a failure
    service.cancel()
    assert await notices_of(control).interaction({}, b"") == (404, {})


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), ("short", "shorter than 24"), ("", "is empty")]
)
async def test_a_secret_that_is_no_good_stops_the_start(
    desks: Desks, tmp_path: Path, content: str | None, says: str
) -> None:
    if content is not None:
        written(tmp_path, "hook", content)
    text = "    webhooks: [{name: siem, url: 'https://siem.example/', secret: 'file:hook'}]\n"
    with pytest.raises(ValueError, match=says):
        notices(configuration(tmp_path, text), desks.approvals, desks.store, url=URL)
