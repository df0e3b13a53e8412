"""Every error that the toolkit raises on purpose.

AeError
├── DataError               ValueError          rows, columns or values that cannot be used
│   └── ShapeMismatch       ValueError          an array that does not have the model's shape
│   └── DtypeMismatch       TypeError           an array that does not hold the model's numbers
│   └── NoRows              ValueError          a file of columns without a row
├── SourceNotFound          FileNotFoundError   a data file that is not there
├── RecipeError             ValueError          a recipe with unknown keys or wrong values
├── BundleError             ValueError          a bundle that cannot be loaded
│   ├── BundleNotFound      FileNotFoundError
│   ├── BundleCorrupt       ValueError          bytes that are not those the manifest names
│   ├── BundleTooNew        ValueError          a major version of the format that is not known here
│   └── BundleRefused       ValueError          a graph or archive that holds what it may not hold
├── ArchiveError            ValueError          an archive that cannot be read here
│   └── ArchiveCorrupt      ValueError          bytes that are not those that were written
├── RunError                ValueError          a run folder that cannot be read or gone on with
├── LatentMismatch          ValueError          latents that another model made
├── ScoreUnknown            ValueError          a score that the bundle does not have
├── OutputExists            FileExistsError     an output that will not be overwritten
├── MissingExtra            ImportError         a package that an extra installs
├── TooLittleMemory         MemoryError         max_memory is less than what the bundle needs
├── DeviceUnavailable       RuntimeError        a device asked for by name and not to be had
└── WorkFailed              RuntimeError        words, files and data were right, the work was not
    ├── OutputFailed        OSError             the disk or the file system said no
    ├── InputFailed         OSError             an input that could not be read to its end
    ├── TrainingFailed      RuntimeError        the loss is no longer a number
    └── VerificationFailed  RuntimeError        a graph that disagrees with its model

DataWarning (a UserWarning, no error) is how Python callers are told, once for each loaded bundle,
what was done with rows that were taken: columns left out, words not known, columns by position.

`exit_code` is what the commands end with: 2 when the words, files or data are wrong, 1 when the
work failed. Messages say what was wrong, what was found and what to do, in one line.
"""


class AeError(Exception):
    """Base of every error that the toolkit raises on purpose."""

    exit_code = 2


class DataError(AeError, ValueError):
    """Rows, columns or values that cannot be used."""


class DataWarning(UserWarning):
    """What was done with rows that were taken: worth knowing, and no error."""


class ShapeMismatch(DataError):
    """An array that does not have the model's shape."""


class DtypeMismatch(DataError, TypeError):
    """An array that does not hold numbers the model takes."""


class NoRows(DataError):
    """A file of columns without a row."""


class SourceNotFound(AeError, FileNotFoundError):
    """A data file that is not there."""


class RecipeError(AeError, ValueError):
    """A recipe with unknown keys or wrong values; the message lists all of them."""


class BundleError(AeError, ValueError):
    """A bundle that cannot be loaded."""


class BundleNotFound(BundleError, FileNotFoundError):
    """No bundle where one was looked for."""


class BundleCorrupt(BundleError):
    """Bytes that are not those the manifest names."""


class BundleTooNew(BundleError):
    """A major version of the bundle format that this version does not know."""


class BundleRefused(BundleError):
    """A graph or archive that holds what a bundle may not hold."""


class ArchiveError(AeError, ValueError):
    """An archive that cannot be read here."""


class ArchiveCorrupt(ArchiveError):
    """Bytes of an archive that are not those that were written."""


class RunError(AeError, ValueError):
    """A run folder that cannot be read or gone on with."""


class LatentMismatch(AeError, ValueError):
    """Latents that another model made."""


class ScoreUnknown(AeError, ValueError):
    """A score that the bundle does not have."""


class OutputExists(AeError, FileExistsError):
    """An output that will not be overwritten."""


class MissingExtra(AeError, ImportError):
    """A package that is not installed; the message names the extra that brings it."""


class TooLittleMemory(AeError, MemoryError):
    """max_memory is less than what the bundle needs."""


class DeviceUnavailable(AeError, RuntimeError):
    """A device asked for by name and not to be had."""


class WorkFailed(AeError, RuntimeError):
    """The words, files and data were right, and the work was not."""

    exit_code = 1


class OutputFailed(WorkFailed, OSError):
    """The disk or the file system refused an output."""


class InputFailed(WorkFailed, OSError):
    """An input that was there and could not be read to its end."""


class TrainingFailed(WorkFailed):
    """The loss is no longer a number."""


class VerificationFailed(WorkFailed):
    """A graph that disagrees with the model it was made from."""
