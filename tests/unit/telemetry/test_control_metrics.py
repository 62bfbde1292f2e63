"""What control counts is in its catalogue and back, and every record adds to the right figure."""

import re

import pytest

from appliance.audit.record import (
    GrantRuled,
    RequestMade,
    RequestRuled,
    RequestUsed,
    SignedIn,
    SignInFailed,
    new_id,
)
from appliance.control.exposition import exposition
from appliance.control.figures import Figures
from appliance.model.principal import PrincipalKind
from appliance.telemetry.control_metrics import (
    CONTROL_CATALOGUE,
    ControlMetrics,
    control_families,
)
from tests.unit.control.test_admin import report

START = 1_790_000_000.0


def test_every_attribute_is_in_the_catalogue_and_back() -> None:
    own = {name for name in ControlMetrics.__struct_fields__ if not name.startswith("wait_")}
    assert own == set(CONTROL_CATALOGUE)
    for family, label in CONTROL_CATALOGUE.values():
        assert re.fullmatch(r"[a-z][a-z_]*", family.name) and family.help.endswith(".")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert bool(family.label) == bool(label)


def ruled(state: str, after: float, by: str = "bob", **more: bool) -> RequestRuled:
    id = new_id(START, b"0123456789")
    return RequestRuled(id="x", time=START + after, request=id, state=state, by=by, **more)


def test_records_are_counted() -> None:
    figures = Figures()
    made = RequestMade(
        id="x", time=START, request="r", principal="p", kind=PrincipalKind.AGENT, target="t",
        database="d", sql="", binding="b",
    )  # fmt: skip
    figures.count(
        [
            made, made,
            ruled("approved", 0.5), ruled("approved", 45, break_glass=True), ruled("denied", 7200),
            ruled("approved", 0, by="grant:g1"), ruled("expired", 300, by=""),
            ruled("withdrawn", 3, by=""),
            RequestUsed(id="x", time=START, request="r", binding="b"),
            GrantRuled(id="x", time=START, grant="g", state="active"),
            GrantRuled(id="x", time=START, grant="g", state="revoked"),
            SignedIn(id="x", time=START, person="p", kind=PrincipalKind.HUMAN, method="password"),
            SignInFailed(id="x", time=START, claimed="p", reason="bad"),
            RequestRuled(id="x", time=START, request="no time in it", state="denied"),
        ]
    )  # fmt: skip
    metrics = figures.metrics
    assert (metrics.requests_made, metrics.requests_approved, metrics.requests_denied) == (2, 3, 2)
    assert (metrics.requests_expired, metrics.requests_withdrawn, metrics.requests_used) == (
        1,
        1,
        1,
    )
    assert (metrics.glass_broken, metrics.grants_agreed, metrics.grants_revoked) == (1, 1, 1)
    assert (metrics.sign_ins_ok, metrics.sign_ins_failed) == (1, 1)
    # Only people's decisions: what a grant approves, or nobody decides, waited for nobody.
    assert sum(metrics.wait_counts) == 3 and metrics.wait_seconds == pytest.approx(7245.5, abs=0.1)
    exported = {one.family.name: one for one in control_families(metrics.snapshot())}
    assert exported["request_wait_seconds"].buckets[0] == ("1", 1)
    assert exported["request_wait_seconds"].buckets[-2:] == (("3600", 2), ("+Inf", 3))


def test_they_are_shown_where_there_is_a_control_process() -> None:
    assert b"sallyport_requests" not in exposition(report())
    figures = ControlMetrics(requests_pending=3, workers_linked=2).snapshot()
    shown = exposition(report(control_figures={**figures, "made up": 9})).decode()
    assert "sallyport_requests_pending 3.0" in shown
    assert 'sallyport_requests_total{state="approved"} 0.0' in shown
    assert "sallyport_control_links 2.0" in shown and "made up" not in shown
    assert 'sallyport_request_wait_seconds_bucket{le="+Inf"} 0.0' in shown
