"""Names change when the upstream confirms; a pipelining client sees what they will mean."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.postgres.prepared import Names


def test_a_name_on_its_way_is_seen_and_taken_back() -> None:
    names: Names[str] = Names()
    names.begin(b"a", "one")
    assert names.lookup(b"a") == "one" and names.confirmed(b"a") is None
    names.abandon(b"a")
    assert names.lookup(b"a") is None and len(names) == 0


def test_closing_is_on_its_way_like_anything_else() -> None:
    names: Names[str] = Names()
    names.begin(b"a", "one")
    names.confirm(b"a")
    names.begin(b"a", None)
    assert names.lookup(b"a") is None and names.confirmed(b"a") == "one"
    names.abandon(b"a")
    assert names.lookup(b"a") == "one"
    names.begin(b"a", None)
    names.confirm(b"a")
    assert names.lookup(b"a") is None and names.names() == frozenset()


def test_an_error_leaves_the_confirmed_value() -> None:
    names: Names[str] = Names()
    names.begin(b"a", "one")
    names.confirm(b"a")
    for value in ("two", None, "three"):
        names.begin(b"a", value)
    for _ in range(3):
        names.abandon(b"a")
    assert names.lookup(b"a") == "one"


def test_forgetting_keeps_what_is_on_its_way() -> None:
    names: Names[str] = Names()
    names.begin(b"a", "one")
    names.confirm(b"a")
    names.begin(b"b", "two")
    names.forget_confirmed()
    assert names.lookup(b"a") is None and names.lookup(b"b") == "two"


@given(
    st.lists(st.tuples(st.sampled_from((b"a", b"b")), st.one_of(st.none(), st.integers()))),
    st.integers(0, 50),
)
def test_as_if_one_after_the_other(changes: list[tuple[bytes, int | None]], succeed: int) -> None:
    """The first `succeed` take effect, an error abandons the rest, in the upstream's order."""
    names: Names[int] = Names()
    truth: dict[bytes, int] = {}
    for name, value in changes:
        names.begin(name, value)
    for position, (name, value) in enumerate(changes):
        if position >= succeed:
            names.abandon(name)
            continue
        names.confirm(name)
        truth.pop(name, None)
        if value is not None:
            truth[name] = value
    for name in (b"a", b"b"):
        assert names.lookup(name) == names.confirmed(name) == truth.get(name)
