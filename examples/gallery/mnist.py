"""
MNIST in four seconds
=====================

60,000 handwritten digits, one step for each, again and again for four seconds. The files are looked
for in the folder that ``FASTBP_MNIST`` names; without them, scikit-learn's small digits take their
place.
"""

import os

import matplotlib.pyplot as plt
import numpy as np

import fastbp

folder = os.environ.get("FASTBP_MNIST")
if folder:
    data = fastbp.load_dataset(folder)
    X, y, X_test, y_test = data.X, data.y, data.X_test, data.y_test
else:
    data = fastbp.load_dataset("digits")
    X, y, X_test, y_test = data.X[:1500], data.y[:1500], data.X[1500:], data.y[1500:]
    print("FASTBP_MNIST is not set: these are scikit-learn's digits, of 8 x 8 pixels.")

# %%
# ``TimeLimit`` counts from the first step. The learning rate falls with the epochs.

fastbp.warmup(["float32"])
network = fastbp.Network((X.shape[1], 128, 10), seed=0)
rate = fastbp.schedules.Exponential(0.02, 0.85)
trainer = fastbp.Trainer(network, learning_rate=rate, seed=0)
history = trainer.fit(
    X,
    y,
    epochs=30,
    eval_set=(X_test, y_test),
    callbacks=fastbp.callbacks.TimeLimit(4),
    progress=False,
)
samples = sum(s * rate for s, rate in zip(history.seconds, history.samples_per_second, strict=True))
print(f"{samples:,.0f} steps in {sum(history.seconds):.1f} s of training")
print(f"{history.accuracy[-1]:.2%} of {len(X_test):,} digits that it had not seen are right")

# %%
# What it gets wrong, most certain first: not all of these are easy for us.

figure = plt.figure(figsize=(9, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1))
curve = left.subplots()
curve.plot(np.cumsum(history.seconds), 100 * (1 - np.array(history.accuracy)), "o-", ms=4)
curve.set(
    xlabel="seconds of training", ylabel="errors on test digits, %", xlim=(0, None), ylim=(0, None)
)
curve.grid(alpha=0.4)

probabilities = network.predict_proba(X_test)
guess = probabilities.argmax(axis=1)
wrong = np.flatnonzero(guess != y_test)
wrong = wrong[np.argsort(-probabilities[wrong, guess[wrong]])][:12]
side = int(np.sqrt(X.shape[1]))
panels = right.subplots(3, 4).flat
for panel in panels:
    panel.axis("off")
for panel, row in zip(right.axes, wrong, strict=False):
    panel.imshow(X_test[row].reshape(side, side), cmap="gray_r")
    panel.set_title(f"{y_test[row]}, not {guess[row]}", fontsize=9)
plt.show()
