"""A database named by a URI on the command line, for `try` and `policy trust`.

Rule: a command that takes such a URI calls `hide_password` before anything else, so that `ps` never
shows the password for long.
"""

import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

from appliance.config.spoken import SPOKEN, SpokenName, uris

PASSWORD_VARIABLES = {name: spoken.password_variable for name, spoken in SPOKEN.items()}
"""By the names that the databases' own clients have for them."""
SCHEMES: dict[str, SpokenName] = {
    scheme: name for name, spoken in SPOKEN.items() for scheme in spoken.schemes
}
"""Of URIs, and the dialect that each stands for."""


def password_variable(uri: str) -> str:
    """Where the password for such a URI may stand instead. Raises ValueError."""
    scheme = urlsplit(uri).scheme
    if scheme not in SCHEMES:
        raise ValueError(f"expected {uris()}, then user:password@host:port/database")
    return PASSWORD_VARIABLES[SCHEMES[scheme]]


def hide_password(uri: str) -> None:
    """Starts this program anew without the password in its arguments: it goes to an environment
    variable. Raises ValueError for what is no URI."""
    parts = urlsplit(uri)
    if not parts.password:
        return
    user = quote(unquote(parts.username or ""), safe="")
    bare = urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))
    arguments = [argument.replace(uri, bare) for argument in sys.argv]
    environment = {**os.environ, password_variable(uri): unquote(parts.password)}
    os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606


class Place:
    """The database named by a URI. Raises ValueError."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        variable = password_variable(uri)
        if not parts.hostname:
            raise ValueError(f"expected {parts.scheme}://user:password@host:port/database")
        self.dialect = SCHEMES[parts.scheme]
        self.user = unquote(parts.username or "")
        self.password = os.environ.get(variable, "")
        if not self.user or not self.password:
            raise ValueError(f"a user and a password are needed, in the URI or {variable}")
        self.host = parts.hostname
        self.port = parts.port or SPOKEN[self.dialect].port
        self.database = unquote(parts.path.lstrip("/"))
        if not self.database and SPOKEN[self.dialect].users_database:
            self.database = self.user
        options = parse_qs(parts.query)
        self.tls: dict[str, str] = {"mode": options.pop("sslmode", ["prefer"])[0]}
        if "sslrootcert" in options:
            self.tls["ca"] = str(Path(options.pop("sslrootcert")[0]).absolute())
        if options:
            raise ValueError(f"unknown parameter in the URI: {sorted(options)[0]}")
