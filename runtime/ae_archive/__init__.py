"""Arrays in a compressed archive, every value within a bound of what it was, on every machine."""

from ae_archive.reading import Archive, Bad, Chunk
from ae_archive.writing import Written, compress
from ae_runtime import __version__ as __version__

__all__ = ["Archive", "Bad", "Chunk", "Written", "compress"]
