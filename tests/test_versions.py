"""What is private in other libraries: if a release lacks it, that is said, or done without."""

import os
import subprocess
import sys

from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastbp import sklearn as ours

IMPORTED = """
import importlib, re
import sklearn
from sklearn.neural_network import MLPClassifier, _stochastic_optimizers as theirs
import fastbp

def error():
    try:
        importlib.import_module("fastbp.sklearn")
    except ImportError as error:
        return str(error)
    raise AssertionError("it went on")

says = re.escape(f"fastbp.sklearn overrides what scikit-learn {sklearn.__version__} lacks (")
says += r"MLP\\w+ has no %s\\): install an earlier version, such as 1\\.9\\."

def without(owner, name, pattern):
    value = vars(owner)[name]
    delattr(owner, name)
    found = error()
    assert re.fullmatch(pattern, found), (name, found)
    setattr(owner, name, value)

for hook in HOOKS:
    owner = next(kind for kind in MLPClassifier.__mro__ if hook in vars(kind))
    without(owner, hook, says % hook)
without(theirs, "AdamOptimizer", r".*cannot import name 'AdamOptimizer' from .*")
importlib.import_module("fastbp.sklearn")
"""


def test_a_scikit_learn_without_what_is_overridden_is_refused():
    code = f"HOOKS = {ours._HOOKS}\n{IMPORTED}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_everything_private_that_is_overridden_is_looked_for():
    overridden = {
        name
        for kind, theirs in (
            (ours._Engine, MLPClassifier),
            (ours._Engine, MLPRegressor),
            (ours.MLPClassifier, MLPClassifier),
            (ours.MLPRegressor, MLPRegressor),
        )
        for name in vars(kind)
        if hasattr(theirs, name) and name.startswith("_") and not name.endswith("_")
    }
    assert sorted(overridden - {"_abc_impl"}) == sorted(ours._HOOKS)
