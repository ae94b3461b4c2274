"""A stream with River: sensors that are added and fail, and a kind of fault that is new.

    python examples/river_stream.py

Needs River: ``pip install -e '.[river]'`` in the folder of the clone.
"""

from collections.abc import Iterator

import numpy as np
from river import metrics, preprocessing, utils

from fastbp.river import MLPClassifier


def machine(n: int, seed: int) -> Iterator[tuple[dict[str, float], str]]:
    """What the sensors of a machine show, and what the mechanic finds afterwards."""
    generator = np.random.default_rng(seed)
    for t in range(n):
        heat, noise, leak = generator.normal(size=3)
        x = {"temperature": 70 + 9 * heat, "vibration": 0.3 + 0.02 * noise}
        if t > n // 3:
            x["pressure"] = 1000 - 40 * leak  # a new sensor
        if generator.random() < 0.1:
            del x["vibration"]  # which fails now and then
        if t > n // 2 and leak > 1:
            yield x, "leak"  # nobody had seen one before
        elif heat + noise > 1:
            yield x, "bearing"
        else:
            yield x, "none"


def main() -> None:
    """Predict each sample, then learn it."""
    model = preprocessing.StandardScaler() | MLPClassifier(learning_rate=0.05, seed=0)
    recent = utils.Rolling(metrics.Accuracy, window_size=1000)
    n = 20_000
    for t, (x, y) in enumerate(machine(n, seed=0), start=1):
        if (guess := model.predict_one(x)) is not None:
            recent.update(y, guess)
        model.learn_one(x, y)
        if t % (n // 5) == 0:
            print(f"after {t:,}: {recent}, of {len(model.predict_proba_one(x))} classes")
    print(f"accuracy {recent.get():.3f} in the last 1,000")


if __name__ == "__main__":
    main()
