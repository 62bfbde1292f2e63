"""Times and figures in words, and the dashboard's slices."""

import pytest

from appliance.console.metering import Sample
from appliance.console.pages import audit, policy, words
from appliance.console.pages.dashboard import SLICES, slices
from appliance.console.pages.grants import Proposed, _scope, _until
from appliance.policy.document import PrincipalSelector


def test_spans_and_countdowns() -> None:
    assert [words.span(s) for s in (0, 0.4, 59, 60, 3_599, 86_400 * 3)] == [
        *("0 s", "0 s", "59 s", "1 min", "59 min", "3 d"),
    ]
    assert [words.countdown(s) for s in (7, 247, 3_723, 86_400 * 3)] == [
        *("0:07", "4:07", "1:02:03", "3 d"),
    ]


def test_times_say_the_absolute_one_too() -> None:
    assert words.ago(1_000_000, 1_000_125) == (
        '<time class="ago" datetime="1970-01-12T13:46:40Z" title="1970-01-12 13:46:40 UTC"'
        ' data-ago="1000000">2 min ago</time>'
    )
    assert ">over<" in words.left(5, 6)
    assert ">in 2 min<" in words.ago(125, 0)
    assert "9999" in words.ago(1e300, 0) and "1970" in words.ago(-1e300, 0)


def test_numbers() -> None:
    assert words.count(1_234_567) == "1&#8239;234&#8239;567"
    assert words.plural(1, "row") == "1&nbsp;row"
    assert [words.milliseconds(v) for v in (None, 0.4, 12.3, 1_300)] == [
        *("–", "0.4 ms", "12 ms", "1.3 s"),
    ]


def test_slices_are_what_counters_grew_by() -> None:
    key = 'sallyport_statements_total{effect="deny"}'
    history = [Sample(float(t), {key: float(2 * t)}) for t in range(361)]
    cut = slices(history)
    assert len(cut) <= SLICES
    assert sum(one.denied for one in cut) == 720 - 2 * (cut[0].start)
    again = slices([Sample(0.0, {key: 9.0}), Sample(1.0, {key: 4.0})])
    assert again[0].denied == 4  # began anew
    assert slices([]) == () == slices(history[:1])


def test_proposals_say_what_is_wrong() -> None:
    good = Proposed(principals="copilot", targets="staging", resources="public.orders.status, a.b")
    assert _scope(good).resources == ("public.orders.status", "a.b")
    for wrong in (
        Proposed(targets="x", resources="a.b"),
        Proposed(principals="x", targets="x", resources="orders"),
        Proposed(principals="x", targets="x", resources="a.b", rows_max="-1"),
    ):
        with pytest.raises(ValueError, match=r"[.]$"):
            _scope(wrong)
    assert _until(Proposed(hours="2"), 100.0) == 7_300.0
    assert _until(Proposed(until="1970-01-01T01:00"), 100.0) == 3_600.0
    for hours, until in (
        ("", ""),
        ("-1", ""),
        ("99999", ""),
        ("1", "x"),
        ("1", "1969-01-01T00:00"),
    ):
        with pytest.raises(ValueError, match=r"[.]$"):
            _until(Proposed(hours=hours, until=until), 100.0)


def test_records_in_words() -> None:
    """Nothing of the program's own spelling, and moments as people read them."""
    said = audit._said({"approve": True, "until": 1_790_000_000.0, "uses": 1, "break_glass": False})
    assert said == "approve yes, until 2026-09-21 14:13:20 UTC, uses 1, break glass no"


def test_selectors_in_words() -> None:
    assert policy.who(PrincipalSelector()) == "everybody"
    assert policy.who(PrincipalSelector(not_groups=("privacy",))) == "everybody not in privacy"
    some = PrincipalSelector(groups=("dba",), not_groups=("privacy",))
    assert policy.who(some) == "in dba; not in privacy"
