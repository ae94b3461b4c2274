"""The command line as a user meets it: output, files, errors in one line, exit codes."""

import csv
import dataclasses
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp import experiment, metrics
from fastbp.cli import main, output, train
from fastbp.cli.options import training_defaults
from fastbp.data import read
from fastbp.optimizers import OPTIMIZERS
from fastbp.parameters import Parameters
from fastbp.schedules import SCHEDULES

TRAIN = [sys.executable, "-m", "fastbp.cli", "train"]


def run(capsys, *arguments):
    """Exit code, stdout and stderr of the command line."""
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json(capsys, *arguments):
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def error(capsys, *arguments):
    """The one line that a refused command prints."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def last_figures(out):
    """The table of figures that ends the output: name to model's and trivial model's."""
    lines = out.rstrip().splitlines()
    start = max(i for i, line in enumerate(lines) if "trivial model" in line)
    rows = [re.split(r"  +", line) for line in lines[start + 1 :]]
    return {name: (own, trivial) for name, own, trivial in rows}


def test_train_digits_reaches_95_percent_with_its_defaults(capsys):
    code, out, err = run(capsys, "train", "digits")
    assert code == 0, err
    assert re.search(
        r"[\d,]+ rows to train on, \d+ to choose the epoch, 359 held out, 64 inputs", out
    )
    assert "the target is learned as 10 classes" in out
    assert re.search(
        r"^\w+, learning rate .*, batches of \d+, up to \d+ epochs, stops after", out, re.M
    )
    assert 3 < len(re.findall(r"^epoch +\d+  train loss .* samples/s", out, re.M)) <= 21
    assert re.search(r"^(stopped at epoch \d+|trained for \d+ epochs), best \d+", out, re.M)
    figures = last_figures(out)
    assert list(figures) == ["accuracy", "balanced accuracy", "log loss", "AUC"]
    assert float(figures["accuracy"][0].rstrip("%")) >= 95
    assert float(figures["accuracy"][1].rstrip("%")) < 15
    matrix = re.search(r"confusion matrix.*\n(?:.*\n){11}", out)[0].splitlines()[2:]
    counts = np.array([line.split()[1:] for line in matrix], int)
    assert counts.shape == (10, 10)
    assert counts.sum() == 359


def test_saved_model_predicts_the_same_and_the_plot_is_a_picture(capsys, tmp_path):
    model, plot = tmp_path / "model.safetensors", tmp_path / "curves.png"
    result = run_json(capsys, "train", "digits", "--epochs", 2, "--save", model, "--plot", plot)
    assert plot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(result["history"]["train_loss"]) == 2
    data = fastbp.load_dataset("digits")
    network = fastbp.load(model).network
    code, out, err = run(capsys, "predict", model, "digits")
    assert code == 0
    assert [int(line) for line in out.split()] == network.predict(data.X).tolist()
    accuracy = np.mean(network.predict(data.X) == data.y)
    assert f"accuracy {accuracy:.2%} on 1,797 rows" in err
    known = result["rows"] + result["validation_rows"]
    assert f"{known:,} of 1,797 rows are the same as rows that the model was trained on" in err
    _, out, _ = run(capsys, "predict", model, "digits", "--proba")
    probabilities = np.array([[float(p) for p in line.split(",")] for line in out.split()])
    np.testing.assert_allclose(probabilities, network.predict_proba(data.X), rtol=1e-5, atol=1e-30)


def test_options_reach_the_network(capsys):
    text = (
        "train digits --layers 12,7 --activation tanh,gelu --dtype float64 --epochs 1 "
        "--learning-rate 0.05 --weight-decay 0.001 --seed 4 --held-out 0.5"
    )
    result = run_json(capsys, *text.split())
    assert result["sizes"] == [64, 12, 7, 10]
    assert result["activations"] == ["tanh", "gelu", "softmax"]
    assert result["dtype"] == "float64"
    assert result["learning_rate"] == 0.05
    assert result["weight_decay"] == 0.001
    assert result["held_out_rows"] == 898
    again = run_json(capsys, *text.split())
    assert again["test_loss"] == result["test_loss"]
    assert run_json(capsys, "train", "digits", "--layers", "none", "--epochs", 1)["sizes"] == [
        64,
        10,
    ]


def test_the_optimizer_and_early_stopping(capsys):
    text = (
        "train digits --layers 12 --epochs 300 --optimizer adam --batch-size 16 --patience 2 "
        "--dropout 0.1"
    )
    result = run_json(capsys, *text.split())
    assert (result["optimizer"], result["batch_size"]) == ("adam", 16)
    assert result["learning_rate"] == 0.001
    losses = result["history"]["eval_loss"]
    assert len(losses) < 300
    assert np.argmin(losses) == len(losses) - 3
    assert result["best_epoch"] == len(losses) - 2
    assert "optimizer must be one of sgd" in error(capsys, "train", "digits", "--optimizer", "up")


def write_flowers(path, n=90):
    generator = np.random.default_rng(0)
    kind = generator.integers(0, 3, n)
    X = generator.normal(size=(n, 2)) + 4 * np.eye(3)[kind][:, :2]
    names = np.array(["iris", "lily", "rose"])[kind]
    rows = "\n".join(f"{a:.4f},{name},{b:.4f}" for (a, b), name in zip(X, names, strict=True))
    path.write_text(f"width,flower,height\n{rows}\n")
    return names


def test_csv_with_class_names(capsys, tmp_path):
    data, model = tmp_path / "flowers.csv", tmp_path / "model.safetensors"
    names = write_flowers(data)
    result = run_json(capsys, "train", data, "--target", "flower", "--save", model)
    assert result["loss"] == "cross_entropy"
    assert result["classes"] == ["iris", "lily", "rose"]
    assert result["figures"]["test"]["accuracy"] > 0.8
    code, out, err = run(capsys, "predict", model, data, "--target", "flower")
    assert code == 0
    assert np.mean(np.array(out.split()) == names) > 0.8
    assert "accuracy" in err
    # Columns are found by name, in any order, and the target need not be there.
    reordered = tmp_path / "new.csv"
    lines = [line.split(",") for line in data.read_text().split()]
    reordered.write_text("\n".join(f"{h},{w}" for w, _, h in lines) + "\n")
    code, again, err = run(capsys, "predict", model, reordered)
    assert (code, again) == (0, out)
    assert "72 of 90 rows are the same as rows that the model was trained on" in err
    reordered.write_text("height,depth\n1,2\n")
    assert "new.csv: no column 'width'" in error(capsys, "predict", model, reordered)


def test_labels_print_one_to_a_line(capsys, tmp_path):
    """And those that look different differ in print too."""
    data, model = tmp_path / "d.csv", tmp_path / "model.safetensors"
    labels = ["a\nb", "a\\nb", "a\r\nb", "a,b", "a\x0bb", "a\x1bb", "a\x85b", "a\u2028b", "äöü"]
    with open(data, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("x", "t"), *enumerate(labels * 3)])
    run_json(capsys, "train", data, "--target", "t", "--epochs", 1, "--save", model)
    network = fastbp.load(model).network
    network.weights[-1][...] = 0
    for number, label in enumerate(sorted(labels)):
        network.biases[-1][...] = 0
        network.biases[-1][number] = 1
        fastbp.save(network, model, extra=fastbp.read_header(model)["extra"])
        code, out, _ = run(capsys, "predict", model, data)
        assert code == 0
        assert len(out.splitlines()) == 27
        escaped = label.replace("\\", "\\\\") if label.isprintable() else ascii(label)[1:-1]
        assert set(out.splitlines()) == {escaped}


def test_text_labels_of_a_model_are_compared_as_text(capsys, tmp_path):
    """A new file may hold only those that look like numbers."""
    data, model = tmp_path / "d.csv", tmp_path / "model.safetensors"
    data.write_text("x,t\n" + "".join(f"{i / 30},0{i % 2}\n{i / 30},{i % 2}\n" for i in range(30)))
    result = run_json(capsys, "train", data, "--target", "t", "--epochs", 1, "--save", model)
    assert result["classes"] == ["0", "00", "01", "1"]
    new = tmp_path / "new.csv"
    new.write_text("x,t\n0.1,1\n0.2,0\n")
    assert "on 2 rows" in run(capsys, "predict", model, new, "--target", "t")[2]
    new.write_text("x,t\n0.1,1\n0.2,0.0\n")
    assert "got '0.0' in row 1." in error(capsys, "predict", model, new, "--target", "t")
    np.savez(tmp_path / "d.npz", X=[[0.1], [0.2]], y=[0, 1])
    assert "got 0 in row 0." in error(capsys, "predict", model, tmp_path / "d.npz")


def test_models_of_earlier_versions_predict(capsys, tmp_path, generator):
    """Their networks know neither classes nor a preparation: both stand beside them."""
    model, new = tmp_path / "m.safetensors", tmp_path / "new.npz"
    network = fastbp.Network((3, 2), seed=0)
    pixels = generator.integers(0, 256, (40, 3)).astype(np.uint8)
    for extra, divisor in (({"pixels": True}, 255), ({"pixels": False}, 1), ({}, 255)):
        fastbp.save(network, model, extra={"classes": ["no", "yes"], "features": None, **extra})
        expected = network.predict_proba(pixels.astype(np.float32) / np.float32(divisor))
        np.savez(new, X=pixels, y=np.array(["no", "yes"] * 20))
        _, out, err = run(capsys, "predict", model, new, "--proba")
        printed = [[float(p) for p in line.split(",")] for line in out.split()]
        np.testing.assert_allclose(printed, expected, rtol=1e-5, atol=1e-30)
        assert re.match(r"accuracy \S+ on 40 rows\n", err)
    table = tmp_path / "new.csv"
    table.write_text("c,b,a,kind\n0.5,2,-1,yes\n0.25,1,3,no\n")
    fastbp.save(
        network,
        model,
        extra={"classes": ["no", "yes"], "features": ["a", "b", "c"], "pixels": False},
    )
    expected = [["no", "yes"][k] for k in network.predict([[-1, 2, 0.5], [3, 1, 0.25]])]
    code, out, err = run(capsys, "predict", model, table, "--target", "kind")
    assert (code, out.split()) == (0, expected)
    assert "on 2 rows" in err
    code, out, err = run(capsys, "evaluate", model, table, "--target", "kind")
    assert code == 0, err
    assert "accuracy" in out


def test_json_stays_json_when_a_loss_is_not_finite(capsys, monkeypatch):
    monkeypatch.setattr(Parameters, "evaluate", lambda *_, **__: fastbp.Evaluation(np.inf, None))
    result = run_json(capsys, "train", "digits", "--epochs", 1)
    assert result["test_loss"] is None
    assert result["history"]["eval_loss"] == [None]


def write_houses(path, n=200, seed=0):
    """Areas, rooms, age: numbers of many sizes, and prices around 100,000."""
    rng = np.random.default_rng(seed)
    area, rooms, age = rng.uniform(40, 250, n), rng.integers(1, 8, n), rng.integers(0, 90, n)
    price = 700 * area + 9000 * rooms - 400 * age + rng.normal(0, 3000, n) + 20_000
    rows = zip(area.round(1), rooms, age, price.round(), strict=True)
    path.write_text(
        "area,rooms,age,price\n" + "".join(f"{a},{r},{g},{p:.0f}\n" for a, r, g, p in rows)
    )
    return price.round()


def test_houses_by_their_defaults(capsys, tmp_path):
    """The README's first table: raw numbers in, prices out."""
    data, model = tmp_path / "housing.csv", tmp_path / "model.safetensors"
    prices = write_houses(data)
    code, out, err = run(capsys, "train", data, "--target", "price", "--save", model)
    assert code == 0, err
    assert "price is learned as numbers from" in out
    figures = last_figures(out)
    assert list(figures) == ["R²", "MAE", "RMSE"]
    assert float(figures["R²"][0]) > 0.9
    assert float(figures["R²"][1]) <= 0
    own, trivial = (float(text.replace(",", "")) for text in figures["MAE"])
    assert own < trivial / 3
    assert own < 15_000
    lines = [line.split(",") for line in data.read_text().split()]
    new = tmp_path / "new.csv"  # columns in another order, one more, and no prices
    new.write_text("\n".join(f"x{i},{g},{r},{a}" for i, (a, r, g, _) in enumerate(lines)) + "\n")
    code, out, _ = run(capsys, "predict", model, new)
    assert code == 0
    np.testing.assert_allclose([float(v) for v in out.split()], prices, atol=40_000)
    code, out, err = run(capsys, "evaluate", model, data)
    assert code == 0, err
    assert float(last_figures(out)["R²"][0]) > 0.9
    assert "of 200 rows are the same as rows that the model was trained on" in err


def test_csv_regression(capsys, tmp_path):
    data, model = tmp_path / "line.csv", tmp_path / "model.safetensors"
    x = np.linspace(-1, 1, 200)
    data.write_text("x,y\n" + "\n".join(f"{v},{2 * v + 0.25}" for v in x) + "\n")
    result = run_json(
        capsys,
        "train",
        data,
        "--target",
        "y",
        "--layers",
        "none",
        "--weight-decay",
        0,
        "--lr",
        0.1,
        "--save",
        model,
    )
    assert result["loss"] == "squared_error"
    assert result["test_accuracy"] is None
    assert result["figures"]["test"]["r2"] > 0.95
    _, out, err = run(capsys, "predict", model, data, "--target", "y")
    np.testing.assert_allclose([float(v) for v in out.split()], 2 * x + 0.25, atol=0.05)
    assert re.match(r"R² \S+, MAE \S+ on 200 rows\n", err)


def test_binary_labels(capsys, tmp_path):
    data = tmp_path / "d.npz"
    X = np.random.default_rng(0).normal(size=(200, 2))
    np.savez(data, X=X, y=np.where(X[:, 0] > 0, "yes", "no"))
    result = run_json(capsys, "train", data, "--loss", "binary_cross_entropy")
    assert result["sizes"][-1] == 1
    assert result["figures"]["test"]["accuracy"] > 0.9
    many = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(int)
    np.savez(data, X=X, y=many)
    result = run_json(capsys, "train", data, "--loss", "binary_cross_entropy")
    assert (result["task"], result["sizes"][-1]) == ("labels", 2)
    assert result["figures"]["test"]["accuracy"] > 0.8


def test_test_part_is_used_and_single_columns_are_classes(capsys, tmp_path, generator):
    data, model = tmp_path / "d.npz", tmp_path / "model.safetensors"
    X = generator.normal(size=(60, 2))
    y = (X[:, :1] > 0).astype(int)
    np.savez(data, X=X, y=y, X_test=X[:7], y_test=y[:7])
    result = run_json(capsys, "train", data, "--epochs", 1, "--save", model)
    assert result["rows"] + result["validation_rows"] == 60
    assert result["held_out_rows"] == 7
    assert (result["loss"], result["classes"]) == ("cross_entropy", [0, 1])
    _, out, err = run(capsys, "predict", model, data)
    assert len(out.split()) == 7
    assert "on 7 rows" in err
    np.savez(data, X=X, y=y[:, 0], X_test=X[:7], y_test=np.ones((7, 2)))
    assert "one label a row is needed, got targets of shape (7, 2)" in error(capsys, "train", data)


def test_the_seed_chooses_the_held_out_rows(capsys):
    text = "train digits --layers none --epochs 1 --seed"
    losses = {run_json(capsys, *text.split(), seed)["test_loss"] for seed in (0, 1)}
    assert len(losses) == 2


def test_mnist_folder(capsys, mnist_folder, tmp_path):
    """Two linear epochs on the real files, read as they are."""
    result = run_json(capsys, "train", mnist_folder, "--layers", "none", "--epochs", 2)
    assert result["rows"] + result["validation_rows"] == 60_000
    assert result["held_out_rows"] == 10_000
    assert result["test_accuracy"] > 0.9


def test_bad_options(capsys, tmp_path):
    for option, name in (("--epochs", "whole number"), ("--l1", "number")):
        for text in ("x", "1_0", "010", "\uff11", "nan", "inf", "1,5", "0x1", ""):
            assert f"{option}: must be a {name} such as" in error(
                capsys, "train", "digits", f"{option}={text}"
            )
    assert "--seed: must be a whole number such as 10, got '1.0'" in error(
        capsys, "train", "digits", "--seed", "1.0"
    )
    assert "--epochs must be an integer of at least 1, got 0." in error(
        capsys, "train", "digits", "--epochs", 0
    )
    assert "learning_rate must be a finite" in error(
        capsys, "train", "digits", "--learning-rate", "1e999"
    )
    for option, text, meant in (
        ("loss", "squarred_error", "squared_error"),
        ("init", "he-norm", "he_normal"),
        ("optimizer", "adan", "adam"),
        ("activation", "rellu", "relu"),
        ("schedule", "cosinus", "cosine"),
    ):
        message = error(capsys, "train", "digits", f"--{option}", text)
        assert re.search(f"got '{text}' \\(did you mean '{meant}", message), message
    for option, text, taken in (
        ("loss", "ce", ("loss", "cross_entropy")),
        ("optimizer", "AdamW", ("optimizer", "adamw")),
        ("activation", "ReLU", ("activations", ["relu", "softmax"])),
    ):
        result = run_json(capsys, "train", "digits", "--epochs", 1, f"--{option}", text)
        assert result[taken[0]] == taken[1]
    for text in ("a,b", "1_0", "8,,8", "08", "8.0"):
        assert "must be 'none' or whole numbers" in error(
            capsys, "train", "digits", "--layers", text
        )
    assert "sizes[1] must be an integer of at least 1" in error(
        capsys, "train", "digits", "--layers", "0"
    )
    assert "activation must be one name or 1" in error(
        capsys, "train", "digits", "--activation", "relu,tanh"
    )
    assert "--seed must be an integer of at least 0, got -1." in error(
        capsys, "train", "digits", "--seed", -1
    )
    assert "--held-out must be between 0 and 1" in error(capsys, "train", "digits", "--held-out", 1)
    assert "target names a column of a table" in error(capsys, "train", "digits", "--target", "x")
    assert "--save no/m: the folder does not exist" in error(
        capsys, "train", "digits", "--save", "no/m"
    )
    assert "--save .: this is no regular file" in error(capsys, "train", "digits", "--save", ".")
    assert "a plot must be one of" in error(capsys, "train", "digits", "--plot", "curves.xyz")
    assert "COMMAND" in error(capsys)
    assert "invalid choice: 'fly'" in error(capsys, "fly")


def test_bad_data(capsys, tmp_path):
    assert "nowhere.csv: No such file" in error(capsys, "train", "nowhere.csv")
    data = tmp_path / "d.csv"
    data.write_text("a,b\n1,2\n")
    assert "training needs targets; name one of its columns with --target: a, b" in error(
        capsys, "train", data
    )
    data.write_text("a,b\n1,2\n3,4\n")
    assert re.search(
        "d.csv: no column 'c'.*; the columns are a, b",
        error(capsys, "train", data, "--target", "c"),
    )
    rows = "".join(f"{i},{i % 3}\n" for i in range(50))
    data.write_text(f"a,b\n{rows}x,2\n")
    message = error(capsys, "train", data, "--target", "b")
    assert re.search("d.csv: column 'a' has text 'x' where a number belongs.*, line 52", message)
    np.savez(tmp_path / "d.npz", X=[[1.0], [np.nan]], y=[0, 1])
    assert "array X has nan in row 1, column 0." in error(capsys, "train", tmp_path / "d.npz")
    data.write_text("a,b\n1,cat\n2,dog\n")
    assert "squared_error needs numbers as targets, and b has the text 'cat'" in error(
        capsys, "train", data, "--target", "b", "--loss", "squared_error"
    )
    data.write_text("a,b\n1,5\n2,05\n")
    assert "squared_error needs numbers as targets, and b has the text '05'" in error(
        capsys, "train", data, "--target", "b", "--loss", "squared_error"
    )
    data.write_text("a,b\n1,-1\n2,3\n")
    code, _, err = run(capsys, "train", data, "--target", "b", "--loss", "poisson")
    assert code == 2
    assert re.fullmatch(
        r".*d.csv: poisson needs targets of at least 0, and b has -1 in row 0.*\n", err
    )


def test_errors_name_the_row_of_the_file(capsys, tmp_path):
    path = tmp_path / "d.npz"
    X = np.arange(80.0).reshape(40, 2)
    X[13, 1] = np.inf
    np.savez(path, X=X, y=np.arange(40) % 2)
    assert "d.npz: array X has inf in row 13, column 1." in error(capsys, "train", path)
    X[13, 1] = 1e300  # which is of about unit size once it is standardised
    np.savez(path, X=X, y=np.arange(40) % 2)
    assert run(capsys, "train", path, "--epochs", 1)[0] == 0
    code, _, err = run(capsys, "train", path, "--epochs", 1, "--no-scale")
    assert code == 2
    assert "float32" in err
    np.savez(path, X=np.ones((40, 2)), y=np.ones(40, int))
    assert "d.npz: all 40 rows have the target '1'" in error(capsys, "train", path)
    assert "this would overwrite the data" in error(capsys, "train", path, "--save", path)


def test_bad_models(capsys, tmp_path):
    assert "none.safetensors: No such file" in error(
        capsys, "predict", "none.safetensors", "digits"
    )
    path = tmp_path / "m.safetensors"
    path.write_text("x")
    assert "is not a safetensors file" in error(capsys, "predict", path, "digits")
    np.savez(tmp_path / "d.npz", X=np.ones((2, 3)), y=[0, 1])
    for classes in ([[1], [2]], [{}, {}], [1], "ab"):
        fastbp.save(fastbp.Network((3, 2)), path, extra={"classes": classes})
        assert "is damaged: its classes do not fit its outputs" in error(
            capsys, "predict", path, tmp_path / "d.npz"
        )
    data = tmp_path / "d.npz"
    for extra in ({"seen": 3}, {"seen": {"hashes": "%"}}, {"seen": []}):
        fastbp.save(fastbp.Network((3, 2)), path, extra=extra)
        assert "m.safetensors is damaged" in error(capsys, "evaluate", path, data)
    for trivial in (3, [1], [1, "x"], [1, None], {"a": 1}, [float("inf"), 1], [0, 0], [-1, 2]):
        fastbp.save(fastbp.Network((3, 2)), path, extra={"trivial": trivial, "target": 3})
        code, out, _ = run(capsys, "evaluate", path, data)
        assert code == 0
        assert "trivial" not in out
    for extra in ({}, {"options": 1}, {"options": {}, "stage": 1}, {"options": {}}):
        trainer = fastbp.Trainer(fastbp.Network((3, 2)))
        fastbp.save(trainer, path, extra=extra)
        assert "did not write this trainer" in error(capsys, "train", data, "--resume", path)
    fastbp.save(fastbp.Network((3, 2)), path, extra={"features": 3})
    assert "its columns must be names" in error(capsys, "predict", path, data)
    fastbp.save(fastbp.Network((3, 2)), path)
    assert "digits: X must have 3 columns" in error(capsys, "predict", path, "digits")


def test_divergence_is_one_line_and_exit_code_1(capsys):
    code, _, err = run(capsys, "train", "digits", "--learning-rate", 1e4, "--loss", "squared_error",
                       "--activation", "identity", "--optimizer", "sgd")  # fmt: skip
    assert code == 1
    assert re.fullmatch(r"fastbp: error: Training diverged in epoch 1: .* --learning-rate.*\n", err)


def test_missing_extras_are_named_before_any_work(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = "in the folder of the clone: pip install -e '.[{}]'"
    assert message.format("plot") in error(capsys, "train", "digits", "--plot", "x.png")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert message.format("sklearn") in error(capsys, "train", "digits")


def test_every_option_of_the_trainer_is_an_option(capsys):
    """Under its own name, or one that says the same."""
    options = vars(training_defaults())
    renamed = {"network": "layers", "n_threads": "threads", "shuffle": "no_shuffle"}
    for name in inspect.signature(fastbp.Trainer).parameters:
        assert renamed.get(name, name) in options, name
    for kind in (*OPTIMIZERS.values(), *SCHEDULES.values()):
        for each in dataclasses.fields(kind):
            assert each.name in options, each.name
    code, out, _ = run(capsys, "train", "--help")
    assert code == 0
    for group in ("data:", "network:", "training:", "regularization:", "results:"):
        assert f"\n{group}\n" in out
    assert set(re.findall(r"--[a-z0-9-]+", out)) >= {
        f"--{name.replace('_', '-')}" for name in options
    }


def test_settings_reach_the_optimizer_and_the_schedule(capsys, tmp_path):
    data, model = tmp_path / "flowers.csv", tmp_path / "model.safetensors"
    write_flowers(data)
    text = (
        "--epochs 6 --patience 0 --optimizer sgd --momentum 0.9 --nesterov --lr 0.02 "
        "--schedule cosine --warmup 2 --minimum 0.001 --clip-norm 5 --clip-value 3 --max-norm 9 "
        "--l1 1e-5 --weight-decay 1e-4 --label-smoothing 0.1 --class-weight rose=2,lily=1.5 "
        "--dropout 0.1 --batch-size 8 --threads 1 --no-shuffle --reduction batch"
    )
    run_json(capsys, "train", data, "--target", "flower", "--save", model, *text.split())
    trainer = fastbp.load(model)
    assert trainer.optimizer == fastbp.optimizers.SGD(momentum=0.9, nesterov=True)
    assert trainer.learning_rate == fastbp.schedules.Cosine(0.02, 4, minimum=0.001, warmup=2)
    assert (trainer.clip_norm, trainer.clip_value, trainer.max_norm) == (5, 3, 9)
    assert (trainer.l1, trainer.weight_decay, trainer.label_smoothing) == (1e-5, 1e-4, 0.1)
    assert list(trainer.class_weight) == [1, 1.5, 2]
    assert (trainer.batch_size, trainer.n_threads, trainer.shuffle) == (8, 1, False)
    assert (trainer.reduction, len(trainer.history)) == ("batch", 6)
    assert "--momentum is no setting of adam; it has --amsgrad, --beta1" in error(
        capsys, "train", data, "--target", "flower", "--optimizer", "adam", "--momentum", 0.9
    )
    assert "--momentum needs --optimizer, which may be sgd, rmsprop." in error(
        capsys, "train", data, "--target", "flower", "--momentum", 0.9
    )
    assert "--warmup needs --schedule, which may be cosine." in error(
        capsys, "train", data, "--target", "flower", "--warmup", 2
    )
    assert "--gamma is no setting of constant; it has none." in error(
        capsys, "train", data, "--target", "flower", "--schedule", "constant", "--gamma", 2
    )
    assert "--warmup is no setting of step; it has --gamma, --step-size" in error(
        capsys, "train", data, "--target", "flower", "--schedule", "step", "--warmup", 1
    )
    assert "unknown option --momentun=1 (did you mean momentum?)" in error(
        capsys, "train", data, "--momentun=1"
    )


def test_options_from_a_file(capsys, tmp_path):
    data, config = tmp_path / "flowers.csv", tmp_path / "fastbp.toml"
    write_flowers(data)
    config.write_text(
        'target = "flower"\nlayers = [8, 4]\n[training]\nlr = 0.02\nepochs = 3\nno-shuffle = true\n'
        "dropout = 0.25\nbatch_size = 16\nno_scale = false\n[class-weight]\nrose = 2\n"
    )
    result = run_json(capsys, "train", data, "--config", config)
    assert result["sizes"] == [2, 8, 4, 3]
    assert (result["learning_rate"], result["batch_size"]) == (0.02, 16)
    assert len(result["history"]["train_loss"]) == 3
    result = run_json(capsys, "train", data, "--config", config, "--layers", "none", "--dropout=0")
    assert result["sizes"] == [2, 3]
    for text, message in (
        ("learning-rat = 1", "unknown option 'learning-rat' (did you mean 'learning-rate'?)"),
        ("epochs = ", "fastbp.toml is no TOML file"),
        ("epochs = 1.5", "--epochs: must be a whole number such as 10, got '1.5'"),
    ):
        config.write_text(text)
        assert message in error(capsys, "train", data, "--config", config)
    assert "none.toml: No such file" in error(capsys, "train", data, "--config", "none.toml")


def test_a_resumed_training_is_the_same_as_one_without_a_break(capsys, tmp_path):
    data = tmp_path / "flowers.csv"
    write_flowers(data)
    whole, part, rest = (tmp_path / f"{name}.safetensors" for name in ("whole", "part", "rest"))
    text = "--target flower --layers 6 --patience 30 --dropout 0.1 --seed 3 --no-refit"
    options = text.split()
    first = run_json(capsys, "train", data, *options, "--epochs", 12, "--save", whole)
    run_json(capsys, "train", data, *options, "--epochs", 5, "--save", part)
    second = run_json(capsys, "train", data, "--resume", part, "--epochs", 12, "--save", rest)
    assert second["history"]["train_loss"] == first["history"]["train_loss"]
    assert second["history"]["eval_loss"] == first["history"]["eval_loss"]
    assert second["figures"] == first["figures"]
    networks = [fastbp.load(path).network.params for path in (whole, rest)]
    assert np.array_equal(*networks)
    assert "it has 12 epochs already; ask for more with --epochs" in error(
        capsys, "train", data, "--resume", rest
    )
    assert "--layers cannot be changed when a training is resumed" in error(
        capsys, "train", data, "--resume", part, "--layers", 9
    )
    write_flowers(tmp_path / "other.csv", 80)
    assert "these are not the rows that" in error(
        capsys, "train", tmp_path / "other.csv", "--resume", part, "--epochs", 12
    )
    run_json(capsys, "train", data, *options, "--epochs", 5, "--final", "--save", part)
    assert "was trained on all rows" in error(
        capsys, "train", data, "--resume", part, "--epochs", 9
    )


def test_an_interrupted_training_goes_on_from_its_checkpoint(capsys, tmp_path, monkeypatch):
    """With the same bits, early stopping, training again and all, as without the break."""
    data, checkpoint, model = (tmp_path / n for n in ("f.csv", "c.safetensors", "m.safetensors"))
    write_flowers(data)
    options = ("--target", "flower", "--layers", 5, "--epochs", 40, "--patience", 6, "--refit",
               "--lr", 0.05, "--dropout", 0.1, "--schedule", "cosine")  # fmt: skip
    whole = run_json(capsys, "train", data, *options, "--save", model)
    params = fastbp.load(model).network.params
    assert 8 < len(whole["history"]["train_loss"]) < 40

    def say(text):
        if text.startswith("epoch   8"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train, "say", say)
        code, *_ = run(
            capsys, "train", data, *options, "--verbose", "--checkpoint", checkpoint
        )  # fmt: skip
    assert code == 130
    assert len(fastbp.load(checkpoint).history) == 8
    resumed = run_json(capsys, "train", data, "--resume", checkpoint, "--save", model)
    for column in ("train_loss", "eval_loss", "learning_rate"):
        assert resumed["history"][column] == whole["history"][column]
    assert resumed["figures"] == whole["figures"]
    assert np.array_equal(fastbp.load(model).network.params, params)


@pytest.mark.parametrize("patience", [0, 3, 50])
def test_a_checkpoint_with_all_epochs_is_trained_again_and_assessed(
    capsys, tmp_path, monkeypatch, patience
):
    """Ctrl-C came when the network was just about to be trained again."""
    data, checkpoint, model = (tmp_path / n for n in ("f.csv", "c.safetensors", "m.safetensors"))
    write_flowers(data)
    options = ("--target", "flower", "--layers", 5, "--epochs", 12, "--patience", patience,
               "--refit", "--lr", 0.3)  # fmt: skip
    whole = run_json(capsys, "train", data, *options, "--save", model)
    params = fastbp.load(model).network.params

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(experiment, "train_on", interrupted)
        code, out, _ = run(capsys, "train", data, *options, "--checkpoint", checkpoint)
    assert code == 130
    assert f"interrupted when training again; the network of epoch {whole['best_epoch']} is" in out
    resumed = run_json(capsys, "train", data, "--resume", checkpoint, "--save", model)
    assert resumed["history"]["train_loss"] == whole["history"]["train_loss"]
    assert resumed["figures"] == whole["figures"]
    assert np.array_equal(fastbp.load(model).network.params, params)


def test_a_network_that_was_trained_again_goes_on_with_the_same_rows(capsys, tmp_path):
    data, model = tmp_path / "flowers.csv", tmp_path / "model.safetensors"
    write_flowers(data)
    options = ("--target", "flower", "--layers", 6, "--patience", 0, "--schedule", "constant")
    result = run_json(capsys, "train", data, *options, "--epochs", 5, "--refit", "--save", model)
    result = run_json(capsys, "train", data, "--resume", model, "--epochs", 9, "--save", model)
    assert (result["rows"], result["validation_rows"]) == (72, 0)
    settings = experiment.Options(layers=(6,), patience=0, schedule={}, epochs=9)
    planned = experiment.plan(read(data, "flower"), options=settings)
    rows = np.union1d(planned.parts.train, planned.parts.validation)
    whole = experiment.train_on(planned, rows, 9)
    resumed = fastbp.load(model)
    assert resumed.history["train_loss"] == whole.history["train_loss"]
    assert np.array_equal(resumed.network.params, whole.network.params)


def test_predictions_in_a_file(capsys, tmp_path):
    data, model, out = (tmp_path / n for n in ("flowers.csv", "m.safetensors", "out.csv"))
    names = write_flowers(data)
    run_json(capsys, "train", data, "--target", "flower", "--save", model)
    code, printed, _ = run(capsys, "predict", model, data, "--output", out)
    assert (code, printed) == (0, "")
    rows = list(csv.reader(out.read_text().splitlines()))
    assert rows[0] == ["flower"]
    assert np.mean([row[0] for row in rows[1:]] == names) > 0.8
    run(capsys, "predict", model, data, "--proba", "--output", out)
    rows = list(csv.reader(out.read_text().splitlines()))
    assert rows[0] == ["iris", "lily", "rose"]
    assert np.array(rows[1:], float).sum(axis=1) == pytest.approx(1)
    assert "this would overwrite" in error(capsys, "predict", model, data, "--output", data)
    assert "the folder does not exist" in error(
        capsys, "predict", model, data, "--output", tmp_path / "no" / "out.csv"
    )


def test_evaluate_says_the_same_as_the_training(capsys, tmp_path):
    """On the very rows of the test part, in another file, in another order of columns."""
    data, model, test = (tmp_path / n for n in ("flowers.csv", "m.safetensors", "test.csv"))
    write_flowers(data)
    result = run_json(capsys, "train", data, "--target", "flower", "--save", model)
    lines = data.read_text().splitlines()[1:]
    made = read(data, "flower")
    parts = experiment.plan(made).parts
    assert len(parts.test) == result["held_out_rows"]
    cells = [lines[row].split(",") for row in parts.test]
    test.write_text("flower,height,width\n" + "".join(f"{f},{h},{w}\n" for w, f, h in cells))
    evaluated = run_json(capsys, "evaluate", model, test)
    assert evaluated["figures"] == pytest.approx(result["figures"]["test"])
    assert evaluated["baseline"] == pytest.approx(result["baseline"])
    assert evaluated["rows_seen_in_training"] == 0
    assert evaluated["rows"] == result["held_out_rows"]
    test.write_text("flower,height,width\n,1,2\niris,1,2\nlily,3,4\n")
    code, out, err = run(capsys, "evaluate", model, test)
    assert code == 0
    assert "flower is missing in 1 row, left out here." in err
    assert "2 rows of" in out
    test.write_text("height,width\n1,2\n")
    assert "no column 'flower'" in error(capsys, "evaluate", model, test)
    test.write_text("flower,height,width\ntulip,1,2\n")
    assert "got 'tulip' in row" in error(capsys, "evaluate", model, test)


def test_folds_and_the_final_network(capsys, tmp_path):
    data, model = tmp_path / "flowers.csv", tmp_path / "model.safetensors"
    write_flowers(data)
    options = ("--target", "flower", "--epochs", 10, "--lr", 0.02)
    code, out, err = run(capsys, "train", data, *options, "--cv", 3, "--save", model)
    assert code == 0, err
    assert len(re.findall(r"^fold \d  best epoch", out, re.M)) == 3
    assert re.fullmatch(r"[\d.]+% ± [\d.]+%", last_figures(out)["accuracy"][0])
    assert "model trained on all 90 rows" in out
    assert "90 of 90 rows are the same" in run(capsys, "predict", model, data)[2]
    result = run_json(capsys, "train", data, *options, "--cv", 3)
    assert len(result["figures"]) == 3
    assert result["mean"]["accuracy"] == pytest.approx(
        np.mean([fold["accuracy"] for fold in result["figures"]])
    )
    assert "--plot is for one training" in error(
        capsys, "train", data, *options, "--cv", 3, "--plot", tmp_path / "p.png"
    )
    code, out, _ = run(capsys, "train", data, *options, "--final", "--save", model)
    assert code == 0
    assert "trained again on all 90 rows" in out
    assert "90 of 90 rows are the same" in run(capsys, "predict", model, data)[2]


def test_quiet_prints_the_figures_alone(capsys, tmp_path):
    data = tmp_path / "flowers.csv"
    write_flowers(data)
    code, out, err = run(capsys, "train", data, "--target", "flower", "--quiet")
    assert code == 0
    assert err == ""
    assert out.lstrip().startswith("confusion matrix")
    assert "epoch" not in out
    code, out, _ = run(
        capsys, "train", data, "--target", "flower", "--epochs", 60, "--patience", 0, "--verbose"
    )
    assert len(re.findall("^epoch ", out, re.M)) == 60


def test_what_is_said_of_the_target(capsys, tmp_path):
    data = tmp_path / "d.csv"
    ages = [18 + i * 7 % 52 for i in range(200)]
    data.write_text("x,age\n" + "".join(f"{i % 17},{age}\n" for i, age in enumerate(ages)))
    code, out, _ = run(capsys, "train", data, "--target", "age", "--epochs", 2)
    assert code == 0
    assert "age is learned as numbers from 18 to 69" in out
    assert "to learn its 52 values as classes, use --task classes" in out
    assert run_json(
        capsys, "train", data, "--target", "age", "--epochs", 2, "--task", "classes"
    )["sizes"][-1] == 52  # fmt: skip
    data.write_text("x,t\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(60)) + "3,c\n4,\n5,\n")
    code, out, _ = run(capsys, "train", data, "--target", "t", "--epochs", 2)
    assert code == 0
    assert "note: t is missing in 2 of 63 rows, which are left out." in out
    assert "1 class is too rare" in out
    data.write_text("x,t\n1,7.5\n2,7.5\n3,7.5\n")
    assert "all 3 rows have t 7.5" in error(capsys, "train", data, "--target", "t")
    data.write_text("x,t\n1,a\n2,a\n3,a\n")
    assert "all 3 rows have t 'a'; at least two classes" in error(
        capsys, "train", data, "--target", "t"
    )


def test_groups_and_times_on_the_command_line(capsys, tmp_path):
    data = tmp_path / "houses.csv"
    write_houses(data)
    head, *lines = data.read_text().splitlines()
    days = (
        f"{line},s{i % 11},2024-{1 + i // 28:02}-{1 + i % 28:02}" for i, line in enumerate(lines)
    )
    data.write_text("\n".join([f"{head},street,day", *days]) + "\n")
    options = ("--target", "price", "--epochs", 2)
    assert (
        run_json(capsys, "train", data, *options, "--group", "street", "--drop", "day")["sizes"][0]
        == 3
    )
    result = run_json(capsys, "train", data, *options, "--time", "day", "--drop", "street")
    assert (result["sizes"][0], result["held_out_rows"]) == (3, 40)
    assert "no column 'strete' (did you mean 'street'?)" in error(
        capsys, "train", data, *options, "--group", "strete"
    )
    assert "group is for tables" in error(capsys, "train", "digits", "--group", "x")
    assert run_json(capsys, "train", data, *options, "--columns", "area,age")["sizes"][0] == 2


def test_a_table_from_standard_input(capsys, tmp_path, monkeypatch):
    data, model = tmp_path / "flowers.csv", tmp_path / "model.safetensors"
    write_flowers(data)

    class Stdin:
        buffer = None

    def given():
        Stdin.buffer = io.BytesIO(data.read_bytes())
        monkeypatch.setattr(sys, "stdin", Stdin)

    given()
    result = run_json(capsys, "train", "-", "--target", "flower", "--save", model)
    assert result["held_out_rows"] == 18
    given()
    code, out, _ = run(capsys, "predict", model, "-")
    assert (code, len(out.split())) == (0, 90)
    given()
    assert run_json(capsys, "evaluate", model, "-")["rows"] == 90


def test_arrays_need_neither_pyarrow_nor_scikit_learn(capsys, tmp_path, monkeypatch, generator):
    for name in ("pyarrow", "sklearn", "pandas", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    data, model = tmp_path / "d.npz", tmp_path / "model.safetensors"
    X = generator.normal(size=(60, 2))
    np.savez(data, X=X, y=(X[:, 0] > 0).astype(int))
    run_json(capsys, "train", data, "--epochs", 2, "--save", model)
    assert run_json(capsys, "evaluate", model, data)["rows"] == 60
    write_flowers(tmp_path / "flowers.csv")
    assert "pip install -e '.[tables]'" in error(
        capsys, "train", tmp_path / "flowers.csv", "--target", "flower"
    )


def test_a_long_confusion_matrix_is_cut():
    rng = np.random.default_rng(0)
    counts = np.diag(np.full(40, 50))
    counts[3, 7], counts[20, 4] = 9, 11
    lines = output.confusion(counts, [f"c{k}" for k in range(40)]).splitlines()
    assert lines == [
        "most frequent confusions of 40 classes:",
        "     11  c20 taken for c4",
        "      9  c3 taken for c7",
    ]
    small = output.confusion(rng.integers(0, 10_000, (3, 3)), ["a\nb", "x" * 50, "ä"])
    assert len(small.splitlines()) == 5
    assert len({len(line) for line in small.splitlines()[1:]}) == 1
    assert "a\\nb" in small


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.98765, "98.77%"),
        ("r2", -0.022192, "-0.0222"),
        ("mae", 81706.4, "81,706"),
        ("rmse", 1.23456e-7, "1.235e-07"),
        ("mse", -1.23456e15, "-1.235e+15"),
        ("roc_auc", np.nan, "–"),
    ],
)
def test_figures_as_people_write_them(name, value, text):
    assert metrics.shown(name, value) == text


def test_check_passes_for_every_pair(capsys):
    code, out, _ = run(capsys, "check")
    assert code == 0
    assert "every gradient is right" in out
    assert out.count(" ok") == 2 * (10 * 6 + 4)
    assert "WRONG" not in out


def test_check_fails_on_a_wrong_gradient(capsys, monkeypatch):
    right = fastbp.Network.value_and_grad

    def wrong(self, X, y):
        loss, gradients = right(self, X, y)
        for W in gradients.weights:
            W *= 1.01
        return loss, gradients

    monkeypatch.setattr(fastbp.Network, "value_and_grad", wrong)
    code, out, _ = run(capsys, "check")
    assert code == 1
    assert " ok" not in out


def test_info(capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0
    for word in ("processor", "SIMD", "cores", "threads", "numba", "shipped", "cache"):
        assert re.search(rf"^{word} +\S", out, re.M), word


def test_info_says_which_machine_code_is_shipped(capsys, monkeypatch, tmp_path):
    """What is shipped is a matter of tests/test_shipped.py."""
    from fastbp import kernels

    path = tmp_path / "code"
    path.write_bytes(bytes(1_500_000))
    monkeypatch.setattr(kernels, "shipped_code", lambda: None)
    assert "shipped    no machine code for this processor" in run(capsys, "info")[1]
    monkeypatch.setattr(kernels, "shipped_code", lambda: ("x86-64-v3", [path, path]))
    assert "shipped    machine code for x86-64-v3 (2 files, 3.0 MB)\n" in run(capsys, "info")[1]


def test_warmup_says_what_it_does(capsys):
    code, out, err = run(capsys, "warmup", "--dtype", "float32")
    assert code == 0
    lines = err.splitlines()
    assert any(line.startswith("train_sequential, float32: ") for line in lines)
    assert all(re.fullmatch(r".*: (compiled|loaded), \d+\.\d s", line) for line in lines), err
    assert re.fullmatch(
        rf"{len(lines)} kernels are ready after \d+\.\d s: \d+ compiled, \d+ loaded\.\n", out
    ), out
    more = run(capsys, "warmup", "--parallel")[2]
    assert "train_minibatch, float64: " in more
    assert run(capsys, "warmup", "--dtype", "int8")[::2] == (
        2, "fastbp: error: dtype must be one of float32, float64; got 'int8'.\n"
    )  # fmt: skip


def test_warmup_says_if_nothing_is_kept():
    """With nothing to compile but what is small."""
    program = (
        "import sys, numpy as np\n"
        "from fastbp import kernels\n"
        "from fastbp.cli import main\n"
        "item = kernels.Ahead('small', kernels.first_nonfinite, (np.zeros(3), 0, 0))\n"
        "kernels.everything = lambda *_: [item]\n"
        "main(['warmup', '--dtype', 'float32'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"FASTBP_NO_CACHE": "1", "FASTBP_WITHOUT": "shipped"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "1 compiled, 0 loaded.\nThey are not kept" in done.stdout


def test_info_says_how_many_threads_there_are(capsys, monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setattr("fastbp.cli.info.quotas", lambda: iter((3.5, 1.25)))
    assert re.search(r"^threads +\d+; the control group's quota is 1.25 cores$",
                     run(capsys, "info")[1], re.M)  # fmt: skip
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    assert re.search(r"^threads +\d+, as NUMBA_NUM_THREADS says$", run(capsys, "info")[1], re.M)


@pytest.mark.parametrize(
    "command",
    [(), ("train",), ("predict",), ("evaluate",), ("check",), ("bench",), ("warmup",), ("info",)],
)
def test_help(capsys, command):
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert "default: None" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m fastbp.cli check | head -n 1"
    finished = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"(fastbp: compiling .*\n)?", finished.stderr)


def test_a_closed_pipe_loses_no_model(tmp_path):
    model = tmp_path / "model.safetensors"
    command = f"{' '.join(TRAIN)} digits --epochs 20 --patience 0 --save {model} | head -n 1"
    subprocess.run(command, shell=True, capture_output=True, check=True)
    assert len(fastbp.load(model).history) == 20


def test_an_old_code_page_is_no_error():
    variables = os.environ | {"PYTHONIOENCODING": "cp1252"}
    command = [*TRAIN, "digits", "--epochs", "1"]
    done = subprocess.run(command, env=variables, capture_output=True, check=True)
    assert b"64 \\u2192 " in done.stdout


def test_ctrl_c_saves_what_was_learned(tmp_path):
    model = tmp_path / "model.safetensors"
    child = subprocess.Popen(
        [*TRAIN, "digits", "--epochs=1000000", "--patience=0", "--verbose", "--save", model],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in child.stdout:
            if line.startswith("epoch   3"):
                break
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    assert "interrupted in epoch" in out
    assert "accuracy" in last_figures(out)
    assert "Traceback" not in err
    assert len(fastbp.load(model).history) >= 3


def test_a_model_of_a_python_program(capsys, tmp_path, generator):
    """Saved without what the command line keeps besides."""
    X = generator.normal([5, 1000], [1, 300], size=(80, 2))
    y = np.where(X[:, 0] > 5, "high", "low")
    model, data = tmp_path / "m.safetensors", tmp_path / "d.npz"
    preparation = fastbp.Preparation().fit(X)
    network = fastbp.Network((2, 2), classes=["high", "low"], preparation=preparation, seed=0)
    fastbp.Trainer(network, learning_rate=0.1, seed=0).fit(X, y, epochs=20)
    fastbp.save(network, model)
    np.savez(data, X=X, y=y)
    code, out, err = run(capsys, "predict", model, data)
    assert (code, out.split()) == (0, network.predict(X).tolist())
    assert err.startswith("accuracy ")
    code, out, _ = run(capsys, "evaluate", model, data)
    assert code == 0
    assert "trivial" not in out
    assert re.search(r"^accuracy +9\d|^accuracy +100", out, re.M)


def test_a_warning_is_a_note_and_comes_once(tmp_path):
    """In a process of its own, where warnings are no errors."""
    data = tmp_path / "houses.csv"
    write_houses(data)
    options = ["--target", "price", "--epochs", "2", "--no-scale", "--quiet"]
    done = subprocess.run([*TRAIN, data, *options], capture_output=True, text=True, check=True)
    assert re.fullmatch(
        r"(fastbp: compiling .*\n)?fastbp: note: column .* scale them.*\n", done.stderr
    )


def test_a_file_to_resume_cannot_say_what_is_written(capsys, tmp_path):
    data, saved, victim = (tmp_path / name for name in ("f.csv", "model.safetensors", "victim"))
    write_flowers(data)
    victim.write_text("mine")
    target = ["--target", "flower"]
    main(["train", str(data), *target, "--epochs", "2", "--no-refit", "--save", str(saved)])
    capsys.readouterr()
    trainer, extra = fastbp.load(saved), fastbp.read_header(saved)["extra"]
    for name in ("save", "plot", "checkpoint", "nonsense"):
        odd = extra | {"options": extra["options"] | {name: str(victim)}}
        fastbp.save(trainer, saved, extra=odd)
        message = error(capsys, "train", data, *target, "--resume", saved, "--epochs", 3)
        assert f"is damaged: '{name}' is no option that a training goes on with" in message
    fastbp.save(trainer, saved, extra=extra | {"epochs": "2"})
    message = error(capsys, "train", data, *target, "--resume", saved, "--epochs", 3)
    assert "did not write this trainer" in message
    assert victim.read_text() == "mine"
