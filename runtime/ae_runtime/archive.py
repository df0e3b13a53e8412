"""The names of `ae_archive` where they were before it was a package of its own."""

from ae_archive import Archive, Bad, Chunk, Written, compress

__all__ = ["Archive", "Bad", "Chunk", "Written", "compress"]
