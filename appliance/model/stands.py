"""Whether what a text rests on is as it was judged."""

import enum


class Stands(enum.Enum):
    """Values: as a question to a database is answered (`sql/stamps`)."""

    AS_JUDGED = "="
    OTHERWISE = ""
    UNKNOWN = "-"
    """Nobody could be asked."""
    STRANGER = "?"
    """The statement has something open that it took for a part of what it reads, and that is none
    by now."""
