"""Holds with the real control process: the same over SQLite and PostgreSQL, decided through the API
and the command line, killed amid it, and by two appliances on one store.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import expect, sync_playwright

from tests import clusters
from tests.browser.conftest import CHROMIUM, Visitor
from tests.clusters import SALLYPORT, Authority, EmbeddedPostgres
from tests.endtoend.decided import (
    INSERT,
    UPDATE,
    Person,
    body,
    connect,
    console_port,
    installed,
    postgres_store,
)
from tests.endtoend.held import Held
from tests.endtoend.stage import DATABASE, Estate, Running, wait_for


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    authority: Authority,
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("approvals"), vault, authority)
    more = {} if request.param == "sqlite" else postgres_store(estate)
    with installed(estate, **more) as running:
        yield running


@pytest.fixture
def direct(vault: EmbeddedPostgres) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as made:
        made.execute("UPDATE notes SET body = 'note ' || id WHERE body <> 'note ' || id")
        made.execute("DELETE FROM notes WHERE id > 100")
        yield made


def test_held_seen_approved(service: Running, direct: Any) -> None:
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        held = Held(lambda: alice.execute(UPDATE).rowcount)
        request = bob.pending("alice")
        asked = request["asked"]
        assert asked["sql"] == UPDATE and asked["kind"] == "human" and asked["target"] == "vault"
        assert held.waits and body(direct) == "note 7"
        assert bob.vote(request).json()["state"] in ("approved", "used")
        assert held.done() == 1 and body(direct) == "changed"
        wait_for(
            lambda: bob.get(f"/api/v1/requests/{asked['id']}").json()["state"] == "used", "its use"
        )
        assert bob.vote(request).status_code == 409
    assert service.recorded("statement_decided", request=asked["id"])["approved_by"] == "bob"


def test_denied_with_a_reason(service: Running, direct: Any) -> None:
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        held = Held(lambda: alice.execute(UPDATE))
        request = bob.pending("alice")
        assert bob.vote(request, approve=False).status_code == 409  # a denial needs a reason
        assert bob.vote(request, approve=False, reason="not today").status_code == 200
        assert "denied by bob: not today" in str(held.refused())
    assert body(direct) == "note 7"


def test_four_eyes(service: Running, direct: Any) -> None:
    with connect(service, "bob") as client, Person(service, "bob") as bob:
        held = Held(lambda: client.execute(UPDATE))
        request = bob.pending("bob")
        own = bob.vote(request)
        assert own.status_code == 403 and "of their own" in own.text
        with Person(service, "erin") as erin:
            assert erin.vote(request).status_code == 403  # no approver
        client.cancel()
        held.refused()
        wait_for(
            lambda: (
                bob.get(f"/api/v1/requests/{request['asked']['id']}").json()["state"] == "withdrawn"
            ),
            "its withdrawal",
        )
    assert body(direct) == "note 7"


def test_two_of_a_group(service: Running, direct: Any) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(connect(service, "erin"))
        alice, bob, dave = (
            stack.enter_context(Person(service, name)) for name in ("alice", "bob", "dave")
        )
        held = Held(lambda: client.execute("DELETE FROM notes WHERE id = 1000").rowcount)
        request = bob.pending("erin")
        assert alice.vote(request).status_code == 403  # an approver, but not of the group
        first = bob.vote(request)
        assert first.status_code == 200, first.text
        assert first.json()["state"] == "pending"
        assert bob.vote(request).status_code == 403  # once
        assert held.waits
        second = dave.vote(request)
        assert second.status_code == 200, second.text
        assert second.json()["state"] in ("approved", "used")
        assert held.done() == 0


def test_break_glass(service: Running, direct: Any) -> None:
    with connect(service, "alice") as client, Person(service, "alice") as alice:
        held = Held(lambda: client.execute(UPDATE).rowcount)
        request = alice.pending("alice")
        path = f"/api/v1/requests/{request['asked']['id']}/break-glass"
        assert alice.post(path, json={"reason": ""}).status_code == 409
        assert alice.post(path, json={"reason": "the shop is down"}).status_code == 200
        assert held.done() == 1
    loud = [r for r in service.records() if "the shop is down" in json.dumps(r)]
    assert loud and loud[0]["event"].startswith("request_")


def test_a_ticket_is_used_once_by_whoever_asked(service: Running, direct: Any) -> None:
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        with pytest.raises(psycopg.Error) as caught:
            alice.execute(INSERT, (101,))
        ticket = json.loads(str(caught.value.diag.message_detail))
        assert ticket["code"] == "hold_ticket"
        with pytest.raises(psycopg.Error) as caught:  # asked again: the same request
            alice.execute(INSERT, (101,))
        assert json.loads(str(caught.value.diag.message_detail))["request"] == ticket["request"]
        request = bob.get(f"/api/v1/requests/{ticket['request']}").json()
        assert request["state"] == "pending"
        assert bob.vote(request).json()["state"] == "approved"
        with pytest.raises(psycopg.Error):  # another value is another statement
            alice.execute(INSERT, (102,))
        with connect(service, "dave") as dave, pytest.raises(psycopg.Error):
            dave.execute(INSERT, (101,))  # and another person
        assert alice.execute(INSERT, (101,)).rowcount == 1
        with pytest.raises(psycopg.Error) as caught:  # used
            alice.execute(INSERT, (101,))
        assert json.loads(str(caught.value.diag.message_detail))["request"] != ticket["request"]
        later = json.loads(str(caught.value.diag.message_detail))["request"]
        path = f"/api/v1/requests/{later}/vote"
        assert bob.post(path, json={"approve": False, "reason": "enough"}).status_code == 200
        with pytest.raises(psycopg.Error, match="denied by bob: enough"):  # and not asked again
            alice.execute(INSERT, (101,))
    assert direct.execute("SELECT count(*) FROM notes WHERE id > 100").fetchone() == (1,)


def test_standing_grants(service: Running, direct: Any) -> None:
    scope = {
        "principals": ["alice"], "targets": ["vault"], "actions": ["update"],
        "resources": ["public.notes.body"],
    }  # fmt: skip
    with ExitStack() as stack:
        client = stack.enter_context(connect(service, "alice"))
        alice, bob = (stack.enter_context(Person(service, name)) for name in ("alice", "bob"))
        proposal = {"scope": scope, "until": time.time() + 600, "reason": "the migration"}
        made = alice.post("/api/v1/grants", json=proposal)
        assert made.status_code == 201, made.text
        id = made.json()["id"]
        ballot = {"approve": True, "reason": ""}
        assert alice.post(f"/api/v1/grants/{id}/rule", json=ballot).status_code == 403
        ruled = bob.post(f"/api/v1/grants/{id}/rule", json=ballot)
        assert ruled.json()["state"] == "active"
        assert client.execute(UPDATE).rowcount == 1
        assert client.execute("UPDATE notes SET body = %s WHERE id = %s", ("x", 7)).rowcount == 1
        outside = Held(lambda: client.execute("UPDATE notes SET id = id WHERE id = 7"))
        request = bob.pending("alice")
        bob.vote(request, approve=False, reason="not covered")
        outside.refused()
        assert bob.post(f"/api/v1/grants/{id}/revoke", json={}).status_code == 200
        revoked = time.monotonic()
        held = Held(lambda: client.execute(UPDATE))
        request = bob.pending("alice", frozenset((request["asked"]["id"],)))
        assert time.monotonic() - revoked < 5
        bob.vote(request, approve=False, reason="no more")
        held.refused()


def test_sessions_are_seen_and_ended(service: Running, direct: Any) -> None:
    with (
        connect(service, "alice", application_name="leaky") as client,
        Person(service, "erin") as erin,
    ):
        client.execute("SELECT 1")
        shown = wait_for(
            lambda: [
                s["seen"] for s in erin.get("/api/v1/sessions").json()["sessions"]
                if s["seen"].get("application") == "leaky"
            ],
            "the session",
        )  # fmt: skip
        ended = erin.post(f"/api/v1/sessions/{shown[0]['id']}/end", json={"reason": "leak"})
        assert ended.status_code in (200, 204), ended.text
        with pytest.raises(psycopg.OperationalError, match="administrator command"):
            wait_for(lambda: client.execute("SELECT 1") and None, "the end", seconds=10)


def test_control_is_killed_while_it_holds(service: Running, direct: Any) -> None:
    with connect(service, "alice") as client:
        held = Held(lambda: client.execute(UPDATE).rowcount)
        with Person(service, "bob") as bob:
            request = bob.pending("alice")
        started = service.child.text().count('"event":"console_listening"')
        os.kill(control_pid(service), signal.SIGKILL)
        wait_for(
            lambda: service.child.text().count('"event":"console_listening"') > started,
            "control to come back",
            seconds=60,
        )
        with Person(service, "bob") as bob:
            assert held.waits and body(direct) == "note 7"
            again = bob.pending("alice")
            assert again["asked"] == request["asked"]
            assert bob.vote(again).status_code == 200
        assert held.done() == 1 and body(direct) == "changed"


def test_figures(service: Running, direct: Any) -> None:
    """Counted by the control process, told to the supervisor, read from its admin listener."""
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        for text in ("SELECT 1", "SELECT 2 + 1", "SELECT body FROM notes WHERE id = 9"):
            alice.execute(text)  # the first one asks for the session's settings before
        listed = bob.get("/api/v1/requests", params={"state": "pending"}).json()["requests"]
        before = frozenset(one["asked"]["id"] for one in listed)
        held = Held(lambda: alice.execute(UPDATE).rowcount)
        request = bob.pending("alice", before)
        service.metric_reaches(1, "requests_pending")
        assert bob.vote(request).status_code == 200
        held.done()
        wrong = {"name": "bob", "password": "wrong"}
        assert bob.post("/sign-in", json=wrong).status_code == 401
    service.metric_reaches(1, "requests_total", state="approved")
    service.metric_reaches(1, "requests_total", state="used")
    service.metric_reaches(1, "sign_ins_total", outcome="failed")
    for name in (
        "request_wait_seconds_count",
        "control_links",
        "worker_control_links",
        "control_store_reachable",
        "added_latency_seconds_count",
    ):
        service.metric_reaches(1, name)


def control_pid(running: Running) -> int:
    for pid in running.worker_pids():
        if b"appliance.console.serve" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("no control process")


def test_the_command_line(service: Running, direct: Any) -> None:
    with connect(service, "alice") as client, Person(service, "bob") as bob:
        token = bob.post("/api/v1/tokens", json={"label": "cli"}).json()["token"]
        environment = {
            **os.environ, "NO_COLOR": "1", "SALLYPORT_URL": str(bob.base_url),
            "SALLYPORT_TOKEN": token,
        }  # fmt: skip

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [SALLYPORT, *words], env=environment, capture_output=True, text=True, timeout=60
            )

        held = Held(lambda: client.execute(UPDATE).rowcount)
        request = bob.pending("alice")["asked"]["id"]
        listed = run("approvals", "list", "--output", "json")
        assert listed.returncode == 0 and request in listed.stdout, listed.stderr
        assert UPDATE in run("approvals", "show", request).stdout.replace("\n", " ")
        approved = run("approvals", "approve", request)
        assert approved.returncode == 0, approved.stderr
        assert held.done() == 1
        assert run("approvals", "show", "nonsense").returncode == 4
        trail = run("audit", "verify", str(service.data / "audit"))
        assert trail.returncode == 0, trail.stdout + trail.stderr


def test_the_command_line_asks_elsewhere(service: Running, direct: Any) -> None:
    """The trail and the policy of a running appliance, by who may read them."""
    with connect(service, "alice") as alice:
        alice.execute("SELECT 'asked elsewhere'")

    def run_as(name: str) -> Any:
        with Person(service, name) as person:
            made = person.post("/api/v1/tokens", json={"label": "cli"}).json()
            environment = {
                **os.environ, "NO_COLOR": "1", "SALLYPORT_TOKEN": made["token"],
                "SALLYPORT_URL": str(person.base_url),
            }  # fmt: skip
        return lambda *words: subprocess.run(
            [SALLYPORT, *words], env=environment, capture_output=True, text=True, timeout=60
        )

    gina, bob = run_as("gina"), run_as("bob")
    url = f"http://127.0.0.1:{console_port(service)}"
    found = gina("audit", "search", "--url", url, "--principal", "alice", "--output", "json")
    assert found.returncode == 0, found.stderr
    stories = json.loads(found.stdout)
    stories = [s for s in stories if s["record"]["event"] == "statement_decided"]
    assert stories and {s["record"]["principal"] for s in stories} == {"alice"}
    here = subprocess.run(
        [SALLYPORT, "audit", "search", "--data", str(service.data), "--principal", "alice",
         "--session", stories[-1]["record"]["session"], "--output", "json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    last = [s for s in json.loads(here.stdout) if s["reference"] == stories[-1]["reference"]]
    assert [s["record"] for s in last] == [stories[-1]["record"]]
    tail = gina("audit", "tail", "--url", "login", "-n", "5")
    assert tail.returncode == 0 and len(tail.stdout.splitlines()) >= 2, tail.stderr
    assert gina("audit", "show", stories[-1]["reference"], "--url", url).returncode == 0
    assert gina("audit", "show", "0:99999999", "--url", url).returncode == 4
    proved = gina("audit", "verify", "--url", url)
    assert proved.returncode == 0 and "OK: complete" in proved.stdout, proved.stderr
    assert bob("audit", "search", "--url", url).returncode == 3
    shown = bob("policy", "show")
    assert shown.returncode == 0 and "two-of-us" in shown.stdout, shown.stderr
    asked = ("policy", "explain", "--url", url, "--as", "alice", "--target", "vault")
    explained = bob(*asked, "--database", DATABASE, "--sql", UPDATE, "--output", "json")
    assert explained.returncode == 0, explained.stderr
    assert json.loads(explained.stdout)["study"]["outcome"] == "hold"
    words = bob(*asked, "--database", DATABASE, "--sql", UPDATE).stdout
    assert "outcome: hold" in words and "ask-first" in words
    nowhere = ("policy", "explain", "--url", url, "--as", "alice", "--target", "nowhere")
    assert bob(*nowhere, "--database", "x", "--sql", UPDATE).returncode == 4
    away = ("audit", "tail", "--url", "http://127.0.0.1:9")
    assert gina(*away).returncode in (3, 6)


def test_two_appliances_on_one_store(
    tmp_path: Path, vault: EmbeddedPostgres, authority: Authority, direct: Any
) -> None:
    one, other = (Estate(tmp_path / name, vault, authority) for name in ("one", "other"))
    store = postgres_store(one)
    other.secret("kept", "kept-password")
    with (
        installed(one, node="one", **store) as here,
        installed(other, node="other", **store) as there,
        connect(here, "alice") as client,
        Person(there, "bob") as bob,
    ):
        held = Held(lambda: client.execute(UPDATE).rowcount)
        request = bob.pending("alice")
        assert request["asked"]["node"] == "one"
        begun = time.monotonic()
        assert bob.vote(request).status_code == 200
        assert held.done() == 1
        assert time.monotonic() - begun < 1.0
        with Person(there, "erin") as erin:
            mine = wait_for(
                lambda: [
                    one["seen"]["id"]
                    for one in erin.get("/api/v1/sessions").json()["sessions"]
                    if one["node"] == "one" and one["seen"]["principal"] == "alice"
                ],
                "the session of the other appliance",
            )
            page = erin.get("/sessions").text
            assert "one w" in page and mine[0] in page
            ended = erin.post(f"/api/v1/sessions/{mine[0]}/end", json={"reason": "leak"})
            assert ended.status_code == 204, ended.text
        with pytest.raises(psycopg.OperationalError, match="administrator command"):
            wait_for(lambda: client.execute("SELECT 1") and None, "the end")
    assert body(direct) == "changed"


def test_a_browser_lets_a_psql_session_go_on(service: Running, direct: Any) -> None:
    """Signed in, found in the inbox as it arrives, read, approved: psql's own UPDATE then runs."""
    psql = clusters.installed_program("psql")
    if CHROMIUM is None or psql is None:
        pytest.skip("chromium or psql is not installed: scripts/test-programs.sh")
    uri = (
        f"postgresql://alice:alice-password@127.0.0.1:{service.ports['main']}/{DATABASE}"
        "?sslmode=disable"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        visitor = Visitor(browser.new_context(), f"http://127.0.0.1:{console_port(service)}")
        visitor.sign_in("bob", next="/requests", password="bob-password")
        page = visitor.page
        page.locator("html[data-stream=open]").wait_for(state="attached")
        with subprocess.Popen(
            [psql, uri, "-X", "-c", UPDATE], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as client:  # fmt: skip
            with Person(service, "bob") as bob:
                request = bob.pending("alice")["asked"]["id"]
            entry = page.locator(f"#r-{request}")
            expect(entry).to_contain_text("vault")  # without a reload
            entry.get_by_role("link").first.click()
            page.wait_for_url(f"**/requests/{request}")
            expect(page.locator(".sql").first).to_contain_text("notes")
            assert client.poll() is None and body(direct) == "note 7"
            page.get_by_role("button", name="Approve").click()
            said, told = client.communicate(timeout=20)
        assert said == "UPDATE 1\n" and "waiting for it (request" in told
        assert body(direct) == "changed"
        page.goto(visitor.url + "/sessions")
        expect(page.locator("main")).to_contain_text("Sessions")
        assert not visitor.complaints
        browser.close()


def test_a_browser_finds_explains_and_ends(service: Running, direct: Any) -> None:
    """Of the very service: a session in psql is seen and ended, what it sent is found in the trail
    with its decision, and policy says of it what it said."""
    psql = clusters.installed_program("psql")
    if CHROMIUM is None or psql is None:
        pytest.skip("chromium or psql is not installed: scripts/test-programs.sh")
    uri = (
        f"postgresql://alice:alice-password@127.0.0.1:{service.ports['main']}/{DATABASE}"
        "?sslmode=disable&application_name=left-open"
    )
    url = f"http://127.0.0.1:{console_port(service)}"
    mark = f"m{os.urandom(4).hex()}"
    with sync_playwright() as playwright, ExitStack() as stack:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        erin, gina = (
            Visitor(browser.new_context(), url).sign_in(name, password=f"{name}-password")
            for name in ("erin", "gina")
        )
        client = stack.enter_context(
            subprocess.Popen(
                [psql, uri, "-X"], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
        assert client.stdin is not None
        client.stdin.write(f"SELECT id AS {mark} FROM notes WHERE id = 7;\n")
        client.stdin.flush()
        page = erin.to("/sessions?q=left-open")
        entry = page.locator("[data-entry]")
        expect(entry).to_contain_text("1 statement", timeout=20_000)  # without a reload
        expect(entry).to_contain_text("nothing under way")
        entry.locator("summary").click()
        entry.get_by_label("Reason").fill("Left open.")
        entry.get_by_role("button", name="End this session").click()
        expect(page.get_by_role("status")).to_contain_text("told to end")
        expect(page.locator("[data-entry]")).to_have_count(0, timeout=20_000)
        said, _ = client.communicate("SELECT 2;\n", timeout=20)
        assert "administrator command" in said

        page = gina.to("/audit?span=all")
        page.get_by_label("Statement has").fill(mark)
        page.get_by_role("button", name="Search").click()
        expect(page.locator("[data-entry]")).to_have_count(1)
        expect(page.locator("[data-entry]")).to_contain_text("alice")
        page.locator("[data-entry]").get_by_role("link").first.click()
        expect(page.locator(".reasons")).to_contain_text("work")
        page.get_by_role("link", name="Ask today's policy about it").click()
        expect(page.get_by_label("Statement")).to_have_value(re.compile(mark))
        page.get_by_label("Sent by").fill("alice")
        page.get_by_role("button", name="Explain").click()
        expect(page.locator(".outcome")).to_contain_text("would run")
        page.get_by_label("Statement").fill(UPDATE)
        page.get_by_role("button", name="Explain").click()
        expect(page.locator(".outcome")).to_contain_text("approval")
        page = gina.to("/audit?span=all")
        page.get_by_role("button", name="Verify now").click()
        expect(page.locator("#chains")).to_contain_text("complete and unaltered")
        assert not erin.complaints and not gina.complaints
        browser.close()
    ended = service.recorded("admin_acted", action="session_ended", person="erin")
    assert ended["reason"] in ("Left open.", "leak")
