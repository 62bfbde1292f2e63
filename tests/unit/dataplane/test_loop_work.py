"""What an event loop has to do, as it is asked from within one of its callbacks."""

import asyncio
import os
import threading
import time
from collections.abc import Callable

import pytest
import uvloop

from appliance.dataplane.loop_work import work_of

Asked = tuple[bool, bool]
"""(ready, due)."""


def asked_after(
    prepare: Callable[[asyncio.AbstractEventLoop], object],
    begin: Callable[[asyncio.AbstractEventLoop], object] = id,
) -> Asked:
    """In a callback that a descriptor brought, behind `prepare`, on a loop with nothing but what
    was there at `begin`."""
    loop = uvloop.new_event_loop()
    work = work_of(loop)
    found: list[Asked] = []
    reading, writing = os.pipe()
    give_up = loop.time() + 10

    def called() -> None:
        os.read(reading, 1)
        if found or loop.time() > give_up:  # the end
            loop.stop()
            return
        try:
            prepare(loop)
            found.append((work.is_ready(), work.is_due()))
        finally:
            os.write(writing, b"x")

    loop.add_reader(reading, called)
    begin(loop)
    os.write(writing, b"x")
    try:
        loop.run_forever()
    finally:
        loop.close()
        os.close(reading)
        os.close(writing)
    return found[0]


def test_a_loop_without_anything_to_do() -> None:
    assert asked_after(lambda _loop: None) == (False, False)


def test_a_callback_is_ready() -> None:
    assert asked_after(lambda loop: loop.call_soon(int)) == (True, True)


def test_a_timer_is_due_when_its_time_has_come() -> None:
    def wait_for_it(loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(0.02, int)
        time.sleep(0.03)  # the loop stands still meanwhile

    assert asked_after(wait_for_it) == (False, True)
    assert asked_after(lambda loop: loop.call_later(60, int)) == (False, False)


def test_a_descriptor_that_is_new() -> None:
    """The kernel has not heard of it, so it cannot say."""
    reading, writing = os.pipe()
    try:
        assert asked_after(lambda loop: loop.add_reader(reading, int)) == (True, True)
    finally:
        os.close(reading)
        os.close(writing)


def test_another_thread_calls() -> None:
    def call(loop: asyncio.AbstractEventLoop) -> None:
        other = threading.Thread(target=loop.call_soon_threadsafe, args=(int,))
        other.start()
        other.join()

    assert asked_after(call)[1]


def test_a_watched_descriptor_is_readable() -> None:
    reading, writing = os.pipe()
    try:
        asked = [
            asked_after(prepare, lambda loop: loop.add_reader(reading, os.read, reading, 1))
            for prepare in (id, lambda _loop: os.write(writing, b"x"))
        ]
        assert asked == [(False, False), (False, True)]
    finally:
        os.close(reading)
        os.close(writing)


def test_a_loop_of_another_kind() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(TypeError):
            work_of(loop)
    finally:
        loop.close()
