"""
A regression that knows what it does not know
=============================================

Fifty networks, each trained on a draw of the rows of its own, agree where there are data, and not
where there are none. `fastbp.Ensemble` trains them side by side, in one call.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import fastbp

generator = np.random.default_rng(0)
x = np.concatenate([generator.uniform(-3, -0.6, 120), generator.uniform(0.9, 3, 120)])
y = np.sin(2 * x) + 0.4 * x + generator.normal(0, 0.15, x.size)
X = x[:, None]

# %%
# ``folds`` names the rows of each network: here drawn with replacement.

rows = [generator.integers(0, len(X), len(X)) for _ in range(50)]
bag = fastbp.Ensemble((1, 32, 32, 1), 50, seeds=0, loss="squared_error", learning_rate=0.005)
began = time.perf_counter()
bag.fit(X, y, folds=rows, epochs=400)
print(f"50 networks, 400 epochs: {time.perf_counter() - began:.1f} s")

# %%
# The band has nine in ten networks. It is narrow at the points, wide in the gap, and opens beyond
# the ends, where nobody can know how the curve goes on: networks of relu go straight on.

at = np.linspace(-3.6, 3.6, 400)
curves = bag.predict(at[:, None])
low, middle, high = np.quantile(curves, [0.05, 0.5, 0.95], axis=0)

figure, panel = plt.subplots(figsize=(8, 4.2), layout="constrained")
panel.fill_between(at, low, high, alpha=0.3, label="nine in ten networks")
panel.plot(at, curves[:5].T, color="grey", lw=0.6)
panel.plot(at, middle, lw=2, label="their median")
panel.plot(at, np.sin(2 * at) + 0.4 * at, "k--", lw=1, label="the truth")
panel.plot(x, y, "k.", ms=3, label="data")
panel.set(xlabel="x", ylabel="y", ylim=(-3.4, 4.2))
panel.legend(loc="upper left", ncols=2)
plt.show()
