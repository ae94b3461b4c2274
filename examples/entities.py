"""A model for each of many machines: trained on what is known, then kept up to date as rows come.

python examples/entities.py
"""

import numpy as np

import fastbp

N_MACHINES, N_DAYS = 300, 120


def main() -> None:
    """Predict tomorrow's wear of each machine from today's load, heat and age."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(N_DAYS, N_MACHINES, 3))
    habits = generator.normal(size=(N_MACHINES, 3))  # no two machines are alike
    wear = np.tanh((X * habits).sum(axis=2)) + generator.normal(0, 0.05, (N_DAYS, N_MACHINES))
    machines = np.arange(N_MACHINES)

    models = fastbp.Ensemble(
        (3, 8, 1),
        N_MACHINES,
        seeds=0,
        activation="tanh",
        loss="squared_error",
        learning_rate=fastbp.schedules.Exponential(0.1, 0.97),
    )
    past = N_DAYS - 20
    models.fit(
        X[:past].reshape(-1, 3),
        wear[:past].reshape(-1),
        groups=np.tile(machines, past),
        epochs=30,
    )
    print(models.summary())

    # Each day: a prediction for every machine, then its outcome to learn from.
    errors = []
    for day in range(past, N_DAYS):
        predicted = models.predict(X[day], groups=machines)
        errors.append(np.abs(predicted - wear[day]).mean())
        models.partial_fit(X[day], wear[day], groups=machines)
    print(f"mean error {np.mean(errors):.3f}, of wear that varies by {wear.std():.3f}")


if __name__ == "__main__":
    main()
