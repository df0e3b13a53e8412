"""What the three commands share: exit codes, one-line errors, --debug, and the progress line."""

from __future__ import annotations

import json
import re
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import click

from ae_runtime import __version__
from ae_runtime.errors import AeError
from ae_runtime.model.devices import hold_back_processor_lines

F = TypeVar("F", bound=Callable[..., Any])
LOG_EVERY_S = 10.0
REDRAW_EVERY_S = 0.1


class _State:
    """What `run` must know of a command that failed: whether --debug was given."""

    debug = False


def _set_debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    state = context.find_object(_State)
    if state is not None and value:
        state.debug = True


def common_options(command: F) -> F:
    """Give a command --debug and --json; `as_json` is passed on."""
    command = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_set_debug,
        help="Print the traceback of an error, not only its line.",
    )(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, last."
    )(command)


def version_option(command: F) -> F:
    """Give a command or group --version."""
    return click.version_option(__version__, message="%(prog)s %(version)s")(command)


def run(command: click.Command, name: str, arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code, every failure said in one line on stderr.

    0: done. 2: the words, files or data are wrong. 1: the work failed, or was interrupted.
    """
    state = _State()
    hold_back_processor_lines()
    try:
        command.main(arguments, prog_name=name, standalone_mode=False, obj=state)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)  # a group without a command: its help
        return error.exit_code
    except click.ClickException as error:
        return _fail(name, error.format_message(), error.exit_code, state)
    except AeError as error:
        return _fail(name, str(error), error.exit_code, state)
    except (KeyboardInterrupt, click.Abort):
        return _fail(name, "interrupted", 1, state)
    except MemoryError:
        return _fail(name, "out of memory; use smaller data, or fewer --threads", 1, state)
    except OSError as error:
        return _fail(name, f"{error.filename or name}: {error.strerror or error}", 1, state)
    except Exception as error:
        message = f"internal error: {type(error).__name__}: {error}; --debug shows where"
        return _fail(name, message, 1, state)
    return 0


def _fail(name: str, message: str, code: int, state: _State) -> int:
    if state.debug:
        traceback.print_exc()
    click.echo(f"{name}: {' '.join(message.split())}", err=True)
    return code


class Bytes(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """A number of bytes: 300000000, 300MB or 1.5GB (powers of 1000), 286MiB or 2GiB (of 1024)."""

    name = "bytes"
    units: ClassVar = {
        **{name: 1000**at for at, name in enumerate(("B", "KB", "MB", "GB", "TB"))},
        **{name: 1024**at for at, name in enumerate(("KIB", "MIB", "GIB", "TIB"), start=1)},
    }

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> int:
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]*)", str(value).lower())
        unit = self.units.get((found[2] or "b").upper()) if found else None
        size = int(float(found[1]) * unit) if found and unit else 0
        if size < 1:
            self.fail(f"{value!r} is no number of bytes; write it as 300MB or 1GB", param, context)
        return size


def print_json(fields: dict[str, Any]) -> None:
    """Print one JSON object on one line of stdout."""
    click.echo(json.dumps(fields, allow_nan=False))


def say(line: str) -> None:
    """Print a remark on stderr, where it does not mix with results."""
    click.echo(line, err=True)


class ProgressLine:
    """One line on stderr: redrawn in place on a terminal, logged now and then elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty()
        self._width = 0
        # A log says something at once only on a terminal; short work elsewhere stays silent.
        self._last = 0.0 if self.live else time.monotonic()

    def show(self, line: str) -> None:
        """Show the line if it is time for one."""
        now = time.monotonic()
        due = now - self._last >= (REDRAW_EVERY_S if self.live else LOG_EVERY_S)
        if self.quiet or not due:
            return
        self._last = now
        if self.live:
            sys.stderr.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take a redrawn line away, so that what is said next stands alone."""
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            self._width = 0


def duration(seconds: float) -> str:
    """Seconds as people write them: 42 s, 3:07 min, 1:02:07 h."""
    total = round(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"
