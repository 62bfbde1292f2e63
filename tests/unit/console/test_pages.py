"""The pages over the real desk: what their forms do, what they never do. In a browser:
tests/browser."""

import html
import re
from urllib.parse import quote

import httpx
import pytest

from appliance.approval.request import Person, State, Touched
from appliance.audit.record import AdminActed, RequestVoted
from appliance.control.policies import PolicyVersions
from appliance.link.messages import PolicyDocument
from appliance.model.principal import PrincipalKind
from tests.browser.content import HOSTILE, HOSTILE_SQL
from tests.desk import BOB, asked, person, scope, terms
from tests.unit.console.stage import HOST, ORIGIN, PASSWORD, POLICY, Stage

ADA = Person("ada", PrincipalKind.HUMAN, roles=frozenset(("admin",)))

LOOKED_AT = (
    "/requests",
    "/requests?view=all&principal=x",
    "/grants",
    "/sessions",
    "/dashboard",
    "/audit",
    "/policy",
    "/policy/versions",
    "/policy/explain?sql=select+1&principal=x",
    "/masking",
    "/account",
    "/device",
    "/nowhere",
)
FORM = {"content-type": "application/x-www-form-urlencoded"}


async def signed_in(stage: Stage, name: str) -> str:
    """-> the CSRF token that the pages' forms carry."""
    cookies, csrf = await stage.sign_in(name)
    stage.client.cookies.update(cookies)
    return csrf


async def held(stage: Stage, **different: object) -> str:
    return (await stage.desks.held.ask(asked(**different), waits=True)).asked.id


async def state_of(stage: Stage, id: str) -> State:
    return (await stage.services.desk.request(BOB, id)).state


def form_of(page: httpx.Response, action: str) -> dict[str, str]:
    """Hidden fields of the form that posts there."""
    (form,) = re.findall(rf'<form method="post" action="{action}".*?</form>', page.text, re.DOTALL)
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


@pytest.mark.parametrize(("verdict", "state"), [("approve", "approved"), ("deny", "denied")])
async def test_a_form_decides(stage: Stage, verdict: str, state: str) -> None:
    id = await held(stage)
    await signed_in(stage, "approver")
    page = await stage.client.get(f"/requests/{id}")
    fields = form_of(page, f"/requests/{id}/vote")
    answer = await stage.client.post(
        f"/requests/{id}/vote", data={**fields, "verdict": verdict, "reason": "seen"}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, f"/requests/{id}")
    assert (await state_of(stage, id)).value == state
    (vote,) = (r for r in stage.desks.trail.records if isinstance(r, RequestVoted))
    assert (vote.person, vote.reason, vote.via) == ("approver", "seen", "console")
    assert "data-approve" not in (await stage.client.get(f"/requests/{id}")).text


async def test_without_its_token_or_from_elsewhere_a_form_does_nothing(stage: Stage) -> None:
    id = await held(stage)
    csrf = await signed_in(stage, "approver")
    path, good = f"/requests/{id}/vote", {"verdict": "approve", "csrf": csrf}
    for fields, headers in (
        ({**good, "csrf": ""}, {}),
        ({**good, "csrf": "x" * 43}, {}),
        (good, {"origin": "https://elsewhere.test"}),
        (good, {"sec-fetch-site": "cross-site"}),
        (good, {"origin": "null"}),
    ):
        answer = await stage.client.post(path, data=fields, headers=headers)
        assert answer.status_code == 403, (fields, headers)
    assert await state_of(stage, id) is State.PENDING
    answer = await stage.client.post(path, data=good, headers={"origin": f"https://{HOST}"})
    assert answer.status_code == 303


async def test_what_a_form_may_not_is_said_beside_it(stage: Stage) -> None:
    id = await held(stage)
    csrf = await signed_in(stage, "approver")
    path = f"/requests/{id}/vote"
    for fields, said in (
        ({"verdict": "deny", "reason": "  "}, "Say why"),
        ({"verdict": "maybe"}, "Choose"),
        ({}, "Choose"),
    ):
        answer = await stage.client.post(path, data={**fields, "csrf": csrf})
        assert answer.status_code == 422 and said in answer.text
    await stage.client.post(path, data={"verdict": "approve", "csrf": csrf})
    again = await stage.client.post(path, data={"verdict": "approve", "csrf": csrf})
    assert again.status_code == 422 and "approved" in again.text


async def test_people_without_a_role_see_what_is_theirs(stage: Stage) -> None:
    own = await held(stage, on_behalf_of="norole")
    other = await held(stage, on_behalf_of="somebody")
    await signed_in(stage, "norole")
    inbox = await stage.client.get("/requests")
    assert own in inbox.text and other not in inbox.text
    assert (await stage.client.get(f"/requests/{other}")).status_code == 404
    assert (await stage.client.get(f"/requests/{other}/statement.sql")).status_code == 404
    assert "data-events" not in inbox.text  # the stream of changes is for roles


async def test_a_page_that_keeps_itself_up_to_date_keeps_nobody_signed_in(stage: Stage) -> None:
    await signed_in(stage, "viewer")
    for _ in range(3):
        stage.clock.advance(25 * 60)
        live = await stage.client.get("/requests", headers={"hx-request": "true"})
    assert live.status_code == 303 and live.headers["location"].startswith("/sign-in")


async def test_a_failed_sign_in_still_leads_where_one_wanted_to_go(stage: Stage) -> None:
    stage.client.cookies.clear()
    fields = {"name": "viewer", "password": "wrong", "next": "/requests/x?y=1"}
    failed = await stage.client.post("/sign-in", data=fields)
    page = await stage.client.get(failed.headers["location"])
    assert 'role="alert"' in page.text and 'name="next" value="/requests/x?y=1"' in page.text
    done = await stage.client.post("/sign-in", data={**fields, "password": PASSWORD})
    assert done.headers["location"] == "/requests/x?y=1"


@pytest.mark.parametrize("next", ["https://evil.test", "//evil.test", "/\\evil.test", "x", ""])
async def test_nobody_is_sent_elsewhere(stage: Stage, next: str) -> None:
    page = await stage.client.get("/sign-in", params={"next": next})
    assert 'name="next" value="/"' in page.text
    csrf = await signed_in(stage, "viewer")
    fields = {"theme": "dark", "next": next, "csrf": csrf}
    answer = await stage.client.post("/theme", data=fields)
    assert answer.headers["location"] == "/"
    assert "theme=dark" in answer.headers["set-cookie"]


@pytest.mark.parametrize("theme", ["dark", "'><script>", ""])
async def test_the_theme_is_one_of_ours(stage: Stage, theme: str) -> None:
    stage.client.cookies.set("theme", 'x"y' if theme != "dark" else theme)
    page = await stage.client.get("/sign-in")
    assert f'data-theme="{"dark" if theme == "dark" else "auto"}"' in page.text


async def test_hostile_words_stay_words_on_every_page(stage: Stage) -> None:
    id = await held(
        stage,
        principal=HOSTILE,
        on_behalf_of=HOSTILE,
        application=HOSTILE,
        address=HOSTILE,
        target=HOSTILE,
        environment=HOSTILE,
        database=HOSTILE,
        sql=HOSTILE_SQL,
        redacted=HOSTILE_SQL,
        touched=(Touched(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,)),),
        functions=(HOSTILE,),
        flags=(HOSTILE,),
        reasons=(HOSTILE,),
        complete=False,
        terms=terms(),
    )
    proposer = person("zed", "viewer", via="console")
    until, shown = stage.clock() + 3_600, "".join(c for c in HOSTILE if c.isprintable())
    await stage.services.desk.propose_grant(
        proposer, scope(principals=("x", shown)), until, HOSTILE
    )
    await signed_in(stage, "admin")
    query = {"q": HOSTILE, "principal": HOSTILE, "sql": HOSTILE, "place": HOSTILE, "text": HOSTILE}
    for path in (*LOOKED_AT, f"/requests/{id}"):
        for params in (None, query):
            page = await stage.client.get(path.partition("?")[0], params=params)
            clean(page.text)
    clean((await stage.client.get("/sign-in", params={"next": HOSTILE})).text)
    clean((await stage.client.get("/device", params={"user_code": HOSTILE})).text)


def clean(page: str) -> None:
    """Nothing of HOSTILE is markup, and nothing on the page needs a looser content policy."""
    assert "<script>" not in page and "<img src=x" not in page
    assert not re.search(r"\son\w+=[\"']", page.split("<body>")[1].replace("onerror=alert", ""))
    assert not re.search(r"<[^>]*\sstyle=", page) and "<style" not in page
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
    given_back = re.compile(r'value="[^"]*"|<textarea.*?</textarea>', re.DOTALL)
    assert not {"\u202e", "\u200b", "\x07"} & set(given_back.sub("", page))
    for quoted in re.findall(r'="([^"]*)"', page):
        assert "<" not in quoted


@pytest.mark.parametrize("path", LOOKED_AT)
async def test_pages_are_kept_by_nobody_and_run_only_files_of_ours(stage: Stage, path: str) -> None:
    await signed_in(stage, "viewer")
    page = await stage.client.get(path)
    assert page.headers["cache-control"] == "no-store"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "same-origin"  # with none, Origin would be null
    clean(page.text)


async def test_static_files_are_there_under_addresses_of_their_content(stage: Stage) -> None:
    page = await stage.client.get("/sign-in")
    found = set(re.findall(r'"(/static/[^"]+)"', page.text))
    assert len(found) == 4
    for address in found:
        assert re.search(r"\?v=[0-9a-f]{10}$", address)
        assert (await stage.client.get(address)).status_code == 200
    assert (await stage.client.get("/static/../app.py")).status_code == 404


async def test_the_statement_as_text_is_exact_and_plain(stage: Stage) -> None:
    id = await held(stage, sql=HOSTILE_SQL)
    await signed_in(stage, "viewer")
    bare = await stage.client.get(f"/requests/{id}/statement.sql")
    assert bare.text == "UPDATE shop.orders SET status = ? WHERE id = ?"
    page = await stage.client.get(f"/requests/{id}")
    assert "Without its values" in page.text and "alert(" not in page.text
    await signed_in(stage, "approver")
    assert "Without its values" not in (await stage.client.get(f"/requests/{id}")).text
    answer = await stage.client.get(f"/requests/{id}/statement.sql")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == HOSTILE_SQL


async def test_ending_a_session_is_for_administrators(stage: Stage) -> None:
    csrf = await signed_in(stage, "viewer")
    assert "End this session" not in (await stage.client.get("/sessions")).text
    answer = await stage.client.post("/sessions/s-1/end", data={"csrf": csrf, "reason": "x"})
    assert answer.status_code == 403 and not stage.live.ended
    csrf = await signed_in(stage, "admin")
    assert "End this session" in (await stage.client.get("/sessions")).text
    answer = await stage.client.post("/sessions/s-1/end", data={"csrf": csrf, "reason": "x"})
    assert answer.status_code == 303 and stage.live.ended == ["s-1"]


async def test_a_token_is_in_one_answer_and_in_no_address(stage: Stage) -> None:
    csrf = await signed_in(stage, "viewer")
    fields = {"csrf": csrf, "label": "nightly", "days": "3", "viewer": "1"}
    page = await stage.client.post("/account/tokens", data=fields)
    (secret,) = re.findall(r"spt_[\w-]{43}", page.text)
    assert page.status_code == 200 and page.headers["cache-control"] == "no-store"
    assert secret not in (await stage.client.get("/account")).text
    more = await stage.client.post("/account/tokens", data={**fields, "admin": "1"})
    assert more.status_code == 403 and "no role that you do not have" in more.text
    bad = await stage.client.post("/account/tokens", data={**fields, "days": "0"})
    assert bad.status_code == 422 and "spt_" not in bad.text
    made = [r for r in stage.desks.trail.records if isinstance(r, AdminActed)]
    assert [r.action for r in made] == ["token_made"]


ADMINS_POLICIES = (
    (PolicyDocument("p.yaml", POLICY),),
    (PolicyDocument("p.yaml", POLICY.replace(b"id: read", b"id: browse")),),
)


async def two_policies(stage: Stage) -> tuple[str, str]:
    """Ids of two that were brought; the second is active."""
    versions = stage.services.policies
    assert isinstance(versions, PolicyVersions)
    for documents in ADMINS_POLICIES:
        assert (await versions.propose(documents)).serial
        stage.clock.advance(60)
    [newest, first] = [one.id for one in await versions.versions(ADA)]
    return first, newest


async def test_a_version_is_shown_against_the_active_one_and_can_be_gone_back_to(
    stage: Stage,
) -> None:
    first, newest = await two_policies(stage)
    await signed_in(stage, "viewer")
    page = await stage.client.get(f"/policy/versions/{first}")
    assert '<span class="line-removed">-  - {id: browse' in page.text
    assert '<span class="line-added">+  - {id: read' in page.text
    assert "Activate" not in page.text
    listed = await stage.client.get("/policy/versions")
    assert "Roll back" not in listed.text
    await signed_in(stage, "admin")
    listed = await stage.client.get("/policy/versions")
    form = form_of(listed, "/policy/rollback")
    assert form["active"] == newest
    done = await stage.client.post(
        "/policy/rollback", data={**form, "reason": "too wide"}, headers={"origin": ORIGIN}
    )
    assert done.status_code == 303
    listed = await stage.client.get("/policy/versions")
    assert "rolled back" in listed.text
    assert "too wide" in listed.text
    assert "Somebody chose this version" in listed.text
    again = await stage.client.post(
        "/policy/rollback", data={**form, "reason": "twice"}, headers={"origin": ORIGIN}
    )
    assert again.status_code == 409


async def test_an_older_version_is_activated_by_its_page(stage: Stage) -> None:
    first, _ = await two_policies(stage)
    await signed_in(stage, "admin")
    page = await stage.client.get(f"/policy/versions/{first}")
    form = form_of(page, f"/policy/versions/{first}/activate")
    action = f"/policy/versions/{first}/activate"
    empty = await stage.client.post(action, data=form, headers={"origin": ORIGIN})
    assert empty.status_code in {409, 422}
    done = await stage.client.post(
        action, data={**form, "reason": "as before"}, headers={"origin": ORIGIN}
    )
    assert done.status_code == 303
    found = await stage.services.policies.versions(ADA)
    assert [one.id for one in found if one.active] == [first]


async def test_explaining_what_the_trail_has(stage: Stage) -> None:
    """A record leads here with its literals left out, and its database, listed or not."""
    await signed_in(stage, "viewer")
    sql = quote('update "a$_b" set s = $_ where id$_x = $_ and t = interval $_')
    page = await stage.client.get(f"/policy/explain?place=shop/elsewhere&principal=x&sql={sql}")
    shown = html.unescape(page.text)
    assert "update \"a$_b\" set s = '_' where id$_x = '_' and t = interval '_'" in shown
    assert 'name="database" value="elsewhere"' in page.text
    page = await stage.client.get("/policy/explain?place=shop/shop&principal=x&sql=select+1")
    assert 'name="database" value=""' in page.text
