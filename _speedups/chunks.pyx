"""The ends of connections as bytes come and go, without a step of the interpreter where that can be.

`Chunks` is the base of `dataplane/transport.Side`; `Poller` is made by `dataplane/worker`. An event
loop's transport drives a `Chunks` until `poll`; from then on the worker's one `Poller` reads its
socket, and it writes to its socket itself as long as the transport holds nothing back. All else (what
the socket does not take at once, closing, errors) stays the transport's. Rule: a descriptor is
used only while the transport has it open, that is until `leave`, which comes at the latest with
`connection_lost`.

System calls: epoll(7), timerfd_create(2), and those of `syscalls`.
"""

from cpython.buffer cimport PyBUF_READ, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, itimerspec, timespec

from _speedups.hitcycle cimport Cycle, HitLedger
from _speedups.leases cimport Lease
from _speedups.loopwork cimport LoopWork
from _speedups.rowflow cimport RowFlow
from _speedups.syscalls cimport MSG_DONTWAIT, MSG_NOSIGNAL, receive, send

cdef extern from "<sys/epoll.h>":
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int EPOLL_CLOEXEC
    int EPOLL_CTL_ADD
    int EPOLL_CTL_DEL
    int EPOLL_CTL_MOD
    uint32_t EPOLLERR
    uint32_t EPOLLET
    uint32_t EPOLLHUP
    uint32_t EPOLLIN
    uint32_t EPOLLPRI
    uint32_t EPOLLRDHUP
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int descriptor, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int count, int milliseconds) nogil

cdef extern from "<sys/timerfd.h>":
    int TFD_CLOEXEC
    int TFD_NONBLOCK
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int timer, int flags, const itimerspec* new, itimerspec* old)

cdef extern from "<unistd.h>":
    int close(int descriptor)

cdef uint32_t COMING = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET
cdef uint32_t ENDING = EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR

cdef enum:
    EVENTS_MAX = 64
    BELL_NANOSECONDS = 2000000
    BELLS_MAX = 10
    BELL = -1  # in place of a connection's descriptor
    GUARD = -2
    TLS_WANTS_MORE = 2  # `ssl.SSL_ERROR_WANT_READ`
    UNHEARD_MAX = 64


cdef class Tls:
    """TLS of one connection, behind its handshake: `read`, `write` and `pending` of an
    `ssl.SSLObject` and the two `ssl.MemoryBIO`s that it reads from and writes to.

    `over`: the other end said that nothing follows, or what came is not what TLS allows; `told`: so
    was who reads. `unheard`: how often TLS itself answered an end that did not take what is sent.
    """


cdef class Chunks:
    """One end of a connection as asyncio's BufferedProtocol drives it, or a `Poller`; all of a
    worker read into one buffer (`share`). What the hit path does not take goes to `chunk`.
    `reading`: whether what comes is wanted; `narrow`: how much of it at most, 0 = whatever comes;
    `closing`: it is to end: what comes and what is written is for nobody any more.
    """

    def __cinit__(self):
        self._descriptor = -1
        self.reading = True

    # asyncio.BufferedProtocol

    def get_buffer(self, Py_ssize_t sizehint):
        if self.narrow > 0 and self._tls is None:
            return _shared[:self.narrow]
        return _shared

    def buffer_updated(self, Py_ssize_t nbytes):
        if _worker is not None:
            _worker._elsewhere = True
        self._take_in(nbytes)

    cdef int _take_in(self, Py_ssize_t size) except -1:
        """What was received."""
        if self.closing:
            return 0
        if self._tls is None:
            return self._offer(size)
        self._tls.incoming.write(_shared[:size])
        return self._offer_opened()

    cdef int _offer(self, Py_ssize_t size) except -1:
        """What was received to the hit path, or on as rows, or else to `chunk`."""
        cdef Py_ssize_t passed = 0
        cdef Cycle path = self.path  # meanwhile another's may stand there, or none
        if path is not None:
            try:
                if path.received(self.from_upstream, <const uint8_t*>_shared_at, size):
                    return 0
            except Exception as error:  # whatever it is, both sides end
                path.broken(error)
                return 0
        if self._rows is not None and self._rows.open:
            passed = self._pass_rows(size)
            if passed == size:
                return 0
        if self._poller is not None:
            self._poller._ledger.stirred = True
        self.chunk(_shared[passed:size])
        return 0

    def rows_to(self, Chunks client, RowFlow rows) -> None:
        """Rows go from here to `client` as long as `rows` is open; None = they are the machine's."""
        self._client, self._rows = client, rows

    cdef Py_ssize_t _pass_rows(self, Py_ssize_t size) except -1:
        cdef RowFlow rows = self._rows
        cdef Py_ssize_t passed = rows.pass_on(<const uint8_t*>_shared_at, size, wall_clock())
        if rows.gets_bytes:
            if _worker is not None:
                _worker._ledger.bytes_to_client += rows.gets_bytes
            self._client._put_raw(rows.gets, <Py_ssize_t>rows.gets_bytes)
        return passed

    def chunk(self, chunk):
        raise NotImplementedError

    def eof_received(self):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError

    # TLS

    def secure(self, tls, incoming, outgoing) -> None:
        """From here on what comes and goes is TLS, whose handshake is over: an `ssl.SSLObject`, and what
        it reads from and writes to. What is there already is for `offer_opened`."""
        cdef Tls made = Tls()
        made.read, made.write, made.pending = tls.read, tls.write, tls.pending
        made.incoming, made.outgoing = incoming, outgoing
        self._tls = made

    @property
    def unopened(self) -> bool:
        """Whether something was received that nobody has read: nothing tells of it again."""
        cdef Tls tls = self._tls
        if tls is None or tls.told:
            return False
        return tls.over or bool(tls.incoming.pending) or bool(tls.pending())

    def offer_opened(self) -> None:
        """What was received under TLS goes to whoever reads, as long as that is wanted."""
        self._offer_opened()

    cdef int _offer_opened(self) except -1:
        cdef Py_ssize_t size
        if self._tls is None:
            return 0
        while self.reading and not self.lost and not self.closing:
            size = self._open()
            if size > 0:
                self._offer(size)
                if self.transport is None or self.transport.is_closing():
                    break
                continue
            if self._tls.over and not self._tls.told:
                self._tls.told = self._over = True
                if self._poller is not None:
                    self._poller._ledger.stirred = True
                    self._poller._forget(self)
                if not self.eof_received():
                    self.close()
            break
        return 0

    cdef Py_ssize_t _open(self) except -1:
        """What was received, as far as it can be opened, to the beginning of the shared buffer. -> its
        bytes; 0 = nothing for now, or nothing follows (`over`)."""
        cdef Tls tls = self._tls
        cdef Py_ssize_t room = self.narrow if 0 < self.narrow < _shared_size else _shared_size
        cdef Py_ssize_t size = 0
        cdef Py_ssize_t count
        while size < room and not tls.over and (tls.incoming.pending or tls.pending()):
            try:
                count = tls.read(room - size, _shared[size:] if size else _shared)
            except OSError as error:  # ssl.SSLError
                tls.over = error.errno != TLS_WANTS_MORE
                break
            tls.over = count == 0
            size += count
        self.flush_tls()
        return size

    cpdef int flush_tls(self) except -1:
        """What TLS itself has to say (an alert, an answer of the protocol) goes out."""
        cdef Tls tls = self._tls
        if tls is None or self.transport is None or self.lost or not tls.outgoing.pending:
            return 0
        tls.unheard = tls.unheard + 1 if self.writing_paused else 0
        if tls.unheard > UNHEARD_MAX:  # it asks, and does not read: what is kept for it would grow
            self.transport.abort()
            return 0
        return self._put_plain(tls.outgoing.read())

    cdef bytes _sealed(self, object content):
        """As it goes to the socket; nothing where the connection takes no more."""
        cdef Tls tls = self._tls
        cdef Py_ssize_t sent
        try:
            sent = tls.write(content) if len(content) else 0
            while sent < <Py_ssize_t>len(content):
                content = content[sent:]
                sent = tls.write(content)
        except OSError:  # ssl.SSLError
            self.transport.abort()
            return b""
        return tls.outgoing.read()

    # polled

    def poll(self, int descriptor, bint wanted) -> bool:
        """From here on the worker's poller reads this socket, if there is one. The transport must
        have stopped reading. `wanted`: whether to read now, as in `watch`.
        """
        if _worker is None or descriptor < 0 or self.lost:
            return False
        self._poller, self._descriptor = _worker, descriptor
        self.polled = True
        self._behind = True  # until the transport says that it holds nothing
        self._over = False
        self.watch(wanted)
        return True

    def watch(self, bint wanted) -> None:
        """Whether what comes is read."""
        if not self.polled or wanted == self._watched or (wanted and self._over):
            return
        if not wanted:
            self._poller._forget(self)
            return
        try:
            self._poller._watch(self)
        except OSError:  # nobody would read it (epoll_ctl(2): ENOSPC, ENOMEM)
            self.transport.abort()
            raise

    def leave(self) -> None:
        """The socket is the transport's alone again."""
        if self.polled:
            if self._watched:
                self._poller._forget(self)
            self.polled = False
            self._poller = None
            self._descriptor = -1

    cdef int _arrived(self, bint ending) except -1:
        """`ending`: more than bytes in their order were told of."""
        cdef Py_ssize_t size = receive(
            self._descriptor, _shared_at, <size_t>_shared_size, MSG_DONTWAIT
        )
        if size > 0:
            if ending or size == _shared_size:  # there may be more, of which nothing tells again
                self._poller._remind(self)
            if ending:  # it may have been told of that, and of no bytes
                self._poller._ledger.reading = 0
            try:
                self._take_in(size)
            except Exception:
                self.transport.abort()
                raise
            return 0
        if size < 0 and errno == EAGAIN:
            return 0
        if size < 0 and errno == EINTR:
            return self._poller._remind(self)
        self._over = True
        self._poller._ledger.stirred = True
        self._poller._forget(self)
        if size == 0:
            if not self.eof_received():
                self.close()
        else:  # `connection_lost` comes
            self.transport.abort()
        return 0

    # writing

    cdef bint _straight(self) except -1:
        """Whether the socket is ours to write to: the transport holds nothing back."""
        if self._descriptor < 0:
            return False
        if self._behind:
            if self.transport.is_closing() or self.transport.get_write_buffer_size():
                return False
            self._behind = False
        return True

    def write(self, content) -> None:
        self._put(content)

    cdef void count_written(self) noexcept:
        global _writings
        _writings += 1
        self.written = _writings

    cdef int _put(self, object content) except -1:
        self.count_written()
        if self.transport is None or self.lost or self.closing:
            return 0
        return self._put_plain(content if self._tls is None else self._sealed(content))

    cdef int _put_plain(self, object content) except -1:
        """To the socket as it is."""
        cdef Py_buffer view
        if not self._straight():
            if _worker is not None:
                _worker._ledger.stirred = True
            self.transport.write(content)
            return 0
        PyObject_GetBuffer(content, &view, PyBUF_SIMPLE)
        try:
            return self._send(<const uint8_t*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef int _put_raw(self, const uint8_t* at, Py_ssize_t size) except -1:
        """As `write`, and not counted."""
        if self.transport is None or self.lost or self.closing:
            return 0
        if self._tls is not None:
            return self._put_plain(
                self._sealed(PyMemoryView_FromMemory(<char*>at, size, PyBUF_READ))
            )
        return self._send(at, size)

    cdef int _send(self, const uint8_t* at, Py_ssize_t size) except -1:
        """What the socket does not take is copied for the transport."""
        cdef Py_ssize_t sent
        if self._straight():
            sent = send(self._descriptor, at, <size_t>size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == size:
                return 0
            self._behind = True  # full, or broken: the transport sees which
            self._poller._ledger.stirred = True
            if sent > 0:
                at += sent
                size -= sent
        elif _worker is not None:
            _worker._ledger.stirred = True
        self.transport.write(PyBytes_FromStringAndSize(<const char*>at, size))
        return 0


cdef class Poller:
    """Reads the sockets of a worker that were given to it.

    The event loop watches `fileno` and calls `serve` when something came. Then all that came is
    read; then the round is settled (`settle`, see `dataplane/rounds`); then what came meanwhile is
    read, and so on as long as everything is done with where it is: nothing was asked of the machine
    or the event loop and no other connection has anything. It waits for more itself, since the
    loop's own way there is long. A bell that rings every BELL_NANOSECONDS bounds how long others
    wait: then the loop is asked whether it has anything to do (`work`), and after BELLS_MAX it has
    its turn anyway, for what it keeps to itself. One timer for that: a wait with a limit of its own
    would set the processor's timer each time, which costs more than the wait where that traps into
    a hypervisor.

    The kernel tells of a socket once, when something comes (EPOLLET): to be told as long as there is
    something makes it look at each socket twice. A read that does not fill the buffer has taken all
    there was (epoll(7)), but where it stopped at an urgent byte, of which EPOLLPRI tells (tcp(7)).

    The loop watches the sockets' epoll through another one, the door. It is shut while the poller
    serves for longer: else what comes here would make the loop seem to have something to do.
    """

    def __cinit__(self):
        self._epoll = self._door = self._bell = -1

    def __init__(
        self,
        HitLedger ledger not None,
        settle,
        LoopWork work=None,
        long nanoseconds=BELL_NANOSECONDS,
    ):
        """Without `work` it serves until the bell rings, after `nanoseconds`: more than none, less
        than a second.
        """
        if not 0 < nanoseconds < 1_000_000_000:
            raise ValueError("the bell rings after less than a second")
        self._ledger, self._settle, self._work = ledger, settle, work
        self._nanoseconds = nanoseconds
        self._sides = []
        self._leases = []
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        self._door = epoll_create1(EPOLL_CLOEXEC)
        self._bell = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)
        if self._epoll < 0 or self._door < 0 or self._bell < 0:
            PyErr_SetFromErrno(OSError)
        _control(self._epoll, EPOLL_CTL_ADD, self._bell, EPOLLIN | EPOLLET, BELL)  # never read
        _control(self._door, EPOLL_CTL_ADD, self._epoll, EPOLLIN, self._epoll)

    def __dealloc__(self):
        if self._bell >= 0:
            close(self._bell)
        if self._door >= 0:
            close(self._door)
        if self._epoll >= 0:
            close(self._epoll)

    def fileno(self) -> int:
        return self._door

    def serve(self) -> None:
        cdef epoll_event events[EVENTS_MAX]
        cdef HitLedger ledger = self._ledger
        cdef bint alone = not self._elsewhere
        cdef int bells = 0
        cdef bint rang
        cdef int count
        if ledger.within:
            return
        self._elsewhere = ledger.stirred = False
        ledger.within = True
        try:
            count = epoll_wait(self._epoll, events, EVENTS_MAX, 0)
            while count > 0:
                rang = self._read(events, count)
                bells += rang
                if ledger.wanted:
                    ledger.wanted = False
                    if ledger.turns or not ledger.write_due():
                        self._settle()
                if rang:
                    ledger.flush(False)
                if ledger.stirred or not alone:
                    break
                if rang and (bells == BELLS_MAX or self._others_wait()):
                    break
                if self._work is not None and self._work.ready():
                    break
                count = self._wait(events)
        finally:
            try:
                ledger.flush(True)
            finally:
                ledger.within = False
                if self._shut:
                    self._shut = False
                    _control(self._door, EPOLL_CTL_MOD, self._epoll, EPOLLIN, self._epoll)
                if ledger.wanted:
                    ledger.wanted = False
                    self._settle()

    cdef bint _read(self, void* told, int count) except -1:
        """What a wait told of. -> whether the bell was among it."""
        global _readings
        cdef epoll_event* events = <epoll_event*>told
        cdef bint rang = False
        cdef int index = 0
        _readings += 1
        if not self._leases or self._guards_are_quiet(told, count):
            self._ledger.reading = _readings
        try:
            while index < count:
                side = self._side_of(events[index].data.fd)
                if side is not None:
                    (<Chunks>side)._arrived((events[index].events & ENDING) != 0)
                elif events[index].data.fd == BELL:
                    rang = True
                    self._armed = False
                index += 1
        except BaseException:  # of one connection; the others are told of once
            self._armed = False
            for index in range(index + 1, count):
                side = self._side_of(events[index].data.fd)
                if side is not None:
                    self._remind(<Chunks>side)
            raise
        finally:
            self._ledger.reading = 0
        return rang

    cdef int _guard(self, Lease lease) except -1:
        _control(self._epoll, EPOLL_CTL_ADD, lease.descriptor, COMING, GUARD)
        self._leases.append(lease)
        lease.is_told_behind(_readings)
        return 0

    cdef int _unguard(self, Lease lease) except -1:
        cdef epoll_event event
        lease.is_told_behind(0)
        if lease in self._leases:
            self._leases.remove(lease)
            epoll_ctl(self._epoll, EPOLL_CTL_DEL, lease.descriptor, &event)
        return 0

    cdef bint _guards_are_quiet(self, void* told, int count) except -1:
        """Whether it is known that nothing was told of any. If something was, it is looked for from
        here on: it is not told again."""
        cdef epoll_event* events = <epoll_event*>told
        cdef int index
        for index in range(count):
            if events[index].data.fd == GUARD:
                for lease in self._leases:
                    (<Lease>lease).is_told_behind(0)
                return False
        return count < EVENTS_MAX

    cdef object _side_of(self, int descriptor):
        if 0 <= descriptor < len(self._sides):
            return self._sides[descriptor]
        return None

    cdef bint _others_wait(self) except -1:
        """Whether it is the loop's turn, as far as the loop knows at this moment."""
        if self._work is None:
            return True
        if not self._shut:
            _control(self._door, EPOLL_CTL_MOD, self._epoll, 0, self._epoll)
            self._shut = True
        return self._work.due()

    cdef int _wait(self, void* events) except -2:
        """-> how many are there, the bell among them; 0 = a signal came."""
        cdef int count
        cdef itimerspec most
        if not self._armed:
            memset(&most, 0, sizeof(most))
            most.it_value.tv_nsec = self._nanoseconds
            if timerfd_settime(self._bell, 0, &most, NULL) < 0:
                PyErr_SetFromErrno(OSError)
            self._armed = True
        with nogil:
            count = epoll_wait(self._epoll, <epoll_event*>events, EVENTS_MAX, -1)
        if count < 0 and errno != EINTR:
            PyErr_SetFromErrno(OSError)
        return max(count, 0)

    cdef int _watch(self, Chunks side) except -1:
        """What is there already is told of as well (epoll_ctl(2))."""
        _control(self._epoll, EPOLL_CTL_ADD, side._descriptor, COMING, side._descriptor)
        while len(self._sides) <= side._descriptor:
            self._sides.append(None)
        self._sides[side._descriptor] = side
        side._watched = True
        return 0

    cdef int _remind(self, Chunks side) except -1:
        """To be told of what it has, though it was told of."""
        if side._watched:
            _control(self._epoll, EPOLL_CTL_MOD, side._descriptor, COMING, side._descriptor)
        return 0

    cdef int _forget(self, Chunks side) except -1:
        cdef epoll_event event
        if side._watched and self._sides[side._descriptor] is side:
            self._sides[side._descriptor] = None
            epoll_ctl(self._epoll, EPOLL_CTL_DEL, side._descriptor, &event)
        side._watched = False
        return 0


cdef int _control(
    int epoll, int operation, int descriptor, uint32_t events, int name
) except -1:
    """`name`: what a wait tells of it."""
    cdef epoll_event event
    memset(&event, 0, sizeof(event))
    event.events = events
    event.data.fd = name
    if epoll_ctl(epoll, operation, descriptor, &event) < 0:
        PyErr_SetFromErrno(OSError)
    return 0


cdef object _shared = None
cdef char* _shared_at = NULL
cdef Py_ssize_t _shared_size = 0
cdef Poller _worker = None
cdef unsigned long long _writings = 0
cdef unsigned long long _readings = 0  # of all pollers: no two have the same number


def share(bytearray buffer not None) -> None:
    """The buffer that every connection of this process reads into."""
    global _shared, _shared_at, _shared_size
    _shared = memoryview(buffer)  # holds it: it cannot be resized any more
    _shared_at = buffer
    _shared_size = len(buffer)


def poll_with(Poller poller) -> None:
    """The poller of this process; None = transports read everything."""
    global _worker
    _worker = poller


cdef double wall_clock() noexcept nogil:
    """Unix seconds."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <double>now.tv_sec + <double>now.tv_nsec * 1e-9


def guard(Lease lease not None) -> None:
    """The worker's poller, if there is one, is told of whatever the connection says or does that holds
    the lease (`descriptor`), so that nobody has to look. Raises OSError."""
    if _worker is not None:
        _worker._guard(lease)


def unguard(Lease lease not None) -> None:
    """Before its descriptor is closed, or is another."""
    if _worker is not None:
        _worker._unguard(lease)
