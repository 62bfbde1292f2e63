"""Listening sockets: one per worker, never shared with strangers, inherited by the rules of
sd_listen_fds(3).
"""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from appliance.control.rendezvous import DataLock, FolderError, RunFolder
from appliance.control.sockets import ListeningSockets, SocketError, Wanted, _matched, inherited

ANY = Wanted("main", "127.0.0.1", 0)


def test_workers_share_a_port_but_no_socket() -> None:
    sockets = ListeningSockets([ANY], 3)
    try:
        fds = [one.fd for index in range(3) for one in sockets.of(index)]
        assert len(set(fds)) == 3
        (bound,) = sockets.bound()
        for fd in fds:
            with socket.socket(fileno=os.dup(fd)) as one:
                assert one.getsockname()[1] == bound.port
    finally:
        sockets.close()


def test_a_port_in_use_is_refused_even_if_it_could_be_shared() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SocketError, match="main: cannot listen"):
            ListeningSockets([Wanted("main", *other.getsockname())], 2)


@pytest.mark.parametrize(
    ("first", "second"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("", "127.0.0.1"), ("127.0.0.1", "")],
)
def test_two_listeners_never_share_a_port(first: str, second: str) -> None:
    """However the address is spelt: half of the clients of one would be met by the other."""
    with socket.socket() as picked:
        picked.bind(("127.0.0.1", 0))
        port = picked.getsockname()[1]
    wanted = [Wanted("one", first, port), Wanted("two", second, port)]
    with pytest.raises(SocketError, match=r"two: cannot listen .* \(listener one has that port\)"):
        ListeningSockets(wanted, 2)


def test_ports_picked_for_listeners_differ() -> None:
    """The kernel offers a port again that is bound with SO_REUSEADDR and does not listen."""
    sockets = ListeningSockets([Wanted(str(index), "127.0.0.1", 0) for index in range(300)], 1)
    try:
        ports = [bound.port for bound in sockets.bound()]
        assert len(set(ports)) == len(ports)
    finally:
        sockets.close()


def test_release_and_open_again_on_the_same_port() -> None:
    sockets = ListeningSockets([ANY], 2)
    try:
        port = sockets.bound()[0].port
        sockets.release(1)
        assert sockets.of(1) == ()
        for _ in range(10):  # all go to the one that is left
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        sockets.open(1)
        (listening,) = sockets.of(1)
        with socket.socket(fileno=os.dup(listening.fd)) as one:
            assert one.getsockname()[1] == port
    finally:
        sockets.close()


def test_every_interface_is_one_dual_stack_socket() -> None:
    sockets = ListeningSockets([Wanted("main", "", 0)], 1)
    try:
        port = sockets.bound()[0].port
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    finally:
        sockets.close()


def test_an_unknown_host() -> None:
    with pytest.raises(SocketError, match="no such host"):
        ListeningSockets([Wanted("main", "no.such.host.invalid", 0)], 1)


def test_descriptors_for_another_process_are_not_ours() -> None:
    assert inherited({"LISTEN_PID": "1", "LISTEN_FDS": "2"}, ["main"]) == []
    assert inherited({}, ["main"]) == []


@pytest.mark.parametrize(
    ("given", "listeners", "found"),
    [
        (["b", "a"], ["a", "b"], ["b", "a"]),
        (["a", "a"], ["a", "b"], ["a", "a"]),
        (["sallyport.socket", "sallyport.socket"], ["main"], ["main", "main"]),
        (["x", "y"], ["a", "b"], ["a", "b"]),
    ],
)
def test_names_of_descriptors(given: list[str], listeners: list[str], found: list[str]) -> None:
    assert _matched(given, listeners) == found


def test_descriptors_that_cannot_be_told_apart() -> None:
    with pytest.raises(SocketError, match="FileDescriptorName"):
        _matched(["x"], ["a", "b"])


def test_one_data_lock(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    lock = DataLock(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(FolderError, match="another Sallyport"):
        DataLock(folder)
    lock.release()
    DataLock(folder).release()


def test_run_folder(tmp_path: Path) -> None:
    stale = tmp_path / "run"
    stale.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale / "w0"))
    (stale / "note").touch()
    run = RunFolder({"RUNTIME_DIRECTORY": ""}, tmp_path)
    assert run.path == stale
    assert [entry.name for entry in stale.iterdir()] == ["note"]
    assert stale.stat().st_mode & 0o777 == 0o700
    run.remove()
    of_systemd = RunFolder({"RUNTIME_DIRECTORY": f"{tmp_path}/r:/other"}, tmp_path)
    assert of_systemd.path == tmp_path / "r" / "workers"


def test_a_run_folder_whose_path_is_too_long_for_sockets(tmp_path: Path) -> None:
    run = RunFolder({}, tmp_path / ("x" * 90))
    assert len(str(run.path)) < 70
    run.remove()
    assert not run.path.exists()


def test_a_run_folder_that_is_a_link_is_refused() -> None:
    """(In a short path: one too long for sockets would not be used at all.)"""
    with tempfile.TemporaryDirectory(prefix="sp-") as name:
        folder = Path(name)
        (folder / "elsewhere").mkdir()
        (folder / "run").symlink_to(folder / "elsewhere")
        with pytest.raises(FolderError):
            RunFolder({}, folder)
