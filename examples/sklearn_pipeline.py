"""Classification in a pipeline: scaling, a search over parameters, calibrated probabilities.

    python examples/sklearn_pipeline.py

Needs scikit-learn: ``pip install -e '.[sklearn]'`` in the folder of the clone. The
only line that is not scikit-learn's is the import.
"""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp.sklearn import MLPClassifier


def main() -> None:
    """Search, calibrate, report."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    model = make_pipeline(
        StandardScaler(),
        MLPClassifier(early_stopping=True, max_iter=500, learning_rate_init=0.01, random_state=0),
    )
    grid = {
        "mlpclassifier__hidden_layer_sizes": [(30,), (30, 30)],
        "mlpclassifier__alpha": [1e-4, 1e-2, 1.0],
    }
    search = GridSearchCV(model, grid, n_jobs=2).fit(X_train, y_train)
    print(f"best: {search.best_params_}")
    print(f"accuracy {search.score(X_test, y_test):.3f}")
    calibrated = CalibratedClassifierCV(search.best_estimator_).fit(X_train, y_train)
    for name, fitted in (("as it is", search), ("calibrated", calibrated)):
        print(f"log loss {name}: {log_loss(y_test, fitted.predict_proba(X_test)):.3f}")


if __name__ == "__main__":
    main()
