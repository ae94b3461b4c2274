"""Parameters and figures of a training in MLflow, by a function as a callback.

    python examples/mlflow_logging.py

Where MLflow is not installed (``pip install mlflow``), it trains all the same and logs nothing.
MLflow writes where MLFLOW_TRACKING_URI says, or into the working folder; ``mlflow ui`` shows it.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

import fastbp

try:
    import mlflow
except ImportError:
    mlflow = None
    print("Nothing is logged, for MLflow is not installed: pip install mlflow")


def logged(trainer: fastbp.Trainer) -> None:
    """After each epoch: every number in the last row of the history."""
    row = {name: column[-1] for name, column in vars(trainer.history).items()}
    numbers = {name: value for name, value in row.items() if isinstance(value, float)}
    mlflow.log_metrics(numbers, step=len(trainer.history))


def main() -> None:
    """Train a regression."""
    X = np.random.default_rng(0).normal(size=(500, 3))
    y = np.sin(X).sum(axis=1)
    network = fastbp.Network((3, 32, 1), loss="squared_error", seed=0)
    trainer = fastbp.Trainer(network, "adam", learning_rate=0.01, batch_size=16, seed=0)
    run: Any = contextlib.nullcontext()
    callbacks: list[Callable[[fastbp.Trainer], None]] = []
    if mlflow is not None:
        run, callbacks = mlflow.start_run(run_name="sines"), [logged]
    with run:
        if mlflow is not None:
            mlflow.log_params(trainer.get_params())
        trainer.fit(X, y, epochs=20, validation_split=0.2, metrics="r2", callbacks=callbacks)
    print(f"R² {trainer.history['r2'][-1]:.3f}")


if __name__ == "__main__":
    main()
