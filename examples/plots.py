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

CITIES = ("Berlin", "Dresden", "Jena")


def write_houses(path: Path) -> None:
    """Write a table of houses with their prices, of which some ages are missing."""
    generator = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("area", "rooms", "age", "city", "price"))
        for area in generator.uniform(30, 220, 600).round(1):
            rooms, age = max(1, round(area / 28 + generator.normal())), generator.integers(0, 120)
            city = generator.integers(len(CITIES))
            price = 1500 * area * (1.6 - 0.3 * city) * np.exp(-age / 150) + 9000 * rooms
            price *= np.exp(generator.normal(0, 0.12))
            shown = age if generator.random() < 0.9 else ""
            table.writerow((area, rooms, shown, CITIES[city], round(price, -2)))


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
