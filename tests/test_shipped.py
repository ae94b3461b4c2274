"""Machine code that comes with the package: found where it fits, and harmless where it does not."""

import io
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import copy_package, probe
from numba import config
from scipy.sparse import csr_array

import fastbp
from fastbp import Network, Trainer, kernels, shipping
from fastbp.kernels import shipped

DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
compiled_only = pytest.mark.skipif(DISABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT")
LEVELS = shipped.levels()
USABLE = shipped.usable_levels()
here = pytest.mark.skipif(not USABLE, reason="this processor is of no level that code is made for")

# Work in parts, an array, and a number.
KERNEL = """
from ._jit import jit
from .linear import fill
from .memory import window
from .parallel import in_parts

@jit
def fill_part(x, part, parts):
    fill(window(x, 16 * part, 16), x.dtype.type(part), 0, 16)

fill_parts = in_parts(fill_part)

@jit(entry=True)
def probed(x, team):
    if len(x) > 64:
        raise ValueError("x is too long")
    fill_parts(x, len(x) // 16, team, 1)
    return x[-1]
"""
# It is all that the copy of the package compiles ahead.
AHEAD = """
from .probe import probed

def everything(dtype):
    yield Ahead(f"probed, {dtype}", probed, (np.zeros(16, dtype), ALONE))
"""
CALLED = """
import sys
import numpy as np
from fastbp.kernels import ALONE
from fastbp.kernels.probe import probed
x = np.zeros(64, np.float32)
value = probed(x, ALONE)
assert x.tolist() == np.repeat(range(4), 16).tolist()
hits = sum(probed.stats.cache_hits.values())
print(hits, value, probed._cache.cache_path)
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A copy of the package with code for every level, and what was printed when it was made."""
    root = tmp_path_factory.mktemp("shipped") / "copy"
    copy_package(root, KERNEL)
    ahead = root / "fastbp" / "kernels" / "ahead.py"
    ahead.write_text(ahead.read_text(encoding="utf-8") + AHEAD, encoding="utf-8")
    return root, build(root)


def build(root, *arguments):
    """What ``python -m fastbp.shipping`` prints for a copy of the package."""
    variables = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "fastbp.shipping", *arguments],
        cwd=root, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.fixture
def package(built, tmp_path):
    """A copy of that which may be changed."""
    root = tmp_path / "package"
    shutil.copytree(built[0], root)
    return root


def code(root):
    """Where its code lies."""
    return root / "fastbp" / "kernels" / "code"


def files(root, level="*", name="probed"):
    return sorted(code(root).glob(f"*/{level}/*{name}*"))


def hits(root, cache, program=CALLED, **environment):
    """How often code was found in a file, in a fresh process."""
    found, value, _ = probe(root, cache, program, NUMBA_NUM_THREADS="2", **environment)
    assert value == 3.0
    return found


@here
@compiled_only
def test_nothing_is_compiled_where_code_is_shipped(built, tmp_path):
    cache = tmp_path / "cache"
    assert hits(built[0], cache, CALLED) == 1
    assert not list(cache.rglob("*.nb[ic]"))


def test_the_module_says_what_it_has_made(built):
    lines = built[1].splitlines()
    assert len(lines) == 2 * len(LEVELS) > 0
    for line in lines:
        assert re.fullmatch(
            rf"({'|'.join(LEVELS)}), float(32|64): 1 files, 0\.\d MB, 0\.\d MB in a wheel; \d+ s",
            line,
        ), line


def test_lines_of_processes_that_write_at_once_stay_whole(monkeypatch, tmp_path):
    written = []

    class Unbuffered(io.StringIO):
        def write(self, text):
            written.append(text)
            return super().write(text)

    monkeypatch.setattr("sys.stdout", Unbuffered())
    monkeypatch.setattr(shipping.kernels, "everything", lambda dtype: [])
    shipping.compile_here(str(tmp_path), "x86-64-v3", ["float32", "float64"])
    lines = [text for text in written if text]
    assert len(lines) == 2
    assert all(line.endswith(" s\n") for line in lines)


def test_it_refuses_a_level_that_it_cannot_make(built):
    assert build(built[0], "--level", "x86-64-v9") == (
        f"fastbp: error: levels of {shipped.platform()} must be among {', '.join(LEVELS)}; "
        "got 'x86-64-v9'.\n"
    )
    assert "dtype must be one of float32, float64; got 'int8'" in build(built[0], "--dtype", "int8")


def test_it_refuses_a_platform_without_levels(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "platform", lambda: "ppc64le-unknown-linux-gnu")
    with pytest.raises(ValueError, match="for x86_64 and aarch64, got ppc64le-unknown-linux-gnu"):
        shipping.build(tmp_path)


@compiled_only
def test_code_is_the_same_bytes_wherever_it_is_made(built, tmp_path):
    """So it holds no path of the machine, no address, and no order of a set."""
    root = tmp_path / "elsewhere" / "package"
    shutil.copytree(built[0], root)
    folder = tmp_path / "code"
    build(root, str(folder), "--level", LEVELS[-1])
    made = {path.name: path.read_bytes() for path in folder.glob("*/*/*")}
    for content in made.values():
        assert b"elsewhere" not in content
        assert str(built[0]).encode() not in content
        assert b"fastbp/kernels/probe.py" in content  # in the error that it raises
    if any(re.search(rb"\.const\.pickledata\.\d{9}", content) for content in made.values()):
        pytest.skip("this numba names constants after addresses")
    assert made == {path.name: path.read_bytes() for path in files(built[0], LEVELS[-1])}


@here
@compiled_only
def test_code_of_ones_own_comes_first(package, tmp_path):
    cache = tmp_path / "cache"
    assert hits(package, cache, FASTBP_WITHOUT="shipped") == 0
    assert hits(package, cache, FASTBP_WITHOUT="shipped") == 1
    unread = "from fastbp.kernels import shipped\nshipped.found = None\n"
    assert hits(package, cache, unread + CALLED) == 1


@here
@compiled_only
def test_it_works_without_a_cache(package, tmp_path):
    """Every place that numba tries is a file, so that even root cannot make a directory there."""
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    pycache = package / "fastbp" / "kernels" / "__pycache__"
    pycache.write_text("")
    places = {"XDG_CACHE_HOME": str(blocked), "HOME": str(blocked)}
    assert probe(package, blocked, CALLED, **places) == (1, 3.0, "None")
    assert probe(package, tmp_path / "cache", CALLED, FASTBP_NO_CACHE="1") == (1, 3.0, "None")
    for path in files(package):
        path.unlink()
    assert probe(package, blocked, CALLED, **places) == (0, 3.0, "None")


def flipped(content):
    return content[:-100] + bytes([content[-100] ^ 4]) + content[-99:]


@here
@compiled_only
@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda c: c + b"0",
    ],
    ids=["flipped", "cut", "empty", "longer"],
)
def test_damaged_code_costs_a_compilation_only(package, tmp_path, damage):
    for path in files(package):
        path.write_bytes(damage(path.read_bytes()))
    assert hits(package, tmp_path / "cache") == 0
    assert hits(package, tmp_path / "cache") == 1


@here
@compiled_only
def test_a_level_below_takes_the_place_of_damaged_code(package, tmp_path):
    for path in files(package, USABLE[0]):
        path.write_bytes(b"")
    assert hits(package, tmp_path / "cache") == len(USABLE) - 1


FOREIGN = """
import pickle
from pathlib import Path
from numba import types
from fastbp.kernels import shipped
from fastbp.kernels.probe import probed
arguments = tuple(types.Array(kind, 1, "C") for kind in (types.float32, types.int64))
name = shipped.name_of(probed.__wrapped__, arguments)
content = next(shipped.found(name))
types_of, reduced = pickle.loads(content)
for level in shipped.usable_levels():
    shipped.write(shipped.FOLDER, level, name, {})
"""


@here
@compiled_only
@pytest.mark.parametrize(
    "content",
    ["b'rubbish'", "pickle.dumps(3)", "pickle.dumps(((types.int64,), reduced))",
     "pickle.dumps((types_of, (1,) * len(reduced)))", "b'cno_such_module\\nx\\n.'"],
)  # fmt: skip
def test_whole_files_of_another_program_cost_a_compilation_only(package, tmp_path, content):
    assert hits(package, tmp_path / "cache", FOREIGN.format(content) + CALLED) == 0


@here
@compiled_only
def test_stale_code_is_not_found(package, tmp_path):
    """A helper in another file changes, or a setting; the cache of these is another one."""
    assert hits(package, tmp_path / "cache", CALLED, NUMBA_OPT="2") == 0
    assert hits(package, tmp_path / "cache", FASTBP_WITHOUT="literals") == 0
    activations = package / "fastbp" / "kernels" / "activations.py"
    activations.write_text(activations.read_text(encoding="utf-8") + "\n# changed\n")
    assert hits(package, tmp_path / "cache") == 0


@here
@compiled_only
def test_code_of_another_numba_or_python_is_not_found(package, tmp_path):
    other = "import llvmlite; llvmlite.__version__ += '.1'\n"
    assert hits(package, tmp_path / "cache", other + CALLED) == 0
    for path in files(package):
        path.rename(str(path).replace(sys.implementation.cache_tag, "cpython-399"))
    assert hits(package, tmp_path / "cache") == 0


@here
@compiled_only
def test_code_in_the_place_of_another_platform_or_level_is_not_run(package, tmp_path):
    (platform,) = code(package).iterdir()
    platform.rename(platform.with_name("mips-unknown-linux-gnu"))
    assert hits(package, tmp_path / "1") == 0
    # Back, but each level in the place of another.
    platform.mkdir()
    levels = [path.name for path in platform.with_name("mips-unknown-linux-gnu").iterdir()]
    for level, other in zip(levels, [*levels[1:], "x86-64-v9"], strict=True):
        shutil.copytree(platform.with_name("mips-unknown-linux-gnu") / level, platform / other)
    assert hits(package, tmp_path / "2") == 0


@here
@compiled_only
@pytest.mark.skipif("x86" not in LEVELS[-1], reason="other names of processors on ARM")
def test_the_level_that_numba_is_told_is_the_only_one(package, tmp_path):
    for name in ("generic", "nehalem", "x86-64-v2"):
        assert hits(package, tmp_path / name, CALLED, NUMBA_CPU_NAME=name) == 0
    assert hits(package, tmp_path / "v3", NUMBA_CPU_NAME="x86-64-v3") == 1
    assert hits(package, tmp_path / "sse", NUMBA_CPU_FEATURES="+sse4.2") == 0
    for path in files(package, "x86-64-v3"):
        path.unlink()
    assert hits(package, tmp_path / "v3 none", NUMBA_CPU_NAME="x86-64-v3") == 0


V2 = dict.fromkeys(("crc32", "cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3"), True)
V3 = V2 | dict.fromkeys(
    ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"), True
)
V4 = V3 | {f"avx512{part}": True for part in ("bw", "cd", "dq", "f", "vl")}
BOTH, NEON = ("x86-64-v4", "x86-64-v3"), {"neon": True, "fp-armv8": True}


@pytest.mark.parametrize(
    ("triple", "features", "name", "extra", "expected"),
    [
        ("x86_64-unknown-linux-gnu", V4 | {"amx-bf16": True}, None, None, BOTH),
        ("x86_64-unknown-linux-gnu", V3, None, None, BOTH[1:]),
        ("x86_64-unknown-linux-gnu", V2, None, None, ()),
        ("x86_64-unknown-linux-gnu", V4 | {"fma": False}, None, None, ()),
        ("x86_64-unknown-linux-gnu", V4 | {"avx512vl": False}, None, None, BOTH[1:]),
        ("x86_64-unknown-linux-gnu", {}, None, None, ()),
        ("x86_64-unknown-linux-gnu", V4, "x86-64-v3", None, BOTH[1:]),
        ("x86_64-unknown-linux-gnu", V4, "x86-64-v4", "", BOTH[:1]),
        ("x86_64-unknown-linux-gnu", V3, "x86-64-v4", "", ()),
        ("x86_64-unknown-linux-gnu", V4, "x86-64-v2", None, ()),
        ("x86_64-unknown-linux-gnu", V4, "generic", "", ()),
        ("x86_64-unknown-linux-gnu", V4, "haswell", None, ()),
        ("x86_64-unknown-linux-gnu", V4, "x86-64-v3", "-fma", ()),
        ("x86_64-unknown-linux-gnu", V4, None, "", ()),
        ("x86_64-unknown-linux-gnu", V4, None, "+avx2", ()),
        ("aarch64-unknown-linux-gnu", NEON, None, None, ("generic",)),
        ("aarch64-unknown-linux-gnu", NEON, "generic", "", ("generic",)),
        ("aarch64-unknown-linux-gnu", NEON, "cortex-a72", None, ()),
        ("aarch64-unknown-linux-gnu", {}, None, None, ()),
        ("ppc64le-unknown-linux-gnu", {"altivec": True}, None, None, ()),
    ],
)
def test_a_level_is_used_where_its_features_are(
    monkeypatch, triple, features, name, extra, expected
):
    monkeypatch.setattr(shipped, "platform", lambda: triple)
    monkeypatch.setattr(shipped.binding, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(config, "CPU_NAME", name)
    monkeypatch.setattr(config, "CPU_FEATURES", extra)
    assert shipped.usable_levels.__wrapped__() == expected


def test_a_processor_that_llvm_does_not_know_uses_nothing(monkeypatch):
    def unknown():
        raise RuntimeError("failed to get host cpu features.")

    monkeypatch.setattr(shipped.binding, "get_host_cpu_features", unknown)
    assert shipped.usable_levels.__wrapped__() == ()


# What is compiled ahead --------------------------------------------------------------------------


def signatures():
    """What has been compiled or loaded, by entry."""
    return {name: set(getattr(kernels, name).signatures) for name in entries()}


def entries():
    """Names of all functions of kernels that Python can call."""
    return [
        name
        for name, each in vars(kernels).items()
        if hasattr(each, "signatures") and not each.targetoptions.get("no_cpython_wrapper", False)
    ]


@compiled_only
def test_every_entry_is_compiled_ahead():
    for dtype in ("float32", "float64"):
        ahead = {
            each
            for item in kernels.everything(np.dtype(dtype))
            if not isinstance(item, kernels.CFunctions)
            for each in item.compiled
        }
        assert ahead == {getattr(kernels, name) for name in entries()}
        assert len(ahead) >= 9


def use_everything(dtype):
    """Whatever has a kernel work on arguments of other types."""
    generator = np.random.default_rng(0)
    X, y = np.asfortranarray(generator.normal(size=(120, 4))), generator.integers(0, 3, 120)
    rows, few = np.eye(3)[y], csr_array(X * (X > 0))
    network = Network((4, 8, 3), dtype=dtype, seed=1)
    for options in (
        {"method": "sequential", "weight_decay": 1e-3, "reduction": "batch"},
        {"method": "deferred", "label_smoothing": 0.1},
        {"optimizer": "adam", "batch_size": 7, "dropout": 0.1},
        {"batch_size": 7, "clip_norm": 1.0, "l1": 1e-3},
    ):
        trainer = Trainer(network, seed=0, **options)
        for inputs in (X, X.astype(np.float32), few, X.tolist()):
            given = {"eval_set": (inputs, rows), "sample_weight": np.ones(120)}
            trainer.fit(inputs, y, epochs=2, progress=False, **given)
            trainer.fit(inputs, rows, epochs=1, progress=False, **given)
            trainer.partial_fit(inputs, y)
    for inputs in (X, few):
        network.value_and_grad(inputs, rows)
        network.evaluate(inputs, y)
        network.predict_proba(inputs)
    network.objective(X, y)(network.params.copy())
    assert network.check_gradients(X[:4], y[:4]).ok
    stream = Trainer(network, "adam", seed=0)
    for row, label in zip(X[:9], y, strict=False):
        stream.learn_one(row, label)
        stream.learn_one(row.astype(dtype), np.eye(3)[label], weight=2)
        network.predict_one(row, out=np.empty(3, dtype))
    stream.partial_fit(X, y)
    ensemble = fastbp.Ensemble((4, 8, 3), 20, seeds=0, dtype=dtype)
    ensemble.fit(X, y, epochs=1)
    ensemble.predict(X)
    wide = Network((300, 256, 3), dtype=dtype, seed=1)
    X = generator.normal(size=(1000, 300))
    for options in ({}, {"batch_size": 32}):
        Trainer(wide, n_threads=2, **options).partial_fit(X, np.arange(1000) % 3)


@compiled_only
def test_what_is_compiled_ahead_is_all_that_is_used():
    fastbp.warmup()
    before = signatures()
    assert all(before.values())
    for dtype in ("float32", "float64"):
        use_everything(dtype)
    assert signatures() == before
