"""Credential references -> secrets: read at start, on reload, and kept out of every log and error.

Called by workers (database passwords, token keys) and the control process (what signs and sends
notices). Rule: a secret lives in a `Secret`, whose text forms are '***'; an error names the
reference, never what was found there.
"""

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from appliance.config.values import CredentialReference, CredentialSource

CREDENTIAL_BYTES_MAX = 65_536


class CredentialUnavailable(ValueError):
    """A reference that cannot be resolved; the text names the reference and the cause."""


class Secret:
    """Bytes that do not show themselves. `reveal()` is the one way to them."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def reveal(self) -> bytes:
        return self._content

    def __repr__(self) -> str:
        return "***"

    def __str__(self) -> str:
        return "***"

    def __format__(self, specification: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


class Credentials:
    """Resolved references, re-read as a whole by `reload` (SIGHUP). Reads are plain dictionary
    look-ups."""

    def __init__(
        self,
        references: Iterable[CredentialReference],
        *,
        environment: Mapping[str, str] | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Raises CredentialUnavailable. `warn` is told of files others can read."""
        self._environment = os.environ if environment is None else environment
        self._warn = warn
        self._secrets: dict[CredentialReference, Secret] = {}
        self.reload(references)

    def reload(self, references: Iterable[CredentialReference]) -> None:
        """All or nothing: raises CredentialUnavailable and keeps the old ones."""
        self._secrets = {
            reference: resolve(reference, self._environment, self._warn)
            for reference in dict.fromkeys(references)
        }

    def __getitem__(self, reference: CredentialReference) -> Secret:
        """Raises CredentialUnavailable for a reference that was not in the configuration."""
        try:
            return self._secrets[reference]
        except KeyError:
            raise CredentialUnavailable(f"{reference}: was not resolved at start") from None

    def __repr__(self) -> str:
        return f"Credentials({len(self._secrets)})"


def resolve(
    reference: CredentialReference,
    environment: Mapping[str, str],
    warn: Callable[[str], None] = lambda text: None,
) -> Secret:
    """One trailing line feed (or CR LF) is taken off. Raises CredentialUnavailable, also for an
    empty secret."""
    if reference.source is CredentialSource.ENVIRONMENT:
        if reference.name not in environment:
            raise CredentialUnavailable(f"{reference}: the variable is not set")
        content = os.fsencode(environment[reference.name])
    else:
        content = read(reference, credential_path(reference, environment), warn)
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content or b"\0" in content:
        raise CredentialUnavailable(f"{reference}: is empty or holds a NUL byte")
    return Secret(content)


def credential_path(reference: CredentialReference, environment: Mapping[str, str]) -> Path:
    """`credential:` names are files in systemd's $CREDENTIALS_DIRECTORY (systemd.exec(5))."""
    if reference.source is CredentialSource.FILE:
        return Path(reference.name)
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise CredentialUnavailable(
            f"{reference}: $CREDENTIALS_DIRECTORY is not set (LoadCredential= in the unit)"
        )
    return Path(folder) / reference.name


def read(reference: CredentialReference, path: Path, warn: Callable[[str], None]) -> bytes:
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CredentialUnavailable(f"{reference}: is not a regular file")
            content = stream.read(CREDENTIAL_BYTES_MAX + 1)
    except OSError as error:
        raise CredentialUnavailable(f"{reference}: {error.strerror}") from None
    if len(content) > CREDENTIAL_BYTES_MAX:
        raise CredentialUnavailable(f"{reference}: is longer than 64 KiB")
    if reference.source is CredentialSource.FILE and status.st_mode & 0o077:
        warn(f"{reference}: others than its owner may read or change it; chmod 600")
    return content
