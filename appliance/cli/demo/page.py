"""Prints the tour: three columns side by side, readable at 110 columns, with or without colour."""

import re
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from appliance.cli.demo.seen import Seen
from appliance.cli.demo.steps import Step

WIDTH = 110
ROWS_MAX = 8  # a longer result shows its first SAMPLE rows
SAMPLE = 3
QUOTED = re.compile(r" \(quote [0-9a-f]+\)")
"""The audit record's id in a hint: for quoting to somebody, not for reading here."""
GAP = "  "


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
        self.heading(f"{number:2}. {step.title}")
        self._console.print(Padding(Text(step.point, style="italic"), (0, 0, 0, 4)))
        code = Syntax(
            step.sql, "sql", theme="ansi_light", background_color="default", word_wrap=True
        )
        self._console.print(Padding(code, (0, 0, 0, 4)))
        table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0))
        for name in seen:
            table.add_column(name, ratio=1, overflow="fold")
        table.add_row(*(_cell(one) for one in seen.values()))
        self._console.print(table)
        for name, complaint in wrong.items():
            self.line(f"    NOT AS IT MUST BE for {name}: {complaint}", "bold red")

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


def _cell(seen: Seen) -> Text:
    return _refusal(seen) if seen.refused else _result(seen)


def _refusal(seen: Seen) -> Text:
    text = Text()
    text.append("REFUSED ", style="bold red")
    text.append(seen.message)
    if seen.detail:
        text.append(f"\n{seen.detail}", style="dim")
    if seen.hint:
        text.append(f"\n→ {QUOTED.sub('', seen.hint)}", style="cyan")
    return text


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
