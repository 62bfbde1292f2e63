"""The last policy that control called active, as the supervisor keeps it in the data folder: what
workers start with while control is not there (yet).

Used by `policy_duty`. Rules: written whole or not at all, and on the disk before it counts; read
with its digest checked, and whatever is wrong with it is an error, never another policy.
"""

import os
from pathlib import Path

import msgspec

from appliance.link.messages import PolicyDocument
from appliance.policy.compile import digest_of

NAME = "active-policy.msgpack"
BYTES_MAX = 32 * 1024 * 1024


class KeptPolicy(msgspec.Struct, frozen=True):
    """`confirmed`: unix seconds, when control was last known to say so. `files`: digest of what the
    policy files were when control was last told of them."""

    serial: int
    digest: str
    documents: tuple[PolicyDocument, ...]
    confirmed: float
    files: str = ""


def read(folder: Path) -> KeptPolicy | None:
    """None: none was kept. Raises ValueError for one that is damaged, with a text for the
    administrator."""
    path = folder / NAME
    try:
        with path.open("rb") as stream:
            kept = msgspec.msgpack.decode(stream.read(BYTES_MAX), type=KeptPolicy)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ValueError(f"{path}: the active policy cannot be read from it: {error}") from error
    if digest_of([(one.name, one.text) for one in kept.documents]) != kept.digest:
        raise ValueError(f"{path}: is not what was written")
    return kept


def write(folder: Path, kept: KeptPolicy) -> None:
    """Raises OSError."""
    path = folder / NAME
    staged = path.with_name(f".{NAME}.staged")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.msgpack.encode(kept))
        stream.flush()
        os.fsync(stream.fileno())
    staged.replace(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(folder: Path) -> None:
    """Of an appliance that has no control process (any more)."""
    (folder / NAME).unlink(missing_ok=True)
