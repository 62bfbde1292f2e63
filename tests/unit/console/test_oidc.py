"""Signing in at an identity provider, against a real one on a port, and everything that is wrong
about an answer."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest

from appliance.console.credentials import digest
from appliance.console.people import Identity
from appliance.console.shelf import written
from tests.unit.console.stage import ORIGIN, Stage, open_stage

MORE = """
  sign_in:
    oidc:
      - {{name: corporate, issuer: "{url}", discovery_url: "{url}/.well-known/openid-configuration",
         client_id: sallyport, client_secret: "env:OIDC_CLIENT_SECRET", scopes: [openid, profile]}}
identities:
  oidc:
    - {{name: corporate, issuer: "{url}", audience: [database], jwks_url: "{url}/jwks",
       username_claim: sub}}
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Its URL, of a process of its own. `bob` is one of its users, in the group of approvers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    bob = json.dumps({"sub": "bob", "groups": ["approvers"]})
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--user-claims", bob],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/.well-known/openid-configuration", process)
        yield url
    finally:
        process.kill()
        process.wait(20)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        assert process.poll() is None, "the provider ended"
        try:
            if httpx.get(url).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError("the provider did not answer")


@pytest.fixture
async def signing(
    tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    monkeypatch.setenv("OIDC_CLIENT_SECRET", "any, that provider says: +%/")
    async with open_stage(tmp_path, more=MORE.format(url=provider)) as stage:
        stage.clock.now = time.time()  # the provider has no other
        yield stage


async def begin(stage: Stage, next: str = "/") -> str:
    """Where the browser is sent."""
    answer = await stage.client.get("/sign-in/oidc/corporate", params={"next": next})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def consent(url: str, sub: str = "bob") -> str:
    """What a person does at the provider -> where it sends the browser back to."""
    answer = httpx.post(url, data={"sub": sub}, follow_redirects=False)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


async def come_back(stage: Stage, url: str, **changed: str) -> httpx.Response:
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changed
    return await stage.client.get(parts.path, params=query)


async def test_the_round_trip(signing: Stage, provider: str) -> None:
    where = await begin(signing, "/requests")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    assert asked["redirect_uri"] == f"{ORIGIN}/sign-in/oidc/corporate/callback"
    assert len(asked["state"]) == len(asked["nonce"]) == len(asked["code_challenge"]) == 43
    answer = await come_back(signing, consent(where))
    assert (answer.status_code, answer.headers["location"]) == (303, "/requests")
    me = (await signing.client.get("/api/v1/me")).json()
    assert (me["name"], me["source"], me["roles"]) == ("bob", "corporate", ["approver"])
    assert signing.desks.trail.events() == ["signed_in"]


async def test_groups_of_the_last_sign_in_count_for_tokens_too(signing: Stage) -> None:
    """Somebody who was an administrator when they made a token, and is none now."""
    before = Identity("bob", "corporate", groups=("admins",))
    secret, _, _ = await signing.services.tokens.make(before, "old", ("admin",), 3_600.0)
    headers = {"Authorization": f"Bearer {secret}"}
    assert (await signing.client.get("/api/v1/me", headers=headers)).json()["roles"] == ["admin"]
    await come_back(signing, consent(await begin(signing)))
    assert (await signing.client.get("/api/v1/me", headers=headers)).json()["roles"] == []


async def test_an_answer_is_taken_once(signing: Stage) -> None:
    back = consent(await begin(signing))
    cookies = dict(signing.client.cookies)
    assert (await come_back(signing, back)).headers["location"] == "/"
    signing.client.cookies.clear()
    signing.client.cookies.update(cookies)
    await refused(signing, await come_back(signing, back))


async def refused(stage: Stage, answer: httpx.Response) -> None:
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?failed=1")
    assert "__Host-sallyport" not in answer.cookies
    assert stage.desks.trail.events()[-1] == "sign_in_failed"


async def test_only_the_browser_that_began_it(signing: Stage) -> None:
    """Somebody else's answer, planted by a link: the victim would work in the attacker's name."""
    back = consent(await begin(signing))
    signing.client.cookies.clear()
    await refused(signing, await come_back(signing, back))
    await begin(signing)  # the victim has a cookie of their own, of another sign-in
    await refused(signing, await come_back(signing, back))


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "a" * 43},
        {"iss": "https://evil.test"},
        {"error": "access_denied"},
        {"code": ""},
        {"state": ""},
    ],
)
async def test_answers_that_are_not_ours(signing: Stage, changed: dict[str, str]) -> None:
    await refused(signing, await come_back(signing, consent(await begin(signing)), **changed))


async def test_a_code_that_the_provider_does_not_know(signing: Stage) -> None:
    answer = await come_back(signing, consent(await begin(signing)), code="guessed")
    assert answer.status_code == 502
    assert "guessed" not in answer.text


async def test_a_sign_in_that_took_too_long(signing: Stage) -> None:
    back = consent(await begin(signing))
    signing.clock.advance(601)
    await refused(signing, await come_back(signing, back))


async def altered(stage: Stage, **fields: Any) -> str:
    """Begins a sign-in and changes what is kept of it -> where the provider is."""
    where = await begin(stage)
    (state,) = parse_qs(urlsplit(where).query)["state"]
    async with stage.desks.store.transaction() as tx:
        sheet = await tx.sheet("oidc", digest(state))
        assert sheet is not None
        body = msgspec.json.decode(sheet.body) | fields
        await tx.put_sheet(msgspec.structs.replace(sheet, body=written(body)))
    return where


async def test_a_token_for_another_nonce(signing: Stage) -> None:
    """An ID token of another sign-in, injected."""
    await refused(
        signing, await come_back(signing, consent(await altered(signing, nonce="x" * 43)))
    )


async def test_a_token_for_another_client(signing: Stage) -> None:
    back = consent(await begin(signing))
    standing = signing.standing[-1]
    (one,) = standing.control.sign_in.oidc
    other = msgspec.structs.replace(one, client_id="another")
    sign_in = msgspec.structs.replace(standing.control.sign_in, oidc=(other,))
    control = msgspec.structs.replace(standing.control, sign_in=sign_in)
    signing.standing.append(standing._replace(control=control))
    answer = await come_back(signing, back)
    assert answer.status_code in {303, 502}
    assert "__Host-sallyport" not in answer.cookies


async def test_an_issuer_that_calls_itself_otherwise(tmp_path: Path, provider: str) -> None:
    more = MORE.format(url=provider).replace(f'issuer: "{provider}"', 'issuer: "https://idp.test"')
    async with open_stage(tmp_path, more=more) as stage:
        answer = await stage.client.get("/sign-in/oidc/corporate")
        assert answer.status_code == 502


async def test_a_provider_that_is_not_configured(signing: Stage) -> None:
    assert (await signing.client.get("/sign-in/oidc/other")).status_code == 404


async def test_a_provider_that_cannot_be_reached(tmp_path: Path) -> None:
    async with open_stage(tmp_path, more=MORE.format(url="http://127.0.0.1:9")) as stage:
        answer = await stage.client.get("/sign-in/oidc/corporate")
        assert answer.status_code == 502
        assert "127.0.0.1:9" not in answer.text


async def test_next_is_ours_here_too(signing: Stage) -> None:
    where = await begin(signing, "https://evil.test/")
    assert (await come_back(signing, consent(where))).headers["location"] == "/"


async def test_the_page_offers_it(signing: Stage) -> None:
    page = (await signing.client.get("/sign-in?next=/requests")).text
    assert re.search(r"/sign-in/oidc/corporate\?next=(/|%2F)requests", page)


async def test_a_token_for_databases_asks_after_its_own_requests(
    signing: Stage, provider: str
) -> None:
    """An agent polls its ticket with the very token that it logs in to databases with."""
    token = id_token(provider, "database")
    headers = {"Authorization": f"Bearer {token}"}
    me = (await signing.client.get("/api/v1/me", headers=headers)).json()
    assert (me["name"], me["proof"]) == ("bob", "oidc")
    signing.clock.advance(7_200)
    assert (await signing.client.get("/api/v1/me", headers=headers)).status_code == 401
    other = id_token(provider, "somebody-else")
    headers = {"Authorization": f"Bearer {other}"}
    assert (await signing.client.get("/api/v1/me", headers=headers)).status_code == 401


def id_token(provider: str, audience: str) -> str:
    redirect = "https://agent.test/callback"
    asked = {
        "response_type": "code",
        "client_id": audience,
        "redirect_uri": redirect,
        "scope": "openid",
        "state": "s",
        "nonce": f"n-{audience}",
    }
    back = consent(str(httpx.URL(f"{provider}/oauth2/authorize", params=asked)))
    (code,) = parse_qs(urlsplit(back).query)["code"]
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect,
        "client_id": audience,
        "client_secret": "any",
    }
    answer = httpx.post(f"{provider}/oauth2/token", data=fields)
    return str(answer.json()["id_token"])
