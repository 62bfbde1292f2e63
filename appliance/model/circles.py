"""Objects that refer to each other in a circle, at the end of their lives.

Counting references does not free them; Python's cycle collector would, which stops everybody for as
long as it looks at what is alive and is therefore asked seldom (`dataplane/worker`).
"""

from functools import cache
from typing import Any


def take_apart(*parts: object) -> None:
    """Empties `parts`: what they refer to goes if nothing else refers to it. Nobody may ask
    anything of them afterwards.
    """
    for part in parts:
        kind: Any = type(part)
        for name in _slots(kind):
            try:  # noqa: SIM105 - `suppress` costs three calls for each of a session's slots
                delattr(part, name)
            except AttributeError:  # it never got one
                pass
        if hasattr(part, "__dict__"):
            vars(part).clear()


@cache
def _slots(kind: Any) -> tuple[str, ...]:
    return tuple(name for each in kind.__mro__ for name in vars(each).get("__slots__", ()))
