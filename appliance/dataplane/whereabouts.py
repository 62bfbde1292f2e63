"""Where an error of ours came from, for the log."""

import traceback
from pathlib import Path


def where(error: BaseException) -> str:
    """Type and places of it: no message, it could quote what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    return f"{type(error).__name__} at {' > '.join(places)}"
