"""The same pages over the control process's own desk: approvals in a store, changes as it tells
them."""

import re
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.sync_api import expect

from appliance.approval.request import State
from appliance.model.approval import Need
from tests.browser.conftest import Visitor
from tests.browser.stage import Stage
from tests.desk import EVE, Desks, asked, sqlite_desks, terms


class LateDesk:
    """Stands in for a desk that is opened on the server's loop, once there is one."""

    desks: Desks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desks.approvals, name)


@pytest.fixture
def real(tmp_path):
    desk, opened = LateDesk(), AsyncExitStack()
    stage = Stage(tmp_path, desk)
    url = stage.start()

    async def open_desk() -> Desks:
        return await opened.enter_async_context(sqlite_desks(clock=stage.now))

    desk.desks = stage.run(open_desk())
    yield stage, url, desk.desks
    stage.run(opened.aclose())
    stage.stop()


def test_a_request_arrives_is_agreed_to_by_two_and_both_see_it(browser, real) -> None:
    stage, url, desks = real
    bob, dana = (Visitor(browser.new_context(), url).sign_in(name) for name in ("bob", "dana"))
    for visitor in (bob, dana):
        visitor.page.locator("html[data-stream=open]").wait_for(state="attached")
    wanted = asked(time=stage.now(), terms=terms(needs=(Need("two-agree", 2),)))
    stage.run(desks.held.ask(wanted, True))
    for visitor in (bob, dana):
        expect(visitor.page.locator(f"#r-{wanted.id}")).to_contain_text("copilot")
        visitor.page.locator(f"#r-{wanted.id} a").click()
        visitor.page.locator("html[data-stream=open]").wait_for(state="attached")
    bob.page.get_by_role("button", name="Approve").click()
    expect(bob.page.locator(".objection")).to_contain_text("you have voted")
    expect(dana.page.locator(".needs")).to_contain_text("1 of 2")  # without a reload
    dana.page.get_by_label(re.compile("^Reason")).fill("Seen.")
    dana.page.get_by_role("button", name="Approve").click()
    expect(bob.page.get_by_role("status")).to_contain_text("approved")  # likewise
    kept = stage.run(desks.approvals.request(EVE, wanted.id))
    assert kept.state is State.APPROVED
    assert [vote.person for vote in kept.votes] == ["bob", "dana"]
    assert (bob.complaints, dana.complaints) == ([], [])
    for visitor in (bob, dana):
        visitor.context.close()
