"""Wherever a peer's bytes are cut, the same comes of them. (Every playbook is played byte by byte
and in two odd ways anyway; here hypothesis looks for other cuts.)
"""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.playbook.playbook import Event, Playbook, answers, says, whole
from tests.playbook.speech import (
    BOUND,
    COPY_DONE,
    COPY_IN,
    EMAIL_COLUMN,
    ID_COLUMN,
    IDLE,
    NO_DATA,
    PARSED,
    SYNC,
    SYNTAX_ERROR,
    bind,
    complete,
    copy_data,
    describe_portal,
    described,
    execute,
    failure,
    notification,
    parse,
    query,
    remark,
    row,
)
from tests.playbook.world import ANN, DAN, LEA, SECRET, Session

READ = "SELECT id, email FROM customers"
RESULT = described(ID_COLUMN, EMAIL_COLUMN) + row("1", SECRET) * 3 + complete("SELECT 3")
CONVERSATIONS: dict[str, tuple[object, list[Event]]] = {
    "simple": (
        ANN,
        [
            says(query(READ), query("DROP TABLE notes"), query("SELEC 1"), query(READ)),
            answers(
                RESULT, IDLE, SYNTAX_ERROR, IDLE, SYNTAX_ERROR, IDLE, remark("x"), RESULT, IDLE
            ),
        ],
    ),
    "limited": (LEA, [says(query(READ)), answers(notification("x"), RESULT, IDLE)]),
    "raw": (DAN, [says(query(READ)), answers(RESULT, IDLE)]),
    "extended": (
        ANN,
        [
            says(parse(READ, "s"), bind("s"), execute(), SYNC, bind("s"), execute(), SYNC),
            answers(PARSED, BOUND, RESULT, IDLE),
            answers(BOUND, failure("22012", "division by zero"), IDLE),
        ],
    ),
    "copy": (
        DAN,
        [
            says(parse("COPY notes FROM STDIN"), bind(), describe_portal(), execute(), SYNC),
            answers(PARSED, BOUND, NO_DATA, COPY_IN),
            says(copy_data(b"1\tx\n") * 3, SYNC, COPY_DONE, SYNC),
            answers(complete("COPY 3"), IDLE),
        ],
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
@settings(max_examples=40, deadline=None)
@given(cuts=st.sets(st.integers(1, 500), max_size=12))
def test_any_cuts(name: str, cuts: set[int]) -> None:
    def split(content: bytes) -> Iterable[bytes]:
        places = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
        return [content[a:b] for a, b in itertools.pairwise(places)]

    principal, events = CONVERSATIONS[name]
    book = Playbook(lambda: Session(principal))  # type: ignore[arg-type]
    for event in events:
        book = book >> event
    one, other = book.performed(whole), book.performed(split)
    assert [[seen.line for seen in each] for each in one] == [
        [seen.line for seen in each] for each in other
    ]
    assert any(seen.channel == "client" for each in one for seen in each)
