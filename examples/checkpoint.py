"""A fit that may be killed at any moment, and goes on when the program is run again.

    python examples/checkpoint.py [FOLDER]

It ends with the same bits as if it had never been interrupted. Without a folder, it plays the crash
itself: it trains for some epochs, forgets everything, and goes on from the file.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import fastbp
from fastbp import callbacks

EPOCHS = 30


def data() -> tuple[np.ndarray, np.ndarray]:
    """Points of the plane, inside and outside of a ring."""
    X = np.random.default_rng(0).normal(size=(600, 2))
    return X, (abs(np.hypot(*X.T) - 1) < 0.4).astype(int)


def train(folder: Path, last: int = EPOCHS) -> fastbp.Trainer:
    """Train up to an epoch, from the file if there is one."""
    path = folder / "ring.safetensors"
    if path.exists():
        trainer = fastbp.load(path)
        print(f"{len(trainer.history)} epochs are done")
    else:
        network = fastbp.Network((2, 32, 2), seed=0)
        trainer = fastbp.Trainer(network, "adam", learning_rate=0.01, batch_size=16, seed=0)
    X, y = data()
    trainer.fit(
        X,
        y,
        epochs=max(0, last - len(trainer.history)),  # of which some may be done
        validation_split=0.2,
        callbacks=[
            callbacks.EarlyStopping("accuracy", patience=EPOCHS),
            callbacks.Checkpoint(path),
            callbacks.CSVLogger(folder / "ring.csv"),
        ],
    )
    return trainer


def main() -> None:
    """Train in the folder, or play a crash in one that is removed."""
    if len(sys.argv) > 1:
        trainer = train(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            train(Path(name), last=12)
            trainer = train(Path(name))
    best = trainer.history.best_epoch
    print(f"epoch {best} is the best: accuracy {trainer.history.accuracy[best - 1]:.3f}")


if __name__ == "__main__":
    main()
