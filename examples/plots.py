"""Plots: those of the command line on a table of houses, and those of a history in Python.

    python examples/plots.py            # in a temporary folder
    python examples/plots.py report.svg

Needs matplotlib and pyarrow: ``pip install -e '.[cli]'`` in the folder of the clone.
"""

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastbp
from fastbp import callbacks, cli


def write_houses(path: Path) -> None:
    """Write the table of docs/tables.md: houses with their prices; some areas are missing."""
    generator = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["area", "rooms", "city", "garden", "price"])
        for _ in range(2000):
            area = generator.uniform(30, 200).__round__(1)
            rooms = max(1, round(area / 30 + generator.normal()))
            city = generator.choice(["Lyon", "Nice", "Paris"])
            garden = generator.random() < 0.3
            price = (2500 + 2000 * (city == "Paris")) * area + 9000 * rooms + 30_000 * garden
            price = round(price * generator.normal(1, 0.05), -2)
            rows.writerow([area if generator.random() < 0.95 else "", rooms, city, garden, price])


def main() -> None:
    """Draw both."""
    with tempfile.TemporaryDirectory() as folder:
        houses = Path(folder, "housing.csv")
        write_houses(houses)
        report = sys.argv[1] if len(sys.argv) > 1 else str(Path(folder, "report.svg"))
        cli.main(["train", str(houses), "--target", "price", "--plot", report])

        # In Python, a history draws itself. Notebooks show the figure that `plot` returns.
        generator = np.random.default_rng(0)
        X = generator.normal(size=(400, 3))
        y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
        network = fastbp.Network((3, 32, 1), loss="squared_error", seed=0)
        trainer = fastbp.Trainer(network, optimizer="adam", seed=0)
        history = trainer.fit(
            X,
            y,
            epochs=40,
            validation_split=0.2,
            metrics=("r2", "mae"),
            callbacks=[callbacks.EarlyStopping(patience=5)],
        )
        history.plot(Path(folder, "history.png"), title="three panels")
        print(f"\nbest epoch {history.best_epoch}: R² {history['r2'][history.best_epoch - 1]:.3f}")


if __name__ == "__main__":
    main()
