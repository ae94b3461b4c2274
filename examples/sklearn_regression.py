"""Regression: targets are scaled too, and the number of epochs is found on rows held out.

    python examples/sklearn_regression.py

Needs scikit-learn: ``pip install -e '.[sklearn]'`` in the folder of the clone.
"""

from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_friedman1
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp.sklearn import MLPRegressor


def main() -> None:
    """Cross-validate two models."""
    X, y = make_friedman1(n_samples=3000, noise=1.0, random_state=0)
    mlp = MLPRegressor(
        hidden_layer_sizes=(64, 32),
        early_stopping=True,
        learning_rate_init=0.005,
        max_iter=500,
        random_state=0,
    )
    scaled = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), mlp), transformer=StandardScaler()
    )
    for name, model in (
        ("network", scaled),
        ("boosted trees", HistGradientBoostingRegressor(random_state=0)),
    ):
        scores = cross_val_score(model, X, y, cv=5)
        print(f"{name}: R² {scores.mean():.3f} ± {scores.std():.3f}")


if __name__ == "__main__":
    main()
