"""Arrays in a compressed archive, every value within a bound of what it was, on every machine."""

from ae_archive.reading import Archive, Bad, Chunk
from ae_archive.writing import Written, compress

__all__ = ["Archive", "Bad", "Chunk", "Written", "compress"]
