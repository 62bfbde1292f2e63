"""The folders a running service owns: its data folder (one service at a time) and the private run
folder of its workers.

Used by `control/supervisor` before anything is started. Rule: nobody else may look into either; two
services never write into one data folder (their audit chains would mix).
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

SOCKET_PATH_BYTES_MAX = 107  # sun_path without its final NUL, unix(7)
SOCKET_NAME_BYTES_MAX = 32  # room for a worker's socket name
LOCK_NAME = ".lock"


class FolderError(ValueError):
    """A folder cannot be used. The text is for the administrator."""


class DataLock:
    """Holds the data folder for this service until `release` (or the process's end)."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder when absent. Raises FolderError."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderError(f"data folder {folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise FolderError(f"data folder {folder}: another Sallyport uses it") from error

    def release(self) -> None:
        os.close(self._fd)


class RunFolder:
    """A private, empty folder for the sockets workers find each other by."""

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        """$RUNTIME_DIRECTORY (systemd.exec(5)) or `home`, the data folder, holds it; a temporary
        one when its path would be too long for a socket's. Raises FolderError.
        """
        runtime = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        path = (Path(runtime) / "workers" if runtime else home / "run").absolute()
        room = SOCKET_PATH_BYTES_MAX - SOCKET_NAME_BYTES_MAX
        self._temporary = len(os.fsencode(path)) > room
        try:
            self.path = Path(tempfile.mkdtemp(prefix="sallyport-")) if self._temporary else path
            _make_private(self.path)
        except OSError as error:
            raise FolderError(f"run folder {path}: {error.strerror}") from error

    def remove(self) -> None:
        """Empties it, and removes what was made for this run only."""
        _empty(self.path)
        if self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)


def _make_private(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise FolderError(f"run folder {path} is not a folder of ours")
    path.chmod(0o700)
    _empty(path)


def _empty(path: Path) -> None:
    """Removes sockets that an earlier run left. Anything else there is not ours to remove."""
    for entry in path.iterdir():
        if stat.S_ISSOCK(entry.lstat().st_mode):
            entry.unlink(missing_ok=True)
