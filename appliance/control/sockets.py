"""The sockets clients connect to: opened here or inherited from systemd, handed to workers as
descriptors.

Used by `control/supervisor`, which alone holds them all: a worker that dies takes no port with it.
Rules: every worker has its own socket per address (SO_REUSEPORT, socket(7)), so the kernel spreads
connections; a socket that systemd passed is shared by all workers; a port that somebody else or
another listener listens on is an error, never silently shared: a client of one listener would now
and then be met by the rules of the other.
"""

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from appliance.link.messages import Listening

BACKLOG = 4096
FIRST_INHERITED_FD: Final = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)


class SocketError(ValueError):
    """A listening socket cannot be had. The text is for the administrator."""


class Wanted(NamedTuple):
    """A listener of the configuration: its name and where it listens ('' = every interface)."""

    name: str
    host: str
    port: int


class Bound(NamedTuple):
    """Where a listener really listens."""

    name: str
    host: str
    port: int


class _Place(NamedTuple):
    listener: str
    family: int
    address: tuple[str, int]


def inherited(environment: Mapping[str, str], listeners: Sequence[str]) -> list[tuple[str, int]]:
    """(listener name, descriptor) of every socket systemd passed, by FileDescriptorName= or by
    order.

    Raises SocketError when they cannot be told apart, or one is no listening stream socket.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environment.get("LISTEN_FDS", "0"))
    fds = range(FIRST_INHERITED_FD, FIRST_INHERITED_FD + count)
    given = environment.get("LISTEN_FDNAMES", "").split(":")
    names = _matched(given if len(given) == count else [""] * count, listeners)
    for fd in fds:
        _check_listening(fd)
        os.set_inheritable(fd, False)
    return list(zip(names, fds, strict=True))


def _matched(given: list[str], listeners: Sequence[str]) -> list[str]:
    if all(name in listeners for name in given):
        return given
    if len(listeners) == 1:
        return [listeners[0]] * len(given)
    if len(given) == len(listeners):
        return list(listeners)
    raise SocketError(
        f"{len(given)} sockets were passed for {len(listeners)} listeners; give each "
        "socket unit a FileDescriptorName= that is a listener's name"
    )


def _check_listening(fd: int) -> None:
    try:
        with socket.socket(fileno=os.dup(fd)) as passed:
            accepts = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            kind = passed.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    except OSError as error:
        raise SocketError(f"descriptor {fd} that was passed is no socket") from error
    if not accepts or kind != socket.SOCK_STREAM:
        raise SocketError(f"descriptor {fd} that was passed is no listening stream socket")


class ListeningSockets:
    """All listening sockets of the service, by worker."""

    def __init__(
        self, wanted: Sequence[Wanted], workers: int, passed: Sequence[tuple[str, int]] = ()
    ) -> None:
        """Opens everything. Raises SocketError."""
        self._shared = [(name, socket.socket(fileno=fd)) for name, fd in passed]
        for _, shared in self._shared:
            shared.setblocking(False)
        self._own: list[list[tuple[str, socket.socket]]] = [[] for _ in range(workers)]
        self._places: list[_Place] = []
        try:
            with contextlib.ExitStack() as claims:
                for one in wanted:
                    if one.name not in {name for name, _ in self._shared}:
                        self._claim(one, claims)
            for index in range(workers):
                self.open(index)
        except SocketError:
            self.close()
            raise

    def _claim(self, wanted: Wanted, claims: contextlib.ExitStack) -> None:
        """Finds the addresses and makes sure that they are free; picks a port when 0 was asked.

        What is claimed listens for as long as `claims` is open: only that keeps the kernel from
        giving another listener the same port, or an address within (SO_REUSEADDR, socket(7)).
        """
        port = wanted.port
        for family, host in _addresses(wanted):
            probe = claims.enter_context(_socket(family, shared=False))
            try:
                probe.bind((host, port))
                probe.listen()
            except OSError as error:
                raise SocketError(
                    f"listener {wanted.name}: cannot listen on {host} port {port}: "
                    f"{error.strerror}{self._holder(port)}"
                ) from error
            port = int(probe.getsockname()[1])
            self._places.append(_Place(wanted.name, family, (host, port)))

    def _holder(self, port: int) -> str:
        """Which of our own listeners has the port, to be said after an error."""
        holders = [place for place in self._places if place.address[1] == port]
        return f" (listener {holders[0].listener} has that port)" if holders else ""

    def open(self, index: int) -> None:
        """Opens a worker's own sockets if they are not. Raises SocketError."""
        if self._own[index]:
            return
        for place in self._places:
            one = _socket(place.family, shared=True)
            self._own[index].append((place.listener, one))
            try:
                one.bind(place.address)
                one.listen(BACKLOG)
            except OSError as error:
                self.release(index)
                host, port = place.address
                raise SocketError(
                    f"listener {place.listener}: cannot listen on {host} port {port}: "
                    f"{error.strerror}"
                ) from error

    def release(self, index: int) -> None:
        """Closes a worker's own sockets, so that its share of connections goes to the others."""
        for _, one in self._own[index]:
            one.close()
        self._own[index] = []

    def of(self, index: int) -> tuple[Listening, ...]:
        """What the worker inherits."""
        return tuple(
            Listening(name, one.fileno()) for name, one in (*self._shared, *self._own[index])
        )

    def bound(self) -> tuple[Bound, ...]:
        """Every address, once."""
        own = self._own[0] if self._own else []
        found = [(name, one.getsockname()) for name, one in (*self._shared, *own)]
        return tuple(
            Bound(name, str(address[0]), int(address[1]))
            if isinstance(address, tuple)
            else Bound(name, str(address), 0)
            for name, address in found
        )

    def close(self) -> None:
        """Closes the supervisor's copies (a socket that systemd holds stays open there)."""
        for index in range(len(self._own)):
            self.release(index)
        for _, one in self._shared:
            one.close()
        self._shared = []


class OneSocket(ListeningSockets):
    """The sockets of one process that is none of the workers, whatever its index."""

    def __init__(self, wanted: Wanted) -> None:
        """Opens it. Raises SocketError."""
        super().__init__([wanted], 1)

    def open(self, index: int) -> None:
        super().open(0)

    def release(self, index: int) -> None:
        super().release(0)

    def of(self, index: int) -> tuple[Listening, ...]:
        return super().of(0)


def _addresses(wanted: Wanted) -> list[tuple[int, str]]:
    """(family, numeric address) for a host name; every interface is one dual-stack socket."""
    if not wanted.host:
        dual = socket.has_dualstack_ipv6()
        return [(socket.AF_INET6, "::")] if dual else [(socket.AF_INET, "0.0.0.0")]  # noqa: S104
    try:
        found = socket.getaddrinfo(
            wanted.host, wanted.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise SocketError(f"listener {wanted.name}: no such host {wanted.host!r}") from error
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))


def _socket(family: int, *, shared: bool) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        every = socket.has_dualstack_ipv6()
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if every else 1)
    return one
