"""scikit-learn's own tests of its MLPs, as they are installed, on ours."""

import importlib.util
from unittest import mock

import pytest
import sklearn.neural_network

import fastbp.sklearn

# As scikit-learn runs them: some of them warn.
pytestmark = pytest.mark.filterwarnings("default")

LEFT_OUT = {
    "test_gradient": "calls _loss_grad_lbfgs, which is private, without a fit",
    "test_mlp_partial_fit_after_fit": "wants partial_fit with early_stopping refused, which works",
}


def swapped():
    """The installed module, with our classes where it imports scikit-learn's."""
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    module = importlib.util.module_from_spec(spec)
    with mock.patch.multiple(
        sklearn.neural_network,
        MLPClassifier=fastbp.sklearn.MLPClassifier,
        MLPRegressor=fastbp.sklearn.MLPRegressor,
    ):
        spec.loader.exec_module(module)
    return module


THEIRS = {name: test for name, test in vars(swapped()).items() if name.startswith("test_")}
globals().update({name: test for name, test in THEIRS.items() if name not in LEFT_OUT})


@pytest.fixture
def global_random_seed():
    """As in scikit-learn's conftest, of one seed."""
    return 42


def test_all_others_are_run():
    assert len(THEIRS) > 40
    assert set(LEFT_OUT) <= set(THEIRS)
    for kind in ("MLPClassifier", "MLPRegressor"):
        assert THEIRS["test_alpha"].__globals__[kind] is getattr(fastbp.sklearn, kind)
