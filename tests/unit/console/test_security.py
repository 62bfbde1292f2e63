"""What must not work: requests from other sites, other people's sessions and tokens, more than one
may, ways out of the console, floods."""

import hashlib
from pathlib import Path

import httpx
import msgspec
import pytest

from appliance.console.api.sign_in import inside
from appliance.console.app import make_app, services_of
from appliance.console.people import LOCAL, Identity
from appliance.console.store_shelf import StoreShelf
from tests.desk import asked
from tests.unit.console.stage import (
    HOST,
    ORIGIN,
    PASSWORD,
    Stage,
    directory,
    open_stage,
    standing_of,
)

MAKE = {"label": "ci", "roles": ["viewer"]}
TOKENS = "/api/v1/tokens"


async def test_a_cookie_alone_changes_nothing(stage: Stage) -> None:
    cookies, csrf = await stage.sign_in("admin")
    stage.client.cookies.update(cookies)
    refused = await stage.client.post(TOKENS, json={"label": "x"})
    assert (refused.status_code, "CSRF" in refused.text) == (403, True)
    taken = await stage.client.post(TOKENS, json={"label": "x"}, headers={"X-CSRF-Token": csrf})
    assert taken.status_code == 201


async def test_the_csrf_token_is_one_sessions(stage: Stage) -> None:
    _, foreign = await stage.sign_in("viewer")
    cookies, _ = await stage.sign_in("admin")
    stage.client.cookies.update(cookies)
    answer = await stage.client.post(TOKENS, json=MAKE, headers={"X-CSRF-Token": foreign})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": f"http://{HOST}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": ORIGIN},
    ],
)
async def test_other_sites_cannot_even_sign_somebody_in(
    stage: Stage, headers: dict[str, str]
) -> None:
    body = {"name": "admin", "password": PASSWORD}
    answer = await stage.client.post("/sign-in", data=body, headers=headers)
    assert (answer.status_code, answer.headers.get("set-cookie")) == (403, None)


async def test_simple_requests_are_not_taken_for_json(stage: Stage) -> None:
    """A form of another site can send text/plain without asking the browser first."""
    cookies, csrf = await stage.sign_in("admin")
    stage.client.cookies.update(cookies)
    answer = await stage.client.post(
        TOKENS,
        content=b'{"label":"x"}',
        headers={"X-CSRF-Token": csrf, "Content-Type": "text/plain"},
    )
    assert answer.status_code == 415


async def test_the_cookie_is_out_of_reach(stage: Stage) -> None:
    answer = await stage.client.post("/sign-in", json={"name": "admin", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-sallyport=")
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie


async def test_without_tls_the_cookie_has_a_plain_name(tmp_path: Path) -> None:
    async with open_stage(tmp_path, url="http://localhost:8480") as stage:
        answer = await stage.client.post("/sign-in", json={"name": "admin", "password": PASSWORD})
        assert answer.headers["set-cookie"].startswith("sallyport=")
        assert "Strict-Transport-Security" not in answer.headers


async def test_a_session_that_was_there_before_is_not_adopted(stage: Stage) -> None:
    """Fixation: a browser leaves with a new cookie; the one that it came with ends."""
    cookies, _ = await stage.sign_in("viewer")
    stage.client.cookies.update(cookies)
    answer = await stage.client.post(
        "/sign-in", json={"name": "admin", "password": PASSWORD}, headers={"Origin": ORIGIN}
    )
    assert answer.cookies["__Host-sallyport"] != cookies["__Host-sallyport"]
    stage.client.cookies.clear()
    stage.client.cookies.update(cookies)
    assert (await stage.client.get("/api/v1/me")).status_code == 401


async def test_made_up_cookies_and_tokens_are_nobody(stage: Stage) -> None:
    stage.client.cookies.set("__Host-sallyport", "a" * 43)
    assert (await stage.client.get("/api/v1/me")).status_code == 401
    stage.client.cookies.clear()
    for secret in ("spt_" + "a" * 43, "spt_", "x" * 20_000, "a.b.c", ""):
        answer = await stage.client.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 401
    basic = await stage.client.get("/api/v1/me", headers={"Authorization": "Basic YTpi"})
    assert basic.status_code == 401


async def test_a_bad_token_is_not_rescued_by_a_good_cookie(stage: Stage) -> None:
    cookies, _ = await stage.sign_in("admin")
    stage.client.cookies.update(cookies)
    answer = await stage.client.get("/api/v1/me", headers={"Authorization": "Bearer spt_nothing"})
    assert answer.status_code == 401


async def test_what_is_stored_opens_nothing(stage: Stage) -> None:
    headers = await stage.token("admin")
    secret = headers["Authorization"].removeprefix("Bearer ")
    async with stage.desks.store.transaction() as tx:
        (sheet,) = await tx.sheets("token", "", 10)
    assert sheet.id == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in sheet.body
    answer = await stage.client.get("/api/v1/me", headers={"Authorization": f"Bearer {sheet.id}"})
    assert answer.status_code == 401


async def test_a_token_has_no_more_than_its_owner_has_now(stage: Stage) -> None:
    headers = await stage.token("approver", ("viewer", "approver", "admin"))
    me = (await stage.client.get("/api/v1/me", headers=headers)).json()
    assert me["roles"] == ["approver"]
    approver = directory().find("approver")
    assert approver is not None
    demoted = directory().with_user(msgspec.structs.replace(approver, groups=("staff",)))
    stage.standing.append(stage.standing[0]._replace(directory=demoted))
    assert (await stage.client.get("/api/v1/me", headers=headers)).json()["roles"] == []
    stage.standing.append(stage.standing[0]._replace(directory=demoted.without("approver")))
    assert (await stage.client.get("/api/v1/me", headers=headers)).status_code == 401


async def test_a_token_is_made_by_people_and_within_their_roles(stage: Stage) -> None:
    cookies, csrf = await stage.sign_in("viewer")
    stage.client.cookies.update(cookies)
    headers = {"X-CSRF-Token": csrf}
    more = {"label": "ci", "roles": ["viewer", "admin"]}
    assert (await stage.client.post(TOKENS, json=more, headers=headers)).status_code == 403
    made = (await stage.client.post(TOKENS, json=MAKE, headers=headers)).json()
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert (await stage.client.get("/api/v1/me", headers=bearer)).json()["roles"] == ["viewer"]
    assert (await stage.client.post(TOKENS, json=MAKE, headers=bearer)).status_code == 403
    listed = (await stage.client.get(TOKENS, headers=bearer)).json()["tokens"]
    assert [("token" in one, one["label"]) for one in listed] == [(False, "ci")]
    assert made["token"] not in str(stage.desks.trail.records)


async def test_tokens_of_others_are_the_administrators_to_revoke(stage: Stage) -> None:
    mine = await stage.token("viewer")
    async with stage.desks.store.transaction() as tx:
        (sheet,) = await tx.sheets("token", "", 10)
    path = f"{TOKENS}/{sheet.id}"
    other = await stage.token("approver")
    assert (await stage.client.delete(path, headers=other)).status_code == 404
    everybody = await stage.client.get(f"{TOKENS}?everybody=true", headers=other)
    assert everybody.status_code == 403
    admin = await stage.token("admin")
    assert (await stage.client.delete(path, headers=admin)).status_code == 204
    assert (await stage.client.get("/api/v1/me", headers=mine)).status_code == 401
    assert stage.desks.trail.events()[-1] == "admin_acted"


async def test_tokens_and_sessions_expire(stage: Stage) -> None:
    headers = await stage.token("viewer")
    cookies, _ = await stage.sign_in("viewer")
    stage.client.cookies.update(cookies)
    stage.clock.advance(59 * 60)
    assert (await stage.client.get("/api/v1/me")).status_code == 200
    stage.clock.advance(59 * 60)  # idle again for less than an hour
    assert (await stage.client.get("/api/v1/me")).status_code == 200
    assert (await stage.client.get("/api/v1/me", headers=headers)).status_code == 401
    for _ in range(11):
        stage.clock.advance(59 * 60)
        last = await stage.client.get("/api/v1/me")
    assert last.status_code == 401  # twelve hours, whatever was done
    cookies, _ = await stage.sign_in("viewer")
    stage.client.cookies.update(cookies)
    stage.clock.advance(61 * 60)
    assert (await stage.client.get("/api/v1/me")).status_code == 401


async def test_one_signs_out_and_ends_ones_other_sessions(stage: Stage) -> None:
    first, _ = await stage.sign_in("viewer")
    second, csrf = await stage.sign_in("viewer")
    stage.client.cookies.update(second)
    found = (await stage.client.get("/api/v1/sign-ins")).json()["sign_ins"]
    (other,) = [one["id"] for one in found if not one["current"]]
    headers = {"X-CSRF-Token": csrf}
    assert (await stage.client.delete(f"/api/v1/sign-ins/{other}", headers=headers)).is_success
    assert (await stage.client.post("/sign-out", headers=headers)).status_code == 204
    for cookies in (first, second):
        stage.client.cookies.clear()
        stage.client.cookies.update(cookies)
        assert (await stage.client.get("/api/v1/me")).status_code == 401


@pytest.mark.parametrize("name", ["nobody-here", "gone", "passwordless", "admin"])
async def test_every_wrong_sign_in_goes_the_same_way(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not timed: each derives a key of the same cost once, and answers the same."""
    rounds: list[int] = []
    real = hashlib.pbkdf2_hmac

    def counting(kind: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        rounds.append(iterations)
        return real(kind, password, salt, iterations)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counting)
    answer = await stage.client.post("/sign-in", json={"name": name, "password": "wrong"})
    body = answer.json()
    assert (answer.status_code, body["detail"]) == (401, "the name or the password is wrong")
    assert rounds == [16]
    assert stage.desks.trail.events() == ["sign_in_failed"]
    assert "wrong" not in str(stage.desks.trail.records[0].claimed)  # type: ignore[attr-defined]


async def test_a_disabled_user_does_not_come_in_with_the_right_password(stage: Stage) -> None:
    answer = await stage.client.post("/sign-in", json={"name": "gone", "password": PASSWORD})
    assert (answer.status_code, answer.headers.get("set-cookie")) == (401, None)


async def test_guessing_is_slowed_down(stage: Stage) -> None:
    for _ in range(10):
        await stage.client.post("/sign-in", json={"name": "admin", "password": "wrong"})
    answer = await stage.client.post("/sign-in", json={"name": "admin", "password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 301
    stage.clock.advance(301)
    answer = await stage.client.post("/sign-in", json={"name": "admin", "password": PASSWORD})
    assert answer.status_code == 200


async def test_another_process_on_the_store_counts_on(stage: Stage) -> None:
    """A restart, or another appliance, is no fresh start for who guesses."""
    for _ in range(10):
        await stage.client.post("/sign-in", json={"name": "admin", "password": "wrong"})
    services = services_of(
        stage.services.current,
        stage.desks.approvals,
        stage.services.policies,
        stage.services.trails.seen,
        StoreShelf(stage.desks.store),
        stage.services.recorder,
        stage.clock,
    )
    transport = httpx.ASGITransport(make_app(services), client=("192.0.2.99", 1))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as other:
        right = {"name": "admin", "password": PASSWORD}
        assert (await other.post("/sign-in", json=right)).status_code == 429
        stage.clock.advance(301)
        assert (await other.post("/sign-in", json=right)).status_code == 200
        assert (await other.post("/sign-in", json={**right, "password": "x"})).status_code == 401


async def test_a_sign_in_forgives_what_went_before(stage: Stage) -> None:
    for _ in range(3):
        for _ in range(9):
            await stage.client.post("/sign-in", json={"name": "admin", "password": "wrong"})
        right = {"name": "admin", "password": PASSWORD}
        assert (await stage.client.post("/sign-in", json=right)).status_code == 200
        stage.client.cookies.clear()
        stage.clock.advance(301)


async def test_one_address_is_slowed_down_over_all_names(stage: Stage) -> None:
    for number in range(30):
        await stage.client.post("/sign-in", json={"name": f"n{number}", "password": "wrong"})
    answer = await stage.client.post("/sign-in", json={"name": "viewer", "password": PASSWORD})
    assert answer.status_code == 429


async def test_a_whole_network_is_one_address(stage: Stage) -> None:
    """An IPv6 subscriber has 2^64 addresses."""
    transport = [
        httpx.ASGITransport(stage.app, client=(f"2001:db8:1:{net}::{host:x}", 1))
        for net, host in [(1, number) for number in range(1, 32)] + [(2, 1)]
    ]
    seen = []
    for number, one in enumerate(transport):
        async with httpx.AsyncClient(transport=one, base_url=ORIGIN) as client:
            body = {"name": f"n{number}", "password": "wrong"}
            seen.append((await client.post("/sign-in", json=body)).status_code)
    assert seen == [401] * 30 + [429, 401]


async def test_what_cannot_be_recorded_does_not_happen(stage: Stage) -> None:
    stage.desks.trail.broken = True
    answer = await stage.client.post("/sign-in", json={"name": "admin", "password": PASSWORD})
    assert (answer.status_code, answer.headers.get("set-cookie")) == (503, None)


@pytest.mark.parametrize(
    "next",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test",
        "\\\\evil.test",
        "javascript:alert(1)",
        "/x\r\nSet-Cookie: a=b",
        "/\t/evil.test",
        "",
        "evil",
        "/" + "a" * 3_000,
    ],
)
async def test_next_stays_inside(stage: Stage, next: str) -> None:
    assert inside(next) == "/"
    answer = await stage.client.post(
        "/sign-in", data={"name": "admin", "password": PASSWORD, "next": next}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_pages_send_people_to_sign_in_and_back(stage: Stage) -> None:
    answer = await stage.client.get("/device?user_code=BCDF-GHJK")
    where = answer.headers["location"]
    assert where == "/sign-in?next=/device%3Fuser_code%3DBCDF-GHJK"
    page = await stage.client.get(where)
    assert 'value="/device?user_code=BCDF-GHJK"' in page.text


async def test_nothing_a_caller_says_is_markup(stage: Stage) -> None:
    page = await stage.client.get("/sign-in", params={"next": '/"><script>alert(1)</script>'})
    assert "<script>" not in page.text


@pytest.mark.parametrize("path", ["/sign-in", "/api/v1/me", "/nowhere", "/api/v1/openapi.json"])
async def test_every_answer_is_closed_off(stage: Stage, path: str) -> None:
    headers = (await stage.client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["strict-transport-security"].startswith("max-age=")


async def test_bodies_are_bounded(stage: Stage) -> None:
    big = b'{"name":"' + b"a" * 70_000 + b'"}'
    headers = {"Content-Type": "application/json"}
    answer = await stage.client.post("/sign-in", content=big, headers=headers)
    assert answer.status_code == 413

    async def drip() -> object:
        for _ in range(70):
            yield b"a" * 1_000

    answer = await stage.client.post("/sign-in", content=drip(), headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"name":"a"}', "application/json"),
        (b'{"name":"a","password":"b","roles":["admin"]}', "application/json"),
        (b"name=a&name=b&password=c", "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(200)), "application/x-www-form-urlencoded"),
    ],
)
async def test_what_does_not_fit_is_refused(stage: Stage, content: bytes, kind: str) -> None:
    answer = await stage.client.post("/sign-in", content=content, headers={"Content-Type": kind})
    assert answer.status_code in {400, 422}
    assert "secret" not in answer.text


async def test_an_error_tells_its_reader_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: object, **more: object) -> None:
        raise RuntimeError("the secret is tangerine")

    monkeypatch.setattr(type(stage.services.studies), "policy", broken)
    answer = await stage.client.get("/api/v1/policy", headers=await stage.token("viewer"))
    assert answer.status_code == 500
    told = answer.json()
    assert told["instance"].startswith("urn:sallyport:problem:") and "tangerine" not in answer.text
    assert "tangerine" not in capfd.readouterr().err


async def test_requests_of_others_are_not_there(stage: Stage) -> None:
    """They are whoever's that asked, and the human's behind it."""
    held = await stage.desks.held.ask(asked(on_behalf_of="norole"), True)
    path = f"/api/v1/requests/{held.asked.id}"
    for name, status in (("norole", 200), ("copilot", 200), ("passwordless", 404)):
        answer = await stage.client.get(path, headers=await stage.token(name, ()))
        assert answer.status_code == status


async def test_two_people_of_one_name_are_two(stage: Stage) -> None:
    """One from the users file, one from a provider: neither sees the other's tokens."""
    await stage.services.tokens.make(Identity("viewer", "corporate"), "theirs", (), 60.0)
    listed = await stage.client.get(TOKENS, headers=await stage.token("viewer"))
    assert [one["label"] for one in listed.json()["tokens"]] == ["test"]


async def test_a_host_that_is_none_is_refused(stage: Stage) -> None:
    answer = await stage.client.get("/sign-in", headers={"Host": "a b<script>"})
    assert answer.status_code == 400


async def test_sign_in_can_be_left_to_providers(tmp_path: Path) -> None:
    async with open_stage(tmp_path, more="  sign_in: {local: false}") as stage:
        answer = await stage.client.post("/sign-in", json={"name": "admin", "password": PASSWORD})
        assert answer.status_code == 403
        assert isinstance(answer, httpx.Response)


async def test_no_provider_can_pass_for_the_users_file(stage: Stage) -> None:
    """What a provider called so said would be looked up among the local users."""
    with pytest.raises(ValueError, match="not a valid name"):
        standing_of(stage.services.current().configuration.data, more=PROVIDER.format(name=LOCAL))
    standing_of(stage.services.current().configuration.data, more=PROVIDER.format(name="local"))


PROVIDER = """
identities:
  oidc:
    - {{name: "{name}", issuer: "https://idp.test", audience: [a], jwks_url: "https://idp.test/k"}}
"""
