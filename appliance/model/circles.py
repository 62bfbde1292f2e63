"""Objects that refer to each other in a circle, at the end of their lives.

Counting references does not free them; Python's cycle collector would, which stops everybody for as
long as it looks at what is alive and is therefore asked seldom (`dataplane/worker`).
"""


def take_apart(*parts: object) -> None:
    """Empties `parts`: what they refer to goes if nothing else refers to it. Nobody may ask
    anything of them afterwards.
    """
    for part in parts:
        for kind in type(part).__mro__:
            for name in vars(kind).get("__slots__", ()):
                if hasattr(part, name):
                    delattr(part, name)
        if hasattr(part, "__dict__"):
            vars(part).clear()
