"""Whether two names mean one person. A name alone does not: a users file and an identity provider
may both know a "bob".

Used by `ruling` and by `control` wherever people are compared. Pure. Rules: somebody is (source,
name); a right (to see, withdraw, break the glass for what is one's own) takes both to be equal; an
objection (nobody decides on a request of their own, nobody votes twice) already stands when the
names are, unless the configuration says that namesakes are different people: for all we know, it is
one person with two accounts. '' as source is a row from before sources were kept, or a
configuration in which a name is one person: it fits every source.
"""

from typing import NamedTuple


class Who(NamedTuple):
    """Somebody."""

    source: str
    """Users file, name of an identity provider, client certificates; '' = by name alone."""
    name: str

    def is_same(self, other: "Who") -> bool:
        """What rights rest on."""
        sources = {self.source, other.source}
        return self.name == other.name and (len(sources) == 1 or "" in sources)

    def may_be_same(self, other: "Who", distinct: bool) -> bool:
        """What objections rest on. `distinct`: namesakes are known to be different people."""
        return self.is_same(other) or (self.name == other.name and not distinct)


def called(people: list[Who]) -> str:
    """Their names, once each; with the source where two have one name."""
    found = list(dict.fromkeys(people))
    names = [one.name for one in found]
    return ", ".join(
        f"{one.name} ({one.source})" if names.count(one.name) > 1 and one.source else one.name
        for one in found
    )
