"""Globs over names and over dotted paths of names, compiled once when a policy loads.

`*` stands for any run of characters, nothing else is special; comparison is exact in case. A part
in double quotes is taken as it is (`shop.public."Weird.Table"."*"`), `""` in it is one quote.
"""

import re
from collections.abc import Callable, Iterable

import msgspec

Match = Callable[[str], bool]


def matcher(glob: str) -> Match | None:
    """A test for one name; None means that every name matches."""
    if glob.strip("*") == "":
        return None if glob else "".__eq__
    if "*" not in glob:
        return glob.__eq__
    # Runs of `*` are one: keeps the pattern's backtracking as small as the glob's meaning.
    parts = [re.escape(part) for part in re.split(r"\*+", glob)]
    fullmatch = re.compile(".*".join(parts), re.DOTALL).fullmatch
    return lambda name: fullmatch(name) is not None


def any_of(globs: Iterable[str]) -> Callable[[str], bool]:
    """A test for one name against several globs; no glob at all matches nothing."""
    exact: set[str] = set()
    tests: list[Match] = []
    for glob in globs:
        test = matcher(glob)
        if test is None:
            return lambda _name: True
        if "*" in glob:
            tests.append(test)
        else:
            exact.add(glob)
    names = frozenset(exact)
    if not tests:
        return names.__contains__
    return lambda name: name in names or any(test(name) for test in tests)


class ResourceGlob(msgspec.Struct, frozen=True):
    """`database.schema.relation[.column]`, each part None when it matches every name."""

    text: str
    database: Match | None
    schema: Match | None
    relation: Match | None
    column: Match | None
    exact_relation: tuple[str, str] | None
    """(schema, relation) when neither is a glob: found in a catalog by one look-up."""

    def covers_database(self) -> bool:
        """Whether everything of the databases it names matches."""
        return self.schema is None and self.relation is None and self.column is None

    def in_database(self, database: str) -> bool:
        return self.database is None or self.database(database)

    def names(self, schema: str, relation: str) -> bool:
        return (self.schema is None or self.schema(schema)) and (
            self.relation is None or self.relation(relation)
        )

    def may_name(self, schema: str, relation: str) -> bool:
        """Like `names`, but a schema that is not known ('') might be any."""
        return (not schema or self.schema is None or self.schema(schema)) and (
            self.relation is None or self.relation(relation)
        )


def dotted(*parts: str) -> str:
    """Names -> a path that names exactly them, parts quoted where they must be."""
    return ".".join(part if _BARE.fullmatch(part) else _quoted(part) for part in parts)


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'


_BARE = re.compile(r'[^".*]+')
_PART = re.compile(r'"((?:[^"]|"")+)"|([^."]+)')


def split_path(text: str) -> list[tuple[str, bool]]:
    """A dotted path -> (part, quoted) each. Raises ValueError for an empty part or a stray
    quote."""
    parts: list[tuple[str, bool]] = []
    at = 0
    while True:
        found = _PART.match(text, at)
        if found is None:
            raise ValueError(f"part {len(parts) + 1} of {text!r} is empty or badly quoted")
        quoted, bare = found.groups()
        parts.append((bare, False) if quoted is None else (quoted.replace('""', '"'), True))
        at = found.end()
        if at == len(text):
            return parts
        if text[at] != ".":
            raise ValueError(f"expected a dot after part {len(parts)} of {text!r}")
        at += 1


def resource_glob(text: str, parts_min: int = 2) -> ResourceGlob:
    """Read one glob. `parts_min`..4 parts; parts left out match everything below.

    Raises ValueError with words for a person.
    """
    parts = split_path(text)
    if not parts_min <= len(parts) <= 4:
        shape = "database.schema.relation.column"
        many = "4 parts" if parts_min == 4 else f"{parts_min} to 4 parts"
        raise ValueError(f"{text!r} has {len(parts)} part(s), expected {many}: {shape}")
    padded = parts + [("*", False)] * (4 - len(parts))
    tests = [part.__eq__ if quoted else matcher(part) for part, quoted in padded]
    literal = all(quoted or "*" not in part for part, quoted in padded[1:3])
    return ResourceGlob(
        text=text,
        database=tests[0],
        schema=tests[1],
        relation=tests[2],
        column=tests[3],
        exact_relation=(padded[1][0], padded[2][0]) if literal else None,
    )
