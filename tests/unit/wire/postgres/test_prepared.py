"""Names, held against a model: the upstream's own map, and the list of what is on its way to it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.wire.postgres.prepared import Names

NAMES = (b"", b"a", b"b")
Change = tuple[bytes, int | None]


class NamesAgainstTheUpstream(RuleBasedStateMachine):
    """The upstream works changes off in the order they were sent, or skips all that are on their
    way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: Names[int] = Names()
        self.upstream: dict[bytes, int] = {}
        self.sent: list[Change] = []
        self.made = 0

    @rule(name=st.sampled_from(NAMES), closes=st.booleans())
    def begin(self, name: bytes, closes: bool) -> None:
        self.made += 1
        value = None if closes else self.made
        self.sent.append((name, value))
        self.names.begin(name, value)

    @precondition(lambda self: self.sent)
    @rule()
    def confirm(self) -> None:
        name, value = self.sent.pop(0)
        _apply(self.upstream, name, value)
        self.names.confirm(name)

    @precondition(lambda self: self.sent)
    @rule(count=st.integers(1, 5))
    def skip(self, count: int) -> None:
        for name, _ in self.sent[:count]:
            self.names.abandon(name)
        del self.sent[:count]

    @rule(name=st.sampled_from(NAMES))
    def forget(self, name: bytes) -> None:
        self.upstream.pop(name, None)
        self.names.forget(name)

    @rule()
    def forget_all(self) -> None:
        self.upstream.clear()
        self.names.forget_confirmed()

    @invariant()
    def agrees(self) -> None:
        later = dict(self.upstream)
        for name, value in self.sent:
            _apply(later, name, value)
        on_their_way = {name for name, _ in self.sent}
        assert {name: self.names.lookup(name) for name in NAMES} == {
            name: later.get(name) for name in NAMES
        }
        assert {name: self.names.confirmed(name) for name in NAMES} == {
            name: self.upstream.get(name) for name in NAMES
        }
        assert self.names.names() == self.upstream.keys() | on_their_way
        assert len(self.names) == len(self.upstream) + len(on_their_way)


def _apply(upstream: dict[bytes, int], name: bytes, value: int | None) -> None:
    if value is None:
        upstream.pop(name, None)
    else:
        upstream[name] = value


NamesAgainstTheUpstream.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestNames = NamesAgainstTheUpstream.TestCase
