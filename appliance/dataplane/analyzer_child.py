"""The analyzer process: turns texts into facts, one after the other, away from the data path.

Started by `dataplane/analyzer` with one end of a socketpair (`python -m
appliance.dataplane.analyzer_child --fd N`). Rule: it is expendable. It holds no secret, opens
nothing, limits itself, and ends when its parent does: the parser it runs is C code that valid SQL
can crash or occupy for long (DESIGN section 7).
"""

import argparse
import importlib
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any

from appliance.host.parentage import die_with_parent, keep_only
from appliance.link.analysis import (
    Analyse,
    AnalyzerAnswer,
    Answer,
    CatalogName,
    Failed,
    Forget,
    Hello,
    Learn,
    analyzer_requests,
)
from appliance.link.codec import encode_message
from appliance.model.catalog import Catalog
from appliance.model.dialect import Dialect
from appliance.model.facts import Facts
from appliance.model.limits import Limits
from appliance.session.dialect import all_forms

RECEIVE_BYTES = 1024 * 1024


def limit_resources(memory_bytes_max: int) -> None:
    """Bounds on address space and descriptors; no core file (it would hold statement texts)."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def limit_processor_time(seconds: int) -> None:
    """Allows `seconds` more of processor time; SIGXCPU ends the process after that."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def named(path: str) -> Any:
    """The object that `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class Child:
    """The loop: learn and forget catalogs, answer requests."""

    def __init__(
        self, dialect: Dialect, lineage: Callable[[Catalog], object], limits: Limits
    ) -> None:
        self._dialect = dialect
        self._lineage = lineage
        self._limits = limits
        self._known: dict[CatalogName, object] = {}

    def serve(self, link: socket.socket) -> None:
        """Until the parent closes its end."""
        requests = analyzer_requests()
        _answer(link, Hello(pid=os.getpid()))
        while chunk := link.recv(RECEIVE_BYTES):
            for request in requests.feed(chunk):
                match request:
                    case Learn(catalog=catalog):
                        name = (catalog.target, catalog.database, catalog.version)
                        self._known[name] = self._lineage(catalog)
                    case Forget(name=name):
                        self._known.pop(name, None)
                    case Analyse():
                        _answer(link, self._analysed(request))

    def _analysed(self, request: Analyse) -> AnalyzerAnswer:
        limit_processor_time(request.cpu_seconds)
        lineage = None if request.catalog is None else self._known[request.catalog]
        try:
            facts = self._dialect.analyse(request.text, lineage, request.settings, self._limits)
            forms = self._forms(request, facts, lineage)
        except Exception as error:
            return Failed(number=request.number, reason=type(error).__name__)
        return Answer(number=request.number, facts=facts, forms=forms)

    def _forms(
        self, request: Analyse, facts: Facts, lineage: object | None
    ) -> tuple[tuple[bytes, str], ...]:
        if not request.owed or facts.failure is not None or lineage is None:
            return ()
        owed = {(oid, attnum): mask for oid, attnum, mask in request.owed}
        text, settings = request.text, request.settings
        made = all_forms(self._dialect, text, facts, lineage, settings, owed, self._limits)
        return tuple((form.text, form.why) for form in made)


def _answer(link: socket.socket, message: AnalyzerAnswer) -> None:
    link.sendall(encode_message(message, ceiling=1 << 31))


def main() -> None:
    parser = argparse.ArgumentParser(prog="sallyport-analyzer")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--memory-bytes-max", type=int, required=True)
    parser.add_argument("--statement-bytes-max", type=int, required=True)
    parser.add_argument("--dialect", required=True)
    parser.add_argument("--lineage", required=True)
    options = parser.parse_args()
    die_with_parent(options.parent)
    keep_only({options.fd})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the supervisor's affair
    limit_resources(options.memory_bytes_max)
    limits = Limits(statement_bytes_max=options.statement_bytes_max)
    child = Child(named(options.dialect), named(options.lineage), limits)
    with socket.socket(fileno=options.fd) as link:
        link.setblocking(True)
        child.serve(link)


if __name__ == "__main__":
    main()
