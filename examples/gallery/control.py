"""
A controller that learns while it steers
========================================

An arm is to follow a curve. A simple controller pushes when it lags behind; a network learns from
these pushes what the arm needs, and soon pushes first. Simulation, control and learning are one
compiled loop, a thousand times a second of the arm's time.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from numba import njit

import fastbp
from fastbp import jit


@njit
def run(s, seconds, learns):
    """Angles wanted and reached, a row per millisecond; neither knows of gravity and friction."""
    x, wanted, out = np.zeros(3, np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32)
    angles = np.zeros((seconds * 1000, 2))
    angle = speed = 0.0
    for t in range(len(angles)):
        now = t / 1000
        goal = 0.8 * np.sin(1.3 * now) + 0.5 * np.sin(2.9 * now)
        pace = 1.04 * np.cos(1.3 * now) + 1.45 * np.cos(2.9 * now)
        push = -1.352 * np.sin(1.3 * now) - 4.205 * np.sin(2.9 * now)
        x[0], x[1], x[2] = goal, pace / 2, push / 5
        force = 20 * (goal - angle) + 4 * (pace - speed)
        if learns:
            jit.predict_one(s, x, out)
            force += 10 * out[0]
            wanted[0] = force / 10  # what was needed in all, as the next guess
            jit.learn_one(s, x, wanted)
        friction = 0.5 * speed + 1.5 * np.tanh(speed / 0.05)
        speed += (force - 9.81 * np.sin(angle) - friction) / 1000
        angle += speed / 1000
        angles[t] = goal, angle
    return angles


# %%
# The first call compiles; the second is timed.

network = fastbp.Network((3, 32, 1), activation="tanh", loss="squared_error", seed=0)
run(jit.state(network, learning_rate=0.01), 1, True)
began = time.perf_counter()
learned = run(jit.state(network, learning_rate=0.01), 60, True)
took = time.perf_counter() - began
print(f"60 s of the arm, {len(learned):,} predictions and steps: {took:.2f} s")
simple = run(jit.state(network, learning_rate=0.01), 60, False)

# %%
# After some seconds the arm is where it should be.

figure, (above, below) = plt.subplots(
    2, 1, figsize=(8, 5.4), layout="constrained", height_ratios=(1, 1)
)
seconds = np.arange(len(learned)) / 1000
last = seconds >= 52
above.plot(seconds[last], learned[last, 0], "k", lw=3, alpha=0.3, label="wanted")
above.plot(seconds[last], simple[last, 1], "--", label="controller alone")
above.plot(seconds[last], learned[last, 1], label="with the network")
above.set(ylabel="angle, rad", title="the last seconds")
above.legend(loc="upper right", ncols=3)
above.set_ylim(-1.6, 2.1)
for angles, style, name in (
    (simple, "--", "controller alone"), (learned, "-", "with the network"),
):  # fmt: skip
    error = np.abs(angles[:, 1] - angles[:, 0]).reshape(-1, 1000).mean(axis=1)
    below.plot(np.arange(60) + 0.5, error, style, label=name)
below.set(xlabel="seconds", ylabel="mean error in a second, rad", yscale="log")
below.grid(alpha=0.4)
below.legend()
plt.show()
