"""Shared cases: targets that suit each loss, and where MNIST lies."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Compilation makes the first example slow, and machines are shared: no deadlines.
settings.register_profile(
    "fastbp", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fastbp")


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
