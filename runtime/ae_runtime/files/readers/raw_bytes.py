"""The bytes of a file, a compressed file or a pipe; errors are one line each."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ae_runtime.errors import DataError, InputFailed

_SKIP_BYTES = 1 << 20


class Closable(Protocol):
    """Anything that is open."""

    def close(self) -> None: ...


@contextlib.contextmanager
def closed_on_error(what: Closable) -> Iterator[None]:
    """Close what was opened if it cannot be used after all."""
    try:
        yield
    except BaseException:
        what.close()
        raise


class Bytes:
    """An open input. size: bytes as they are read, None where it is unknown.

    Raises InputFailed where the input cannot be read, DataError where it is damaged.
    """

    def __init__(
        self, path: Path, file: Any, size: int | None, seeks: bool, kind: str, fingerprint: str = ""
    ) -> None:
        self.path, self.size, self.seeks, self.fingerprint = path, size, seeks, fingerprint
        self._file, self._kind = file, kind
        self._at = 0  # where the next byte comes from
        self._again = memoryview(b"")  # bytes of a pipe that are read once more

    def read(self, count: int = -1) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        if count < 0:
            return b"".join(iter(lambda: self.read(_SKIP_BYTES), b""))
        out = bytearray(count)
        size = self.readinto(memoryview(out))
        return bytes(out) if size == count else bytes(out[:size])

    def readinto(self, view: memoryview) -> int:
        """The number of bytes that fill the view; fewer than its size only at the end."""
        done = min(len(self._again), len(view))
        view[:done] = self._again[:done]
        self._again = self._again[done:]
        with self._said():
            while done < len(view):
                size = self._file.readinto(view[done:])
                if not size:
                    break
                done += size
        self._at += done
        return done

    @property
    def has_places(self) -> bool:
        """Whether read_at may be called."""
        return hasattr(os, "preadv") and isinstance(self._file, io.FileIO)

    def read_at(self, view: memoryview, position: int) -> int:
        """The number of bytes that fill the view from a byte on; any threads may call at once."""
        done = 0
        with self._said():
            while done < len(view):
                size = os.preadv(self._file.fileno(), [view[done:]], position + done)
                if not size:
                    break
                done += size
        return done

    def seek(self, position: int) -> None:
        """Go on from this byte; a pipe or a compressed file is read up to it."""
        if self.seeks:
            with self._said():
                self._file.seek(position)
            self._at = position
        while self._at < position:
            if not self.read(min(_SKIP_BYTES, position - self._at)):
                raise InputFailed(
                    f"{self.path} ends at byte {self._at}, before the place to go on at; "
                    "bring the file that was there before"
                )
        if self._at > position:
            raise InputFailed(f"{self.path} is a pipe, and cannot be read twice")

    def tell(self) -> int:
        """The place of the byte that is read next."""
        return self._at

    def again(self, head: bytes) -> None:
        """Go back to the beginning, whose bytes so far are `head`."""
        if self.seeks:
            self.seek(0)
        else:
            self._at, self._again = 0, memoryview(head)

    def close(self) -> None:
        self._file.close()

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except EOFError as error:
            raise InputFailed(f"{self.path} is not {self._kind}: {error}") from error
        except (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
            raise DataError(f"{self.path} is not {self._kind}: {error}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputFailed(
                f"{self.path} cannot be read to its end: {reason}; see that it is still there"
            ) from error


def open_bytes(path: Path) -> Bytes:
    """The bytes of a file; those of a .gz are inflated."""
    file = path.open("rb", buffering=0)
    status = fingerprint(file.fileno())
    if path.suffix.lower() != ".gz":
        return Bytes(path, file, int(status.partition("-")[0]), True, "a complete file", status)
    inflated = _Gzip(fileobj=file, raw=file)
    return Bytes(path, inflated, None, True, "a complete gzip file", status)


class _Gzip(gzip.GzipFile):
    """A .gz that closes the file it reads."""

    def __init__(self, fileobj: io.FileIO, raw: io.FileIO) -> None:
        super().__init__(fileobj=fileobj, mode="rb")
        self._raw = raw

    def close(self) -> None:
        super().close()
        self._raw.close()


def pipe_bytes(file: Any) -> Bytes:
    """The bytes of stdin or any other binary stream, which is left open."""
    return Bytes(Path("-"), _LeftOpen(file), None, False, "a complete stream")


class _LeftOpen:
    """A stream that is not closed."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readinto(self, view: memoryview) -> int:
        if hasattr(self._file, "readinto"):
            return self._file.readinto(view) or 0
        raw = self._file.read(len(view))
        view[: len(raw)] = raw
        return len(raw)

    def close(self) -> None:
        pass


def fingerprint(path: Path | int) -> str:
    """Text that changes when the file (or an open descriptor) does: its size and time."""
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"
