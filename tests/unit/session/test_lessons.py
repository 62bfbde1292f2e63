"""What one session's hit path was taught, another's knows (`session/lessons`), while the schema is
held, and nothing comes of it that the machine alone would not have done.
"""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.model.principal import Principal
from appliance.session.decisions import Decisions
from appliance.session.lessons import (
    BELIEVED_MAX,
    LESSONS_MAX,
    Key,
    Learner,
    Lesson,
    Lessons,
    learner_of,
)
from appliance.session.settings import LEASED_PINNING, SettingsTracker
from appliance.session.told import not_asked
from appliance.sql.lineage import CatalogLineage
from appliance.wire.postgres import messages as m
from tests.playbook.speech import IDLE, SYNC, bind, describe_portal, execute, parse
from tests.playbook.world import ANN, DAN, NAMES_MASKED, SECRET
from tests.unit.session.hit_fronts import (
    ALIKE,
    AT_SOURCE,
    HERE,
    NOTES,
    ONE,
    PROCESS,
    READ,
    Front,
    Hold,
    Wired,
)
from tests.unit.session.test_hits import plain, sorts, told

PATH = '"$user", public'
TOLD = (PATH, "none", "none", HERE, PROCESS)
FOLDED = (ONE.format(1),)


def handed_over(front: Front, *told: str) -> Front:
    """Out of a pool: what is told of the connection is known before its first statement."""
    front.session.state.settings.probed(list(told or TOLD), True)
    return front


def asked(front: Front) -> int:
    """How often the database was asked about what a statement rests on."""
    return front.database.asked


Form = Callable[[str], bytes]


def simple(text: str) -> bytes:
    return m.query(text.encode())


def extended(text: str) -> bytes:
    return parse(text) + bind() + describe_portal() + execute() + SYNC


def undescribed(text: str) -> bytes:
    return parse(text) + bind() + execute() + SYNC


FORMS = [simple, extended, undescribed]


def say(front: Front, text: str, how: Form = simple) -> None:
    front.say(how(text))
    front.answer()


def taught(hold: Hold, *texts: str, how: Form = simple, principal: Principal = ANN) -> Front:
    """A session that has sent these, under the lease: twice, where one time teaches nothing."""
    front = handed_over(Front(principal, True, random.Random(0), hold))
    for text in texts:
        for _ in range(1 if text in FOLDED and how is simple else 2):
            say(front, text, how)
    assert front.taken == 0
    return front


def lessons_of(front: Front) -> Any:
    """What sessions like this one are told."""
    assert front.hold is not None and front.hold.lessons is not None
    learner = learner_of(front.session.judge.principal, front.session.state.settings)
    assert learner is not None
    return front.hold.lessons.any_for(learner)


@pytest.fixture
def hold() -> Any:
    made = Hold(several=True)
    made.take()
    yield made
    made.close()


@pytest.mark.parametrize("how", FORMS)
@pytest.mark.parametrize("text", [READ, ONE.format(1), AT_SOURCE])
def test_the_first_statement_of_another_session_asks_nothing(
    hold: Hold, text: str, how: Form
) -> None:
    first = taught(hold, text, how=how)
    assert asked(first) > 0
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    say(other, text, how)
    assert (asked(other), other.taken) == (0, 1)
    alone = Front(ANN, False, random.Random(0))
    say(alone, text, how)
    assert plain(other.read) == plain(alone.read)
    assert SECRET.encode() not in other.read
    assert sorts(told(other.records)) == sorts(told(alone.records))
    assert hold.lessons is not None
    assert (hold.lessons.take_heard(), hold.lessons.take_heard()) == (1, 0)


@pytest.mark.parametrize("held", [True, False], ids=["held", "not held"])
@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes masks", "owes none"])
@pytest.mark.parametrize("how", FORMS)
def test_what_asks_nothing_is_told_of_too(principal: Principal, how: Form, held: bool) -> None:
    hold, text = Hold(several=True), "SELECT 1"
    if held:
        hold.take()
    first = taught(hold, text, how=how, principal=principal)
    assert asked(first) == 0
    other = handed_over(Front(principal, True, random.Random(0), hold))
    say(other, text, how)
    assert other.taken == 1
    alone = Front(principal, False, random.Random(0))
    say(alone, text, how)
    assert plain(other.read) == plain(alone.read)
    assert sorts(told(other.records)) == sorts(told(alone.records))
    assert SECRET.encode() not in other.read
    if held:
        hold.let_go()
        after = handed_over(Front(principal, True, random.Random(0), hold))
        say(after, text, how)
        assert after.taken == 0
    hold.close()


def test_texts_that_differ_in_constants_share_a_lesson(hold: Hold) -> None:
    taught(hold, ONE.format(1))
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    say(other, ONE.format(27))
    assert (asked(other), other.taken) == (0, 1)
    (decided,) = [r for r in other.records if hasattr(r, "statement")]
    assert decided.statement.text_bytes == len(ONE.format(27))


@pytest.mark.parametrize("how", FORMS)
def test_what_is_wired_takes_it_likewise(hold: Hold, how: Form) -> None:
    taught(hold, READ, how=how)
    other = Wired(ANN, random.Random(0), hold)
    handed_over(other)
    say(other, READ, how)
    assert (asked(other), other.taken) == (0, 1)
    other.leave()


def test_not_for_who_owes_other_masks_or_has_another_name(hold: Hold) -> None:
    taught(hold, READ)
    for principal in (Principal("eve", groups=ANN.groups), DAN):
        other = handed_over(Front(principal, True, random.Random(0), hold))
        say(other, READ)
        assert other.taken == 0
    renamed = handed_over(Front(ANN, True, random.Random(0), hold))
    renamed.machine.take_policy(NAMES_MASKED)
    say(renamed, READ)
    assert renamed.taken == 0


@pytest.mark.parametrize(
    "told",
    [
        ("early, public", *TOLD[1:]),
        (PATH, "clerk", *TOLD[2:]),
        (PATH, "none", "clerk", *TOLD[3:]),
        (*TOLD[:3], "1700000000000001 f", PROCESS),
    ],
    ids=["another path", "another role", "another user", "another server"],
)
def test_not_for_a_session_with_other_settings(hold: Hold, told: tuple[str, ...]) -> None:
    taught(hold, READ)
    other = handed_over(Front(ANN, True, random.Random(0), hold), *told)
    say(other, READ)
    assert other.taken == 0


def test_not_under_other_token_keys_or_another_catalog(hold: Hold) -> None:
    taught(hold, READ)
    rekeyed = handed_over(Front(ANN, True, random.Random(0), hold))
    rekeyed.session.state.locks._keys = {"mail": b"another"}
    reread = handed_over(Front(ANN, True, random.Random(0), hold))
    reread.session.port.take(CatalogLineage(reread.session.port.lineage.catalog))
    for other in (rekeyed, reread):
        say(other, READ)
        assert other.taken == 0


def test_not_for_a_session_of_which_nothing_is_told_yet(hold: Hold) -> None:
    taught(hold, READ)
    other = Front(ANN, True, random.Random(0), hold)
    say(other, READ)
    assert other.taken == 0
    assert LEASED_PINNING.probe in other.database.heard
    say(other, NOTES.format(1))
    taught(hold, AT_SOURCE)
    say(other, AT_SOURCE)
    assert other.taken == 1


def test_not_for_a_session_with_temporary_relations(hold: Hold) -> None:
    taught(hold, READ)
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    other.session.state.settings.add_temporary(frozenset({"notes"}))
    say(other, READ)
    assert other.taken == 0


def test_nothing_is_told_by_a_session_with_temporary_relations(hold: Any) -> None:
    front = handed_over(Front(ANN, True, random.Random(0), hold))
    front.session.state.settings.add_temporary(frozenset({"notes"}))
    say(front, ONE.format(1))
    assert not hold.lessons.any_for(Learner(ANN, ""))


def test_nothing_is_told_of_what_failed(hold: Hold) -> None:
    front = handed_over(Front(ANN, True, random.Random(0), hold))
    front.database.fails = True
    say(front, ONE.format(1))
    assert not lessons_of(front)
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    say(other, READ)
    assert other.taken == 0


def test_nothing_is_told_of_what_was_asked_about_before_the_schema_was_held() -> None:
    hold = Hold(several=True)
    front = taught(hold, READ)
    assert not lessons_of(front)
    hold.take()
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    say(other, READ)
    assert (other.taken, asked(other)) == (0, 1)
    front.leave()
    hold.close()


def test_a_lesson_is_gone_with_the_lease(hold: Hold) -> None:
    taught(hold, READ)
    hold.let_go()
    for again in (False, True):
        if again:
            hold.take()
        other = handed_over(Front(ANN, True, random.Random(0), hold))
        say(other, READ)
        assert (other.taken, asked(other)) == (0, 1)


def test_a_guard_that_was_ended_voids_the_answer(hold: Hold) -> None:
    """Nobody has heard of it yet when the statement is sent."""
    taught(hold, READ)
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    other.reshape(7, 1.0)
    other.database.betrays = True
    say(other, READ)
    assert other.taken == 1
    assert asked(other) >= 1
    assert SECRET.encode() not in other.read


def test_what_the_machine_wants_to_look_at_stays_its_own(hold: Hold) -> None:
    """A text that the path knows, and has left to the machine, is not offered to it again."""
    taught(hold, READ)
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    say(other, READ)
    other.session.state.pace.change(4)
    other.session.state.pace.due = 0.0
    before = other.taken
    say(other, READ)
    assert other.taken == before


def test_only_a_whole_query_is_learned(hold: Hold) -> None:
    taught(hold, READ)
    whole = m.query(READ.encode())
    for chunk in (whole[:-1], whole + SYNC, whole[:-1] + b"x", parse(READ) + SYNC, b"Q"):
        other = handed_over(Front(ANN, True, random.Random(0), hold))
        assert not other.machine.learns(chunk, 0.0)
        assert not other.path.exact


def test_only_a_whole_parse_of_the_unnamed_statement_is_learned(hold: Hold) -> None:
    taught(hold, READ, how=extended)
    whole = extended(READ)
    typed = m.parse(b"", READ.encode(), (23,)) + bind() + execute() + SYNC
    torn = b"P\0\0\0\x07" + whole[5:]
    named = parse(READ, "p") + bind("p") + execute() + SYNC
    for chunk in (typed, torn, named, whole[:20], b"P", m.query(READ.encode())):
        other = handed_over(Front(ANN, True, random.Random(0), hold))
        assert not other.machine.learns(chunk, 0.0)
        assert not other.path.exact


def test_a_text_learned_one_way_is_the_machines_the_other_way(hold: Hold) -> None:
    taught(hold, READ, how=extended)
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    say(other, READ, extended)
    assert (asked(other), other.taken) == (0, 1)
    for number, how in enumerate((simple, simple, undescribed, simple)):
        say(other, READ, how)
        assert other.taken == 1 + number
    assert SECRET.encode() not in other.read


def test_a_parse_that_is_learned_and_goes_on_otherwise_is_the_machines(hold: Hold) -> None:
    """The unnamed statement is what the session itself has sent, and nothing else."""
    taught(hold, READ, how=extended)
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    other.say(parse(READ) + SYNC)
    other.answer()
    assert other.taken == 0
    say(other, NOTES.format(1), extended)
    other.say(bind() + execute() + SYNC)
    other.answer()
    assert SECRET.encode() not in other.read
    assert other.read.count(b"SELECT 2") == 2


@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes masks", "owes none"])
@pytest.mark.parametrize("seed", range(40))
def test_many_short_sessions_with_and_without(principal: Principal, seed: int) -> None:
    """One after another, while the schema is held, let go of, and changed."""
    hold = Hold(several=True)
    for number in range(40):
        alone = Front(principal, False, random.Random(seed))
        choices = random.Random(100 * seed + number)
        hitting = (Wired if seed % 2 else Front)(*_made(principal, choices, hold, seed % 2))
        if not (hold.lease.value and hold.lease.live()) and choices.random() < 0.9:
            hold.take()
        handed_over(hitting)
        for front in (alone, hitting):
            _converse(front, 100 * seed + number)
            front.leave()
        assert plain(hitting.read) == plain(alone.read)
        if principal is ANN:
            assert SECRET.encode() not in hitting.read
        assert sorts(told(hitting.records)) == sorts(told(alone.records))
    assert hold.lessons is not None
    assert hold.lessons.take_heard() > 2
    hold.close()


def _made(principal: Principal, choices: random.Random, hold: Hold, wired: int) -> Any:
    return (principal, choices, hold) if wired else (principal, True, choices, hold)


def _next(choices: random.Random) -> bytes:
    texts = (READ, ONE, NOTES, AT_SOURCE, ALIKE)
    text = choices.choice(texts).format(choices.randint(1, 99))
    return choices.choice(FORMS)(text)


def _converse(front: Front, seed: int) -> None:
    choices = random.Random(seed)
    for _ in range(choices.randint(1, 6)):
        event = choices.random()
        if event < 0.05:
            front.database.position += 1
        elif event < 0.08:
            front.machine.take_policy(NAMES_MASKED)
        front.database.notices = choices.random() < 0.05
        front.say(_next(choices))
        if choices.random() < 0.3:
            front.say(_next(choices))
        if choices.random() < 0.08:
            front.reshape(choices.randint(1, 9**9), choices.random())
            front.database.betrays = True
        front.answer()
        front.hold_again()


@pytest.mark.parametrize("behind", [True, False], ids=["amid another", "alone"])
def test_nothing_is_learned_while_another_statement_is_the_machines(
    hold: Hold, behind: bool
) -> None:
    """Its answer would be taken for that of what was learned."""
    taught(hold, AT_SOURCE)
    other = Wired(ANN, random.Random(0), hold)
    handed_over(other)
    for _ in range(3):
        say(other, ALIKE)
    before = other.taken
    assert before
    if behind:
        other.say(simple(ALIKE))  # the path's, until the next one comes
    other.say(simple(AT_SOURCE))
    sent, other._to_database = other._to_database, b""
    one = 1 + int.from_bytes(sent[1:5], "big")
    if behind:
        other._hear(other.database.answer(sent[:one]))
        sent = sent[one:]
    other.reshape(7, 0.0)  # nothing of the other has begun
    other.database.betrays = True
    other._hear(other.database.answer(sent))
    other.answer()
    assert SECRET.encode() not in other.read
    assert other.read.count(IDLE) == 4 + behind
    other.leave()


@pytest.mark.parametrize("lessons", [True, False])
def test_a_parse_whose_answer_is_dropped_leaves_no_unnamed_statement(
    hold: Hold, monkeypatch: pytest.MonkeyPatch, lessons: bool
) -> None:
    """The server has it; the machine, which refuses it now, has it replace nothing there."""
    before, parsed = NOTES.format(1), NOTES.format(2)
    taught(hold, parsed, how=undescribed)
    other = handed_over(Front(ANN, True, random.Random(0), hold))
    if not lessons:
        other.session.state.hits.lessons = None
        for _ in range(2):
            say(other, parsed, undescribed)
    say(other, before, undescribed)
    taken = other.taken
    other.say(undescribed(parsed))
    assert other.taken == taken + 1
    sent, other._to_database = other._to_database, b""
    answer = other.database.answer(sent)
    other.reshape(7, 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Decisions, "refusal", lambda _self, _verdict: not_asked())
        other._hear(answer)
    assert other.session.state.statements.lookup(b"") is None


def test_nothing_is_told_by_a_session_on_another_server(hold: Hold) -> None:
    """Or by one of which nobody knows where it is."""
    for answer in ((*TOLD[:3], "1700000000000001 f", PROCESS), TOLD[:3]):
        front = handed_over(Front(ANN, True, random.Random(0), hold), *answer)
        for _ in range(2):
            say(front, READ)
        assert not lessons_of(front)


def test_whoever_tells_most_drives_out_their_own() -> None:
    lessons, lesson = Lessons(), judged_by("p", "1")

    def told_by(name: str, path: str) -> Learner:
        settings = SettingsTracker("shop", {}, (path, *TOLD[1:3]))
        learner = learner_of(Principal(name), settings)
        assert learner is not None
        return learner

    quiet, key = told_by("quiet", PATH), Key(b"x", False)
    lessons.tell(quiet, key, lesson)
    for number in range(LESSONS_MAX):
        lessons.tell(told_by("loud", f"path{number}"), key, lesson)
        lessons.tell(told_by("loud", PATH), Key(b"%d" % number, False), lesson)
        lessons.tell(quiet, key, lesson)
    assert lessons.get(quiet, key) is lesson
    kept = [lessons.get(told_by("loud", f"path{n}"), key) for n in range(LESSONS_MAX)]
    kept += [lessons.get(told_by("loud", PATH), Key(b"%d" % n, False)) for n in range(LESSONS_MAX)]
    assert sum(each is lesson for each in kept) == LESSONS_MAX - 1
    assert kept[-1] is lesson and kept[0] is None
    lessons.clear()
    assert not lessons.any_for(quiet)
    for number in range(LESSONS_MAX + 5):
        lessons.tell(told_by(f"p{number}", PATH), key, lesson)
    there = [lessons.any_for(told_by(f"p{n}", PATH)) for n in range(LESSONS_MAX + 5)]
    assert there == [False] * 5 + [True] * LESSONS_MAX
    lessons.clear()
    lessons.tell(quiet, key, lesson)
    assert lessons.get(quiet, key) is lesson


def judged_by(policy: str, catalog: str) -> Lesson:
    return cast(Lesson, SimpleNamespace(verdict=SimpleNamespace(epoch=(policy, catalog, ""))))


def test_what_was_judged_by_another_policy_or_catalog_is_not_kept() -> None:
    lessons, ann, dan = Lessons(), Learner(ANN, PATH), Learner(DAN, PATH)
    one, two = Key(b"1", False), Key(b"2", False)
    for before, after, stay in (
        (("p", "1"), ("p", "1"), True),
        (("p", "1"), ("p", ""), True),  # it is not read for everybody
        (("p", ""), ("p", "1"), True),
        (("p", "1"), ("p", "2"), False),
        (("p", "2"), ("q", "2"), False),
        (("q", "2"), ("r", ""), False),
    ):
        lessons.tell(ann, one, judged_by(*before))
        lessons.tell(dan, two, judged_by(*after))
        assert lessons.any_for(dan)
        assert (lessons.get(ann, one) is not None) == stay


def test_a_session_with_a_long_path_is_like_no_other() -> None:
    settings = SettingsTracker("shop", {}, ("x, " * BELIEVED_MAX + "x", *TOLD[1:3]))
    assert learner_of(ANN, settings) is None
