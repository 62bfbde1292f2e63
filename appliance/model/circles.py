"""Objects that refer to each other in a circle, at the end of their lives.

Counting references does not free them; Python's cycle collector would, which stops everybody for as
long as it looks at what is alive and is therefore asked seldom (`dataplane/worker`).
"""


def take_apart(*parts: object) -> None:
    """Empties `parts`: what they refer to goes if nothing else refers to it. Nobody may ask
    anything of them afterwards. Raises TypeError for what has slots.
    """
    for part in parts:
        vars(part).clear()
