"""What supervisor and workers tell each other: tagged structs in msgpack, framed by `link/codec`.

`control/supervisor` writes a `WorkerSpec` to the file descriptor named by `--spec-fd` and keeps one
end of a Unix socketpair; `dataplane/worker` reads the spec to its end (`decode_spec`) and answers
on `spec.control_fd`. Rule: documents travel as bytes, so every worker (a restarted one too) runs
exactly what the supervisor validated last, whatever lies on disk by then.

Life: (spec) -> Ready, Heartbeat* ; Reload -> Reloaded ; Drain -> (Heartbeat*) exit 0 ; Stop -> exit
0 at once.
"""

import msgspec

from appliance.link.codec import MessageReader

HEARTBEAT_SECONDS = 1.0
HEARTBEAT_MISSED_SECONDS_MAX = 15.0
"""A worker silent for longer is taken for hung, killed and started anew."""
START_SECONDS_MAX = 60.0
"""From spawn to Ready."""


class PolicyDocument(msgspec.Struct, frozen=True):
    """One policy file as the supervisor read it. `name` is its path, for messages."""

    name: str
    text: bytes


class Documents(msgspec.Struct, frozen=True):
    """A validated configuration and its policies. `generation` starts at 1 and grows with each
    accepted reload.
    """

    generation: int
    configuration: bytes
    """The YAML text."""
    configuration_path: str
    """Where it was read, to resolve relative paths in it and for messages; '' for an inline
    document (`sallyport try`).
    """
    policies: tuple[PolicyDocument, ...]
    users: bytes | None = None
    """The users file's content (verifiers, no passwords); None = to be read where the configuration
    says, if it does.
    """


class Listening(msgspec.Struct, frozen=True):
    """A bound, listening, non-blocking socket that the worker inherits. `listener` is its name in
    the configuration.
    """

    listener: str
    fd: int


class WorkerSpec(msgspec.Struct, frozen=True):
    """Everything a worker is told at its start."""

    index: int
    """0-based; stable over restarts, so that its audit spool and rendezvous socket keep their
    names.
    """
    workers: int
    """How many workers there are."""
    incarnation: int
    """Grows with each restart of this index, over the supervisor's life."""
    supervisor_pid: int
    """getppid() differing from it means that the supervisor died before PR_SET_PDEATHSIG was set.
    """
    control_fd: int
    """The worker's end of the socketpair (SOCK_STREAM)."""
    listening: tuple[Listening, ...]
    run_dir: str
    """A private folder (0700) all workers share: cancel routing sockets. Emptied by the supervisor
    at its start.
    """
    documents: Documents
    control_socket: str = ""
    """Where the control process listens for workers, if it is not `run_dir`/control.sock."""
    log_format: str = "text"
    log_level: str = "info"


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker accepts clients."""

    pid: int
    generation: int
    policy_version: str


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    """Sent every HEARTBEAT_SECONDS from the worker's event loop: no beat means a stalled loop."""

    sessions: int
    stats: dict[str, int | float] = {}
    """`telemetry.metrics.Metrics.snapshot()`: totals since the worker's start, and gauges."""
    audit_writable: bool = True
    targets: dict[str, bool] = {}
    """Target name -> whether the last attempt to reach it succeeded; targets not tried yet are
    absent.
    """
    draining: bool = False


class Reloaded(msgspec.Struct, frozen=True, tag=True):
    """Answer to Reload. A worker that could not take it keeps the old documents and says why."""

    generation: int
    policy_version: str = ""
    error: str = ""


class Fatal(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot go on and is about to exit (sent before Ready: a start that failed)."""

    reason: str


class Reload(msgspec.Struct, frozen=True, tag=True):
    """Take these documents for everything decided from now on."""

    documents: Documents


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Close the listening sockets, end idle sessions, let running statements finish, exit 0 when
    none is left.

    `seconds` is how long that may take before Stop follows.
    """

    seconds: float


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Exit 0 now. A worker that does not is killed."""


WorkerMessage = Ready | Heartbeat | Reloaded | Fatal
SupervisorMessage = Reload | Drain | Stop


def worker_messages() -> MessageReader[WorkerMessage]:
    """Reader for the supervisor's end."""
    return MessageReader(WorkerMessage)  # type: ignore[arg-type]


def supervisor_messages() -> MessageReader[SupervisorMessage]:
    """Reader for the worker's end."""
    return MessageReader(SupervisorMessage)  # type: ignore[arg-type]


def encode_spec(spec: WorkerSpec) -> bytes:
    """What `--spec-fd` holds, from its start to its end (not framed)."""
    return msgspec.msgpack.encode(spec)


def decode_spec(content: bytes) -> WorkerSpec:
    """The inverse. Raises msgspec.MsgspecError (a ValueError) for anything else."""
    return msgspec.msgpack.decode(content, type=WorkerSpec)
