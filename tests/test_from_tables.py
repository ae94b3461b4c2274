"""Raw tables, as people have them, by the defaults of the command line: good models, and the same
predictions whatever the order of the columns and the kind of file."""

import csv
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sklearn import datasets

from fastbp.cli import main


def of_bunch(bunch, names=None):
    target = bunch.target if names is None else np.array(names)[bunch.target]
    columns = zip(bunch.feature_names, bunch.data.T, strict=True)
    return pa.table({**{str(name): column for name, column in columns}, "target": target})


def with_every_kind_of_column(n=300):
    """Numbers of all sizes, integers, truth values, categories, codes; many of them missing."""
    rng = np.random.default_rng(0)
    area = rng.lognormal(4, 0.5, n)
    city = rng.choice(["Paris", "Köln", "Łódź, old"], n)
    garden = rng.random(n) < 0.4
    code = rng.choice(["007", "012", "100"], n)
    wealth = 1e8 + 1e6 * rng.normal(size=n)
    rent = 12 * area + 300 * (city == "Paris") + 200 * garden + 150 * (code == "007")
    rent = np.round(rent + (wealth - 1e8) / 2e4 + rng.normal(0, 20, n), 2)

    def gaps(values, share=0.1):
        return pa.array([None if rng.random() < share else v for v in values.tolist()])

    return pa.table(
        {
            "area": gaps(area),
            "floor": pa.array(rng.integers(0, 9, n)),
            "city": gaps(city),
            "garden": gaps(garden),
            "code": pa.array(code),
            "wealth": pa.array(wealth),
            "constant": pa.array(np.full(n, 3)),
            "rent": pa.array(rent),
        }
    )


def run(capsys, *arguments):
    code = main([str(each) for each in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


@pytest.mark.parametrize(
    ("table", "target", "figure", "least"),
    [
        (of_bunch(datasets.load_diabetes(scaled=False)), "target", "r2", 0.3),
        (of_bunch(datasets.load_wine(), ["a", "b", "c"]), "target", "accuracy", 0.9),
        (of_bunch(datasets.load_breast_cancer()), "target", "accuracy", 0.92),
        (with_every_kind_of_column(), "rent", "r2", 0.85),
    ],
    ids=["diabetes", "wine", "breast cancer", "every kind of column"],
)
def test_a_raw_table_gives_a_good_model(capsys, tmp_path, table, target, figure, least):
    data, twin, other = tmp_path / "t.csv", tmp_path / "t.parquet", tmp_path / "other.csv"
    model, predictions = tmp_path / "m.safetensors", tmp_path / "p.csv"
    pa.csv.write_csv(table, data)
    pa.parquet.write_table(table, twin)
    result = json.loads(run(capsys, "train", data, "--target", target, "--save", model, "--json"))
    assert result["figures"]["test"][figure] >= least
    assert result["figures"]["test"][figure] > result["baseline"][figure]

    # Raw rows, columns in another order, more of them, and no target.
    names = [name for name in reversed(table.column_names) if name != target]
    pa.csv.write_csv(table.select(names).append_column("more", pa.array(["x"] * len(table))), other)
    expected = run(capsys, "predict", model, data)
    assert run(capsys, "predict", model, other) == expected
    run(capsys, "predict", model, twin, "--output", predictions)
    rows = list(csv.reader(predictions.read_text().splitlines()))
    assert rows[0] == [target]
    assert [row[0] for row in rows[1:]] == expected.split()

    # The Parquet twin gives the same network.
    again = json.loads(run(capsys, "train", twin, "--target", target, "--json"))
    assert again["figures"] == result["figures"]
    first = run(capsys, "evaluate", model, data, "--json")
    second = run(capsys, "evaluate", model, twin, "--json")
    assert json.loads(first)["figures"] == json.loads(second)["figures"]


def test_a_fresh_process_evaluates_the_same(capsys, tmp_path):
    data, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    pa.csv.write_csv(with_every_kind_of_column(), data)
    run(capsys, "train", data, "--target", "rent", "--epochs", 5, "--save", model)
    out = run(capsys, "evaluate", model, data, "--json")
    command = [sys.executable, "-m", "fastbp", "evaluate", model, data, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(out)
    assert (
        "240 of 300 rows are the same" not in done.stderr
    )  # the validation part is not trained on


def test_values_that_the_training_did_not_have(capsys, tmp_path):
    """Another city, a missing floor: predicted. Text among areas: refused by its line."""
    data, model, new = tmp_path / "t.csv", tmp_path / "m.safetensors", tmp_path / "new.csv"
    table = with_every_kind_of_column()
    pa.csv.write_csv(table, data)
    run(capsys, "train", data, "--target", "rent", "--epochs", 5, "--save", model)
    row = {"area": "80", "floor": "2", "city": "Paris", "garden": "true", "code": "012",
           "wealth": "1e8", "constant": "3"}  # fmt: skip
    rows = [row, row | {"city": "Oslo"}, row | {"floor": "", "city": "", "garden": ""}]
    rows.append(row | {"code": "999", "constant": "4"})
    with open(new, "w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows(rows)
    values = [float(line) for line in run(capsys, "predict", model, new).split()]
    assert len(values) == 4
    assert np.isfinite(values).all()
    assert len(set(values)) > 1
    new.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n" + "big,2,A,true,007,1,3\n")
    assert main(["predict", str(model), str(new)]) == 2
    assert "area" in capsys.readouterr().err
    new.write_text("area,floor\n1,2\n")
    assert main(["predict", str(model), str(new)]) == 2
    assert "no column 'city'" in capsys.readouterr().err


def test_dates_are_refused_with_a_hint(capsys, tmp_path):
    data = tmp_path / "t.csv"
    lines = [f"{i},2024-01-{1 + i % 28:02},{3 * i}" for i in range(60)]
    data.write_text("\n".join(["x,day,y", *lines]) + "\n")
    assert main(["train", str(data), "--target", "y"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "day" in err
    assert "date" in err
    assert main(["train", str(data), "--target", "y", "--drop", "day", "--quiet"]) == 0
