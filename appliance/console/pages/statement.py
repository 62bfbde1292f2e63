"""SQL for the eye: tokens as spans with classes, laid out, with nothing hidden.

Used by templates through `frame`. Display only: nothing is decided on what this makes of a text.
Rules: layout changes white space and nothing else; a character that does not show, or that changes
how others show, is shown by its code point; every pass is linear in the text.
"""

import re
import unicodedata
from collections.abc import Iterator

from markupsafe import Markup, escape

SHOWN_MAX = 40_000
"""Characters that are shown of a statement; all of it is a link away."""
LINE_MAX = 72
"""A one-line statement longer than this is laid out."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<string>[eE]'(?:[^'\\]|''|\\.)*(?:'|\\?\Z)|(?:[uU]&|[bBxXnN])?'(?:[^']|'')*(?:'|\Z))
  | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))
  | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")*(?:"|\Z))
  | (?P<parameter>\$\d+)
  | (?P<number>\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_WORDS = """
all alter analyze and any as asc begin between by cascade case cast check column commit conflict
constraint copy create cross current_date current_timestamp database default delete desc
distinct do drop else end except exists explain false fetch filter first for foreign from full
function grant group having if ilike in index inner insert intersect interval into is isnull
join lateral left like limit merge natural not nothing notnull null nulls offset on only or
order outer over partition primary privileges references rename restrict returning revoke right
role rollback row rows savepoint schema select set some table temp temporary then to trigger
true truncate union unique update using vacuum values view when where window with
"""
_KEYWORDS = frozenset(_WORDS.split())
_CLAUSES = frozenset(
    ("from", "where", "having", "limit", "offset", "returning", "union", "except", "intersect")
) | {"set", "values", "window"}
_LED = {"group": "by", "order": "by", "on": "conflict"}
"""Words that begin a clause only with this one behind them."""
_JOINS = frozenset(("join", "left", "right", "full", "inner", "cross", "natural"))
_BENEATH = frozenset(("and", "or"))

_CLASS = {
    "comment": "c",
    "string": "s",
    "dollar": "s",
    "quoted": "q",
    "parameter": "p",
    "number": "n",
}


def odd(character: str) -> bool:
    """Whether it does not show, or changes how its neighbours show (Unicode categories Cc, Cf, Zl,
    Zp, Co, Cs, Cn; spaces that are not U+0020)."""
    if character in "\n\t" or character.isascii():
        return character not in "\n\t" and not character.isprintable()
    category = unicodedata.category(character)
    return category[0] in "CZ"


def visible(text: str) -> str:
    """The text, with odd characters named by their code points; fit for any place in HTML."""
    if text.isprintable() and (text.isascii() or not any(map(odd, text))):
        return text
    return "".join(f"‹U+{ord(c):04X}›" if odd(c) else c for c in text)


def _marked(text: str) -> Markup:
    """Likewise, each of them in a span that names it."""
    if text.isprintable() and (text.isascii() or not any(map(odd, text))):
        return escape(text)
    return Markup("").join(_code_point(c) if odd(c) else escape(c) for c in text)


def _code_point(character: str) -> Markup:
    name = unicodedata.name(character, "control character")
    return Markup('<span class="odd" title="{}">U+{:04X}</span>').format(name, ord(character))


def hides_something(text: str) -> bool:
    """Whether approvers should be told to look twice: odd characters, or letters of several
    scripts outside strings and comments."""
    if any(map(odd, text.replace("\r\n", "\n"))):
        return True
    return any(kind in {"word", "quoted"} and not piece.isascii() for kind, piece in _tokens(text))


def highlighted(text: str, laid_out: bool = True) -> Markup:
    """HTML of the statement (at most SHOWN_MAX characters) with one span per token."""
    tokens = list(_tokens(text[:SHOWN_MAX]))
    if laid_out and needs_layout(text):
        tokens = list(_laid_out(tokens))
    return Markup("").join(_span(kind, piece) for kind, piece in tokens)


def needs_layout(text: str) -> bool:
    return "\n" not in text.strip() and len(text) > LINE_MAX


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        yield ("dollar" if kind == "tag" else kind), match.group()


def _span(kind: str, piece: str) -> Markup:
    if kind in {"word", "quoted"} and not piece.isascii():
        return _foreign(piece)
    name = _CLASS.get(kind)
    if kind == "word" and piece.lower() in _KEYWORDS:
        name = "k"
    shown = _marked(piece)
    return shown if name is None else Markup('<span class="{}">{}</span>').format(name, shown)


def _foreign(piece: str) -> Markup:
    """A name with letters that may look like others."""
    codes = " ".join(f"U+{ord(c):04X}" for c in piece if not c.isascii())
    return Markup('<span class="foreign" title="not ASCII: {}">{}</span>').format(
        codes, _marked(piece)
    )


def _laid_out(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The same tokens, a clause a line; subqueries are indented."""
    words = [piece.lower() if kind == "word" else "" for kind, piece in tokens]
    subqueries: list[bool] = []
    between = False
    for place, (kind, piece) in enumerate(tokens):
        following = _following(tokens, words, place)
        if kind == "other" and piece == "(":
            subqueries.append(following in {"select", "with", "values"})
        elif kind == "other" and piece == ")" and subqueries:
            subqueries.pop()
        between = between or words[place] == "between"
        if kind == "space" and (not subqueries or subqueries[-1]):
            indent = _indent(following, words, place, between)
            between = between and following != "and"
            if indent is not None:
                yield "space", "\n" + "  " * (sum(subqueries) + indent)
                continue
        yield kind, piece


def _following(tokens: list[tuple[str, str]], words: list[str], place: int) -> str:
    """The word behind `place`, over white space."""
    after = place + 1
    if after < len(tokens) and tokens[after][0] == "space":
        after += 1
    return words[after] if after < len(tokens) else ""


def _indent(word: str, words: list[str], place: int, between: bool) -> int | None:
    """How far a line that begins with `word` is indented; None = it does not begin a line."""
    before = next((w for w in reversed(words[max(0, place - 2) : place]) if w), "")
    if word in _LED:
        return 0 if _LED[word] in words[place + 2 : place + 4] else None
    if word in _JOINS:
        return None if before in _JOINS or before == "outer" else 0
    if word in _BENEATH:
        return None if between else 1
    if word == "from" and before == "delete":
        return None
    if word == "set" and before in {"update", "do"}:
        return None
    return 0 if word in _CLAUSES else None
