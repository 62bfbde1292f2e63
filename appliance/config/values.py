"""Scalar values that appear in the configuration as text and are checked while it is read:
addresses, references.

Used by `schema` as field types; `hooks` turn text into them (and back). Every error here is a
ValueError whose text names what is allowed, because `load` shows it to the administrator beside the
path.
"""

import enum
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\Z")
FilePath = Path
"""For pure packages, which pass paths on and never open them."""

HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.\-]{0,252})\Z")


class Address(str):
    """Where to listen: `host:port`, `[v6]:port` or `:port` (every interface). Port 0 = any free
    one.

    A `str` so that it pickles, compares and prints as what the administrator wrote. Raises
    ValueError when made.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Address":
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
            raise ValueError("expected host:port with a port of 0 to 65535, e.g. 0.0.0.0:6432")
        if host.startswith("[") and host.endswith("]"):
            try:
                ipaddress.IPv6Address(host[1:-1])
            except ValueError:
                raise ValueError("the text in brackets is not an IPv6 address") from None
        elif ":" in host:
            raise ValueError("an IPv6 address goes in brackets, e.g. [::1]:6432")
        elif host not in {"", "*"} and not HOST_NAME.match(host):
            raise ValueError("expected a host name or an IP address before the port")
        return super().__new__(cls, text)

    @property
    def host(self) -> str:
        """Without brackets; '' for every interface."""
        host = self.rpartition(":")[0].strip("[]")
        return "" if host == "*" else host

    @property
    def port(self) -> int:
        return int(self.rpartition(":")[2])


class CredentialSource(enum.Enum):
    """Where a secret is kept; the configuration holds only the reference."""

    FILE = "file"
    ENVIRONMENT = "env"
    CREDENTIAL = "credential"  # systemd's $CREDENTIALS_DIRECTORY


class CredentialReference(str):
    """`file:/path`, `env:NAME` or `credential:NAME` (systemd.exec(5), LoadCredential=). Never the
    secret.

    Raises ValueError without repeating the text, which may be a secret somebody put there by
    mistake.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "CredentialReference":
        scheme, colon, name = text.partition(":")
        if not colon or scheme not in {s.value for s in CredentialSource} or not name:
            raise ValueError(
                "expected a reference, not the secret: file:/path, env:NAME or credential:NAME"
            )
        if scheme == "env" and not ENVIRONMENT_NAME.match(name):
            raise ValueError("env: takes the name of a variable (letters, digits and _)")
        if scheme == "credential" and not CREDENTIAL_NAME.match(name):
            raise ValueError("credential: takes a plain name, not a path")
        return super().__new__(cls, text)

    @property
    def source(self) -> CredentialSource:
        return CredentialSource(self.partition(":")[0])

    @property
    def name(self) -> str:
        """The path, variable or credential name."""
        return self.partition(":")[2]

    def relative_to(self, folder: Path) -> "CredentialReference":
        """A relative `file:` path is taken from `folder`."""
        if self.source is not CredentialSource.FILE:
            return self
        return CredentialReference(f"file:{folder / self.name}")


def decoding_hook(folder: Path | None) -> Callable[[type, Any], Any]:
    """For `msgspec.convert(dec_hook=...)`: relative paths are taken from `folder` (the
    configuration's own).
    """

    def decode(kind: type, value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
        if not value or "\0" in value:
            raise ValueError("must not be empty")
        if kind is Path:
            return Path(value) if folder is None else folder / value
        if kind is Address:
            return Address(value)
        if kind is CredentialReference:
            reference = CredentialReference(value)
            return reference if folder is None else reference.relative_to(folder)
        raise NotImplementedError(kind)

    return decode


def schema_hook(kind: type) -> dict[str, Any]:
    """For `msgspec.json.schema_components(schema_hook=...)`."""
    if kind is Path:
        return {"type": "string", "minLength": 1}
    if kind is Address:
        return {"type": "string", "pattern": "^.*:[0-9]{1,5}$", "examples": ["0.0.0.0:6432"]}
    if kind is CredentialReference:
        return {"type": "string", "pattern": "^(file|env|credential):.+$"}
    raise NotImplementedError(kind)
