"""
A stream whose world changes
============================

Samples come one at a time; each is predicted, and then learned. At half time the rule is another
one. A network that goes on learning finds it; one that stopped does not.
"""

import copy

import matplotlib.pyplot as plt
import numpy as np
from river import linear_model, preprocessing

from fastbp.river import MLPClassifier

generator = np.random.default_rng(0)
n, change = 12_000, 6_000


def stream():
    """Dictionaries of three features, and whether the point lies within a ring that moves."""
    for t in range(n):
        a, b, c = generator.uniform(-1, 1, 3)
        centre = 0.4 if t < change else -0.4
        yield {"a": a, "b": b, "c": c}, (a - centre) ** 2 + b**2 < 0.4


# %%
# River's models are pipelines: a scaler, and a classifier.

learning = preprocessing.StandardScaler() | MLPClassifier(
    hidden_sizes=(20,), learning_rate=0.05, seed=0
)
linear = preprocessing.StandardScaler() | linear_model.LogisticRegression()
right = {"network": [], "network that stopped learning": [], "logistic regression": []}
for t, (x, y) in enumerate(stream()):
    if t == change:
        stopped = copy.deepcopy(learning)
    models = (learning, learning if t < change else stopped, linear)
    for name, model in zip(right, models, strict=True):
        right[name].append(model.predict_one(x) == y)
    learning.learn_one(x, y)
    linear.learn_one(x, y)

# %%
# How many of the last 500 were right.

figure, panel = plt.subplots(figsize=(8, 4), layout="constrained")
for (name, hits), style in zip(right.items(), ("-", "--", ":"), strict=True):
    share = np.convolve(hits, np.full(500, 1 / 500), "valid")
    panel.plot(np.arange(499, n), 100 * share, style, label=name)
    print(f"{name}: {np.mean(hits[-1000:]):.0%} of the last 1,000")
panel.axvline(change, color="grey", lw=1)
panel.text(change + 100, 41, "another rule", color="grey")
panel.set(xlabel="sample", ylabel="right among the last 500, %", ylim=(40, 100))
panel.grid(alpha=0.4)
panel.legend(loc="lower left")
plt.show()
