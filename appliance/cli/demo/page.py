"""Prints the tour: three columns side by side, readable at 110 columns, with or without colour."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from appliance.cli.demo.approvals import AGENT, Asking, Played
from appliance.cli.demo.seen import Seen, Told
from appliance.cli.demo.stage import APPROVER
from appliance.cli.demo.steps import Step

WIDTH = 110
ROWS_MAX = 8  # a longer result shows its first SAMPLE rows
SAMPLE = 3
QUOTED = re.compile(r" \(quote [0-9a-f]+\)")
"""The audit record's id in a hint: for quoting to somebody, not for reading here."""
GAP = "  "
STYLES = {"APPROVES": "bold green", "DENIES": "bold red"}


class Page:
    """Where the tour is printed; `console` is given by tests."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _console()

    def heading(self, text: str) -> None:
        self._console.print()
        self._console.print(Rule(Text(text, style="bold"), align="left"))

    def line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def people(self, people: Sequence[tuple[str, str]]) -> None:
        self.heading("Guided tour")
        self.line(
            "The same statements, sent by three principals through Sallyport to one database."
        )
        for name, what in people:
            self._console.print(Text.assemble("  ", (f"{name:8}", "bold"), f" {what}"))

    def step(
        self, number: int, step: Step, seen: Mapping[str, Seen], wrong: Mapping[str, str]
    ) -> None:
        """One step, what each saw of it, and complaints where something is not as it must be."""
        self._question(number, step.title, step.point, step.sql)
        table = _columns(seen)
        table.add_row(*(_cell(one) for one in seen.values()))
        self._console.print(table)
        for name, complaint in wrong.items():
            self.line(f"    NOT AS IT MUST BE for {name}: {complaint}", "bold red")

    def asking(self, number: int, asking: Asking, played: Played) -> None:
        """A step in which people take turns: one line of the table each."""
        self._question(number, asking.title, asking.point, asking.sql)
        names = (AGENT, APPROVER)
        table = _columns(names)
        for moment in played.moments:
            table.add_row(*(_cell(moment.what) if moment.who == one else "" for one in names))
        self._console.print(table)
        for complaint in played.complaints:
            self.line(f"    NOT AS IT MUST BE: {complaint}", "bold red")

    def _question(self, number: int, title: str, point: str, sql: str) -> None:
        self.heading(f"{number:2}. {title}")
        self._console.print(Padding(Text(point, style="italic"), (0, 0, 0, 4)))
        code = Syntax(sql, "sql", theme="ansi_light", background_color="default", word_wrap=True)
        self._console.print(Padding(code, (0, 0, 0, 4)))

    def command(self, command: str, output: str) -> None:
        """A command of ours and what it printed."""
        self.heading(f"$ {command}")
        self._console.print(Text.from_ansi(output.rstrip()), soft_wrap=True)

    def box(self, title: str, lines: Sequence[str]) -> None:
        """Lines for pasting: never wrapped, so that a paste is what was meant."""
        self._console.print()
        self._console.print(Rule(Text(title, style="bold"), align="left"))
        for line in lines:
            self.line(line)

    def verdict(self, failures: Sequence[str], steps: int) -> None:
        self._console.print()
        if not failures:
            done = f"All {steps} steps showed what they should, and the trail verifies."
            self._console.print(Panel(Text(done, style="bold green"), box=box.ROUNDED))
            return
        text = Text("\n".join(["The tour found something wrong:", *failures]), style="bold red")
        self._console.print(Panel(text, box=box.HEAVY))


def _console() -> Console:
    found = Console(highlight=False)
    # A pipe has no width of its own (rich says 80), a wide terminal reads badly.
    found.width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return found


def _columns(names: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, ratio=1, overflow="fold")
    return table


def _cell(what: Seen | Told) -> Text:
    if isinstance(what, Told):
        return _told(what)
    return _refusal(what) if what.refused else _result(what)


def _told(told: Told) -> Text:
    style = STYLES.get(told.label, "bold yellow")
    return _words(told.label, style, told.text, told.detail, told.hint)


def _refusal(seen: Seen) -> Text:
    return _words("REFUSED", "bold red", seen.message, seen.detail, seen.hint)


def _words(label: str, style: str, message: str, detail: str, hint: str) -> Text:
    text = Text()
    text.append(f"{label} ", style=style)
    text.append(message)
    if detail:
        text.append(f"\n{_readable(detail)}", style="dim")
    if hint:
        text.append(f"\n→ {QUOTED.sub('', hint)}", style="cyan")
    return text


def _readable(detail: str) -> str:
    """A ticket's JSON, one line each."""
    if not detail.startswith("{"):
        return detail
    return json.dumps(json.loads(detail), indent=1)


def _result(seen: Seen) -> Text:
    text = Text()
    if seen.columns:
        shown = [tuple("NULL" if cell is None else cell for cell in row) for row in seen.rows]
        shown = shown if len(shown) <= ROWS_MAX else shown[:SAMPLE]
        widths = [max(map(len, cells)) for cells in zip(seen.columns, *shown, strict=True)]
        text.append(_aligned(seen.columns, widths), style="dim")
        for row in shown:
            text.append("\n" + _aligned(row, widths))
        if len(seen.rows) > len(shown):
            text.append(f"\n({len(seen.rows)} rows)", style="dim")
    else:
        text.append(seen.tag, style="green")
    return text


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    pairs = zip(cells, widths, strict=True)
    return GAP.join(cell.ljust(width) for cell, width in pairs).rstrip()
