"""The one decorator behind every compiled function: flags, cache identity, cache failures."""

import contextlib
import functools
import hashlib
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import llvmlite
import numba
from numba import config, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel as pool

# nnan and ninf are missing on purpose: with them isfinite() folds to True.
FASTMATH = frozenset({"reassoc", "contract", "arcp", "nsz", "afn"})


@functools.cache
def _digest() -> str:
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
    )
    digest.update(repr(settings).encode())
    return digest.hexdigest()[:16]


class _DamagedError(OSError):
    """A file of the cache has changed since it was written; numba takes it as missing."""


class _SealedFiles(IndexDataCacheFile):
    """Numba's index and data files, each behind a digest of it.

    Machine code with a flipped bit would run, and so would a pickle.
    """

    def _save_sealed(self, path: str, content: Any) -> None:
        pickled = self._dump(content)
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(pickled).digest() + pickled)

    def _load_sealed(self, path: str) -> Any:
        sealed = Path(path).read_bytes()
        digest, pickled = sealed[:32], sealed[32:]
        if hashlib.sha256(pickled).digest() != digest:
            raise _DamagedError(path)
        return pickle.loads(pickled)

    def _save_index(self, overloads: Any) -> None:
        self._save_sealed(self._index_path, (self._source_stamp, overloads))

    def _load_index(self) -> Any:
        try:
            stamp, overloads = self._load_sealed(self._index_path)
        except (FileNotFoundError, _DamagedError):
            return {}
        return overloads if stamp == self._source_stamp else {}

    def _save_data(self, name: str, data: Any) -> None:
        self._save_sealed(self._data_path(name), data)

    def _load_data(self, name: str) -> Any:
        return self._load_sealed(self._data_path(name))


class _ForgivingCache(FunctionCache):
    """Numba's disk cache, where a file that cannot be read or written costs a compilation only."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = _SealedFiles(
            cache_path=locator.get_cache_path(),
            filename_base=self._impl.filename_base,
            source_stamp=locator.get_source_stamp(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Code that calls a parallel loop needs numba's launcher, which only the loop's own code
        # would have loaded.
        start_pool()
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling a foreign file can raise anything
            self._discard()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:  # a full or read-only disk
            self._discard()

    def _discard(self) -> None:
        try:
            self.flush()
        except OSError:
            self.disable()


class _CalleeLibrary(JITCodeLibrary):
    """What LLVM has of a function that compiled code alone calls: kept as it is for its callers.

    Numba would optimise it and turn it into machine code, which nobody runs, and then again as
    part of every caller: half of all time of compilation.
    """

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    @property
    def codegen(self) -> "_CalleeLibrary":
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Nothing: there is no machine code yet that could have an environment."""


class _CalleeCompiler(Compiler):
    """Numba's compiler, with a `_CalleeLibrary` as its result."""

    def __init__(self, typing_context: Any, target_context: Any, _: Any, *rest: Any) -> None:
        library = _CalleeLibrary(target_context.codegen(), "callee")
        super().__init__(typing_context, target_context, library, *rest)


def _widen_literals(compiled: Any) -> None:
    """Compile for the types of arguments alone: numba would, for each literal number, anew."""
    by_types = compiled.get_call_template

    def get_call_template(arguments: Any, named: Any) -> Any:
        return by_types(
            tuple(types.unliteral(argument) for argument in arguments),
            {name: types.unliteral(argument) for name, argument in named.items()},
        )

    compiled.get_call_template = get_call_template


def _refuse_python(compiled: Any) -> None:
    """Make a call from Python an error: without a wrapper it would crash."""

    def add_overload(result: Any) -> None:
        compiled.overloads[tuple(result.signature.args)] = result

    def refuse(*arguments: Any, **named: Any) -> None:
        raise TypeError(
            f"{compiled.py_func.__name__} is for compiled code: call it from a function that "
            "numba.njit compiles."
        )

    compiled.add_overload = add_overload
    compiled._compile_for_args = refuse


@contextlib.contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end, if Ctrl-C came where it cannot be raised.

    LLVM calls Python back with the machine code that it has made, after seconds of work in which
    Python did not run. An exception that is raised there is printed and forgotten. And numba's
    registries, which are filled before the first compilation of a process, stay half empty for
    good if that is interrupted.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        caller = frame
        while caller is not None:
            if caller.f_code.co_name.startswith(("_raw_object_cache", "refresh")):
                return
            caller = caller.f_back
        signal.default_int_handler(number, frame)

    try:
        try:
            signal.signal(signal.SIGINT, note)
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    finally:  # once more, in case Ctrl-C interrupted the first
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def _let_interrupt(compiled: Any) -> None:
    """Make Ctrl-C count while an entry compiles that was called from Python."""
    compile_for_arguments = compiled._compile_for_args

    def compile_or_interrupt(*arguments: Any, **named: Any) -> Any:
        with _no_interrupt_lost():
            return compile_for_arguments(*arguments, **named)

    compiled._compile_for_args = compile_or_interrupt


def jit(
    function: Callable[..., Any] | None = None,
    *,
    entry: bool = False,
    inline: bool | str = True,
    parallel: bool = False,
    strict: bool = False,
) -> Any:
    """Compile on first call, without the GIL; entries are cached on disk, with all that they call.

    Parameters
    ----------
    function : callable
        Body to compile. Callees must be decorated too.
    entry : bool, default False
        Callable from Python, not from compiled code alone.
    inline : bool or "early", default True
        Copy the body of what is not an entry into every caller: arguments are up to a hundred
        words, and a small network notices when they are passed at each call. "early" copies the
        source instead of the machine code, which compiles faster where there is one caller.
    parallel : bool, default False
        Run ``prange`` loops on all threads.
    strict : bool, default False
        Keep IEEE semantics.

    Notes
    -----
    ``FASTBP_NO_CACHE=1`` switches the disk cache off; so does a place that cannot be written.
    """
    if function is None:
        return functools.partial(jit, entry=entry, inline=inline, parallel=parallel, strict=strict)
    # The qualified name becomes the cache file's name: a changed callee gives a new file.
    variant = "".join(word for word, on in (("P", parallel), ("S", strict)) if on)
    function.__qualname__ = f"{function.__qualname__}.{_digest()}{variant}"
    compiled = numba.njit(
        function,
        fastmath=False if strict else set(FASTMATH),
        error_model="numpy",
        nogil=True,
        # No kernel allocates or keeps an array, so none needs to count references: counting
        # them, atomically and at every call, took most of the time of a small network.
        _nrt=False,
        parallel=parallel,
        forceinline=inline is True and not entry,
        inline="always" if inline == "early" else "never",
        # A wrapper compiles what it inlines all over again: each is made only where it is used.
        no_cfunc_wrapper=True,
        no_cpython_wrapper=not entry,
        # A parallel loop's launcher is looked up by its address.
        **({} if entry or parallel else {"pipeline_class": _CalleeCompiler}),
    )
    if config.DISABLE_JIT:
        return compiled
    _widen_literals(compiled)
    if not entry:
        _refuse_python(compiled)
        return compiled
    _let_interrupt(compiled)
    if os.environ.get("FASTBP_NO_CACHE", "") in ("", "0"):
        with contextlib.suppress(RuntimeError, OSError):  # no writable place for it
            compiled._cache = _ForgivingCache(function)
    return compiled


def start_pool() -> None:
    """Start numba's threads, unless they run.

    `numba.get_num_threads` takes a lock at every call, and never releases it if Ctrl-C comes just
    then. So it is called only once.
    """
    if not pool._is_initialized:
        numba.get_num_threads()


def loop_threads() -> int:
    """Threads that parallel loops may use, as the calling thread has set it."""
    return int(pool._get_num_threads() if pool._is_initialized else config.NUMBA_NUM_THREADS)


def set_loop_threads(n: int) -> None:
    """Set `loop_threads`."""
    start_pool()
    pool._set_num_threads(n)


def _after_fork() -> None:
    with contextlib.suppress(RuntimeError):  # not held, as Ctrl-C came before the lock
        global_compiler_lock.release()


# A fork waits for a thread that compiles. That thread does not exist in the child, where its lock
# would stay locked for good and its work half done.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=_after_fork,
        after_in_child=_after_fork,
    )


def cache_directory(compiled: Any) -> str | None:
    """Where the machine code of a compiled function is kept; None where it is not."""
    path = getattr(compiled, "_cache", None) and compiled._cache.cache_path
    return str(path) if path else None
