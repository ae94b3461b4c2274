"""
A grid search, and how long it takes
====================================

The same search twice: with scikit-learn's network, and with that of ``fastbp.sklearn``, which takes
the same parameters and finds the same model. Both have one core.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numba
import sklearn.neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastbp.sklearn

X, y = load_digits(return_X_y=True)
grid = {"mlp__alpha": [1e-5, 1e-3, 1e-1, 1], "mlp__learning_rate_init": [3e-4, 1e-3, 1e-2]}
kinds = {
    "scikit-learn": sklearn.neural_network.MLPClassifier,
    "fastbp.sklearn": fastbp.sklearn.MLPClassifier,
}
# 20 epochs are too few for some candidates, and both say so.
warnings.simplefilter("ignore", ConvergenceWarning)
numba.set_num_threads(1)
# Compiled, or loaded, before the clock runs.
ready = fastbp.sklearn.MLPClassifier(max_iter=2, random_state=0).fit(X[:200], y[:200]).predict(X)

# %%
# Only the class differs.

scores, seconds = {}, {}
for name, kind in kinds.items():
    model = Pipeline([("scale", StandardScaler()), ("mlp", kind(max_iter=20, random_state=0))])
    search = GridSearchCV(model, grid, cv=3)
    began = time.perf_counter()
    with threadpool_limits(1):
        search.fit(X, y)
    seconds[name] = time.perf_counter() - began
    scores[name] = search.cv_results_["mean_test_score"]
    print(f"{name}: {seconds[name]:.1f} s, best {search.best_params_}, {search.best_score_:.4f}")

# %%
# Left, the accuracy of each candidate by both: the dots lie on the diagonal. Right, the time.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.6), layout="constrained", width_ratios=(2, 3)
)
theirs, ours = scores.values()
ends = [min(theirs.min(), ours.min()) - 0.005, max(theirs.max(), ours.max()) + 0.005]
left.plot(ends, ends, color="grey", lw=1)
left.plot(theirs, ours, "o", alpha=0.7)
left.set(xlabel="accuracy, scikit-learn", ylabel="accuracy, fastbp.sklearn", aspect="equal")
bars = right.barh(list(seconds), list(seconds.values()), color=["C7", "C1"])
right.bar_label(bars, fmt="%.1f s", padding=4)
right.set(xlabel="seconds for 36 fits of 20 epochs", xlim=(0, 1.2 * max(seconds.values())))
plt.show()
