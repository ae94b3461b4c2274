"""Machine code that comes with the package: where it lies, and which of it this machine can run.

A file holds one function for one signature. Its folder tells the platform and the level of its
processors, its name the rest: function, digest of the kernels' sources and of numba, signature,
Python. So whatever does not fit is simply not found. What is there is behind a digest, which covers
the file's place too.
"""

import functools
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llvmlite import binding
from numba import config

from .seals import seal, unseal

FOLDER = Path(__file__).parent / "code"

# Levels by architecture, the best first: LLVM's names of them, and of what a processor must have.
_V2 = {"crc32", "cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3"}
_V3 = _V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}
_V4 = _V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
_LEVELS = {
    "x86_64": {"x86-64-v4": _V4, "x86-64-v3": _V3},
    "aarch64": {"generic": {"fp-armv8", "neon"}},
}


@functools.cache
def platform() -> str:
    """LLVM's triple for this process."""
    return str(binding.get_process_triple())


def levels() -> tuple[str, ...]:
    """Levels that code can be compiled for on this platform, the best first."""
    return tuple(_LEVELS.get(platform().partition("-")[0], {}))


@functools.cache
def usable_levels() -> tuple[str, ...]:
    """Levels whose code may run here, the best first.

    None if ``NUMBA_CPU_FEATURES`` asks for code of another kind; only the one that
    ``NUMBA_CPU_NAME`` names, where it is set.
    """
    try:
        features = {name for name, on in binding.get_host_cpu_features().items() if on}
    except RuntimeError:  # LLVM cannot tell on this machine
        return ()
    wanted, extra = config.CPU_NAME, config.CPU_FEATURES
    if extra if wanted is not None else extra is not None:
        return ()
    needs = _LEVELS.get(platform().partition("-")[0], {})
    return tuple(
        level for level in levels() if needs[level] <= features and wanted in (None, level)
    )


def name_of(function: Any, signature: Any) -> str:
    """Name of the file of a function, whose own name holds the digest of its sources."""
    types = hashlib.sha256(repr(signature).encode()).hexdigest()[:16]
    python = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"
    name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
    return f"{name}-{types}.{python}"


def _place(level: str, name: str) -> str:
    return f"{platform()}/{level}/{name}"


def write(folder: Path, level: str, name: str, content: bytes) -> Path:
    """Write a file that is to be shipped, below ``folder``."""
    place = _place(level, name)
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(seal(content, place))
    return path


def found(name: str) -> Iterator[bytes]:
    """Contents of the files of this name that can be used here, the best level first."""
    for level in usable_levels():
        place = _place(level, name)
        try:
            yield unseal((FOLDER / place).read_bytes(), place)
        except OSError:  # missing, unreadable or damaged
            continue


def exists(name: str) -> bool:
    """Whether `found` is likely to find something, without reading it."""
    return any((FOLDER / _place(level, name)).is_file() for level in usable_levels())


def in_use(digest: str) -> tuple[str, list[Path]] | None:
    """The best level that has files for these sources, and the files; None if there is none."""
    for level in usable_levels():
        files = sorted((FOLDER / platform() / level).glob(f"*.{digest}*"))
        if files:
            return level, files
    return None
