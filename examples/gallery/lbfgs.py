"""
SciPy's L-BFGS on a network
===========================

``network.objective(X, y)`` is the loss and its gradient as a function of one flat vector, which is
what optimizers of SciPy take. On smooth problems of few rows, in float64, they go deeper than
stochastic steps do.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

import fastbp

generator = np.random.default_rng(0)
X = generator.uniform(-1, 1, (1000, 2))
y = np.exp(-3 * X[:, 0] ** 2) * np.cos(4 * X[:, 1])


def fresh():
    """The same network each time."""
    return fastbp.Network(
        (2, 24, 24, 1), activation="tanh", loss="squared_error", dtype="float64", seed=0
    )


fresh().value_and_grad(X, y)  # compiled, or loaded, before the clock runs
fastbp.Trainer(fresh(), "adam", batch_size=32).fit(X, y, epochs=1, progress=False)

# %%
# L-BFGS for two seconds, with the loss of each evaluation.

network = fresh()
f = network.objective(X, y)
began, trace = time.perf_counter(), []


def traced(params):
    """Loss and gradient, noted with the time."""
    loss, gradient = f(params)
    trace.append((time.perf_counter() - began, loss))
    return loss, gradient


def two_seconds(params):
    """SciPy stops when its callback says so."""
    if trace[-1][0] > 2:
        raise StopIteration


options = {"maxiter": 10_000, "maxfun": 10_000, "ftol": 0, "gtol": 0}
with threadpool_limits(1):  # SciPy's own products are small
    found = minimize(
        traced, network.params, jac=True, method="L-BFGS-B", callback=two_seconds, options=options
    )
network.params[:] = found.x
print(f"{len(trace)} evaluations in {trace[-1][0]:.2f} s: loss {network.loss(X, y):.1e}")

# %%
# Adam, in batches of 32, for as long.

trainer = fastbp.Trainer(fresh(), "adam", learning_rate=0.003, batch_size=32, seed=0)
limit = fastbp.callbacks.TimeLimit(trace[-1][0])
history = trainer.fit(X, y, epochs=100_000, callbacks=limit, progress=False)
print(f"{len(history)} epochs of Adam in as long: loss {trainer.network.loss(X, y):.1e}")

seconds, losses = np.array(trace).T
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
left.plot(np.cumsum(history.seconds), history.train_loss, "C1", lw=0.7, label="Adam, batches of 32")
left.plot(seconds, np.minimum.accumulate(losses), "C0", lw=2, label="L-BFGS")
left.set(xlabel="seconds", ylabel="mean loss", yscale="log", title="loss")
left.grid(alpha=0.4)
left.legend()
side = np.linspace(-1, 1, 100)
grid = np.column_stack([axis.ravel() for axis in np.meshgrid(side, side)])
error = network.predict(grid) - np.exp(-3 * grid[:, 0] ** 2) * np.cos(4 * grid[:, 1])
most = np.abs(error).max()
shown = right.pcolormesh(side, side, error.reshape(100, 100), cmap="RdBu_r", vmin=-most, vmax=most)
figure.colorbar(shown, ax=right)
right.set(title="what is left of the error", aspect="equal")
plt.show()
