"""Frames of the link come out as they went in, however the stream was cut, and hostile lengths are
refused.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.link.codec import FrameReader, LinkBroken, encode_message, frame
from appliance.link.messages import (
    Documents,
    Drain,
    Fatal,
    Heartbeat,
    Listening,
    PolicyDocument,
    Ready,
    Reload,
    Reloaded,
    Stop,
    WorkerSpec,
    decode_spec,
    encode_spec,
    supervisor_messages,
    worker_messages,
)

DOCUMENTS = Documents(3, b"listeners: {}\n", "/etc/sallyport.yaml", (PolicyDocument("p", b"x"),))


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_any_split_gives_the_same_frames(payloads: list[bytes], draw: st.DataObject) -> None:
    stream = b"".join(frame(payload) for payload in payloads)
    reader = FrameReader()
    got: list[bytes] = []
    while stream:
        cut = draw.draw(st.integers(1, len(stream)))
        got += reader.feed(memoryview(stream)[:cut])
        stream = stream[cut:]
    assert got == payloads
    assert not reader.midframe


def test_byte_by_byte() -> None:
    reader = FrameReader()
    stream = frame(b"abc") + frame(b"") + frame(b"d" * 1000)
    got = [f for i in range(len(stream)) for f in reader.feed(stream[i : i + 1])]
    assert got == [b"abc", b"", b"d" * 1000]


def test_length_above_the_ceiling_is_refused_at_once() -> None:
    with pytest.raises(LinkBroken):
        FrameReader(ceiling=10).feed((11).to_bytes(4, "big"))
    with pytest.raises(LinkBroken):
        frame(b"x" * 11, ceiling=10)


def test_truncated_frame_shows() -> None:
    reader = FrameReader()
    assert reader.feed(frame(b"abc")[:-1]) == []
    assert reader.midframe


@pytest.mark.parametrize(
    "message",
    [
        Ready(pid=7, generation=1, policy_version="v"),
        Heartbeat(sessions=2, stats={"a": 1, "b": 0.5}, audit_writable=False, targets={"t": True}),
        Reloaded(generation=2, error="no"),
        Fatal(reason="no listener"),
    ],
)
def test_worker_messages_travel(message: object) -> None:
    assert worker_messages().feed(encode_message(message)) == [message]


@pytest.mark.parametrize("message", [Reload(DOCUMENTS), Drain(seconds=1.5), Stop()])
def test_supervisor_messages_travel(message: object) -> None:
    assert supervisor_messages().feed(encode_message(message)) == [message]


def test_a_message_of_the_other_direction_is_refused() -> None:
    with pytest.raises(LinkBroken):
        worker_messages().feed(encode_message(Stop()))
    with pytest.raises(LinkBroken):
        supervisor_messages().feed(frame(b"\xc1"))


def test_spec_travels() -> None:
    spec = WorkerSpec(
        index=1,
        workers=2,
        incarnation=1,
        supervisor_pid=10,
        control_fd=5,
        listening=(Listening("main", 6),),
        run_dir="/run/x",
        documents=DOCUMENTS,
    )
    assert decode_spec(encode_spec(spec)) == spec
