"""Compression of blocks that travel, on nodes and on the driver: zstd where the machine has its library, else zlib."""

from __future__ import annotations

import ctypes
import functools
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple

RAW, ZLIB, ZSTD = 0, 1, 2
LEVEL = 1
"""Of both: on float text level 1 of zstd is smaller and three times as fast as level 3."""

WORTH = 0.95
"""A block that does not become this much smaller travels as it is, so that nobody unpacks it in vain."""


def offered() -> List[int]:
    """Return the codecs of this machine, best first."""
    return [ZLIB, RAW] if _zstd() is None else [ZSTD, ZLIB, RAW]


def pack(codec: int, block: bytes, level: int = LEVEL) -> Tuple[int, bytes]:
    """Return the codec that was used, and what it made of a block."""
    if codec == RAW or not block:
        return RAW, block
    packed = zlib.compress(block, level) if codec == ZLIB else _pack_zstd(block, level)
    return (codec, packed) if len(packed) < WORTH * len(block) else (RAW, block)


def unpack(codec: int, packed: bytes, size: int) -> bytes:
    """Return the block of `size` bytes that `pack` was given; ValueError when it is no such thing."""
    if codec == RAW:
        block = packed
    elif codec == ZLIB:
        try:
            block = zlib.decompressobj().decompress(packed, size + 1)
        except zlib.error as error:
            raise ValueError("not a zlib block: %s" % error) from error
    elif codec == ZSTD:
        block = _unpack_zstd(packed, size)
    else:
        raise ValueError("there is no codec %r" % codec)
    if len(block) != size:
        raise ValueError("a block of %d bytes was announced, and %d came" % (size, len(block)))
    return block


@functools.lru_cache(maxsize=1)
def _zstd() -> "ctypes.CDLL | None":
    """Load the library that comes with rsync, dpkg and rpm; Python has it from 3.14 on only."""
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        return None
    size, pointer = ctypes.c_size_t, ctypes.c_char_p
    library.ZSTD_compressBound.restype = size
    library.ZSTD_compressBound.argtypes = [size]
    library.ZSTD_compress.restype = size
    library.ZSTD_compress.argtypes = [ctypes.c_void_p, size, pointer, size, ctypes.c_int]
    library.ZSTD_decompress.restype = size
    library.ZSTD_decompress.argtypes = [ctypes.c_void_p, size, pointer, size]
    library.ZSTD_isError.restype = ctypes.c_uint
    library.ZSTD_isError.argtypes = [size]
    return library


def _library() -> ctypes.CDLL:
    library = _zstd()
    if library is None:
        raise ValueError("this machine has no libzstd")
    return library


def _pack_zstd(block: bytes, level: int) -> bytes:
    library = _library()
    room = library.ZSTD_compressBound(len(block))
    packed = ctypes.create_string_buffer(room)
    length = library.ZSTD_compress(packed, room, block, len(block), level)
    if library.ZSTD_isError(length):
        raise MemoryError("zstd cannot compress a block of %d bytes" % len(block))
    return ctypes.string_at(packed, length)


def _unpack_zstd(packed: bytes, size: int) -> bytes:
    library = _library()
    block = ctypes.create_string_buffer(size + 1)
    length = library.ZSTD_decompress(block, size + 1, packed, len(packed))
    if library.ZSTD_isError(length):
        raise ValueError("not a zstd block of at most %d bytes" % size)
    return ctypes.string_at(block, length)
