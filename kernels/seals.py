"""Files of machine code behind a digest: nothing that has changed since it was written is run."""

import hashlib

_BYTES = hashlib.sha256().digest_size


class DamagedError(OSError):
    """A file is not what was written there; numba takes it as missing."""


def _digest(content: bytes, place: str) -> bytes:
    return hashlib.sha256(place.encode() + content).digest()


def seal(content: bytes, place: str = "") -> bytes:
    """``content`` behind a digest of it, and of the one place where it may be found."""
    return _digest(content, place) + content


def unseal(sealed: bytes, place: str = "") -> bytes:
    """What `seal` was given.

    Raises
    ------
    DamagedError
        If a byte has changed, or the place is another one.
    """
    digest, content = sealed[:_BYTES], sealed[_BYTES:]
    if _digest(content, place) != digest:
        raise DamagedError(place)
    return content
