"""The device flow's rules (RFC 8628), one by one. `tests/unit/cli/test_remote` goes through it as a
command line does."""

import asyncio
from typing import Any

import httpx
import msgspec

from appliance.console.api.device import GRANT_TYPE
from appliance.console.device import ALPHABET, Answer, bare
from appliance.console.people import Identity
from tests.unit.console.stage import Stage, directory

CONFIRM = "/api/v1/device"


async def begun(stage: Stage) -> dict[str, Any]:
    answer = await stage.client.post("/device/authorize", data={"client_id": "a\x07 test"})
    assert answer.status_code == 200
    return dict(answer.json())


async def polled(stage: Stage, code: str) -> httpx.Response:
    fields = {"grant_type": GRANT_TYPE, "device_code": code, "client_id": "test"}
    return await stage.client.post("/device/token", data=fields)


async def confirm(stage: Stage, code: str, name: str = "approver", approve: bool = True) -> int:
    cookies, csrf = await stage.sign_in(name)
    stage.client.cookies.update(cookies)
    body = {"user_code": code, "approve": approve}
    answer = await stage.client.post(CONFIRM, json=body, headers={"X-CSRF-Token": csrf})
    stage.client.cookies.clear()
    return answer.status_code


async def test_the_answers_a_device_gets(stage: Stage) -> None:
    asked = await begun(stage)
    assert asked["verification_uri"] == "https://console.test/device"
    assert len(asked["user_code"]) == 9 and set(asked["user_code"]) <= {*ALPHABET, "-"}
    waiting = await polled(stage, asked["device_code"])
    assert (waiting.status_code, waiting.json()) == (400, {"error": "authorization_pending"})
    early = await polled(stage, asked["device_code"])
    assert early.json() == {"error": "slow_down"}
    assert await confirm(stage, asked["user_code"]) == 204
    given = (await polled(stage, asked["device_code"])).json()
    assert (given["token_type"], given["name"], given["roles"]) == (
        "Bearer",
        "approver",
        ["approver"],
    )
    headers = {"Authorization": f"Bearer {given['access_token']}"}
    assert (await stage.client.get("/api/v1/me", headers=headers)).json()["name"] == "approver"
    again = await polled(stage, asked["device_code"])
    assert again.json() == {"error": "expired_token"}


async def test_a_code_is_answered_once(stage: Stage) -> None:
    """Whoever guesses it after its owner has nothing to answer, and takes nothing over."""
    asked = await begun(stage)
    assert await confirm(stage, asked["user_code"]) == 204
    assert await confirm(stage, asked["user_code"], "admin") == 404
    assert (await polled(stage, asked["device_code"])).json()["name"] == "approver"


async def test_of_two_answers_at_once_one_counts(stage: Stage) -> None:
    asked = await begun(stage)
    devices, code = stage.services.devices, asked["user_code"]
    one, other = (
        devices.answer(code, True, Identity(name), frozenset({"viewer"})) for name in "ab"
    )
    answers = await asyncio.gather(one, other)
    assert sum(answer is not None for answer in answers) == 1


async def test_a_code_ends(stage: Stage) -> None:
    asked = await begun(stage)
    stage.clock.advance(601)
    assert await confirm(stage, asked["user_code"]) == 404
    assert (await polled(stage, asked["device_code"])).json() == {"error": Answer.EXPIRED.value}


async def test_a_code_turned_down(stage: Stage) -> None:
    asked = await begun(stage)
    assert await confirm(stage, asked["user_code"], approve=False) == 204
    assert (await polled(stage, asked["device_code"])).json() == {"error": "access_denied"}


async def test_a_token_confirms_nothing(stage: Stage) -> None:
    """Else a leaked token would last for ever, one device after another."""
    asked = await begun(stage)
    body = {"user_code": asked["user_code"], "approve": True}
    answer = await stage.client.post(CONFIRM, json=body, headers=await stage.token("admin"))
    assert answer.status_code == 403


async def test_whoever_lost_a_role_meanwhile_does_not_get_it(stage: Stage) -> None:
    asked = await begun(stage)
    assert await confirm(stage, asked["user_code"]) == 204
    approver = directory().find("approver")
    assert approver is not None
    without = directory().with_user(msgspec.structs.replace(approver, groups=()))
    stage.standing.append(stage.standing[0]._replace(directory=without))
    assert (await polled(stage, asked["device_code"])).json()["roles"] == []
    asked = await begun(stage)
    assert await confirm(stage, asked["user_code"]) == 204
    stage.standing.append(stage.standing[0]._replace(directory=directory().without("approver")))
    assert (await polled(stage, asked["device_code"])).json() == {"error": "access_denied"}


async def test_guesses_are_paced(stage: Stage) -> None:
    headers = await stage.token("viewer")
    for _ in range(20):
        answer = await stage.client.get(f"{CONFIRM}?user_code=BBBBBBBB", headers=headers)
        assert answer.status_code == 404
    answer = await stage.client.get(f"{CONFIRM}?user_code=BBBBBBBB", headers=headers)
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)


async def test_devices_are_paced(stage: Stage) -> None:
    for _ in range(20):
        await begun(stage)
    assert (
        await stage.client.post("/device/authorize", data={"client_id": "x"})
    ).status_code == 429


async def test_what_is_shown_before_one_confirms(stage: Stage) -> None:
    asked = await begun(stage)
    headers = await stage.token("viewer")
    query = f"user_code={asked['user_code'].lower().replace('-', '%20')}"
    shown = (await stage.client.get(f"{CONFIRM}?{query}", headers=headers)).json()
    assert (shown["user_code"], shown["client"]) == (asked["user_code"], "a test")
    assert shown["address"] == "127.0.0.1"


async def test_other_grants_are_not_known(stage: Stage) -> None:
    fields = {"grant_type": "password", "device_code": "x"}
    answer = await stage.client.post("/device/token", data=fields)
    assert answer.json() == {"error": "unsupported_grant_type"}


async def test_the_devices_secret_is_not_stored(stage: Stage) -> None:
    asked = await begun(stage)
    async with stage.desks.store.transaction() as tx:
        sheets = [*await tx.sheets("device", "", 10), *await tx.sheets("device_code", "", 10)]
    assert len(sheets) == 2
    assert asked["device_code"] not in str(sheets)


def test_codes_as_people_type_them() -> None:
    assert bare(" bcdf-ghjk ") == "BCDFGHJK"
    assert bare("aeiou012") == ""
