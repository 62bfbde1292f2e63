"""Whether a uvloop event loop has anything to do, asked from within one of its callbacks.

libuv's own words for that: `uv_backend_timeout` is 0 when a handle is ready, a callback is due or a
watched descriptor changed; `uv_backend_fd` is readable when a descriptor is
(https://docs.libuv.org/en/v1.x/loop.html). They are looked up by name in the library that carries
the libuv (dlsym(3)).
"""

from cpython.pycapsule cimport PyCapsule_GetPointer

cdef extern from "<dlfcn.h>":
    int RTLD_NOW
    int RTLD_NOLOAD
    void* dlopen(const char* path, int flags)
    void* dlsym(void* library, const char* name)

cdef extern from "<poll.h>":
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    int poll(pollfd* descriptors, unsigned long count, int milliseconds)


cdef class LoopWork:
    """Of one loop: made by `dataplane/loop_work`, which knows where `loop` (a capsule of an
    uv_loop_t, held by `owner`) and its `library` come from. ImportError: that has not what is needed.
    """

    def __init__(self, object owner, object loop, bytes library):
        cdef void* found = dlopen(library, RTLD_NOW | RTLD_NOLOAD)
        if found == NULL:
            raise ImportError(f"{library.decode()} is not loaded")
        self._timeout = <int (*)(void*) noexcept>_symbol(found, b"uv_backend_timeout")
        self._update = <void (*)(void*) noexcept>_symbol(found, b"uv_update_time")
        descriptor = <int (*)(void*) noexcept>_symbol(found, b"uv_backend_fd")
        self._owner = owner
        self._loop = PyCapsule_GetPointer(loop, NULL)
        self._descriptor = descriptor(self._loop)

    cdef bint ready(self) noexcept:
        """Whether a callback waits to be run: what was asked of the loop since it was entered, or a
        timer that was due by the loop's clock then. No system call.
        """
        return self._timeout(self._loop) == 0

    cdef bint due(self) noexcept:
        """Whether there is anything: a callback, a timer, a descriptor. Moves the loop's clock."""
        cdef pollfd watched
        self._update(self._loop)
        if self.ready():
            return True
        watched.fd, watched.events, watched.revents = self._descriptor, POLLIN, 0
        return poll(&watched, 1, 0) != 0  # an error is the loop's to find

    def is_ready(self) -> bool:
        """As `ready`."""
        return self.ready()

    def is_due(self) -> bool:
        """As `due`."""
        return self.due()


cdef void* _symbol(void* library, bytes name) except NULL:
    cdef void* found = dlsym(library, name)
    if found == NULL:
        raise ImportError(f"uvloop has no {name.decode()}")
    return found
