# send(2), recv(2) and write(2) as the kernel has them.
#
# libc's are points where a thread can be cancelled (pthreads(7)), which costs two locked instructions
# each time as soon as a process has a second thread. They set errno as libc's do.

from libc.stddef cimport size_t

cdef extern from "<sys/syscall.h>" nogil:
    enum:
        SYS_recvfrom
        SYS_sendto
        SYS_write

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)

cdef extern from "<sys/socket.h>" nogil:
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int MSG_PEEK


cdef inline Py_ssize_t receive(int descriptor, void* into, size_t size, int flags) noexcept nogil:
    return syscall(
        SYS_recvfrom, <long>descriptor, into, size, <long>flags, <void*>NULL, <void*>NULL
    )


cdef inline Py_ssize_t send(
    int descriptor, const void* content, size_t size, int flags
) noexcept nogil:
    return syscall(SYS_sendto, <long>descriptor, content, size, <long>flags, <void*>NULL, 0L)


cdef inline Py_ssize_t write(int descriptor, const void* content, size_t size) noexcept nogil:
    return syscall(SYS_write, <long>descriptor, content, size)
