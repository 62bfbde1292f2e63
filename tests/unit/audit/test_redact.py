"""Every client-chosen text is bounded, printable, valid UTF-8."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.audit.redact import clean_name, clean_names, clean_text


def test_ordinary_texts_pass_unchanged() -> None:
    assert clean_name("DBeaver 24 – Übersicht") == "DBeaver 24 – Übersicht"
    assert clean_text("select 'ü'\n\tfrom t") == "select 'ü'\n\tfrom t"


def test_what_steers_a_terminal_goes() -> None:
    assert clean_name("psql\x1b[2J\u202e\n") == "psql?[2J??"


@given(st.text(st.characters(), max_size=400))
def test_names_are_bounded_and_printable(text: str) -> None:
    name = clean_name(text, 50)
    assert len(name) <= 50
    assert name.isprintable()
    name.encode()


@given(st.text(st.characters(), max_size=400), st.integers(10, 100))
def test_texts_are_bounded_bytes(text: str, bytes_max: int) -> None:
    cut = clean_text(text, bytes_max)
    assert len(cut.encode()) <= bytes_max


def test_lists_are_bounded_and_unique() -> None:
    assert clean_names(["a", "b", "a"]) == ("a", "b")
    assert clean_names((str(i) for i in range(10)), 3) == ("0", "1", "2", "…")
