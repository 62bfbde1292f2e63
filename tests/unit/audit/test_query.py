"""Stories: joined, filtered, in order; lines fit 120 columns and cannot steer a terminal."""

from collections.abc import Callable
from typing import Any

import pytest

from appliance.audit.lines import Layout, People, heading, layout_for, line
from appliance.audit.query import Criteria, Story, find, recent, search
from appliance.audit.record import (
    AdminActed,
    ChangeUnstored,
    ClassificationProposed,
    ClientPart,
    ConfigurationChanged,
    ControlStarted,
    ControlStopped,
    GrantProposed,
    GrantRuled,
    LoginFailed,
    PolicyChanged,
    PolicyVersionActivated,
    PolicyVersionRefused,
    PolicyVersionStored,
    ProtocolKind,
    RequestEscalated,
    RequestMade,
    RequestRuled,
    RequestUsed,
    RequestVoted,
    SegmentOpened,
    SessionClosed,
    SignedIn,
    SignedOut,
    SignInFailed,
    SpoolRecovered,
    StatementDecided,
    TrailDoubted,
    WorkerStarted,
    WorkerStopped,
)
from appliance.model.principal import PrincipalKind
from tests.unit.audit.conftest import decided, finished

EVERYTHING = Criteria()


def ids(stories: list[Story]) -> list[str]:
    return [story.record.id for story in stories]


def test_stories_are_joined_and_in_order(trail: Any) -> None:
    stories = search(trail, EVERYTHING, 100)
    assert ids(stories) == ["so-s1", "so-s2", "d1", "d2", "d3", "d4", "d5", "l1", "d6", "sc", "d7"]
    by_id = {story.record.id: story for story in stories}
    assert by_id["d4"].finished is not None
    assert by_id["d4"].finished.id == "f4"
    assert by_id["d7"].finished is None
    assert by_id["d1"].reference == "0:3"


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        (Criteria(principal="copilot"), "d6"),
        (Criteria(principal="alice", action="select"), "d1 d2 d4 d5 d6"),
        (Criteria(principal="mallory"), "l1"),
        (Criteria(action="drop"), "d3"),
        (Criteria(rule="no-ddl"), "d3"),
        (Criteria(rule="mask-pii", session="s2"), "d7"),
        (Criteria(effect="deny"), "d3 l1"),
        (Criteria(text="DROP"), "d3"),
        (Criteria(target="elsewhere"), ""),
        (Criteria(since=1_790_000_005.0, until=1_790_000_007.0), "d5 l1 d6"),
        (Criteria(prepared=False, effect="deny"), "d3 l1"),
    ],
)
def test_criteria(trail: Any, criteria: Criteria, expected: str) -> None:
    assert ids(search(trail, criteria, 100)) == expected.split()


def test_the_newest_win(trail: Any) -> None:
    assert ids(search(trail, EVERYTHING, 3)) == ["l1", "sc", "d7"]
    assert ids(recent(trail, EVERYTHING, 3)) == ["d6", "sc", "d7"]
    assert len(recent(trail, EVERYTHING, 100)) == 11
    assert recent(trail, EVERYTHING, 0) == []


def test_find(trail: Any) -> None:
    assert ids(find(trail, "0:3")) == ["d1"]
    assert ids(find(trail, "f1")) == ["d1"]
    assert ids(find(trail, "0:4")) == ["d1"]  # the record that d1 finished
    assert ids(find(trail, "s2")) == ["so-s2", "d7"]
    assert find(trail, "nothing") == []


def test_a_finish_finds_a_statement_that_was_not_waited_for(
    trail: Any, make_writer: Callable[[Any, int], Any]
) -> None:
    late = make_writer(trail, 1)
    late.open()
    late.write(decided(8, protocol=ProtocolKind.PARSE), finished(8))
    (story,) = find(trail, "1:3")
    assert (story.record.id, story.reference) == ("d8", "1:2")
    assert story.finished is not None
    assert story.finished.id == "f8"


def test_damage_is_skipped(trail: Any) -> None:
    name = trail.segments()[0]
    trail.files[0][name] = b"garbage\n\xff\xfe\n" + trail.files[0][name]
    assert len(search(trail, EVERYTHING, 100)) == 11


def test_lines_are_readable_at_120(trail: Any) -> None:
    stories = search(trail, EVERYTHING, 100)
    layout = layout_for(stories, 120)
    lines = [heading(layout), *(line(s, layout) for s in stories)]
    assert all(len(text) <= 120 for text in lines)
    d1 = next(text for text in lines if text.startswith("0:3"))
    assert d1.split() == [
        *("0:3", "09-21", "14:13:21", "alice", "allow", "analysts-read"),
        *("select", "email", "from", "customers", "where", "id", "=", "$_", "10", "1"),
    ]  # fmt: skip
    assert "copilot>alice" in "\n".join(lines)
    d3 = next(text for text in lines if "drop table" in text)
    assert "deny   no-ddl" in d3


def test_the_end_of_a_session_says_whose_it_was(trail: Any) -> None:
    stories = search(trail, EVERYTHING, 100)
    people = People()
    shown = [line(story, Layout(), people) for story in stories]
    ended = next(text for text in shown if "-- disconnected" in text)
    assert ended.split()[3] == "alice"
    closed = next(s for s in stories if isinstance(s.record, SessionClosed))
    assert line(closed, Layout()).split()[3:5] == ["--", "disconnected:"]


@pytest.mark.parametrize(
    ("tag", "rows", "shown"),
    [
        ("UPDATE 3", 0, "3"),
        ("INSERT 0 5", 0, "5"),
        ("DELETE 2", 0, "2"),
        ("DELETE 2", 1, "1"),
        ("SELECT 9", 0, "0"),
        ("CREATE TABLE", 0, "0"),
    ],
)
def test_rows_that_were_changed_are_counted(tag: str, rows: int, shown: str) -> None:
    story = Story(0, 1, decided(1), finished(1, command_tag=tag, rows=rows, cells_masked=0))
    assert line(story, Layout()).split()[-1] == shown


def test_nothing_steers_the_terminal() -> None:
    client = ClientPart("::1", 1, "main", False)
    record = LoginFailed(id="x", time=1.0, claimed="a\x1b[2J\nb", reason="r", client=client)
    assert line(Story(0, 1, record), Layout()).isprintable()


MADE = RequestMade(
    id="x",
    time=1.0,
    request="r1",
    principal="copilot",
    on_behalf_of="alice",
    kind=PrincipalKind.AGENT,
    target="shop",
    database="shop",
    sql="UPDATE o\nSET s = ?",
    binding="b",
)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (PolicyChanged(id="x", time=1.0, version="v2"), "policy v2 in force"),
        (PolicyChanged(id="x", time=1.0, version="v2", accepted=False), "policy v2 rejected"),
        (ConfigurationChanged(id="x", time=1.0, digest="d" * 64), "configuration dddddddddddd in"),
        (WorkerStarted(id="x", time=1.0, worker=1, pid=9, version="1"), "worker 1 started"),
        (
            ClassificationProposed(
                id="x",
                time=1.0,
                target="shop",
                database="s",
                column="public.o.c",
                classification="pii.email",
                share=0.61,
                sampled=200,
            ),
            "shop/s: public.o.c looks like pii.",
        ),
        (WorkerStopped(id="x", time=1.0, worker=1, reason="drained"), "worker 1 stopped: drained"),
        (SpoolRecovered(id="x", time=1.0, cause="ENOSPC"), "audit trail recovered: ENOSPC"),
        (SegmentOpened(id="x", time=1.0, worker=0, segment="s"), "segment s"),
        (MADE, "asks for UPDATE o SET s = ? (request r1)"),
        (
            RequestVoted(id="x", time=1.0, request="r1", person="bob", approve=True),
            "agrees (request r1)",
        ),
        (
            RequestVoted(id="x", time=1.0, request="r1", person="bob", approve=False, reason="no"),
            "against: no (request r1)",
        ),
        (
            RequestVoted(
                id="x", time=1.0, request="r1", person="al", approve=True, break_glass=True
            ),
            "BROKE THE GLASS (request r1)",
        ),
        (
            RequestRuled(id="x", time=1.0, request="r1", state="denied", by="bob", reason="no"),
            "denied: no (request r1)",
        ),
        (
            RequestEscalated(id="x", time=1.0, request="r1", groups=("a", "b")),
            "escalated to a, b (request r1)",
        ),
        (
            RequestUsed(id="x", time=1.0, request="r1", binding="b", uses=2),
            "approval used, 1 of 2 (request r1)",
        ),
        (
            GrantProposed(
                id="x",
                time=1.0,
                grant="g1",
                person="bob",
                principals=("c",),
                targets=("t",),
                databases=("*",),
                actions=("update",),
                resources=("s.o",),
                until=2.0,
            ),
            "grant g1 proposed: c: update on s.o",
        ),
        (GrantRuled(id="x", time=1.0, grant="g1", state="revoked"), "grant g1 revoked"),
        (
            TrailDoubted(id="x", time=1.0, node="n", worker=2, cause="behind", seen=7),
            "AUDIT TRAIL DOUBTED: chain 2 of n: behind, seen up to 7",
        ),
        (
            PolicyVersionStored(id="x", time=1.0, version="a" * 64, by="files", node="n"),
            "policy aaaaaaaaaaaaaaaa stored (files)",
        ),
        (
            PolicyVersionActivated(
                id="x", time=1.0, version="a" * 64, serial=2, by="eve", cause="rolled_back"
            ),
            "policy ROLLED BACK TO aaaaaaaaaaaaaaaa",
        ),
        (
            PolicyVersionActivated(
                id="x", time=1.0, version="a" * 64, serial=2, by="f", cause="files", reason="r"
            ),
            "policy in force: aaaaaaaaaaaaaaaa (files): r",
        ),
        (
            PolicyVersionRefused(
                id="x", time=1.0, version="a" * 64, by="files", node="n", reason="1 case fails"
            ),
            "policy aaaaaaaaaaaaaaaa refused: 1 case fails",
        ),
        (
            SignedIn(id="x", time=1.0, person="bob", kind=PrincipalKind.HUMAN, method="oidc"),
            "signed in by oidc (-)",
        ),
        (
            SignInFailed(id="x", time=1.0, claimed="bob", reason="bad_proof", address="::1"),
            "sign-in failed: bad_proof (::1)",
        ),
        (SignedOut(id="x", time=1.0, person="bob", reason="idle"), "signed out: idle"),
        (
            AdminActed(id="x", time=1.0, session="s9", person="dan", action="session_ended"),
            "session_ended s9",
        ),
        (
            ControlStarted(id="x", time=1.0, node="n", pid=9, version="1", store="sqlite"),
            "control started on n (pid 9, sqlite)",
        ),
        (ControlStopped(id="x", time=1.0, node="n", reason="failed"), "stopped on n: failed"),
        (
            ChangeUnstored(id="x", time=1.0, records=("a", "b"), reason="the store failed"),
            "NOT SO, or not known to be: a, b (the store failed)",
        ),
    ],
)
def test_other_events_have_a_line(record: Any, text: str) -> None:
    assert text in line(Story(0, 1, record), Layout(width=200))


@pytest.mark.parametrize(
    ("record", "names", "effect"),
    [
        (MADE, ("copilot", "alice"), ""),
        (RequestVoted(id="x", time=1.0, request="r", person="bob", approve=True), ("bob",), ""),
        (RequestRuled(id="x", time=1.0, request="r", state="s", by="a, b"), ("a", "b"), ""),
        (SignInFailed(id="x", time=1.0, claimed="eve", reason="r"), ("eve",), "deny"),
    ],
)
def test_approvals_are_found_by_person(record: Any, names: tuple[str, ...], effect: str) -> None:
    story = Story(999, 1, record)
    assert all(Criteria(principal=name).matches(story) for name in names)
    assert not Criteria(principal="another").matches(story)
    assert (story.reference, story.effect) == ("999:1", effect)


def test_refused_though_allowed_by_policy(trail: Any) -> None:
    from appliance.audit.record import RefusalPart
    from appliance.model.refusal import RefusalCode

    story = next(s for s in search(trail, EVERYTHING, 100) if s.record.id == "d1")
    assert isinstance(story.record, StatementDecided)
    import msgspec

    refused = msgspec.structs.replace(
        story.record, refusal=RefusalPart(RefusalCode.MASKED_COLUMN_USED)
    )
    story = Story(0, 1, refused)
    assert (story.effect, story.rule) == ("refuse", "masked_column_used")
