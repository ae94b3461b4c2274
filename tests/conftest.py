"""Shared cases: targets that suit each loss, runs on several threads, where MNIST lies, and copies
of the package that can be edited."""

import os

# Before anything imports Keras, whose own choice may be a library that is not installed.
os.environ.setdefault("KERAS_BACKEND", "numpy")

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import fastbp
from fastbp import kernels
from fastbp.kernels import compiling

KERNELS = Path(kernels.__file__).parent

# Compilation makes the first example slow, and machines are shared: no deadlines.
settings.register_profile(
    "fastbp", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fastbp")

# Which test compiles a kernel first is chance: none sees the line that says so.
compiling.announce = lambda line: None


def assert_padding_is_zero(network):
    """And the parameters finite."""
    used = np.zeros(network.params.size, bool)
    for views in network.views(used):
        for view in views:
            view[...] = True
    assert np.isfinite(network.params).all()
    assert not network.params[~used].any()


def targets_for(loss, generator, n, n_outputs):
    """Random target rows (n, n_outputs) that are legal for a loss."""
    y = generator.uniform(0.05, 0.95, (n, n_outputs))
    if loss == "cross_entropy":
        # Sixty-fourths: the rows sum to 1 exactly, in float32 too.
        y = (generator.multinomial(64 - n_outputs, y / y.sum(axis=1, keepdims=True)) + 1) / 64
    elif loss == "poisson":
        y = generator.poisson(2.0, (n, n_outputs)).astype(float)
    elif loss == "huber":
        y = generator.uniform(-3, 3, (n, n_outputs))
    return y


def assert_same_on_threads(code):
    """That a program writes the same bytes when it is given 1, 2 and 4 threads as its argument."""
    results = [
        subprocess.run(
            [sys.executable, "-c", code, str(n)],
            env=os.environ | {"NUMBA_NUM_THREADS": "4"}, check=True, capture_output=True,
            timeout=300,
        ).stdout
        for n in (1, 2, 4)
    ]  # fmt: skip
    assert len(results[0]) > 1_000_000
    assert results[1] == results[0]
    assert results[2] == results[0]


@pytest.fixture(scope="session")
def mnist_folder():
    """Folder of the MNIST files: $FASTBP_MNIST, or shared/data/mnist beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("FASTBP_MNIST", beside))
    if not folder.is_dir():
        pytest.skip(f"the MNIST files are not at {folder}")
    return folder


@pytest.fixture
def generator():
    return np.random.default_rng(0)


# A small kernel is enough to watch the cache, and quick to compile.
PROBED = """
from ._jit import jit
from .activations import leaky_relu

@jit(entry=True)
def probed(z):
    return leaky_relu(z)
"""

PROBE = """
import sys, time
from fastbp.kernels.probe import probed
value = probed(3.0)
print(sum(probed.stats.cache_hits.values()), value, probed._cache.cache_path)
"""


def copy_package(root, kernel=PROBED):
    """Copy fastbp, so that it can be edited, with one kernel more."""
    shutil.copytree(Path(fastbp.__file__).parent, root / "fastbp",
                    ignore=shutil.ignore_patterns("__pycache__", "kernels"))  # fmt: skip
    shutil.copytree(KERNELS, root / "fastbp" / "kernels",
                    ignore=shutil.ignore_patterns("__pycache__", "code"))  # fmt: skip
    (root / "fastbp" / "kernels" / "probe.py").write_text(kernel)


@pytest.fixture
def copy_of_the_package(tmp_path):
    """A copy of fastbp that can be edited, with a cache directory of its own."""
    root = tmp_path / "copy"
    copy_package(root)
    return root


def probe(root, cache, code=PROBE, **environment):
    """Hits in the cache, leaky_relu(3), and the cache's place, in a fresh process."""
    variables = {name: v for name, v in os.environ.items() if not name.startswith("NUMBA_")}
    variables |= {"PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(cache)} | environment
    variables["PYTHONDONTWRITEBYTECODE"] = "1"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=root, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    hits, value, place = run.stdout.split(maxsplit=2)
    return int(hits), float(value), place.strip()
