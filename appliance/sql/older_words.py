"""Words of our grammar, which is PostgreSQL 18's, that an older server reads as any other name.

Called by `parse` when the server is known to be older. Its rule: such a word is read as an
identifier, and everything else of the text stays where it stands: it is parsed under a stand-in of
the same length, which becomes the word again in the tree. That is done twice, with different
stand-ins: a name or literal that happens to be a stand-in (an escape may say it) makes the two
readings differ.
"""

from collections.abc import Iterable, Iterator, Mapping
from string import ascii_lowercase
from typing import NamedTuple, Protocol

SINCE: Mapping[str, int] = {
    "json_array": 160_000,
    "json_arrayagg": 160_000,
    "json_object": 160_000,
    "json_objectagg": 160_000,
    "system_user": 160_000,
    "json_exists": 170_000,
    "json_query": 170_000,
    "json_scalar": 170_000,
    "json_serialize": 170_000,
    "json_table": 170_000,
    "json_value": 170_000,
    "merge_action": 170_000,
}
"""Word -> the server_version_num since which it is reserved, or cannot name a function
(src/include/parser/kwlist.h of 13 to 18). Words that are keywords but may name anything are not in
it; nor is `json`, which means the built-in type to either."""

NEWEST = max(SINCE.values())
"""A server from here on reads every word as we do."""


class Word(Protocol):
    """What is needed of `parse.Token`."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def name(self) -> str: ...


class Reading(NamedTuple):
    """A text in which the words have stand-ins."""

    text: str
    stand_ins: Mapping[str, str]
    """Stand-in -> word."""

    def restored(self, said: str) -> str:
        """A tree in JSON, or an error message: the words in it stand in quotes."""
        for stand_in, word in self.stand_ins.items():
            said = said.replace(f'"{stand_in}"', f'"{word}"')
        return said


def concerns(text: str, server: int) -> bool:
    """Whether such a word may be in the text: a look that costs little."""
    if server >= NEWEST:
        return False
    lowered = text.lower()
    return any(since > server and word in lowered for word, since in SINCE.items())


def readings(text: str, tokens: Iterable[Word], server: int) -> tuple[Reading, ...]:
    """Two readings; () when there is no such word. Raises ValueError when no stand-in is free."""
    found = [
        (token, word)
        for token in tokens
        if SINCE.get(word := token.name.lower(), 0) > server
        and text[token.start : token.end + 1].lower() == word
    ]
    if not found:
        return ()
    both = tuple(_free_endings(text))[:2]
    if len(both) < 2:
        raise ValueError("no stand-in is free")
    return tuple(_reading(text, found, ending) for ending in both)


def _stand_in(word: str, ending: str) -> str:
    letter = ascii_lowercase[list(SINCE).index(word)]
    return letter * (len(word) - 1) + ending


def _free_endings(text: str) -> Iterator[str]:
    lowered = text.lower()
    for ending in ascii_lowercase:
        if all(_stand_in(word, ending) not in lowered for word in SINCE):
            yield ending


def _reading(text: str, found: Iterable[tuple[Word, str]], ending: str) -> Reading:
    parts, at = [], 0
    stand_ins = {}
    for token, word in found:
        stand_in = _stand_in(word, ending)
        stand_ins[stand_in] = word
        parts += [text[at : token.start], stand_in]
        at = token.end + 1
    return Reading("".join([*parts, text[at:]]), stand_ins)
