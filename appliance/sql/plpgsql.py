"""What a plain PL/pgSQL trigger function evaluates, as statements of SQL.

Called by `unseen`. Rule: what is not among the few forms below is not understood (None), so that a
body either does what is listed or counts as unknown. PL/pgSQL reads its words with the server's own
scanner, and an expression up to the word that ends it outside parentheses; each is then run as
`SELECT expression` (PostgreSQL documentation, "PL/pgSQL: Expressions", "Basic Statements").

    BEGIN steps END[;]      a step is one of
      NEW.column := expression;             OLD.column, = alike
      IF expression THEN steps [ELSIF ...] [ELSE steps] END IF;
      RETURN expression;   PERFORM expression;   NULL;
      RAISE [level] 'format' [, expressions];
      INSERT INTO ...;
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from appliance.sql.parse import Token, scanned

TRIGGER_VARIABLES = (
    *("tg_name", "tg_when", "tg_level", "tg_op", "tg_relid", "tg_relname", "tg_table_name"),
    *("tg_table_schema", "tg_nargs", "tg_argv", "found"),
)
ROWS = ("new", "old")
_LEVELS = frozenset(("debug", "log", "info", "notice", "warning", "exception"))
_DEPTH_MAX = 32


class Step(NamedTuple):
    text: str
    """One statement of SQL."""
    evaluates: bool
    """It is SELECT and expressions, nothing else."""


class _Word(NamedTuple):
    text: str
    """In small letters, unless it is quoted or a literal."""
    start: int
    end: int
    """One behind its last character."""


class _Beyond(Exception):
    """Something that is not among these forms."""


def steps_of(body: str) -> list[Step] | None:
    """All that is evaluated, whichever way it goes."""
    if "\\" in body or "\0" in body:  # (how strings are read is a setting of whoever calls)
        return None
    words = scanned(body)
    try:
        return None if words is None else _Reader(body, words).read()
    except _Beyond:
        return None


class _Reader:
    def __init__(self, body: str, found: Sequence[Token]) -> None:
        self._body = body
        words = [_word(body, t.start, t.end + 1) for t in found if "COMMENT" not in t.name]
        self._words: Sequence[_Word] = (*words, _Word("", len(body), len(body)))
        self._at = 0
        self._steps: list[Step] = []

    def read(self) -> list[Step]:
        self._take("begin")
        self._block({"end"}, 0)
        self._take("end")
        if self._word != "":
            self._take(";")
        self._take("")
        return self._steps

    @property
    def _word(self) -> str:
        return self._words[self._at].text

    def _take(self, *wanted: str) -> None:
        if self._word not in wanted:
            raise _Beyond
        self._at += 1

    def _block(self, ends: Collection[str], depth: int) -> None:
        if depth > _DEPTH_MAX:
            raise _Beyond
        while self._word not in ends:
            self._step(depth)

    def _step(self, depth: int) -> None:
        word = self._word
        if word == "insert":
            self._inserts()
            return
        self._at += 1
        if word == "if":
            self._branches(depth + 1)
        elif word in ROWS:
            self._take(".")
            self._name()
            self._take(":=", "=")
            self._evaluates(";")
        elif word in ("return", "perform"):
            self._evaluates(";")
        elif word == "raise":
            self._raises()
        elif word != "null":
            raise _Beyond
        self._take(";")

    def _branches(self, depth: int) -> None:
        self._evaluates("then")
        self._take("then")
        self._block(("elsif", "elseif", "else", "end"), depth)
        while self._word in ("elsif", "elseif"):
            self._at += 1
            self._evaluates("then")
            self._take("then")
            self._block(("elsif", "elseif", "else", "end"), depth)
        if self._word == "else":
            self._at += 1
            self._block({"end"}, depth)
        self._take("end")
        self._take("if")

    def _raises(self) -> None:
        if self._word in _LEVELS:
            self._at += 1
        if not self._word.startswith("'"):
            raise _Beyond
        self._at += 1
        while self._word == ",":
            self._at += 1
            self._evaluates(",", ";", "using")

    def _name(self) -> None:
        if not (self._word[:1].isalpha() or self._word[:1] in ('"', "_")):
            raise _Beyond
        self._at += 1

    def _evaluates(self, *ends: str) -> None:
        self._steps.append(Step(f"SELECT {self._until(*ends)}", True))

    def _inserts(self) -> None:
        begun = self._at
        text = self._until(";")
        words = [word.text for word in self._words[begun : self._at]]
        if words[1:2] != ["into"] or "into" in words[2:]:  # that is where PL/pgSQL puts a result
            raise _Beyond
        self._steps.append(Step(text, False))
        self._take(";")

    def _until(self, *ends: str) -> str:
        """The text up to the first such word outside parentheses; that one is next."""
        begun, depth = self._at, 0
        while depth or self._word not in ends:
            if self._word in ("(", "["):
                depth += 1
            elif self._word in (")", "]"):
                depth -= 1
            if self._word == "" or depth < 0 or (self._word == ";"):
                raise _Beyond
            self._at += 1
        if begun == self._at:
            raise _Beyond
        return self._body[self._words[begun].start : self._words[self._at].start]


def _word(body: str, start: int, end: int) -> _Word:
    text = body[start:end]
    return _Word(text.lower() if text.isascii() and text[:1].isalpha() else text, start, end)
