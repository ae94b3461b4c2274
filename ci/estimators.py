"""What fastbp.sklearn has kernels do, with rows of every kind."""

import warnings

import numpy as np
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from fastbp.sklearn import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore", ConvergenceWarning)
generator = np.random.default_rng(0)
X, labels = generator.normal(size=(200, 5)), generator.integers(0, 3, 200)
for dtype in (np.float32, np.float64):
    for rows in (X.astype(dtype), csr_array(X.astype(dtype))):
        for options in ({}, {"solver": "sgd"}, {"early_stopping": True}, {"solver": "lbfgs"}):
            classifier = MLPClassifier(
                hidden_layer_sizes=(6,), max_iter=3, random_state=0, **options
            )
            classifier.fit(rows, labels).predict_proba(rows)
            regressor = MLPRegressor(hidden_layer_sizes=(6,), max_iter=3, random_state=0, **options)
            regressor.fit(rows, X[:, :2]).predict(rows)
        classifier = MLPClassifier(hidden_layer_sizes=(6,)).partial_fit(
            rows, labels, classes=[0, 1, 2]
        )
        classifier.partial_fit(rows[:1], labels[:1]).predict(rows[:1])
        MLPRegressor(hidden_layer_sizes=(6,)).partial_fit(rows, X[:, 0]).predict(rows[:1])
