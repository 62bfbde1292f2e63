"""What the API answers: requests, grants, sessions, changes as they happen, policy, its own
description."""

import asyncio
import itertools
import json
import re
from typing import Any

import pytest

from appliance.console import studies
from appliance.console.api import live
from appliance.console.metering import figures
from appliance.console.policy_catalog import catalog_from_tables
from appliance.console.problems import Problem
from appliance.console.routes import TABLE
from appliance.control.desk import Change
from appliance.sql.lineage import CatalogLineage
from tests.desk import asked, terms
from tests.unit.console.stage import Stage, directory, user

TABLES = {"public.customers": ("id int", "name text", "email text")}
SCOPE = {
    "principals": ["copilot"],
    "targets": ["shop"],
    "actions": ["update"],
    "resources": ["shop.orders.status"],
}


async def held(stage: Stage, **different: Any) -> str:
    return (await stage.desks.held.ask(asked(**different), True)).asked.id


async def test_a_request_from_question_to_answer(stage: Stage) -> None:
    id = await held(stage, on_behalf_of="norole")
    path = f"/api/v1/requests/{id}"
    agent, approver = await stage.token("copilot", ()), await stage.token("approver")
    polled = (await stage.client.get(path, headers=agent)).json()
    assert (polled["asked"]["id"], polled["state"]) == (id, "pending")
    listed = await stage.client.get("/api/v1/requests?state=pending", headers=approver)
    assert [one["asked"]["id"] for one in listed.json()["requests"]] == [id]
    bare = await stage.client.post(path + "/vote", json={"approve": False}, headers=approver)
    assert bare.status_code == 409  # a denial needs a reason
    answer = await stage.client.post(path + "/vote", json={"approve": True}, headers=approver)
    assert (answer.status_code, answer.json()["state"]) == (200, "approved")
    assert answer.json()["votes"][0]["via"] == "api"
    again = await stage.client.post(path + "/vote", json={"approve": True}, headers=approver)
    assert again.status_code == 409
    assert (await stage.client.get(path, headers=agent)).json()["ended_by"] == "approver"


async def test_nobody_approves_what_they_asked_for(stage: Stage) -> None:
    id = await held(stage, principal="approver", on_behalf_of=None)
    answer = await stage.client.post(
        f"/api/v1/requests/{id}/vote",
        json={"approve": True},
        headers=await stage.token("approver"),
    )
    assert (answer.status_code, "their own" in answer.text) == (403, True)


async def test_pages_of_requests(stage: Stage) -> None:
    ids = [await held(stage) for _ in range(5)]
    headers = await stage.token("viewer")
    first = (await stage.client.get("/api/v1/requests?limit=2", headers=headers)).json()
    shown = [one["asked"]["id"] for one in first["requests"]]
    assert (shown, first["more"]) == (ids[:2:-1], True)
    query = f"limit=4&before={shown[-1]}"
    rest = (await stage.client.get(f"/api/v1/requests?{query}", headers=headers)).json()
    assert ([one["asked"]["id"] for one in rest["requests"]], rest["more"]) == (ids[2::-1], False)
    for wrong in ("limit=0", "limit=5000", "limit=x", "state=none", "limit=1&limit=2", "what=1"):
        answer = await stage.client.get(f"/api/v1/requests?{wrong}", headers=headers)
        assert answer.status_code in {400, 422}, wrong


async def test_a_grant_from_proposal_to_end(stage: Stage) -> None:
    proposal = {"scope": SCOPE, "until": stage.clock.now + 3_600, "reason": "tonight"}
    headers = await stage.token("norole")
    made = await stage.client.post("/api/v1/grants", json=proposal, headers=headers)
    assert made.status_code == 201
    path = f"/api/v1/grants/{made.json()['id']}"
    approver = await stage.token("approver")
    ruled = await stage.client.post(path + "/rule", json={"approve": True}, headers=approver)
    assert ruled.json()["state"] == "active"
    ended = await stage.client.post(path + "/revoke", json={}, headers=await stage.token("admin"))
    assert ended.json()["state"] == "revoked"
    listed = await stage.client.get("/api/v1/grants?state=revoked", headers=approver)
    assert len(listed.json()["grants"]) == 1


async def test_break_glass_is_for_its_groups(stage: Stage) -> None:
    id = await held(stage, on_behalf_of="norole", terms=terms())
    path = f"/api/v1/requests/{id}/break-glass"
    headers = await stage.token("norole")
    assert (await stage.client.post(path, json={"reason": "x"}, headers=headers)).status_code == 403


async def test_a_token_made_for_less_breaks_no_glass(stage: Stage) -> None:
    """Its owner may: the group is theirs, the role was not given to the token."""
    id = await held(stage, on_behalf_of="breaker", terms=terms())
    path = f"/api/v1/requests/{id}/break-glass"
    narrow = await stage.token("breaker", roles=("viewer",))
    assert (await stage.client.post(path, json={"reason": "x"}, headers=narrow)).status_code == 403
    whole = await stage.token("breaker")
    broken = await stage.client.post(path, json={"reason": "x"}, headers=whole)
    assert broken.json()["state"] == "approved"


async def test_who_may_break_the_glass_sees_no_more_for_it(stage: Stage) -> None:
    id = await held(stage)
    headers = await stage.token("breaker")
    shown = await stage.client.get(f"/api/v1/requests/{id}", headers=headers)
    listed = await stage.client.get("/api/v1/requests", headers=headers)
    assert (shown.status_code, listed.json()["requests"]) == (404, [])


async def test_whoever_proposed_a_grant_takes_it_back(stage: Stage) -> None:
    proposal = {"scope": SCOPE, "until": stage.clock.now + 3_600, "reason": "tonight"}
    mine = await stage.token("norole")
    made = await stage.client.post("/api/v1/grants", json=proposal, headers=mine)
    path = f"/api/v1/grants/{made.json()['id']}/revoke"
    other = await stage.client.post(path, json={}, headers=await stage.token("breaker"))
    taken = await stage.client.post(path, json={}, headers=mine)
    assert (other.status_code, taken.json()["state"]) == (404, "revoked")


async def test_an_administrator_ends_a_session(stage: Stage) -> None:
    headers = await stage.token("admin")
    (one,) = (await stage.client.get("/api/v1/sessions", headers=headers)).json()["sessions"]
    path = f"/api/v1/sessions/{one['seen']['id']}/end"
    answer = await stage.client.post(path, json={"reason": "leaked"}, headers=headers)
    assert (answer.status_code, stage.live.ended) == (204, ["s-1"])
    record = stage.desks.trail.records[-1]
    assert (record.session, record.action, record.reason) == ("s-1", "session_ended", "leaked")  # type: ignore[attr-defined]


async def test_changes_as_they_happen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = await stream(stage, monkeypatch, "viewer")
    assert await anext(reader) == live.RETRY
    coming = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    id = await held(stage)
    event = (await coming).decode()
    assert event.startswith("event: change\ndata: ") and event.endswith("\n\n")
    change = json.loads(event.split("data: ")[1])
    assert (change["kind"], change["id"]) == ("request_made", id)
    await reader.aclose()
    assert live._streams == 0


async def stream(stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """The generator behind /events, as that person."""
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.05)
    return live.stream(await asked_by(stage, name))


async def asked_by(stage: Stage, name: str) -> Any:
    """A call of /events."""
    from starlette.requests import Request

    from appliance.console.authn import caller_of
    from appliance.console.table import Call

    token = (await stage.token(name))["Authorization"]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/events",
        "query_string": b"",
        "headers": [(b"authorization", token.encode())],
    }
    request = Request(scope)
    return Call(request, stage.services, await caller_of(request, stage.services))


async def test_a_stream_ends_with_its_readers_right(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = await stream(stage, monkeypatch, "viewer")
    assert await anext(reader) == live.RETRY
    assert await anext(reader) == b": still here\n\n"
    for key, _ in await stage.services.tokens.of(None):
        await stage.services.tokens.revoke(key)
    async with asyncio.timeout(10):
        assert [piece async for piece in reader] == []
    assert live._streams == 0


async def test_a_busy_stream_ends_with_its_readers_right_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes that come faster than the beat do not put off the look at who reads them."""
    reader = await stream(stage, monkeypatch, "viewer")
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.5)
    assert await anext(reader) == live.RETRY
    for key, _ in await stage.services.tokens.of(None):
        await stage.services.tokens.revoke(key)

    async def always() -> None:
        for number in itertools.count():
            stage.desks.changes.publish(Change("request_voted", str(number)))
            await asyncio.sleep(0.01)

    busy = asyncio.ensure_future(always())
    try:
        async with asyncio.timeout(10):
            pieces = [piece async for piece in reader]
    finally:
        busy.cancel()
    assert pieces and all(piece.startswith(b"event: change") for piece in pieces)
    assert live._streams == 0


async def test_a_stream_ends_with_its_readers_role(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = await stream(stage, monkeypatch, "viewer")
    assert await anext(reader) == live.RETRY
    demoted = directory().with_user(user("viewer", "staff"))
    stage.standing.append(stage.standing[-1]._replace(directory=demoted))
    async with asyncio.timeout(10):
        assert [piece async for piece in reader] == []


async def test_readers_are_counted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STREAMS_MAX", 0)
    answer = await stage.client.get("/api/v1/events", headers=await stage.token("viewer"))
    assert answer.status_code == 503


@pytest.mark.parametrize(
    ("limit", "who", "served"),
    [
        ("STREAMS_OF_ONE_MAX", "viewer", False),
        ("STREAMS_OF_ONE_MAX", "auditor", True),
        ("STREAMS_OF_ADDRESS_MAX", "auditor", False),
    ],
)
async def test_one_reader_does_not_take_every_place(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, limit: str, who: str, served: bool
) -> None:
    """Nor one address (of these here all have the same)."""
    monkeypatch.setattr(live, limit, 2)
    readers = [await stream(stage, monkeypatch, "viewer") for _ in range(2)]
    for reader in readers:
        assert await anext(reader) == live.RETRY
    if served:
        await live.events(await asked_by(stage, who))
    else:
        with pytest.raises(Problem):
            await live.events(await asked_by(stage, who))
    for reader in readers:
        await reader.aclose()
    assert live._streams == 0 and not live._of
    await live.events(await asked_by(stage, "viewer"))


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the database's own."""

    async def read(target: Any, database: str, warn: Any) -> CatalogLineage:
        return CatalogLineage(catalog_from_tables(target.name, database, TABLES))

    monkeypatch.setattr(studies, "read_lineage", read)


@pytest.mark.usefixtures("catalog")
async def test_a_statement_is_explained_as_somebody(stage: Stage) -> None:
    headers = await stage.token("viewer")
    question = {"sql": "select email from customers", "target": "shop", "database": "shop"}
    for who, masked in (("viewer", ["public.customers.email"]), ("admin", [])):
        answer = await stage.client.post(
            "/api/v1/policy/explain", json={**question, "principal": who}, headers=headers
        )
        found = answer.json()
        assert (found["study"]["outcome"], found["study"]["masked"]) == ("allow", masked)
        assert found["catalog"] == ""
    refused = {**question, "principal": "viewer", "sql": "delete from customers"}
    answer = await stage.client.post("/api/v1/policy/explain", json=refused, headers=headers)
    assert answer.json()["study"]["outcome"] == "deny"


@pytest.mark.usefixtures("catalog")
async def test_the_masking_map(stage: Stage) -> None:
    headers = await stage.token("viewer")
    answer = await stage.client.get("/api/v1/masking?target=shop&database=shop", headers=headers)
    (column,) = answer.json()["columns"]
    assert (column["column"], column["classifications"]) == (
        "public.customers.email",
        ["pii.email"],
    )
    assert [(m["rule"], m["method"]) for m in column["masks"]] == [("mask-email", "redact")]
    assert column["masks"][0]["owed_by"] == {"not_groups": ["admins"]}
    assert column["raw"] == ["admin", "passwordless"]
    other = await stage.client.get("/api/v1/masking?target=shop&database=x", headers=headers)
    assert other.status_code == 404


async def test_explaining_without_the_database_says_so(stage: Stage) -> None:
    question = {"sql": "select 1", "principal": "x", "target": "shop", "database": "shop"}
    answer = await stage.client.post(
        "/api/v1/policy/explain", json=question, headers=await stage.token("viewer")
    )
    assert "cannot log in to shop" in answer.json()["catalog"]


async def test_the_policy_is_shown(stage: Stage) -> None:
    shown = (await stage.client.get("/api/v1/policy", headers=await stage.token("viewer"))).json()
    (document,) = shown["documents"]
    assert document["name"] == "policy.yaml"
    assert [rule["id"] for rule in document["document"]["rules"]] == ["read", "mask-email"]


async def test_without_a_trail_the_audit_routes_say_so(stage: Stage) -> None:
    headers = await stage.token("auditor")
    for path in ("records", "records/0:1", "chain", "summary?since=0"):
        answer = await stage.client.get(f"/api/v1/audit/{path}", headers=headers)
        assert answer.status_code == 503


async def test_metrics_without_an_admin_listener_say_so(stage: Stage) -> None:
    await stage.services.metering.sample()
    found = await stage.client.get("/api/v1/metrics", headers=await stage.token("viewer"))
    assert (found.json()["reachable"], "admin" in found.json()["reason"]) == (False, True)


def test_figures_are_ours_alone() -> None:
    text = (
        '# TYPE sallyport_statements counter\nsallyport_statements_total{effect="deny"} 3\n'
        "# TYPE python_info gauge\npython_info 1\n# TYPE sallyport_rows counter\n"
        "sallyport_rows_total 12\n"
    )
    assert figures(text) == {
        'sallyport_statements_total{effect="deny"}': 3.0,
        "sallyport_rows_total": 12.0,
    }


async def test_the_description_holds_together(stage: Stage) -> None:
    """OpenAPI 3.1: every route, every reference, every path parameter."""
    told = (await stage.client.get("/api/v1/openapi.json")).json()
    assert told["openapi"].startswith("3.1.")
    assert set(told) == {"openapi", "info", "paths", "components"}
    listed = {(m.upper(), path) for path, one in told["paths"].items() for m in one}
    assert listed == {(row.method, row.path) for row in TABLE if not row.page}
    names: set[str] = set()
    for path, operations in told["paths"].items():
        for operation in operations.values():
            names.add(operation["operationId"])
            assert set(operation) <= {
                *("summary", "operationId", "responses", "parameters", "requestBody"),
                *("security", "x-sallyport-who"),
            }
            assert operation["responses"] and operation["summary"]
            given = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert given == set(re.findall(r"\{(\w+)\}", path))
    assert len(names) == len(listed)
    whole = json.dumps(told, separators=(",", ":"))
    for reference in re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', whole):
        assert reference in told["components"]["schemas"]
