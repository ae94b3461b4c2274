"""The one decorator behind every compiled function: flags, and the identity of machine code."""

import functools
import hashlib
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import config

from . import _numba, compiling, shipped

# nnan and ninf are missing on purpose: with them isfinite() folds to True.
FASTMATH = frozenset({"reassoc", "contract", "arcp", "nsz", "afn"})


@functools.cache
def digest() -> str:
    """Identity of the machine code: every kernel source, numba, and the settings that change code.

    Numba keys a cached function on the content of its own file alone, so an edited helper in
    another file would go unnoticed and stale code would run.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    settings = (
        numba.__version__,
        llvmlite.__version__,
        config.BOUNDSCHECK,
        config.OPT,
        config.ENABLE_AVX,
        config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
        sorted(_numba.WITHOUT - {"shipped"}),  # code that is compiled is the same
    )
    digest.update(repr(settings).encode())
    return digest.hexdigest()[:16]


def _caches() -> bool:
    return os.environ.get("FASTBP_NO_CACHE", "") in ("", "0")


def jit(
    function: Callable[..., Any] | None = None,
    *,
    entry: bool = False,
    holds_gil: bool = False,
    inline: bool | str = True,
    strict: bool = False,
) -> Any:
    """Compile on first call; entries are cached on disk, with all that they call.

    Parameters
    ----------
    function : callable
        Body to compile. Callees must be decorated too.
    entry : bool, default False
        Callable from Python as well as from compiled code.
    holds_gil : bool, default False
        Let no other Python thread run meanwhile: for what is over sooner than that would take.
    inline : bool or "early", default True
        Copy the body of a function that is not an entry into every caller: arguments are up to a
        hundred words, and passing them at each call slows down a small network. "early" copies the
        source instead of the machine code, which compiles faster where there is one caller.
    strict : bool, default False
        Keep IEEE semantics.

    Notes
    -----
    ``FASTBP_NO_CACHE=1`` switches the disk cache off; so does a place that cannot be written. Code
    that comes with the package is used all the same, unless ``FASTBP_WITHOUT=shipped``.
    """
    if function is None:
        options: Any = {"inline": inline, "strict": strict}
        return functools.partial(jit, entry=entry, holds_gil=holds_gil, **options)
    # The qualified name becomes the cache file's name: a changed callee gives a new file.
    function.__qualname__ = f"{function.__qualname__}.{digest()}{'S' * strict}"
    compiled = numba.njit(
        function,
        fastmath=False if strict else set(FASTMATH),
        error_model="numpy",
        nogil=not holds_gil,
        forceinline=inline is True and not entry,
        inline="always" if inline == "early" else "never",
        **_numba.private_options(entry),
    )
    if config.DISABLE_JIT:
        return compiled
    _numba.widen_literals(compiled)
    if not entry:
        _numba.refuse_python(compiled)
        return compiled
    _numba.compile_by(compiled, compiling.compile_aside)
    _numba.keep_on_disk(compiled, function, _caches())
    return compiled


def c_function(function: Callable[..., Any], signature: Any, name: str, caches: bool = True) -> Any:
    """A C function of a body for the types of ``signature``, once its ``compile`` has been called.

    It takes no lock of Python's and raises nothing. ``name`` tells it from others of the same body;
    with ``caches`` it is looked for in files, and kept there.
    """
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    copy.__qualname__ = f"{function.__name__}.{name}.{digest()}"
    options = {"fastmath": set(FASTMATH), "error_model": "numpy", "nopython": True}
    compiled = _numba.c_function(copy, signature, options)
    if caches:
        _numba.keep_on_disk(compiled, copy, _caches())
    return compiled


def cache_directory(compiled: Any) -> str | None:
    """Where the machine code of a compiled function is kept; None where it is not."""
    stats = getattr(compiled, "stats", None)  # none, if nothing is compiled
    return str(stats.cache_path) if stats and stats.cache_path else None


def shipped_code() -> tuple[str, list[Path]] | None:
    """Level and files of the machine code that came with the package for this machine, if any."""
    return shipped.in_use(digest()) if not config.DISABLE_JIT else None
