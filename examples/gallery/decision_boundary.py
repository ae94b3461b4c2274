"""
A decision boundary, learned live
=================================

Two spirals, and a network of two hidden layers that learns to tell them apart, one point a step. A
callback looks at the network while it is trained: in a window it would draw, here it keeps what it
saw.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp

generator = np.random.default_rng(0)
turn = np.sqrt(generator.uniform(0.02, 1, 600)) * 3 * np.pi
label = np.arange(600) % 2
angle = turn + np.pi * label
X = 0.3 * turn[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
X += generator.normal(0, 0.1, X.shape)

# %%
# The callback is a function of the trainer, called after each epoch.

side = np.linspace(-3.3, 3.3, 200)
grid = np.column_stack([axis.ravel() for axis in np.meshgrid(side, side)])
seen = {}


def look(trainer):
    """Keep the probability of the second class, at the epochs that are drawn below."""
    epoch = len(trainer.history)
    if epoch in (1, 3, 6, 12, 25, 60):
        seen[epoch] = trainer.network.predict_proba(grid)[:, 1].reshape(200, 200)


network = fastbp.Network((2, 64, 64, 2), seed=0)
trainer = fastbp.Trainer(network, learning_rate=0.03, seed=0)
history = trainer.fit(X, label, epochs=60, callbacks=look, progress=False)
print(f"{len(history) * len(X):,} samples in {sum(history.seconds):.2f} s")

# %%
# At first the boundary is a line; in the end it follows the arms.

figure, panels = plt.subplots(2, 3, figsize=(9, 6.2), layout="constrained")
for panel, (epoch, probability) in zip(panels.flat, seen.items(), strict=True):
    panel.contourf(side, side, probability, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.7)
    panel.contour(side, side, probability, levels=[0.5], colors="black", linewidths=1)
    panel.scatter(*X.T, c=label, cmap="RdBu_r", s=6, edgecolor="white", linewidth=0.2)
    panel.set(title=f"epoch {epoch}", xticks=[], yticks=[], aspect="equal")
plt.show()
