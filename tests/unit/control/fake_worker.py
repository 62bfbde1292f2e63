"""A worker that speaks the link, and does what a client's line tells it. Run by the supervisor in
its tests.
"""

import argparse
import asyncio
import os
import socket
import time

from appliance.link.codec import encode_message
from appliance.link.messages import (
    Drain,
    Fatal,
    Heartbeat,
    Ready,
    Reload,
    Reloaded,
    Stop,
    WorkerSpec,
    decode_spec,
    supervisor_messages,
)

UNACCEPTABLE = b"# no worker takes this"


class FakeWorker:
    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.documents = spec.documents
        self.sessions: set[asyncio.Task[None]] = set()
        self.draining = False
        self.rows = 0

    async def run(self) -> None:
        link = socket.socket(fileno=self.spec.control_fd)
        reader, self.link = await asyncio.open_unix_connection(sock=link)
        if os.environ.get("FAKE_WORKER") == "refuse":
            self.link.write(encode_message(Fatal(reason="no key file")))
            await self.link.drain()
            raise SystemExit(1)
        if os.environ.get("FAKE_WORKER") == "crash":
            raise SystemExit(7)
        self.listening = [
            await asyncio.start_server(self.converse, sock=socket.socket(fileno=one.fd))
            for one in self.spec.listening
        ]
        self.link.write(encode_message(Ready(os.getpid(), self.documents.generation, "v1")))
        beating = asyncio.create_task(self.beat())
        try:
            await self.obey(reader)
        finally:
            beating.cancel()

    async def beat(self) -> None:
        while True:
            stats: dict[str, int | float] = {"rows": self.rows, "sessions": len(self.sessions)}
            targets = {"shop": True}
            writable = not os.path.exists(f"{self.spec.run_dir}/unwritable")  # noqa: ASYNC240, PTH110
            beat = Heartbeat(len(self.sessions), stats, writable, targets, self.draining)
            self.link.write(encode_message(beat))
            await asyncio.sleep(0.1)

    async def obey(self, reader: asyncio.StreamReader) -> None:
        messages = supervisor_messages()
        while chunk := await reader.read(65536):
            for message in messages.feed(chunk):
                match message:
                    case Reload(documents=documents):
                        self.reload(documents)
                    case Drain():
                        self.draining = True
                        for one in self.listening:
                            one.close()
                        self.finished(None)
                    case Stop():
                        os._exit(0)

    def reload(self, documents) -> None:  # type: ignore[no-untyped-def]
        texts = (documents.configuration, *(one.text for one in documents.policies))
        error = "no" if any(UNACCEPTABLE in text for text in texts) and self.spec.index else ""
        if not error:
            self.documents = documents
        answer = Reloaded(documents.generation, "v2", error)
        self.link.write(encode_message(answer))

    def finished(self, _: object) -> None:
        if self.draining and not self.sessions:
            os._exit(0)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.sessions.add(task)
        task.add_done_callback(self.sessions.discard)
        task.add_done_callback(self.finished)
        while line := await reader.readline():
            match line.decode().split():
                case ["worker"]:
                    writer.write(f"{self.spec.index} {os.getpid()}\n".encode())
                case ["generation"]:
                    writer.write(f"{self.documents.generation}\n".encode())
                case ["documents"]:
                    writer.write(repr(self.documents.configuration).encode() + b"\n")
                case ["policy"]:
                    texts = [one.text.decode() for one in self.documents.policies]
                    writer.write(repr("".join(texts)).encode() + b"\n")
                case ["count", number]:
                    self.rows += int(number)
                    writer.write(b"ok\n")
                case ["environment", name]:
                    writer.write(os.environ.get(name, "-").encode() + b"\n")
                case ["rundir"]:
                    writer.write(self.spec.run_dir.encode() + b"\n")
                case ["crash"]:
                    os._exit(9)
                case ["hang"]:
                    time.sleep(100)  # noqa: ASYNC251
            await writer.drain()
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec-fd", type=int, required=True)
    options = parser.parse_args()
    with os.fdopen(options.spec_fd, "rb") as given:
        spec = decode_spec(given.read())
    asyncio.run(FakeWorker(spec).run())


if __name__ == "__main__":
    main()
