"""Playbooks: conversations with a session's machine, without sockets and without sleeping.

    assert (
        play(ANN)
        >> says(query("SELECT 1"))                    # what happens to the machine
        << Decided() << upstream(query("SELECT 1"))   # what it does about it
        >> answers(...)
        << ...
    )

Everything an event caused must be named before the next event; effects of one kind stand in order,
kinds among each other in any. The idea is mitmproxy's. Whatever the conversation is about, `Guard`
holds every turn against the invariants, and all of it is played again byte by byte and in odd
pieces: that must come to the same.
"""

import difflib
import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.session.effects import ArmTimeout, Turn
from tests.playbook.guard import Guard
from tests.playbook.transcript import (
    CHANNELS,
    Expectation,
    Seen,
    frames,
)
from tests.playbook.world import Session

Split = Callable[[bytes], Iterable[bytes]]


class Event(NamedTuple):
    """Something that happens: bytes from a peer, or anything else `act` does."""

    words: str
    act: Callable[["Performance", float], Turn | None]
    content: bytes = b""
    side: str = ""
    recorded: bool = True
    """False: the spool does not take the records of this event."""


def says(*content: bytes, recorded: bool = True) -> Event:
    """The client sends."""
    return Event("client", lambda play, now: None, b"".join(content), "client", recorded)


def answers(*content: bytes, recorded: bool = True) -> Event:
    """The database sends."""
    return Event("upstream", lambda play, now: None, b"".join(content), "upstream", recorded)


def happens(words: str, act: Callable[[Session, float], Turn | None]) -> Event:
    return Event(words, lambda play, now: act(play.session, now))


def time_is_over() -> Event:
    """The timer that was armed last goes off."""
    return Event("time is over", lambda play, now: play.time_out(now))


GONE = "disconnected"


def gone() -> Event:
    """A peer is gone. Nothing happens after that."""
    return happens(GONE, lambda session, now: session.machine.disconnected(now))


class Performance:
    """The events, happening to a fresh session."""

    def __init__(self, make: Callable[[], Session], split: Split) -> None:
        self.session = make()
        self._split = split
        self._guard = Guard(self.session)
        self._armed: ArmTimeout | None = None

    def perform(self, event: Event, now: float) -> list[Seen]:
        """What `event` caused, adjacent bytes of one channel put together and cut into frames."""
        turns: list[Turn] = []
        cut: list[Seen] = []
        try:
            for turn in self._turns(event, now):
                self._guard.watch(turn, event.recorded, over=event.words == GONE)
                self._note(turn)
                turns.append(turn)
        except (ProtocolViolation, Refused, InvariantBroken) as error:
            error.__context__ = None  # its frames hold views of a buffer that is used again
            cut = [Seen("cut", error.with_traceback(None))]
        sent = {
            "upstream": b"".join(bytes(part) for turn in turns for part in turn.upstream),
            "client": b"".join(bytes(part) for turn in turns for part in turn.client),
        }
        self._guard.read(sent["client"])
        return [
            *(Seen("record", record) for turn in turns for record in self._guard.kept(turn)),
            *(Seen(name, frame) for name, content in sent.items() for frame in frames(content)),
            *(Seen("request", request) for turn in turns for request in turn.requests),
            *cut,
        ]

    def _turns(self, event: Event, now: float) -> Iterable[Turn]:
        machine = self.session.machine
        if event.side:
            take = machine.client_received if event.side == "client" else machine.upstream_received
            for chunk in self._split(event.content):
                shared = bytearray(chunk)
                turn = take(memoryview(shared), now)
                shared[:] = b"\xee" * len(shared)  # the buffer is used again for the next chunk
                if not event.recorded and turn.records:
                    machine.refuse_turn(turn)
                yield turn
            return
        caused = event.act(self, now)
        if caused is not None:
            yield caused

    def _note(self, turn: Turn) -> None:
        for request in turn.requests:
            if isinstance(request, ArmTimeout):
                self._armed = request

    def time_out(self, now: float) -> Turn:
        assert self._armed is not None, "no timer was armed"
        turn: Turn = self.session.machine.timed_out(self._armed.execution, now)
        return turn

    def close(self, now: float) -> None:
        """At the end of every conversation the connection ends: nothing may stay unfinished."""
        self._guard.watch(self.session.machine.disconnected(now), recorded=True, over=True)


def whole(content: bytes) -> Iterable[bytes]:
    return (content,)


def bytewise(content: bytes) -> Iterable[bytes]:
    return (content[at : at + 1] for at in range(len(content)))


def in_pieces(seed: int) -> Split:
    """Odd pieces, others with another seed."""

    def split(content: bytes) -> Iterable[bytes]:
        chance, at = random.Random(seed), 0
        while at < len(content):
            size = chance.choice((1, 2, 3, 5, 7, 11, 60, 400))
            yield content[at : at + size]
            at += size

    return split


EVERY_WAY = (bytewise, in_pieces(1), in_pieces(2))


class Playbook:
    """Events and expectations in turn; true if it went as written. Must be asserted."""

    def __init__(self, make: Callable[[], Session], ways: Sequence[Split] = EVERY_WAY) -> None:
        self._make = make
        self._ways = ways
        self._steps: list[tuple[Event, list[Expectation]]] = []
        self.asserted = False

    def __rshift__(self, event: Event) -> "Playbook":
        self._steps.append((event, []))
        return self

    def __lshift__(self, expected: Expectation | Sequence[Expectation]) -> "Playbook":
        assert self._steps, "nothing has happened yet"
        more = [expected] if isinstance(expected, Expectation) else expected
        self._steps[-1][1].extend(more)
        return self

    def performed(self, split: Split) -> list[list[Seen]]:
        """What each event causes when peers' bytes come in such pieces."""
        performance = Performance(self._make, split)
        seen: list[list[Seen]] = []
        for number, (event, _) in enumerate(self._steps):
            over = any(effect.channel == "cut" for effects in seen for effect in effects)
            assert not (over and event.side), "the session was cut before"
            seen.append(performance.perform(event, 1000.0 + number))
        if not any(event.words == GONE for event, _ in self._steps):
            performance.close(2000.0)
        return seen

    def __bool__(self) -> bool:
        self.asserted = True
        seen = self.performed(whole)
        self._compare(seen)
        cut = any(effect.channel == "cut" for effects in seen for effect in effects)
        for split in () if cut else self._ways:
            self._compare_ways(seen, self.performed(split))
        return True

    def _compare(self, seen: list[list[Seen]]) -> None:
        written, happened, right = [], [], True
        for (event, expected), effects in zip(self._steps, seen, strict=True):
            title = f">> {event.words} {event.content[:200]!r}"
            written.append(title)
            happened.append(title)
            for channel in CHANNELS:
                wanted = [each for each in expected if each.channel == channel]
                got = [each for each in effects if each.channel == channel]
                right &= len(wanted) == len(got)
                happened += [effect.line for effect in got]
                for place, want in enumerate(wanted):
                    fits = place < len(got) and want.matches(got[place].thing)
                    right &= fits
                    written.append(got[place].line if fits else want.line)
        if not right:
            raise AssertionError(
                "it went another way (+) than was written (-):\n"
                + "\n".join(difflib.ndiff(written, happened))
            )

    def _compare_ways(self, one: list[list[Seen]], other: list[list[Seen]]) -> None:
        for (event, _), whole_way, split_way in zip(self._steps, one, other, strict=True):
            lines = [effect.line for effect in whole_way]
            others = [effect.line for effect in split_way]
            if lines != others:
                raise AssertionError(
                    f"{event.words} {event.content[:200]!r} in pieces (+) comes to something else:"
                    + "\n"
                    + "\n".join(difflib.ndiff(lines, others))
                )
            records = [effect.thing for effect in whole_way if effect.channel == "record"]
            assert records == [each.thing for each in split_way if each.channel == "record"]
