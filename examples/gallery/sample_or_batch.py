"""
One sample a step, or batches? At equal time
============================================

A step for each sample makes more of each sample; batches use more of the processor. Which learns
more in the same second? Here each size of batch gets two seconds and the best of three learning
rates.
"""

import os
import time

import matplotlib.pyplot as plt
import numpy as np

import fastbp

folder = os.environ.get("FASTBP_MNIST")
data = fastbp.load_dataset(folder or "digits")
X, y = data.X, data.y
if folder is None:
    print("FASTBP_MNIST is not set: these are scikit-learn's digits.")
held_out = np.arange(len(X)) % 6 == 0
X, y, X_test, y_test = X[~held_out], y[~held_out], X[held_out], y[held_out]
fastbp.warmup(["float32"])


def learned(batch_size, learning_rate, seconds=2):
    """Seconds of training so far, and losses on held-out rows, every few thousand samples."""
    network = fastbp.Network((X.shape[1], 128, 10), seed=0)
    trainer = fastbp.Trainer(network, learning_rate=learning_rate, batch_size=batch_size)
    generator = np.random.default_rng(0)
    spent, curve = 0.0, []
    while spent < seconds:
        rows = generator.integers(0, len(X), 10_240)
        some, labels = X[rows], y[rows]
        began = time.perf_counter()
        trainer.partial_fit(some, labels)
        spent += time.perf_counter() - began
        curve.append((spent, network.loss(X_test, y_test)))
    return np.array(curve).T


# %%
# The larger the batch, the larger the best step: three are tried for each.

learned(1, 0.01, seconds=0.1), learned(32, 0.01, seconds=0.1)  # code is loaded
figure, panel = plt.subplots(figsize=(8, 4.2), layout="constrained")
for batch_size, rates, style in (
    (1, (0.005, 0.01, 0.02), "-"),
    (32, (0.1, 0.2, 0.4), "--"),
    (512, (0.25, 0.5, 1.0), ":"),
):
    runs = {rate: learned(batch_size, rate) for rate in rates}
    best = min(runs, key=lambda rate: runs[rate][1].min())
    seconds, losses = runs[best]
    name = f"batches of {batch_size}" if batch_size > 1 else "one sample a step"
    print(f"{name}: loss {losses.min():.3f} at η = {best}")
    panel.plot(seconds, losses, style, label=f"{name}, η = {best}")
panel.set(xlabel="seconds of training", ylabel="loss on held-out rows", yscale="log", xlim=(0, 2))
panel.grid(alpha=0.4, which="both")
panel.legend()
plt.show()

# %%
# With fastbp, a sample takes about as long alone as in a batch. So small steps have no price here,
# and large batches have taken fewer of them.
