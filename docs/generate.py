"""Write the command help in docs/commands.md from the commands themselves, or check it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from ae_export.cli import ae_export
from ae_runtime.cli import ae_run
from ae_train.cli import ae_train

PAGE = Path(__file__).parent / "commands.md"
WIDTH = 92
MARKER = re.compile(r"(<!-- help: (?P<words>[\w -]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
COMMANDS: dict[str, click.Command] = {
    "ae-train": ae_train,
    "ae-export": ae_export,
    "ae-run": ae_run,
}


def help_text(words: str) -> str:
    """What `words --help` prints, WIDTH columns wide."""
    name, *rest = words.split()
    command = COMMANDS[name]
    context = _context(command, name, None)
    for word in rest:
        assert isinstance(command, click.Group)
        command = command.commands[word]
        context = _context(command, word, context)
    return command.get_help(context)


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


def generated(page: str) -> str:
    """The page with every help text between its markers as it is now."""

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}```text\n{help_text(match['words'])}\n```\n"

    return MARKER.sub(fill, page)


def main() -> None:
    page = PAGE.read_text()
    wanted = generated(page)
    if "--check" not in sys.argv:
        PAGE.write_text(wanted)
    elif page != wanted:
        sys.exit(f"{PAGE.name} does not say what the commands' --help says; run `make docs`")


if __name__ == "__main__":
    main()
