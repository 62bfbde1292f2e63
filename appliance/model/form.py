"""What is sent in place of one statement whose masked columns are masked at the source."""

from typing import NamedTuple


class Form(NamedTuple):
    """One statement over masked relations, or why there is none."""

    text: bytes
    why: str = ""
