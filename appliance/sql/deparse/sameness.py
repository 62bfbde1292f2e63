"""Whether a text means a given tree. Called after `deparse`, and by whoever sends such a text.

Its rule: trees are equal field by field, but for places and this list of harmless spellings:
- `funcformat`: EXTRACT(YEAR FROM x) and pg_catalog.extract('year', x) are the same call;
- (a AND b) AND c is a AND b AND c, which the grammar itself flattens on the left; OR too;
- an option's value true and 'true' (COPY ... HEADER): the server reads both as a text;
- a field that is false, 0, '' or an empty list, and one that is left out.
"""

from typing import Any

from _speedups import sqltrees
from appliance.sql.deparse.printer import PLACES
from appliance.sql.parse import Body, parse_decoded

_SKIPPED = PLACES | {"funcformat"}


def same_statement(kind: str, body: Body, text: str) -> bool:
    """Whether `text` is exactly one statement, and that is the tree."""
    if "\0" in text:
        return False
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    parsed = parse_decoded(text, size)
    if not isinstance(parsed, list) or len(parsed) != 1:
        return False
    return parsed[0].kind == kind and same_tree(body, parsed[0].body)


def same_tree(one: Any, other: Any) -> bool:
    """Whether two (parts of) trees are equal in the sense of this module; dicts and lists only."""
    return sqltrees.same_tree(one, other, _SKIPPED)
