"""What a session may rest on that nobody can change at the moment.

Held by `dataplane/schema_lease` and `dataplane/leasing`; looked at by the hit paths.
"""

cimport cython
from libc.errno cimport EAGAIN, errno
from posix.time cimport CLOCK_BOOTTIME, clock_gettime, timespec

from _speedups.syscalls cimport MSG_DONTWAIT, MSG_PEEK, receive


cpdef double since_boot() noexcept nogil:
    """Seconds; goes on while the machine sleeps or stands still (CLOCK_BOOTTIME)."""
    cdef timespec now
    clock_gettime(CLOCK_BOOTTIME, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


@cython.final
cdef class Lease:
    """Relations that nobody can change at the moment (`dataplane/leasing`, `schema_lease`).

    `value`: 0 = they are not held; as long as it is the same number, they are held without a break;
    `used` counts who made use of that, `missed` who would have; `descriptor`: of the connection that
    holds them, -1 = none; `until`: when that is believed no longer without another look, by
    `since_boot`.
    """

    def __init__(self):
        self.descriptor = -1
        self.until = float("inf")

    cpdef bint live(self) noexcept:
        """Whether the connection that holds them has said nothing and not ended, and was looked at
        lately. Whoever ends it shuts its socket, or is told why, before the server lets go of
        anything."""
        cdef char byte
        if self.descriptor < 0 or since_boot() >= self.until:
            return False
        return receive(self.descriptor, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 and errno == EAGAIN

    cpdef bint live_in(self, unsigned long long reading) noexcept:
        """Whether it was `live` when, or after, the beginning of an answer had come of which the
        poller was told before this `reading` (`HitLedger.reading`; 0 = that is not known of it): one
        look is enough for all of those. None is needed where the poller would have been told of its
        connection, too (`chunks.guard`): that it was not says as much.
        """
        if reading and self.descriptor >= 0:
            if reading == self._looked:
                return True
            if self._told_behind and reading > self._told_behind:
                return since_boot() < self.until
        if not self.live():
            return False
        self._looked = reading
        return True

    cdef void is_told_behind(self, unsigned long long reading) noexcept:
        """Whatever its connection says or does, the poller is told of it before any reading behind
        this one; 0 = not any more."""
        self._told_behind = reading
