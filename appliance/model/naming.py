"""What a text says of a statement that SQL itself names, where a dialect tells it to the session.

Made by dialects (`Dialect.named`), read by `session`.
"""

import msgspec


class NamedText(msgspec.Struct, frozen=True):
    verb: str
    """prepare, execute, deallocate"""
    name: str
    """As the server compares names: the same for all that it takes for one."""
    text: bytes | None = None
    """What PREPARE prepares; None where the text does not tell, or not under these settings."""
