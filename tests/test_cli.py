"""The command line as a user meets it: output, files, errors in one line, exit codes."""

import csv
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp import problem
from fastbp.cli import main
from fastbp.datasets import split

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


def test_train_digits_reaches_96_percent_with_its_defaults(capsys):
    code, out, err = run(capsys, "train", "digits")
    assert code == 0, err
    assert "1,438 rows to train on, 359 held out, 64 inputs, 10 classes" in out
    assert "9,610 parameters" in out
    assert len(re.findall(r"^epoch +\d+  train loss .* samples/s", out, re.M)) == 20
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", out)[1])
    assert accuracy >= 96


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
    assert f"accuracy {network.evaluate(data.X, data.y).accuracy:.2%} on 1,797 rows" in err
    _, out, _ = run(capsys, "predict", model, "digits", "--proba")
    probabilities = np.array([[float(p) for p in line.split(",")] for line in out.split()])
    np.testing.assert_allclose(probabilities, network.predict_proba(data.X), rtol=1e-5)


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
    assert result["rows"] == 899
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
    assert result["test_loss"] == min(losses)  # the best network's
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
    assert result["test_accuracy"] > 0.8
    code, out, err = run(capsys, "predict", model, data, "--target", "flower")
    assert code == 0
    assert np.mean(np.array(out.split()) == names) > 0.8
    assert "accuracy" in err
    # Columns are found by name, in any order, and the target need not be there.
    reordered = tmp_path / "new.csv"
    lines = [line.split(",") for line in data.read_text().split()]
    reordered.write_text("\n".join(f"{h},{w}" for w, _, h in lines) + "\n")
    assert run(capsys, "predict", model, reordered) == (0, out, "")
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
    assert "new.csv: class '0.0' does not occur in training." in error(
        capsys, "predict", model, new, "--target", "t"
    )
    np.savez(tmp_path / "d.npz", X=[[0.1], [0.2]], y=[0, 1])
    assert "class 0 does not occur in training." in error(
        capsys, "predict", model, tmp_path / "d.npz"
    )


def test_labels_are_compared_exactly():
    def encode(labels, classes):
        return problem.encode(np.array(labels), classes, "d").tolist()

    assert encode([10, 2], [2, 10]) == [1, 0]
    assert encode(["10", "2"], ["10", "2"]) == [0, 1]
    assert encode([2.0, 10.0], [2, 10]) == [0, 1]
    assert encode([[True], [False]], [0, 1]) == [1, 0]
    large = [2**53, 2**53 + 1]
    assert encode(np.array(large, np.uint64), large) == [0, 1]
    for labels, classes, unknown in (
        (["2", "10"], [2, 10], "'2'"),
        ([2, 10], ["10", "2"], "2"),
        ([2.0**53], [2**53 + 1], "9007199254740992.0"),
        ([2**53 + 1], [2.0**53], "9007199254740993"),
    ):
        with pytest.raises(ValueError, match=f"class {re.escape(unknown)} does not occur"):
            encode(labels, classes)


def test_new_inputs_are_scaled_as_those_of_the_training(capsys, tmp_path, generator):
    data, model, new = (tmp_path / name for name in ("d.npz", "m.safetensors", "new.npz"))
    pixels = generator.integers(0, 256, (40, 3)).astype(np.uint8)
    y = np.arange(40) % 2
    for train, test, divisor in (
        (pixels, pixels, 255),
        (pixels.astype(np.float32), pixels, 1),
        (pixels, pixels.astype(np.float32), 1),
    ):
        np.savez(data, X=train, y=y, X_test=test, y_test=y)
        options = ("--epochs", 1, "--learning-rate", 1e-5, "--save", model)
        run_json(capsys, "train", data, *options)
        network = fastbp.load(model).network
        expected = network.predict_proba(pixels.astype(np.float32) / np.float32(divisor))
        for arrays in ({"X": pixels}, {"X": pixels / 1.0, "X_test": pixels}):
            np.savez(new, **arrays)
            _, out, _ = run(capsys, "predict", model, new, "--proba")
            printed = [[float(p) for p in line.split(",")] for line in out.split()]
            np.testing.assert_allclose(printed, expected, rtol=1e-5, atol=1e-30)


def test_json_stays_json_when_a_loss_is_not_finite(capsys, monkeypatch):
    monkeypatch.setattr(fastbp.Network, "_evaluate", lambda *_: fastbp.Evaluation(np.inf, None))
    result = run_json(capsys, "train", "digits", "--epochs", 1)
    assert result["test_loss"] is None
    assert result["history"]["eval_loss"] == [None]


def test_csv_regression(capsys, tmp_path):
    data, model = tmp_path / "line.csv", tmp_path / "model.safetensors"
    x = np.linspace(-1, 1, 200)
    data.write_text("x,y\n" + "\n".join(f"{v},{2 * v + 0.25}" for v in x) + "\n")
    result = run_json(capsys, "train", data, "--target", "y", "--layers", "none", "--save", model)
    assert result["loss"] == "squared_error"
    assert result["test_accuracy"] is None
    assert result["test_loss"] < 1e-4
    _, out, err = run(capsys, "predict", model, data, "--target", "y")
    np.testing.assert_allclose([float(v) for v in out.split()], 2 * x + 0.25, atol=0.05)
    assert re.match(r"loss \S+ on 200 rows", err)


def test_binary_labels(capsys, tmp_path):
    data = tmp_path / "d.npz"
    X = np.random.default_rng(0).normal(size=(200, 2))
    np.savez(data, X=X, y=np.where(X[:, 0] > 0, "yes", "no"))
    result = run_json(capsys, "train", data, "--loss", "binary_cross_entropy")
    assert result["sizes"] == [2, 128, 1]
    assert result["test_accuracy"] > 0.9
    many = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(int)
    np.savez(data, X=X, y=many)
    result = run_json(capsys, "train", data, "--loss", "binary_cross_entropy")
    assert result["sizes"] == [2, 128, 2]
    assert result["test_accuracy"] > 0.8


def test_test_part_is_used_and_single_columns_are_classes(capsys, tmp_path, generator):
    data, model = tmp_path / "d.npz", tmp_path / "model.safetensors"
    X = generator.normal(size=(60, 2))
    y = (X[:, :1] > 0).astype(int)
    np.savez(data, X=X, y=y, X_test=X[:7], y_test=y[:7])
    result = run_json(capsys, "train", data, "--epochs", 1, "--save", model)
    assert (result["rows"], result["held_out_rows"]) == (60, 7)
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
    first, second = (split(fastbp.load_dataset("digits"), 0.2, seed).y_test for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_mnist_folder(capsys, mnist_folder, tmp_path):
    """Two linear epochs on the real files, read as they are."""
    result = run_json(capsys, "train", mnist_folder, "--layers", "none", "--epochs", 2)
    assert (result["rows"], result["held_out_rows"]) == (60_000, 10_000)
    assert result["test_accuracy"] > 0.9


def test_bad_options(capsys, tmp_path):
    for option, name in (("--epochs", "whole number"), ("--dropout", "number")):
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
        ("loss", "mse", "squared_error"),
        ("init", "he-norm", "he_normal"),
        ("optimizer", "Adam", "adam"),
        ("activation", "ReLU", "relu"),
    ):
        message = error(capsys, "train", "digits", f"--{option}", text)
        assert f"got {text!r} (did you mean {meant!r}?)." in message
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
    assert "--target is for CSV files" in error(capsys, "train", "digits", "--target", "x")
    assert "--save no/m: the folder does not exist" in error(
        capsys, "train", "digits", "--save", "no/m"
    )
    assert "--save .: no file stands there" in error(capsys, "train", "digits", "--save", ".")
    assert "a plot must be one of" in error(capsys, "train", "digits", "--plot", "curves.xyz")
    assert "COMMAND" in error(capsys)
    assert "invalid choice: 'fly'" in error(capsys, "fly")


def test_bad_data(capsys, tmp_path):
    assert "nowhere.csv: no such file or folder" in error(capsys, "train", "nowhere.csv")
    data = tmp_path / "d.csv"
    data.write_text("a,b\n1,2\n")
    assert "training needs targets; name one of its columns with --target: a, b" in error(
        capsys, "train", data
    )
    data.write_text("a,b\n1,lily\n")
    message = "'b' has text 'lily' where a number belongs, line 2; name the column to predict with"
    assert f"{message} --target." in error(capsys, "train", data)
    data.write_text("a,b\n1,2\nx,3\n")
    for target, message in (
        ("b", "d.csv: column 'a' has text 'x' where a number belongs, line 3."),
        ("c", "d.csv: no column 'c'; the columns are a, b."),
    ):
        assert message in error(capsys, "train", data, "--target", target)
    np.savez(tmp_path / "d.npz", X=[[1.0], [np.nan]], y=[0, 1])
    assert "array X has nan in row 1, column 0." in error(capsys, "train", tmp_path / "d.npz")
    data.write_text("a,b\n1,cat\n2,dog\n")
    assert "squared_error needs numbers as targets, found text 'cat'" in error(
        capsys, "train", data, "--target", "b", "--loss", "squared_error"
    )
    data.write_text("a,b\n1,5\n2,05\n")
    assert "squared_error needs numbers as targets, found text '05'" in error(
        capsys, "train", data, "--target", "b", "--loss", "squared_error"
    )
    data.write_text("a,b\n1,-1\n2,3\n")
    code, _, err = run(capsys, "train", data, "--target", "b", "--loss", "poisson")
    assert code == 2
    assert re.fullmatch(r".*d.csv: .*y must be at least 0 for the loss poisson.*\n", err)


def test_errors_name_the_row_of_the_file(capsys, tmp_path):
    path = tmp_path / "d.npz"
    X = np.ones((40, 2))
    X[13, 1] = 1e300
    np.savez(path, X=X, y=np.arange(40) % 2)
    code, _, err = run(capsys, "train", path)
    assert code == 2
    assert "d.npz: X must be finite in float32, got 1e+300 in row 13, column 1." in err
    np.savez(path, X=np.ones((40, 2)), y=np.ones(40, int))
    assert "all targets are of the one class '1'" in error(capsys, "train", path)
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
    fastbp.save(fastbp.Network((3, 2)), path)
    assert "digits: X must have 3 columns" in error(capsys, "predict", path, "digits")


def test_divergence_is_one_line_and_exit_code_1(capsys):
    code, _, err = run(capsys, "train", "digits", "--learning-rate", 1e4, "--loss", "squared_error",
                       "--activation", "identity")  # fmt: skip
    assert code == 1
    assert re.fullmatch(r"fastbp: error: Training diverged in epoch 1: layer \d .*\n", err)


def test_missing_extras_are_named_before_any_work(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = "in the folder of the clone: pip install -e '.[{}]'"
    assert message.format("plot") in error(capsys, "train", "digits", "--plot", "x.png")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert message.format("sklearn") in error(capsys, "train", "digits")


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
    for word in ("processor", "SIMD", "cores", "threading", "numba", "cache"):
        assert re.search(rf"^{word} +\S", out, re.M), word


@pytest.mark.parametrize(
    ("layer", "consequence"),
    [
        ("workqueue", "the process aborts; 'pip install tbb' gives another layer"),
        ("absent", "training on several threads fails"),
    ],
)
def test_info_says_what_follows_from_the_threading_layer(layer, consequence):
    command = [sys.executable, "-m", "fastbp.cli", "info"]
    variables = os.environ | {"NUMBA_THREADING_LAYER": layer}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    name = "none" if layer == "absent" else layer
    assert re.search(rf"^threading +{name}\b.*{consequence}", done.stdout, re.M)


@pytest.mark.parametrize("command", [(), ("train",), ("predict",), ("check",), ("info",)])
def test_help(capsys, command):
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert "default: None" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_closed_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m fastbp.cli check | head -n 1"
    finished = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert finished.stderr == ""


def test_a_closed_pipe_loses_no_model(tmp_path):
    model = tmp_path / "model.safetensors"
    command = f"{' '.join(TRAIN)} digits --save {model} | head -n 1"
    subprocess.run(command, shell=True, capture_output=True, check=True)
    assert len(fastbp.load(model).history) == 20


def test_an_old_code_page_is_no_error():
    variables = os.environ | {"PYTHONIOENCODING": "cp1252"}
    command = [*TRAIN, "digits", "--epochs", "1"]
    done = subprocess.run(command, env=variables, capture_output=True, check=True)
    assert b"64 \\u2192 128" in done.stdout


def test_ctrl_c_saves_what_was_learned(tmp_path):
    model = tmp_path / "model.safetensors"
    child = subprocess.Popen(
        [*TRAIN, "digits", "--epochs", "1000000", "--save", model],
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
    assert "test accuracy" in out
    assert "Traceback" not in err
    assert len(fastbp.load(model).history) >= 3
