"""What the commands share: exit codes, one line for every failure, a progress line."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import click
import pytest

from ae_runtime import __version__, errors
from ae_runtime import console as cmd

Result = tuple[int, str, str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Exit code, stdout and stderr of a command `tool` that calls body, given these words."""

    def call(body: Callable[[], object], *words: str) -> Result:
        @click.command()
        @cmd.version_option
        @cmd.common_options
        def tool(as_json: bool) -> None:
            body()

        code = cmd.run(tool, "tool", list(words))
        return code, *capsys.readouterr()

    return call


def raising(error: BaseException | type[BaseException]) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def every_error(root: type[errors.AeError]) -> list[type[errors.AeError]]:
    return [root, *(e for child in root.__subclasses__() for e in every_error(child))]


def test_done(run: Callable[..., Result]) -> None:
    assert run(lambda: click.echo("result")) == (0, "result\n", "")
    assert run(lambda: 3) == (0, "", "")  # what a command returns is no exit code


@pytest.mark.parametrize("error", every_error(errors.AeError))
def test_each_of_our_errors_is_one_line(
    run: Callable[..., Result], error: type[errors.AeError]
) -> None:
    found = run(raising(error("x.npy has\n  shape (3,)\tand so on")))
    code = 1 if issubclass(error, errors.WorkFailed) else 2
    assert found == (code, "", "tool: x.npy has shape (3,) and so on\n")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (click.UsageError("no such thing"), 2, "no such thing"),
        (click.BadParameter("not a number"), 2, "Invalid value: not a number"),
        (KeyboardInterrupt, 1, "interrupted"),
        (click.Abort, 1, "interrupted"),
        (MemoryError, 1, "out of memory; use smaller data, or fewer --threads"),
        (
            PermissionError(errno.EACCES, "Permission denied", "x.npy"),
            1,
            "x.npy: Permission denied",
        ),
        (OSError(errno.EIO, "Input/output error"), 1, "tool: Input/output error"),
        (OSError("odd"), 1, "tool: odd"),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            "internal error: ZeroDivisionError: division by zero; --debug shows where",
        ),
    ],
)
def test_any_other_failure_is_one_line(
    run: Callable[..., Result], error: Any, code: int, line: str
) -> None:
    found_code, out, err = run(raising(error))
    # click ends the line in which a terminal shows ^C.
    err = err.removeprefix("\n") if error is KeyboardInterrupt else err
    assert (found_code, out, err) == (code, "", f"tool: {line}\n")


@pytest.mark.parametrize("error", [errors.DataError("wrong rows"), ZeroDivisionError("wrong rows")])
def test_debug_alone_shows_the_traceback(run: Callable[..., Result], error: Exception) -> None:
    plain = run(raising(error))
    code, out, err = run(raising(error), "--debug")
    assert (code, out) == plain[:2]
    assert err.startswith("Traceback (most recent call last):\n")
    assert f"{type(error).__name__}: wrong rows\n" in err
    assert err.endswith(plain[2])
    assert "Traceback" not in plain[2]


@pytest.mark.parametrize("words", [["--nope"], ["extra"], ["--json=1"]])
def test_wrong_words_are_one_line(run: Callable[..., Result], words: list[str]) -> None:
    code, out, err = run(lambda: pytest.fail("must not run"), *words)
    assert (code, out) == (2, "")
    assert err.startswith("tool: ")  # the rest is click's
    assert words[0].partition("=")[0] in err
    assert err.count("\n") == 1


def test_help_and_version_go_to_stdout(run: Callable[..., Result]) -> None:
    code, out, err = run(lambda: None, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: tool [OPTIONS]\n")
    assert run(lambda: None, "--version") == (0, f"tool {__version__}\n", "")


def test_json_is_one_line_on_stdout_and_remarks_are_elsewhere(run: Callable[..., Result]) -> None:
    fields = {"name": "größe\n", "values": [1, 2.5, None]}

    def body() -> None:
        cmd.print_json(fields)
        cmd.say("a remark")

    code, out, err = run(body)
    assert (code, err) == (0, "a remark\n")
    assert json.loads(out) == fields
    assert out.count("\n") == 1


def test_json_never_holds_what_json_lacks(run: Callable[..., Result]) -> None:
    code, out, _ = run(lambda: cmd.print_json({"mean": float("nan")}))
    assert (code, out) == (1, "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (187, "3:07 min"),
        (3599.9, "1:00:00 h"),
        (3727, "1:02:07 h"),
        (360000, "100:00:00 h"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert cmd.duration(seconds) == words


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("300", 300),
        ("300MB", 300_000_000),
        ("1GB", 10**9),
        ("1.5 gb", 1_500_000_000),
        ("2GiB", 2 << 30),
        ("10kb", 10_000),
        ("1B", 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert cmd.Bytes().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "0", "0.1B", "1XB", "1e9", "1 2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter) as error:
        cmd.Bytes().convert(text, None, None)
    assert error.value.message == (f"{text!r} is no number of bytes; write it as 300MB or 1GB")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that time.monotonic gives; change its one element."""
    now = [1000.0]
    monkeypatch.setattr(cmd.time, "monotonic", lambda: now[0])
    return now


def progress(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, quiet: bool = False
) -> cmd.ProgressLine:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    return cmd.ProgressLine(quiet)


def test_progress_in_a_log_is_a_line_now_and_then(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = progress(False, monkeypatch)
    for second in range(25):
        clock[0] = 1000.0 + second
        line.show(f"{second} s")
    line.clear()
    assert capsys.readouterr().err == "10 s\n20 s\n"  # short work stays silent


def test_progress_on_a_terminal_is_redrawn_in_place(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = progress(True, monkeypatch)
    line.clear()  # nothing to take away yet
    line.show("10 of 20")
    line.show("too soon")
    clock[0] += 1
    line.show("9 left")
    assert capsys.readouterr().err == "\r10 of 20\r9 left  "
    line.clear()
    line.clear()
    assert capsys.readouterr().err == "\r      \r"


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_progress_says_nothing(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = progress(terminal, monkeypatch, quiet=True)
    line.show("10 of 20")
    line.clear()
    assert capsys.readouterr().err == ""
