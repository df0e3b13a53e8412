"""The bytes of an input in order, be it a file, a compressed one or a pipe; errors in one line."""

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
    """An open input. size: in bytes as they are read, None where that is not known.

    Raises InputFailed where the input cannot be read on, DataError where it is damaged.
    """

    def __init__(
        self, path: Path, file: Any, size: int | None, seeks: bool, kind: str, fingerprint: str = ""
    ) -> None:
        self.path, self.size, self.seeks, self.fingerprint = path, size, seeks, fingerprint
        self._file, self._kind = file, kind
        self._at = 0  # where the next byte comes from
        self._again = memoryview(b"")  # bytes of a pipe that are given out once more

    def read(self, count: int = -1) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        if count < 0:
            return b"".join(iter(lambda: self.read(_SKIP_BYTES), b""))
        out = bytearray(count)
        found = self.readinto(memoryview(out))
        return bytes(out) if found == count else bytes(out[:found])

    def readinto(self, view: memoryview) -> int:
        """Fill view; how many bytes there were, fewer than it takes only at the end."""
        done = min(len(self._again), len(view))
        view[:done] = self._again[:done]
        self._again = self._again[done:]
        with self._said():
            while done < len(view):
                found = self._file.readinto(view[done:])
                if not found:
                    break
                done += found
        self._at += done
        return done

    @property
    def has_places(self) -> bool:
        """Whether read_at may be called."""
        return hasattr(os, "preadv") and isinstance(self._file, io.FileIO)

    def read_at(self, view: memoryview, position: int) -> int:
        """Fill view from a byte on, from any thread, while others do; how many bytes there were."""
        done = 0
        with self._said():
            while done < len(view):
                found = os.preadv(self._file.fileno(), [view[done:]], position + done)
                if not found:
                    break
                done += found
        return done

    def seek(self, position: int) -> None:
        """Go on from this byte; of a pipe, and of what is compressed, by reading on to it."""
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
        """The byte that is read next."""
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
    """The bytes of a file; of a .gz, what it holds."""
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
    """The bytes of stdin or any other binary stream; whoever opened it closes it."""
    return Bytes(Path("-"), _Kept(file), None, False, "a complete stream")


class _Kept:
    """A stream that is left open."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readinto(self, view: memoryview) -> int:
        if hasattr(self._file, "readinto"):
            return self._file.readinto(view) or 0
        found = self._file.read(len(view))
        view[: len(found)] = found
        return len(found)

    def close(self) -> None:
        pass


def fingerprint(path: Path | int) -> str:
    """Text that changes when the file (or what a descriptor stands for) does: size and time."""
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"
