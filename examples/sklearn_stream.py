"""A stream: `partial_fit` on what arrives, until the score on held-out rows stops improving.

    python examples/sklearn_stream.py

Needs scikit-learn: ``pip install -e '.[sklearn]'`` in the folder of the clone.
scikit-learn refuses early stopping here.
"""

from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_digits

from fastbp.sklearn import MLPClassifier


def arriving(seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of handwritten digits without end, each moved by a pixel at random."""
    generator = np.random.default_rng(seed)
    images, labels = load_digits().images[:1500] / 16, load_digits().target[:1500]
    while True:
        rows = generator.integers(0, len(images), 256)
        moved = [np.roll(images[row], generator.integers(-1, 2), axis=1) for row in rows]
        yield np.reshape(moved, (256, 64)), labels[rows]


def main() -> None:
    """Learn until it is good enough."""
    X, y = load_digits(return_X_y=True)
    held_out = X[1500:] / 16, y[1500:]
    model = MLPClassifier(
        early_stopping=True, n_iter_no_change=25, learning_rate_init=0.003, random_state=0
    )
    for X_batch, y_batch in arriving(seed=0):
        model.partial_fit(X_batch, y_batch, classes=np.arange(10), eval_set=held_out)
        if model.stopped_:  # and the best weights are restored
            break
    print(f"{len(model.validation_scores_)} batches, {model.t_:,} rows")
    print(f"accuracy {model.score(*held_out):.3f}, the best on the way")


if __name__ == "__main__":
    main()
