"""A place in a list of words, for statements that have no tree. Used by `utility`, `definitions`,
`assignments` and `shows`."""

from collections.abc import Sequence

from appliance.sql.mysql.words import NAME, QUOTED_NAME, STRING, Word

END = Word(-1, "", 0, 0, "")

Name = tuple[str, str]
"""(database or '', name)."""


class Cursor:
    """Reads words from left to right; behind the last one it stands on END for ever."""

    def __init__(self, words: Sequence[Word], index: int = 0) -> None:
        self.words = words
        self.index = index

    @property
    def word(self) -> Word:
        return self.words[self.index] if self.index < len(self.words) else END

    @property
    def upper(self) -> str:
        return self.word.upper

    @property
    def done(self) -> bool:
        return self.index >= len(self.words)

    def take(self) -> Word:
        word = self.word
        self.index += 1
        return word

    def skip(self, *uppers: str) -> bool:
        """Past these words, when exactly they come."""
        coming = [word.upper for word in self.words[self.index : self.index + len(uppers)]]
        if coming != list(uppers):
            return False
        self.index += len(uppers)
        return True

    def skip_any(self, uppers: frozenset[str]) -> None:
        while self.upper and self.upper in uppers:
            self.index += 1

    def exists(self) -> bool:
        """Past IF EXISTS or IF NOT EXISTS; whether one of them came."""
        return self.skip("IF", "NOT", "EXISTS") or self.skip("IF", "EXISTS")

    def name(self) -> Name | None:
        """A name, perhaps with its database; None when there is none here."""
        if self.word.kind not in (NAME, QUOTED_NAME):
            return None
        first = self.take().text
        if self.upper == "." and self.index + 1 < len(self.words):
            following = self.words[self.index + 1]
            if following.kind in (NAME, QUOTED_NAME):
                self.index += 2
                return first, following.text
        return "", first

    def names(self) -> list[Name]:
        """Names separated by commas."""
        found = []
        while (name := self.name()) is not None:
            found.append(name)
            if not self.skip(","):
                break
        return found

    def until(self, *uppers: str) -> list[Word]:
        """Words up to one of these outside parentheses, which is left to be read."""
        start, depth = self.index, 0
        while not self.done:
            depth += {"(": 1, ")": -1}.get(self.upper, 0)
            if depth == 0 and self.upper in uppers and self.word.kind != STRING:
                break
            self.index += 1
        return list(self.words[start : self.index])

    def rest(self) -> list[Word]:
        return list(self.words[self.index :])

    def has(self, *uppers: str) -> bool:
        """Whether one of these words is somewhere ahead."""
        return any(word.upper in uppers for word in self.words[self.index :])
