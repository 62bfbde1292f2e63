"""SQL for the eye: nothing is hidden, nothing but white space is changed, nothing runs."""

import html
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.console.pages.statement import (
    SHOWN_MAX,
    hides_something,
    highlighted,
    needs_layout,
    visible,
)

TAG = re.compile(r"<[^>]*>")
OURS = re.compile(r'<span class="(?:k|s|n|c|p|q|odd|foreign)"(?: title="[^"<>]*")?>|</span>')
LONG = (
    "select a, b from t left outer join u on t.id = u.id where a between 1 and 2 and b in "
    "(select b from v where c = 'x and y' group by b) order by a limit 5"
)


def read(markup: str) -> str:
    return html.unescape(TAG.sub("", markup))


def test_words_are_told_apart() -> None:
    shown = highlighted("select 'it''s', $1, 2.5, \"Q\" -- why\n from t /* x */")
    for piece in (
        '<span class="k">select</span>',
        '<span class="s">&#39;it&#39;&#39;s&#39;</span>',
        '<span class="p">$1</span>',
        '<span class="n">2.5</span>',
        '<span class="q">&#34;Q&#34;</span>',
        '<span class="c">-- why</span>',
        '<span class="c">/* x */</span>',
    ):
        assert piece in shown


def test_keywords_within_strings_and_comments_are_not_keywords() -> None:
    for text in ("$$select$$", "E'\\' select'", "'select", "/* select", "$a$ select $b$"):
        assert 'class="k"' not in highlighted(text)


@given(st.text(alphabet="ab'\"$-/*\\\n<>&;eEuU ()1\u202e\u0430", max_size=60))
def test_nothing_is_lost_and_nothing_is_markup(text: str) -> None:
    shown = highlighted(text, laid_out=False)
    assert "<" not in OURS.sub("", shown)
    assert read(shown) == text.replace("\u202e", "U+202E")


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_can_be_sent(text: str) -> None:
    highlighted(text).encode()
    visible(text).encode()


def test_layout_changes_white_space_only() -> None:
    shown = read(highlighted(LONG))
    assert shown.split() == LONG.split()
    lines = [line.rstrip() for line in shown.split("\n")]
    assert lines == [
        "select a, b",
        "from t",
        "left outer join u on t.id = u.id",
        "where a between 1 and 2",
        "  and b in (select b",
        "  from v",
        "  where c = 'x and y'",
        "  group by b)",
        "order by a",
        "limit 5",
    ]


@pytest.mark.parametrize("text", ["select 1", "select 1\nfrom t " + "x" * 90])
def test_short_and_laid_out_texts_stay_as_they_are(text: str) -> None:
    assert not needs_layout(text)
    assert read(highlighted(text)) == text


@pytest.mark.parametrize("odd", ["\u202e", "\u200b", "\ufeff", "\x07", "\x1b", "\u00a0", "\ud800"])
def test_what_does_not_show_is_named(odd: str) -> None:
    named = f"U+{ord(odd):04X}"
    assert visible(f"a{odd}b") == f"a‹{named}›b"
    assert f">{named}</span>" in highlighted(f"select a{odd}b")
    assert hides_something(f"select a{odd}b")


def test_letters_that_look_like_others_are_marked_in_names_only() -> None:
    assert hides_something("select * from p\u0430yments")
    assert 'class="foreign"' in highlighted("select * from p\u0430yments")
    assert 'class="foreign"' in highlighted('select * from "p\u0430yments"')
    assert not hides_something("select 'Zürich' -- café\r\n")
    assert 'class="foreign"' not in highlighted("select 'Zürich' -- café")


def test_only_so_much_is_shown() -> None:
    assert len(read(highlighted("x" * (SHOWN_MAX + 5)))) == SHOWN_MAX


@pytest.mark.parametrize("piece", ["'", '"', "$a$", "$b", "/*", "e'\\", "(", "--", "u&'", " and"])
def test_hostile_texts_take_no_longer_than_others(piece: str) -> None:
    begun = time.process_time()
    highlighted((piece * SHOWN_MAX)[:SHOWN_MAX])
    hides_something((piece * SHOWN_MAX)[:SHOWN_MAX])
    assert time.process_time() - begun < 3
