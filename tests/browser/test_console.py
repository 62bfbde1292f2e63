"""What people do at the console, in a real browser; `come` fails a test whose pages complain."""

import re

import pytest
from playwright.sync_api import expect

from appliance.approval.request import State
from tests.browser import content
from tests.browser.conftest import PHONE, VENDOR
from tests.browser.pages import ALIKE, PAGES
from tests.browser.stage import PASSWORD


def streams(page) -> None:
    """Until the page hears of changes."""
    page.locator("html[data-stream=open]").wait_for(state="attached")


def test_signing_in_leads_where_one_wanted_to_go(come) -> None:
    visitor = come(None)
    page = visitor.to("/requests/b2")
    assert "/sign-in" in page.url
    page.get_by_label("Name").fill("bob")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("did not work")
    page.get_by_label("Name").fill("bob")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/requests/b2")
    page.get_by_role("link", name="bob").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    assert "/sign-in" in visitor.to("/requests").url


def test_inbox_shows_first_what_waits_for_this_person(come) -> None:
    page = come("dana").to("/requests")
    entries = page.locator("#live ol").first.locator("[data-entry]")
    expect(entries.first).to_contain_text("otto")  # hers to decide; b2 asks for the group dba
    expect(page.locator("#r-b2")).to_contain_text("not yours to decide")
    expect(page.locator("#r-b1")).to_contain_text("1 vote, 1 more needed")
    page.get_by_role("link", name="History").click()
    expect(page.locator("#r-a2")).to_contain_text("denied")
    expect(page.locator("#r-b1")).to_have_count(0)
    page.get_by_label("Asked by").fill("nobody")
    page.get_by_label("Asked by").press("Enter")
    expect(page.get_by_text("Nothing here.")).to_be_visible()


def test_request_says_what_an_approver_needs(come) -> None:
    page = come("bob").to("/requests/b1")
    said = page.locator("main").inner_text()
    for part in ("copilot", "alice", "shop", "production", "claude-tools/1.4", "10.4.2.18"):
        assert part in said
    for part in ("hidden", "customer returned the goods", "42", "estimated", "1 of 2", "dana"):
        assert part in said
    expect(page.locator(".sql .k").first).to_have_text("update")
    exact = page.locator(".is-exact code")
    assert exact.text_content() == content.LONG
    laid_out = page.locator(".sql code").first.text_content() or ""
    assert laid_out.split() == content.LONG.split()
    assert laid_out.count("\n") > 5


def test_approving(come, stage) -> None:
    page = come("bob").to("/requests/b1")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status")).to_contain_text("approved")
    assert stage.desk.held["b1"].state is State.APPROVED
    assert [vote.person for vote in stage.desk.held["b1"].votes] == ["dana", "bob"]
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)


def test_denying_takes_a_reason(come, stage) -> None:
    page = come("bob").to("/requests/b2")
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("alert")).to_contain_text("Say why")
    assert stage.desk.held["b2"].state is State.PENDING
    page.get_by_label(re.compile("^Reason")).fill("Not during the sale.")
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("status")).to_contain_text("denied")
    assert stage.desk.held["b2"].votes[-1].reason == "Not during the sale."


def test_deciding_without_scripts(come, stage) -> None:
    page = come("bob", java_script_enabled=False).to("/requests")
    page.locator("#r-b3 a").click()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status")).to_contain_text("approved")
    assert stage.desk.held["b3"].state is State.APPROVED
    page.goto(page.url.replace("/requests/b3", "/sessions"))
    page.locator("#s-5e04 summary").click()
    page.locator("#s-5e04").get_by_role("button", name="End this session").click()
    expect(page.locator("#s-5e04")).to_have_count(0)


def test_whoever_may_not_is_told_why(come, stage) -> None:
    page = come("dana").to("/requests/b1")
    expect(page.locator(".objection")).to_contain_text("you have voted")
    page = come("alice").to("/requests/b1")
    expect(page.locator(".objection")).to_contain_text("does not have the role approver")
    page.get_by_role("button", name="Withdraw it").click()
    expect(page.get_by_role("status")).to_contain_text("withdrawn")
    page.goto(page.url.replace("b1", "b2"))
    expect(page.get_by_role("heading", name="Not here")).to_be_visible()


def test_breaking_the_glass(come, stage) -> None:
    page = come("otto").to("/requests/b3")
    page.get_by_text("Break the glass").first.click()
    page.get_by_label("Why it cannot wait").fill("The site is down.")
    page.get_by_role("button", name="Break the glass").click()
    expect(page.get_by_role("status")).to_contain_text("approved")
    assert stage.desk.held["b3"].votes[-1].break_glass
    expect(page.locator("main")).to_contain_text("broke the glass")


def test_new_requests_arrive_without_a_reload(come, stage) -> None:
    page = come("bob").to("/requests")
    streams(page)
    page.evaluate("window.untouched = true")
    stage.call(lambda: stage.desk.hold(content.newcomer("c1", stage.now())))
    expect(page.locator("#r-c1")).to_contain_text("newcomer")
    assert page.evaluate("window.untouched")


def test_a_decision_by_somebody_else_arrives_and_keeps_what_is_being_written(come, stage) -> None:
    page = come("bob").to("/requests/b1")
    streams(page)
    page.get_by_label(re.compile("^Reason")).fill("I am writ")
    with page.expect_response("**/requests/b1"):
        stage.call(lambda: stage.desk.tell("request_voted", "b1"))
    page.wait_for_timeout(200)  # for the morph
    assert page.get_by_label(re.compile("^Reason")).input_value() == "I am writ"
    # dana's second word is the desk's to refuse; the clock's is not
    stage.run(stage.desk.withdraw(content.somebody("bob"), "b1"))
    expect(page.get_by_role("status")).to_contain_text("withdrawn")
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)


def test_sessions_and_ending_one(come, stage) -> None:
    page = come("bob").to("/sessions")
    first = page.locator("[data-entry]").first
    expect(first).to_contain_text("held")
    expect(first.get_by_role("link", name="waits for approval")).to_be_visible()
    page.locator("#s-5e03 summary").click()
    page.locator("#s-5e03").get_by_label("Reason").fill("Left it open.")
    with page.expect_response("**/sessions"):  # nothing closes under one's hands
        stage.call(lambda: stage.desk.tell("session", "5e01"))
    page.wait_for_timeout(200)  # for the morph
    page.locator("#s-5e03").get_by_role("button", name="End this session").click()
    expect(page.get_by_role("status")).to_contain_text("told to end")
    expect(page.locator("#s-5e03")).to_have_count(0)
    assert stage.desk.ended[-1] == ("5e03", "bob", "Left it open.")
    page = come("wim").to("/sessions?q=svc-")
    expect(page.locator("[data-entry]")).to_have_count(1)
    expect(page.locator("#s-5e02 summary")).to_have_count(0)


def test_grants(come, stage) -> None:
    page = come("bob").to("/grants")
    page.locator("#g-g1").get_by_role("button", name="Agree").click()
    expect(page.locator("#g-g1")).to_contain_text("agreed by bob")
    page.locator("#g-g1 summary").click()
    page.locator("#g-g1").get_by_role("button", name="Revoke it now").click()
    expect(page.locator("#g-g1")).to_contain_text("revoked by bob")
    page.get_by_text("Propose a grant").click()
    page.get_by_label("Who").fill("copilot, svc-x")
    page.get_by_label("On", exact=True).fill("orders")
    page.get_by_label("Targets").fill("staging")
    page.get_by_label("What for").fill("Returns")
    page.get_by_role("button", name="Propose").click()
    expect(page.get_by_role("alert")).to_contain_text("schema.relation")
    assert page.get_by_label("Who").input_value() == "copilot, svc-x"
    page.get_by_label("On", exact=True).fill("public.orders")
    page.get_by_role("button", name="Propose").click()
    expect(page.locator("#live")).to_contain_text("copilot, svc-x")
    scope = next(reversed(stage.desk.standing.values())).scope
    assert (scope.principals, scope.resources) == (("copilot", "svc-x"), ("public.orders",))


def test_audit_search_and_one_record(come) -> None:
    page = come("bob").to("/audit?span=all")
    rows = page.locator("[data-entry]")
    before = rows.count()
    page.get_by_label("Who").fill("alice")
    page.get_by_label("Decision").select_option("deny")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(3)
    assert before > 3
    rows.first.get_by_role("link").click()
    expect(page.locator(".reasons")).to_contain_text("no-whole-table-writes")
    expect(page.locator("main")).to_contain_text("Refused by the appliance")
    page.get_by_role("link", name="All of this session").click()
    expect(rows.first).to_be_visible()
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("#chains")).to_contain_text("complete and unaltered")


def test_records_of_approvals_lead_to_their_requests(come) -> None:
    page = come("bob").to("/audit?span=all")
    expect(page.get_by_text("glass broken")).to_be_visible()
    page.goto(page.url.replace("/audit?span=all", "/audit/0:7"))
    expect(page.locator(".sql .k").first).to_have_text("update")
    page.get_by_role("link", name="The request").click()
    page.wait_for_url("**/requests/b1")


def test_audit_is_for_auditors(come) -> None:
    page = come("dana").to("/requests")
    expect(page.get_by_role("navigation").get_by_role("link", name="Audit")).to_have_count(0)
    page.goto(page.url.replace("/requests", "/audit"))
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()


def test_explaining_a_statement(come) -> None:
    page = come("bob").to("/policy")
    expect(page.locator("#rule-agent-writes-need-approval")).to_contain_text(
        "2 from dba or privacy, within 15min"
    )
    page.get_by_role("link", name="Ask it about a statement").click()
    page.get_by_label("Statement").fill("select name, email from public.customers")
    page.get_by_label("Sent by").fill("alice")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator(".outcome")).to_contain_text("would run")
    expect(page.locator(".answer")).to_contain_text("public.customers.email")
    page.get_by_label("Statement").fill("delete from public.orders")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator(".outcome")).to_contain_text("would be refused")
    page.get_by_label("Sent by").fill("  ")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("alert")).to_contain_text("who sends it")


def test_masking_map(come) -> None:
    page = come("wim").to("/masking?q=email")
    row = page.locator("[data-entry]")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("not in privacy")
    expect(row).to_contain_text("bob, dana")


def test_dashboard_draws_its_tables(come) -> None:
    page = come("bob").to("/dashboard")
    expect(page.locator("[data-chart] canvas")).to_have_count(4)
    widths = page.locator("canvas").evaluate_all("all => all.map(one => one.width)")
    assert min(widths) > 300
    drawn = page.locator("canvas").first.evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x)"
    )
    assert drawn
    expect(page.locator(".top")).to_contain_text("svc-checkout")
    plain = come("wim", java_script_enabled=False).to("/dashboard")
    plain.get_by_text("Figures").first.click()
    expect(plain.locator("[data-chart] tbody tr").first).to_be_visible()
    expect(plain.get_by_text("for auditors")).to_be_visible()


def test_a_token_is_shown_once(come, stage) -> None:
    page = come("bob").to("/account")
    page.get_by_text("Make a token").click()
    page.get_by_label("What for").fill("nightly")
    page.get_by_role("button", name="Make it").click()
    assert re.fullmatch(r"spt_[\w-]{43}", page.locator("[data-secret]").inner_text())
    page.goto(page.url.replace("/account/tokens", "/account"))
    expect(page.locator("[data-secret]")).to_have_count(0)
    row = page.locator(".plain li", has_text="nightly")
    row.get_by_role("button").click()
    expect(row).to_have_count(0)


def test_confirming_a_device(come, stage) -> None:
    secret, code = stage.run(stage.services.devices.ask("198.51.100.7", "sallyport cli"))
    page = come("bob").to("/device")
    page.get_by_label("Code").fill("zzzz-zzzz")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("no such code")
    page.get_by_label("Code").fill(code.lower())
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("main")).to_contain_text("198.51.100.7")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("status")).to_contain_text("Confirmed")
    found = stage.run(stage.services.devices.fetch(secret))
    assert found.identity.name == "bob"


def test_theme(come) -> None:
    visitor = come("bob", color_scheme="light")
    page = visitor.to("/requests")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    with page.expect_response("**/theme"):
        page.get_by_role("button", name=re.compile("Colours")).click()
    dark = page.evaluate(paper)
    assert dark != light
    assert visitor.to("/grants").evaluate(paper) == dark
    assert come("bob", color_scheme="dark").to("/requests").evaluate(paper) == dark
    plain = come("bob", color_scheme="light", java_script_enabled=False).to("/requests?view=all")
    plain.get_by_role("button", name=re.compile("Colours")).click()
    assert "view=all" in plain.url
    expect(plain.locator("html")).to_have_attribute("data-theme", "dark")


def test_keys(come, stage) -> None:
    page = come("bob").to("/requests")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("#r-b2 a")).to_be_focused()
    page.keyboard.press("a")
    page.wait_for_url("**/requests/b2#approve")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    assert stage.desk.held["b2"].state is State.PENDING
    page.keyboard.press("d")
    expect(page.get_by_label(re.compile("^Reason"))).to_be_focused()
    page.keyboard.type("ja?")
    assert page.get_by_label(re.compile("^Reason")).input_value() == "ja?"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.wait_for_url("**/requests/b3")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("approved")
    page.keyboard.press("u")
    page.wait_for_url("**/requests")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(come, scheme: str) -> None:
    """axe-core's rules for WCAG 2.2 AA and its best practices; in the dark, what depends on it."""
    rules = "color-contrast" if scheme == "dark" else ""
    options = "{resultTypes: ['violations']" + (f", runOnly: ['{rules}']" if rules else "") + "}"
    visitor = come("bob", color_scheme=scheme)
    axe = (VENDOR / "axe-core-4.14.1.min.js").read_text()
    found = []
    for name in PAGES.keys() - ALIKE:
        page = visitor.to(PAGES[name])
        page.evaluate(axe)
        found += [
            (name, one["id"], one["nodes"][0]["html"][:160])
            for one in page.evaluate(f"axe.run({options})")["violations"]
        ]
    assert found == []


def test_pages_fit_on_a_phone_and_run_nothing_hostile(come) -> None:
    visitor = come("bob", viewport=PHONE, is_mobile=True, has_touch=True)
    visitor.page.on("dialog", lambda dialog: visitor.complaints.append(dialog.message))
    wide = []
    for name, path in PAGES.items():
        page = visitor.to(path)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(name)
        assert page.locator("main script, main img[src=x]").count() == 0
    assert wide == []


def test_statement_as_text_is_exact(come) -> None:
    visitor = come("bob")
    visitor.to("/requests/b3")
    answer = visitor.context.request.get(visitor.url + "/requests/a9/statement.sql")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body().decode() == content.HOSTILE_SQL
