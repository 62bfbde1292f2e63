"""A database named by a URI on the command line, for `try` and `policy trust`.

Rule: a command that takes such a URI calls `hide_password` before anything else, so that `ps` never
shows the password for long.
"""

import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

PASSWORD_VARIABLE = "PGPASSWORD"  # noqa: S105 - libpq's name for it
DEFAULT_PORT = 5432


def hide_password(uri: str) -> None:
    """Starts this program anew without the password in its arguments: it goes to PGPASSWORD. Raises
    ValueError for what is no URI."""
    parts = urlsplit(uri)
    if not parts.password:
        return
    user = quote(unquote(parts.username or ""), safe="")
    bare = urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))
    arguments = [argument.replace(uri, bare) for argument in sys.argv]
    environment = {**os.environ, PASSWORD_VARIABLE: unquote(parts.password)}
    os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606


class Place:
    """The database named by a URI. Raises ValueError."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
            raise ValueError("expected postgresql://user:password@host:port/database")
        self.user = unquote(parts.username or "")
        self.password = os.environ.get(PASSWORD_VARIABLE, "")
        if not self.user or not self.password:
            raise ValueError("a user and a password are needed, in the URI or PGPASSWORD")
        self.host = parts.hostname
        self.port = parts.port or DEFAULT_PORT
        self.database = unquote(parts.path.lstrip("/")) or self.user
        options = parse_qs(parts.query)
        self.tls: dict[str, str] = {"mode": options.pop("sslmode", ["prefer"])[0]}
        if "sslrootcert" in options:
            self.tls["ca"] = str(Path(options.pop("sslrootcert")[0]).absolute())
        if options:
            raise ValueError(f"unknown parameter in the URI: {sorted(options)[0]}")
