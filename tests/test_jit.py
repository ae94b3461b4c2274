"""Compilation: one decorator, a cache that is never stale and never in the way."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from conftest import KERNELS, PROBE, probe

import fastbp
from fastbp import kernels
from fastbp.kernels import _jit, _numba

CHECKOUT = Path(__file__).resolve().parents[1]
DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
compiled_only = pytest.mark.skipif(DISABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT")


def test_no_flag_is_set_outside_of_the_decorator():
    option = r"(entry=True|holds_gil=True|strict=True|inline=False|inline=\"early\")"
    allowed = re.compile(rf"^ *@jit(\({option}(, {option})*\))?$")
    suspicious = re.compile(r"\bn?jit\b\s*\(|^\s*@\S*jit|fastmath|import.*\bnjit\b|numba\.n?jit")
    checked = 0
    for folder in (KERNELS, Path(fastbp.__file__).parent):
        for path in folder.glob("*.py"):
            # The last one's docstring shows a function of the user's.
            if path.name in ("_jit.py", "_numba.py", "jit.py"):
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                checked += bool(allowed.match(line))
                wrong = suspicious.search(line) and not allowed.match(line)
                assert not wrong, f"{path.name}:{number}: {line}"
    assert checked > 20


def test_the_flags():
    assert {"reassoc", "contract", "arcp", "nsz", "afn"} == _jit.FASTMATH


@compiled_only
def test_kernels_release_the_gil():
    for entry in (kernels.train_sequential, kernels.train_minibatch, kernels.infer):
        assert entry.targetoptions["nogil"]


@compiled_only
def test_kernels_refuse_what_they_would_misread():
    network = fastbp.Network((3, 2), seed=0)
    state = network.parameters.state
    inputs = kernels.dense_inputs(np.zeros((1, 3), np.float32))
    with pytest.raises(numba.TypingError, match="flat C-contiguous arrays"):
        kernels.forward(np.repeat(state, 2)[::2], inputs, 0)
    with pytest.raises(numba.TypingError, match="arrays of one dtype"):
        kernels.forward(state.astype(np.float64), inputs, 0)


@compiled_only
def test_what_is_for_compiled_code_says_so():
    from fastbp.kernels.linear import fill

    x = np.ones(16, np.float32)
    for _ in range(2):
        with pytest.raises(TypeError, match="fill is for compiled code"):
            fill(x, np.float32(0), 0, 16)

        @numba.njit
        def zero(x):
            fill(x, np.float32(0), 0, 16)

        zero(x)
    assert not x.any()


@compiled_only
def test_a_literal_number_does_not_compile_anew():
    from fastbp.kernels.linear import fill

    @numba.njit
    def zero(x, start):
        fill(x, np.float32(0), 0, 16)
        fill(x, np.float32(0), start, 16)

    zero(np.ones(16, np.float32), 0)
    assert "Literal" not in str(fill.signatures)


ALLOCATIONS = """
import re
import numba, numpy as np
import fastbp
from fastbp import kernels

X = np.random.default_rng(0).random((64, 300), dtype=np.float32)
y = np.arange(64) % 3
network = fastbp.Network((300, 256, 3), seed=0)
for options in (
    {"method": "sequential"},
    {"n_threads": 1},
    {"n_threads": 2},
    {"batch_size": 8, "n_threads": 1},
    {"batch_size": 8, "optimizer": "adam", "n_threads": 2},
):
    fastbp.Trainer(network, **options).partial_fit(X, y)
for kernel in (kernels.train_sequential, kernels.train_deferred, kernels.train_minibatch):
    for signature in kernel.signatures:
        code = kernel.inspect_llvm(signature)
        assert "fmuladd" in code
        found = set(re.findall(r"call [^\\n]*@(\\w*(?:alloc|NRT_)\\w*)\\(", code))
        assert not found, (kernel, found)
"""


@compiled_only
def test_no_kernel_allocates():
    """In a process of its own, for code that comes from the cache cannot be looked at."""
    subprocess.run(
        [sys.executable, "-c", ALLOCATIONS],
        check=True,
        env=os.environ | {"FASTBP_NO_CACHE": "1", "FASTBP_WITHOUT": "shipped"},
    )


def test_finiteness_survives_the_flags():
    values = np.zeros(100)
    assert kernels.first_nonfinite(values, 0, 100) == -1
    for bad in (np.nan, np.inf, -np.inf):
        values[63] = bad
        assert kernels.first_nonfinite(values, 0, 100) == 63
        assert kernels.first_nonfinite(values, 64, 100) == -1
    assert kernels.first_nonfinite(np.array([5e-324, 1.7e308]), 0, 2) == -1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 7, 31, 32, 33, 63, 64, 65, 100, 4095, 4097, 8300])
def test_whatever_is_not_finite_is_found(n, dtype):
    """In vectors, in what is left beside them, and in the pieces of a long array."""
    values = np.ones(n + 2, dtype)
    values[0] = values[-1] = np.nan  # beside what is looked at
    for place in {1, n // 2 + 1, n - 1, n} - {0}:
        for bad in (np.nan, -np.inf):
            values[place], before = bad, values[place]
            assert kernels.first_nonfinite(values, 1, n + 1) == place
            values[place] = before
    assert kernels.first_nonfinite(values, 1, n + 1) == -1


def test_import_compiles_nothing():
    code = (
        "import fastbp, numba.core.dispatcher as d\n"
        "k = fastbp.kernels\n"
        "found = [f for f in vars(k).values() if isinstance(f, d.Dispatcher)]\n"
        "assert found and not any(f.signatures for f in found)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_second_process_loads_from_the_cache(copy_of_the_package, tmp_path):
    cache = tmp_path / "cache"
    assert probe(copy_of_the_package, cache)[:2] == (0, 3.0)
    hits, value, place = probe(copy_of_the_package, cache)
    assert (hits, value) == (1, 3.0)
    assert place.startswith(str(cache))


def test_an_edited_helper_is_not_served_stale(copy_of_the_package, tmp_path):
    """The edit is in another file than the cached function: numba alone would not notice."""
    cache = tmp_path / "cache"
    root = copy_of_the_package
    helper = root / "fastbp" / "kernels" / "helper.py"
    helper.write_text("from ._jit import jit\n\n\n@jit\ndef factor(z):\n    return 1.0 * z\n")
    activations = root / "fastbp" / "kernels" / "activations.py"
    source = activations.read_text(encoding="utf-8")
    source = source.replace(
        "from ._jit import jit", "from ._jit import jit\nfrom .helper import factor"
    )
    changed = source.replace(
        "return z if z > T(0) else T(0.01) * z", "return factor(z) if z > T(0) else T(0.01) * z"
    )
    assert changed != source
    activations.write_text(changed)
    assert probe(root, cache)[:2] == (0, 3.0)
    assert probe(root, cache)[:2] == (1, 3.0)
    helper.write_text(helper.read_text(encoding="utf-8").replace("1.0 * z", "2.0 * z"))
    assert probe(root, cache)[:2] == (0, 6.0)


def test_settings_that_change_code_do_not_share_it(copy_of_the_package, tmp_path):
    cache = tmp_path / "cache"
    assert probe(copy_of_the_package, cache)[0] == 0
    assert probe(copy_of_the_package, cache, NUMBA_BOUNDSCHECK="1")[0] == 0
    assert probe(copy_of_the_package, cache)[0] == 1


@pytest.mark.parametrize("content", [b"", b"\x80\x05", b"rubbish"], ids=["empty", "cut", "rubbish"])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_cache_files_cost_a_compilation_only(
    copy_of_the_package, tmp_path, suffix, content
):
    cache = tmp_path / "cache"
    probe(copy_of_the_package, cache)
    files = list(cache.rglob(f"*{suffix}"))
    assert files
    for file in files:
        file.write_bytes(content)
    assert probe(copy_of_the_package, cache)[:2] == (0, 3.0)
    assert probe(copy_of_the_package, cache)[:2] == (1, 3.0)


def test_truncated_machine_code_costs_a_compilation_only(copy_of_the_package, tmp_path):
    cache = tmp_path / "cache"
    probe(copy_of_the_package, cache)
    for file in cache.rglob("*.nbc"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert probe(copy_of_the_package, cache)[:2] == (0, 3.0)


# Loaded again and again in one process, for a process of its own takes a second.
DAMAGE = """
import random
from pathlib import Path
from numba import types
from fastbp.kernels.probe import probed

def loads():
    return probed._cache.load_overload((types.float64,), probed.targetctx) is not None

generator = random.Random(0)
value = probed(3.0)
assert loads()
tries = 0
for path in sorted(Path(probed._cache.cache_path).glob("*.nb[ic]")):
    whole = {file: file.read_bytes() for file in path.parent.glob("*.nb[ic]")}
    content = whole[path]
    n = len(content)
    places = {*range(0, n, 1 + n // 300), *range(min(n, 100)), *range(max(0, n - 100), n)}
    damages = [
        content[:i] + bytes([content[i] ^ 1 << generator.randrange(8)]) + content[i + 1 :]
        for i in sorted(places)
    ]
    damages += [content[:i] + content[i + 1 :] for i in (0, 20, n // 2, n - 1)]
    damages += [content + b"0", content[: n // 2] + bytes(n - n // 2), content[n // 2 :], b""]
    for damaged in damages:
        path.write_bytes(damaged)
        assert not loads(), f"{path.name} is taken for whole"
        for file, original in whole.items():
            file.write_bytes(original)
        tries += 1
assert tries > 500 and loads()
print(sum(probed.stats.cache_hits.values()), value, probed._cache.cache_path)
"""


def test_no_damaged_cache_file_is_loaded(copy_of_the_package, tmp_path):
    """Flipped machine code would crash at every start, or worse, give other numbers."""
    probe(copy_of_the_package, tmp_path / "cache")
    assert probe(copy_of_the_package, tmp_path / "cache", DAMAGE)[:2] == (1, 3.0)


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_flipped_bit_in_a_cache_file_costs_a_compilation_only(
    copy_of_the_package, tmp_path, suffix
):
    """And the file is replaced."""
    cache = tmp_path / "cache"
    probe(copy_of_the_package, cache)
    (file,) = cache.rglob(f"*{suffix}")
    content = bytearray(file.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    file.write_bytes(content)
    assert probe(copy_of_the_package, cache)[:2] == (0, 3.0)
    assert file.read_bytes() != content
    assert probe(copy_of_the_package, cache)[:2] == (1, 3.0)


def test_a_damaged_file_costs_no_other_ones_code(copy_of_the_package, tmp_path):
    cache = tmp_path / "cache"
    both = PROBE.replace("value =", "import numpy\nprobed(numpy.float32(3))\nvalue =", 1)
    probe(copy_of_the_package, cache, both)
    first = min(cache.rglob("*.nbc"))
    first.write_bytes(first.read_bytes()[:-1] + b"0")
    assert probe(copy_of_the_package, cache, both)[:2] == (1, 3.0)
    assert probe(copy_of_the_package, cache, both)[:2] == (2, 3.0)


def test_no_cache_on_demand(copy_of_the_package, tmp_path):
    cache = tmp_path / "cache"
    assert probe(copy_of_the_package, cache, FASTBP_NO_CACHE="1") == (0, 3.0, "None")
    assert not list(tmp_path.rglob("*.nb[ic]"))


def test_no_writable_place_for_the_cache(copy_of_the_package, tmp_path):
    """Every place that numba tries is a file, so that even root cannot make a directory there."""
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    (copy_of_the_package / "fastbp" / "kernels" / "__pycache__").write_text("")
    environment = {"XDG_CACHE_HOME": str(blocked), "HOME": str(blocked)}
    assert probe(copy_of_the_package, blocked, **environment) == (0, 3.0, "None")


def test_a_place_that_is_lost_after_import(copy_of_the_package, tmp_path):
    """As a disk that fills up, or turns read-only: saving fails, the call does not."""
    cache = tmp_path / "cache"
    lose = f"import shutil; shutil.rmtree({str(cache)!r}); open({str(cache)!r}, 'w').close()\n"
    code = PROBE.replace("value =", lose + "value =", 1)
    assert probe(copy_of_the_package, cache, code)[:2] == (0, 3.0)


PIECES = (
    "cache",
    "shipped",
    "counting",
    "wrappers",
    "callees",
    "literals",
    "lock",
    "pool",
)

# Each piece has something to do: a callee with a literal argument, work in parts, an array.
PIECEMEAL = """
from ._jit import jit
from .activations import leaky_relu
from .linear import fill
from .memory import window
from .parallel import in_parts

@jit(inline=False)
def slope(z, times):
    return leaky_relu(z) * times

@jit
def fill_part(x, part, parts):
    fill(window(x, 16 * part, 16), x.dtype.type(part), 0, 16)

fill_parts = in_parts(fill_part)

@jit(entry=True)
def probed(x, z, team):
    fill_parts(x, len(x) // 16, team, 1)
    return slope(z, 2.0) + slope(z, 3) + x[-1]
"""

PIECEMEAL_PROBE = """
import numpy as np
from fastbp import threads
from fastbp.kernels.probe import probed
assert threads.available() == 2
x = np.zeros(64, np.float32)
value = threads.team(2, lambda team: probed(x, 3.0, team))
assert x.tolist() == np.repeat(range(4), 16).tolist()
print(sum(probed.stats.cache_hits.values()), value, probed.stats.cache_path)
"""


@pytest.mark.parametrize("piece", ["", *PIECES, "all"])
def test_without_a_private_piece_of_numba_everything_works(copy_of_the_package, tmp_path, piece):
    (copy_of_the_package / "fastbp" / "kernels" / "probe.py").write_text(PIECEMEAL)
    environment = {"FASTBP_WITHOUT": piece, "NUMBA_NUM_THREADS": "2"}
    cache = tmp_path / "cache"
    for hits in (0, 1):
        found = probe(copy_of_the_package, cache, PIECEMEAL_PROBE, **environment)
        assert found[:2] == (hits, 18.0)
        assert found[2].startswith(str(cache))


def test_a_piece_that_numba_lacks_is_done_without(copy_of_the_package, tmp_path):
    """As when a later numba has renamed every private name that is looked for."""
    numba_py = copy_of_the_package / "fastbp" / "kernels" / "_numba.py"
    source = numba_py.read_text(encoding="utf-8")
    names = re.findall(r'"((?:[A-Z]\w+|global_compiler_lock)\.\w+)"|"(_is_initialized)"', source)
    for name in sorted({full or plain for full, plain in names}):
        source = source.replace(f'"{name}"', f'"{name}_renamed"')
    source = source.replace('("load_overload",', '("load_overload_renamed",')
    source = source.replace('("acquire",', '("acquire_renamed",')
    numba_py.write_text(source, encoding="utf-8")
    check = "from fastbp.kernels import _numba as n\nparts = " + (
        "(n._caching, n._results, n._functions, n._counting, n._wrappers, n._compiler, "
        "n._literals, n._locking, n._pool)\n"
    )
    check += "assert not any(parts), parts\n"
    (copy_of_the_package / "fastbp" / "kernels" / "probe.py").write_text(PIECEMEAL)
    cache = tmp_path / "cache"
    for hits in (0, 1):
        found = probe(copy_of_the_package, cache, check + PIECEMEAL_PROBE)
        assert found[:2] == (hits, 18.0)


@pytest.mark.skipif(DISABLED, reason="there is nothing to be done without")
def test_this_numba_has_every_private_piece():
    parts = {
        "cache": _numba._caching,
        "shipped": _numba._functions,
        "counting": _numba._counting,
        "wrappers": _numba._wrappers,
        "callees": _numba._compiler,
        "literals": _numba._literals,
        "lock": _numba._locking and _numba._compiling,
        "pool": _numba._pool,
    }
    assert tuple(parts) == PIECES
    assert all(parts.values()), parts


TRAINED = """
import numpy as np
import fastbp

X = np.random.default_rng(0).normal(size=(64, 20))
network = fastbp.Network((20, 17, 3), activation="tanh", seed=0)
trainer = fastbp.Trainer(network, method="sequential", weight_decay=1e-3, seed=0)
trainer.partial_fit(X, np.arange(64) % 3)
print(network.params.tobytes().hex())
"""


@compiled_only
def test_without_private_pieces_a_training_ends_with_the_same_bits():
    plain, usual = (
        subprocess.run(
            [sys.executable, "-c", TRAINED], env=os.environ | {"FASTBP_WITHOUT": without},
            check=True, capture_output=True, text=True,
        ).stdout
        for without in ("all", "")
    )  # fmt: skip
    assert len(usual) > 1000
    assert plain == usual


@compiled_only
def test_kernels_do_not_leak_references(generator):
    network = fastbp.Network((4, 5, 3), seed=0)
    X = generator.random((3, 4)).astype(np.float32)
    trainer = fastbp.Trainer(network)
    trainer.partial_fit(X, [0, 1, 2])
    counts = [sys.getrefcount(o) for o in (X, network.params, network.parameters.flat)]
    for _ in range(20):
        trainer.partial_fit(X, [0, 1, 2])
        network.predict(X)
        network.value_and_grad(X, [0, 1, 2])
    assert [sys.getrefcount(o) for o in (X, network.params, network.parameters.flat)] == counts


# It takes as long to compile as the program wants.
ANNOUNCED = """
import sys, threading
import numpy as np
from numba.extending import intrinsic
from fastbp.kernels import compiling
from fastbp.kernels._jit import jit
from fastbp.progress import progress_bar

explain = compiling._explain
heard = threading.Event()

def noted(arguments, once):
    explain(arguments, once)
    heard.set()

compiling._explain = noted
compiling._PATIENCE = 0.0

@intrinsic
def waits(typing_context, x):
    assert heard.wait(60)
    return x(x), lambda context, builder, signature, args: args[0]

@jit(entry=True)
def slow(x, which):
    return waits(x[0]) + which

def call(*arguments):
    heard.clear()
    slow(*arguments)

single, double, whole = (np.ones(1, dtype) for dtype in ("float32", "float64", "int64"))
call(single, 1)
call(single, (1, 2)[0] + 0.5)
with progress_bar(True, 10) as bar:
    bar.update(5)
    call(double, np.float32(1))
call(whole, 1)
call(whole, 1)
"""


@compiled_only
@pytest.mark.parametrize("no_cache", ["1", "0"])
def test_compilation_says_so_once_for_each_dtype(no_cache, tmp_path):
    """Above the bar, if there is one; and nothing is said of what comes from the cache."""
    program = tmp_path / "program.py"
    program.write_text(ANNOUNCED)
    variables = {"FASTBP_NO_CACHE": no_cache, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def shown():
        return subprocess.run(
            [sys.executable, program], env=os.environ | variables, capture_output=True,
            text=True, check=True,
        ).stderr  # fmt: skip

    where = "as there is no cache of them" if no_cache == "1" else "once on this machine"
    lines = re.findall(r"(?:^|\r *\r|\n)(fastbp: .*)\n", shown())
    assert lines == [
        f"fastbp: compiling kernels{precision}, {where}: 5 to 30 s in all"
        for precision in (" for float32", " for float64", "")
    ]
    if no_cache == "0":
        assert "fastbp: " not in shown()


OUT_OF_BOUNDS = """
import numpy as np
from numba import njit
from fastbp.kernels import linear, activations, views

@njit
def product(W, rows, a, z):
    linear.add_rows(views.matrix(W, 16), linear.Entries(rows, a, len(rows)), z, 0, 16)

@njit
def relu(z, a):
    activations.activate(1, z, a, 16)

W, a, z = np.zeros(2 * 16, np.float32), np.zeros(2, np.float32), np.zeros(16, np.float32)
rows = np.arange(2, dtype=np.int32)
product(W, rows, a, z)
for call in (
    lambda: product(W[:31], rows, a, z),       # a vector that hangs over the end
    lambda: product(W, rows + 1, a, z),
    lambda: product(W, rows, a, z[:15]),
    lambda: product(W, rows, a[:1], z),
    lambda: relu(z, a),
):
    try:
        call()
    except IndexError:
        continue
    raise AssertionError("out of bounds, and nobody noticed")
"""


def test_the_bounds_checked_leg_checks_vectors_too():
    variables = os.environ | {"FASTBP_NO_CACHE": "1", "NUMBA_BOUNDSCHECK": "1"}
    variables.pop("NUMBA_DISABLE_JIT", None)
    subprocess.run([sys.executable, "-c", OUT_OF_BOUNDS], check=True, env=variables)


USED_BY_OTHERS = """
import numpy as np
from numba import njit
import fastbp
from fastbp import kernels

@njit
def passes(n, state, samples):
    loss = 0.0
    for _ in range(n):
        loss = kernels.train_sequential(state, samples, 0, 50, 0.0)
    return loss / 50

X = np.random.default_rng(0).random((50, 4), dtype=np.float32)
y = np.arange(50) % 3
ours, theirs = (fastbp.Network((4, 6, 3), seed=0) for _ in range(2))
history = fastbp.Trainer(ours, shuffle=False).fit(X, y, epochs=3, progress=False)
samples = kernels.Samples(kernels.dense_inputs(X), y, np.empty((0, 3), np.float32), np.empty(0))
theirs.parameters.fields.rates[0] = 0.01
loss = passes(3, theirs.parameters.state, samples)
assert np.allclose(ours.params, theirs.params, rtol=1e-5, atol=1e-6)
assert np.isclose(loss, history.train_loss[-1], rtol=1e-5)
"""


def test_kernels_can_be_called_from_compiled_code():
    subprocess.run([sys.executable, "-c", USED_BY_OTHERS], check=True)
