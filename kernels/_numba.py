"""Private parts of numba: what each piece is for, and what is done where numba lacks it.

They make kernels fast, and keep damaged files and Ctrl-C from doing harm. Without all of them,
compiling takes 2.4 times as long and small networks train at a half to a third of their speed, but
results are the same, up to rounding. ``FASTBP_WITHOUT=cache,callees`` goes without the pieces that
it names, and ``FASTBP_WITHOUT=all`` without any, as the tests do.
"""

import atexit
import contextlib
import functools
import importlib
import operator
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import config, types

from . import shipped
from .seals import DamagedError, seal, unseal

WITHOUT = frozenset(os.environ.get("FASTBP_WITHOUT", "").split(",")) - {""}


def _part(piece: str, path: str, *names: str) -> Any:
    """A private module of numba's, or None if it lacks any of these names."""
    if not WITHOUT.isdisjoint((piece, "all")):
        return None
    try:
        module = importlib.import_module(f"numba.{path}")
        for name in names:
            operator.attrgetter(name)(module)
    except (ImportError, AttributeError):
        return None
    return module


# cache: numba's own raises an error if a file is cut short or cannot be written, and runs whatever
# machine code it finds: a flipped bit crashes, or worse, gives other numbers.
_caching = _part(
    "cache",
    "core.caching",
    *(f"FunctionCache.{name}" for name in ("load_overload", "save_overload", "flush", "disable")),
    *(f"IndexDataCacheFile.{name}" for name in ("_dump", "_open_for_write", "_data_path")),
    *(f"IndexDataCacheFile.{name}" for name in ("_load_index", "_save_index")),
    *(f"IndexDataCacheFile.{name}" for name in ("_load_data", "_save_data")),
    *(f"CompileResultCacheImpl.{name}" for name in ("locator", "filename_base")),
    "NullCache",
)

_Files: Any = getattr(_caching, "IndexDataCacheFile", object)
_Cache: Any = getattr(_caching, "FunctionCache", object)
_NoCache: Any = getattr(_caching, "NullCache", object)

# shipped: numba's own looks for machine code in the user's files alone.
_results = _caching and _part(
    "shipped", "core.compiler", "CompileResult._reduce", "CompileResult._rebuild"
)
_pickling = _results and _part("shipped", "core.serialize", "dumps")
_functions = _pickling and _part("shipped", "core.bytecode", "FunctionIdentity.from_function")


class _Shipped(_NoCache):
    """Machine code that comes with the package. Numba takes it for a cache that is full."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def _name(self, sig: Any) -> str:
        return shipped.name_of(self._function, _types_of(sig))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not _pickling:
            return None
        target_context.refresh()
        for content in shipped.found(self._name(sig)):
            try:
                types_of, reduced = pickle.loads(content)
                if types_of == _types_of(sig):
                    return _results.CompileResult._rebuild(target_context, *reduced)
            except Exception:  # unpickling what another program has written can raise anything
                continue
        return None


class _Shipping(_Shipped):
    """What makes those files: nothing is found, and all that is compiled is written."""

    def __init__(self, function: Any, folder: Path, level: str) -> None:
        super().__init__(function)
        self._folder, self._level = folder, level
        self.written: list[Path] = []

    def load_overload(self, sig: Any, target_context: Any) -> None:
        pass

    def save_overload(self, sig: Any, data: Any) -> None:
        if data.library.has_dynamic_globals:
            raise ValueError(f"{self._name(sig)} holds addresses of this process.")
        # Its annotations, which nobody reads, name the folder of the sources.
        reduced = data._replace(type_annotation="")._reduce()
        content = _pickling.dumps((_types_of(sig), reduced))
        self.written.append(shipped.write(self._folder, self._level, self._name(sig), content))


def _types_of(sig: Any) -> tuple[Any, ...]:
    """Types of the arguments, which numba gives as such or as a signature."""
    return tuple(getattr(sig, "args", sig))


class _SealedFiles(_Files):
    """Numba's index and data files, each behind a digest of it."""

    def _save_sealed(self, path: str, content: Any) -> None:
        pickled = self._dump(content)
        with self._open_for_write(path) as file:
            file.write(seal(pickled))

    def _load_sealed(self, path: str) -> Any:
        return pickle.loads(unseal(Path(path).read_bytes()))

    def _save_index(self, overloads: Any) -> None:
        self._save_sealed(self._index_path, (self._source_stamp, overloads))

    def _load_index(self) -> Any:
        try:
            stamp, overloads = self._load_sealed(self._index_path)
        except (FileNotFoundError, DamagedError):
            return {}
        return overloads if stamp == self._source_stamp else {}

    def _save_data(self, name: str, data: Any) -> None:
        self._save_sealed(self._data_path(name), data)

    def _load_data(self, name: str) -> Any:
        return self._load_sealed(self._data_path(name))


class _ForgivingCache(_Cache):
    """Numba's disk cache, where a file that cannot be used costs a compilation only.

    What is not in it may have come with the package.
    """

    def __init__(self, function: Any, behind: _Shipped) -> None:
        super().__init__(function)
        self._behind = behind
        locator = self._impl.locator
        self._cache_file = _SealedFiles(
            cache_path=locator.get_cache_path(),
            filename_base=self._impl.filename_base,
            source_stamp=locator.get_source_stamp(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            own = super().load_overload(sig, target_context)
        except Exception:  # unpickling a foreign file can raise anything
            self._discard()
            own = None
        return self._behind.load_overload(sig, target_context) if own is None else own

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


def keep_on_disk(compiled: Any, function: Callable[..., Any], writes: bool) -> None:
    """Take machine code from files: the user's own, if it ``writes`` them, and shipped ones.

    Without a writable place for files of one's own there are the shipped ones alone.
    """
    behind = _Shipped(function)
    if _caching:
        compiled._cache = behind
    if writes:
        with contextlib.suppress(RuntimeError, OSError):
            if _caching:
                compiled._cache = _ForgivingCache(function, behind)
            else:
                compiled.enable_caching()


def ship(compiled: Any, folder: Path, level: str) -> list[Path]:
    """Write to ``folder`` what is compiled from now on; the list of its files, which grows.

    Raises
    ------
    RuntimeError
        If this numba lacks what that needs.
    """
    if not (_functions and _callbacks):
        raise RuntimeError(f"numba {numba.__version__} lacks what shipped code needs.")
    # The same code must be the same bytes, wherever and whenever it is built.
    _name_sources_by_module()
    compiled._cache = cache = _Shipping(compiled.__wrapped__, folder, level)
    return cache.written


@functools.cache
def _name_sources_by_module() -> None:
    """Numba writes the path of a source into the errors that its code raises."""
    identity = _functions.FunctionIdentity
    from_function = identity.from_function.__func__

    def without_path(cls: Any, function: Any) -> Any:
        made = from_function(cls, function)
        made.filename = f"{made.modname.replace('.', '/')}.py"
        return made

    identity.from_function = classmethod(without_path)


# counting: no kernel allocates or keeps an array, so none needs to count references. Counting them,
# atomically and at every call, took most of the time of a small network.
_counting = _part("counting", "core.cpu", "CPUTargetOptions._nrt")

# wrappers: numba makes two of each function, for calls from C and from Python. A wrapper compiles
# what it inlines all over again, so each is made only where it is used.
_wrappers = _part(
    "wrappers",
    "core.cpu",
    "CPUTargetOptions.no_cfunc_wrapper",
    "CPUTargetOptions.no_cpython_wrapper",
) and _part(
    "wrappers", "core.dispatcher", "Dispatcher.add_overload", "Dispatcher._compile_for_args"
)

# callees: numba would optimise each function that only compiled code calls, turn it into machine
# code that nobody runs, and do it again as part of every caller. It took half of compilation time.
_codegen = _wrappers and _part(
    "callees",
    "core.codegen",
    "JITCodeLibrary._optimize_final_module",
    "JITCodeLibrary._finalize_final_module",
    "JITCodeLibrary.get_pointer_to_function",
    "JITCPUCodegen._library_class",
)
_compiler = _codegen and _part("callees", "core.compiler", "Compiler")

_Library: Any = getattr(_codegen, "JITCodeLibrary", object)
_Compiler: Any = getattr(_compiler, "Compiler", object)


class _CalleeLibrary(_Library):
    """A function's LLVM code, neither optimised nor turned into machine code, for its callers."""

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
        """Do nothing: there is no machine code yet that could have an environment."""


class _CalleeCompiler(_Compiler):
    """Numba's compiler, with a `_CalleeLibrary` as its result."""

    def __init__(self, typing_context: Any, target_context: Any, _: Any, *rest: Any) -> None:
        library = _CalleeLibrary(target_context.codegen(), "callee")
        super().__init__(typing_context, target_context, library, *rest)


def private_options(entry: bool) -> dict[str, Any]:
    """Options of `numba.njit` that are not documented."""
    options: dict[str, Any] = {}
    if _counting:
        options |= {"_nrt": False}
    if _wrappers:
        options |= {"no_cfunc_wrapper": True, "no_cpython_wrapper": not entry}
    if _compiler and not entry:
        options |= {"pipeline_class": _CalleeCompiler}
    return options


def refuse_python(compiled: Any) -> None:
    """Make a call from Python an error: without a wrapper it would crash."""
    if not _wrappers:
        return

    def add_overload(result: Any) -> None:
        compiled.overloads[tuple(result.signature.args)] = result

    def refuse(*arguments: Any, **named: Any) -> None:
        raise TypeError(
            f"{compiled.py_func.__name__} is for compiled code: call it from a function that "
            "numba.njit compiles."
        )

    compiled.add_overload = add_overload
    compiled._compile_for_args = refuse


# callbacks: numba.cfunc compiles at once, and knows nothing of our cache.
_callbacks = _counting and _part(
    "callbacks",
    "core.ccallback",
    "CFunc.compile",
    "CFunc.address",
    "CFunc._compile_uncached",
    "CFunc.inspect_llvm",
    "CFunc.native_name",
)
_Callback: Any = getattr(_callbacks, "CFunc", object)


class _CountedCallback(_Callback):
    """Numba's C function, which tells whether it had to be compiled."""

    misses = 0

    def _compile_uncached(self) -> Any:
        self.misses += 1
        return super()._compile_uncached()


class _PublicCallback:
    """The same by numba's public decorator, in no cache."""

    misses, address = 0, 0

    def __init__(self, function: Any, signature: Any, options: dict[str, Any]) -> None:
        self._compiler, self._function = numba.cfunc(signature, **options), function

    def compile(self) -> None:
        """Compile."""
        self.misses += 1
        self._made = self._compiler(self._function)
        self.address = self._made.address

    def enable_caching(self) -> None:
        """Do nothing: a cache of numba's own would be asked too early, when this is made."""


def c_function(function: Any, signature: Any, options: dict[str, Any]) -> Any:
    """A C function that has its ``address`` after its ``compile``."""
    if not _callbacks:
        return _PublicCallback(function, signature, options)
    kinds = signature.args, signature.return_type
    return _CountedCallback(function, kinds, {}, options | {"_nrt": False})


def llvm_code(callback: Any) -> tuple[str, str]:
    """LLVM code of a C function that has just been compiled, and the name of its body there.

    Raises
    ------
    RuntimeError
        If this numba does not show it.
    """
    if not _callbacks:
        raise RuntimeError(f"numba {numba.__version__} does not show the code of a C function.")
    return callback.inspect_llvm(), callback.native_name.removeprefix("cfunc.")


# literals: numba would compile a function anew for each number that a caller writes out.
_literals = _part("literals", "core.dispatcher", "Dispatcher.get_call_template")


def widen_literals(compiled: Any) -> None:
    """Compile once per type of the arguments, not once per literal value."""
    if not _literals:
        return
    by_types = compiled.get_call_template

    def get_call_template(arguments: Any, named: Any) -> Any:
        return by_types(
            tuple(types.unliteral(argument) for argument in arguments),
            {name: types.unliteral(argument) for name, argument in named.items()},
        )

    compiled.get_call_template = get_call_template


# lock: the compiler lock, held by the thread that compiles. Without this, a fork may leave it held
# in the child for good, and Ctrl-C waits for LLVM and may damage numba's registries.
_locking = _part(
    "lock",
    "core.compiler_lock",
    *(f"global_compiler_lock.{name}" for name in ("acquire", "release", "is_locked")),
)
_compiling = _part("lock", "core.dispatcher", "Dispatcher._compile_for_args")


def compile_by(compiled: Any, compile_it: Callable[..., Any]) -> None:
    """Have ``compile_it(compiled, arguments, work)`` do the compiling for calls from Python."""
    if not _locking or not _compiling:
        return
    for_arguments = compiled._compile_for_args

    def compile_for_arguments(*arguments: Any, **named: Any) -> Any:
        if is_compiling():  # Python code that numba runs while it compiles
            return for_arguments(*arguments, **named)

        def work() -> Any:  # with the lock from first to last, so that a fork waits for all of it
            return with_compiler(lambda: for_arguments(*arguments, **named))

        return compile_it(compiled, arguments, work)

    compiled._compile_for_args = compile_for_arguments


def is_compiling() -> bool:
    """Whether this thread has the compiler lock."""
    return bool(_locking and _locking.global_compiler_lock.is_locked())


def with_compiler(work: Callable[[], Any]) -> Any:
    """Do work that no other thread may do meanwhile, nor compile; a fork waits for its end."""
    with _locking.global_compiler_lock if _locking else contextlib.nullcontext():
        return work()


def _after_fork() -> None:
    with contextlib.suppress(RuntimeError):  # not held, as Ctrl-C came before the lock
        _locking.global_compiler_lock.release()


if _locking:
    # The end of the program waits for a thread that compiles: LLVM must not run on while the
    # interpreter takes itself apart.
    atexit.register(_locking.global_compiler_lock.acquire)
    if hasattr(os, "register_at_fork"):
        # And so does a fork. That thread does not exist in the child, where its lock would stay
        # locked for good and its work half done.
        os.register_at_fork(
            before=_locking.global_compiler_lock.acquire,
            after_in_parent=_after_fork,
            after_in_child=_after_fork,
        )


# pool: `numba.get_num_threads` takes a lock at every call, and never releases it if Ctrl-C comes
# just then. So it is called only once.
_pool = _part("pool", "np.ufunc.parallel", "_is_initialized")


def _pool_runs() -> bool:
    return bool(_pool and _pool._is_initialized)


def loop_threads() -> int:
    """Threads that numba's own parallel loops may use, as the calling thread has set it."""
    if _pool and not _pool_runs():
        return int(config.NUMBA_NUM_THREADS)
    return int(getattr(_pool, "_get_num_threads", numba.get_num_threads)())
