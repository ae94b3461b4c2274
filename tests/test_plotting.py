"""Figures and what notebooks show: panels, titles, numbers, scales, files, odd data."""

import io
import pickle
import re
import subprocess
import sys
import xml.dom.minidom

import matplotlib.image
import matplotlib.style
import numpy as np
import pytest

import fastbp
from fastbp import axes, cli
from fastbp.history import History
from fastbp.plotting import report_figure


def history_of(train, held_out=None, **metrics):
    history = History()
    for k, loss in enumerate(train):
        row = {name: column[k] for name, column in metrics.items()}
        row |= {"train_loss": loss, "eval_loss": None if held_out is None else held_out[k]}
        row |= {"learning_rate": 0.1, "samples_per_second": 1.0, "seconds": 0.5, "method": "x"}
        history.append(row)
    return history


FALLING = history_of([3.0, 2.0, 1.5, 1.2], [2.9, 1.9, 1.7, 1.8], accuracy=[0.5, 0.7, 0.8, 0.75])
NUMBERS = history_of([3.0, 2.0, 1.5, 1.2], [2.9, 1.9, 1.7, 1.8], r2=[-2.0, 0.1, 0.5, 0.4])


def titles(figure):
    return [panel.get_title(loc="left") for panel in figure.axes]


def texts(panel):
    return [text.get_text() for text in panel.texts]


# Over epochs ------------------------------------------------------------------------------------


def test_history_has_a_panel_for_the_loss_and_one_for_each_metric():
    history = history_of([2.0, 1.0], [2.0, 1.0], accuracy=[0.5, 0.75], mae=[3.0, 2.5])
    figure = history.plot()
    assert titles(figure) == [
        "Loss: best epoch 2 of 2",
        "Accuracy 75.00% in epoch 2",
        "MAE 2.5 in epoch 2",
    ]
    assert [panel.get_xlabel() for panel in figure.axes] == ["epoch"] * 3
    np.testing.assert_array_equal(figure.axes[2].lines[0].get_xydata(), [[1, 3.0], [2, 2.5]])


def test_best_epoch_is_marked_in_every_panel_and_named():
    for panel in FALLING.plot().axes:
        marks = [line for line in panel.lines if line.get_label() == "best: epoch 3"]
        assert [list(mark.get_xdata()) for mark in marks] == [[3, 3]]
    chosen = history_of([3.0, 2.0], [2.0, 1.0])
    chosen.chosen_epoch = 1  # by a callback that watches something else
    assert titles(chosen.plot()) == ["Loss: best epoch 1 of 2"]


def test_training_alone_has_no_best_epoch():
    figure = history_of([3.0, 2.0, 1.0]).plot()
    assert titles(figure) == ["Loss over 3 epochs"]
    assert len(figure.axes[0].lines) == 1
    assert titles(history_of([3.0]).plot()) == ["Loss over 1 epoch"]


def test_curves_are_told_apart_without_colour():
    history = history_of([3.0, 2.0], [2.0, 1.0], eval_loss_1=[4.0, 3.0], mae=[1, 2], mae_1=[3, 4])
    loss, mae = history.plot().axes
    assert [text.get_text() for text in loss.get_legend().get_texts()] == [
        "training rows (during the epoch)",
        "validation rows (after the epoch)",
        "eval set 1 (after it)",
        "best: epoch 2",
    ]
    for panel, n in ((loss, 3), (mae, 2)):
        styles = {(line.get_linestyle(), line.get_marker()) for line in panel.lines[:n]}
        assert len({style for style, _ in styles}) == len({marker for _, marker in styles}) == n
    assert [text.get_text() for text in mae.get_legend().get_texts()][:2] == [
        "last eval set",
        "mae_1",
    ]


def test_curves_of_many_epochs_have_markers_too():
    history = history_of(np.linspace(3, 1, 2000).tolist(), np.linspace(3, 2, 2000).tolist())
    markers = {line.get_marker() for line in history.plot().axes[0].lines[:2]}
    assert len(markers) == 2
    assert "None" not in markers


def test_the_end_of_a_curve_can_be_read():
    late = 0.5 + 0.1 * np.exp(-np.arange(57) / 10)
    low, high, is_log, note = axes.bounds([[900.0, 30.0, 4.0, *late]])
    assert high < 1
    assert low > 0.4
    assert not is_log
    assert note == "axis cut: most 900"
    # Losses that fall all the time have a logarithmic axis, which shows all of them.
    falling = 10.0 ** -np.arange(6)
    low, high, is_log, note = axes.bounds([falling])
    assert is_log
    assert low < 1e-5 < 1 < high
    assert note == ""
    # Metrics never have one; an axis does not zoom into the noise of a constant.
    assert not axes.bounds([falling], is_loss=False).is_log
    low, high, *_ = axes.bounds([[0.9, 0.9001, 0.9]], is_loss=False)
    assert 0.02 < high - low < 0.2


@pytest.mark.parametrize(
    "column",
    [[1.0], [0.0], [0.0, 0.0], [-5.0, -9.0, -9.5], [1e200, 1e-200], [1.0, np.nan, np.inf, 2.0],
     [np.nan, np.nan], [5e-324, 1.0], [1.0, None, 2.0], [1e200, -1e200], [1.5e308, 1.0]],
)  # fmt: skip
def test_bounds_of_any_column_contain_its_end(column):
    low, high, is_log, _ = axes.bounds([column])
    assert np.isfinite([low, high]).all()
    assert low < high
    assert low > 0 or not is_log
    known = axes.floats(column)
    known = known[np.isfinite(known)]
    assert not len(known) or low <= known[-1] <= high
    history = history_of([0.0 if value is None else value for value in column], column)
    report_figure(None, history)._repr_png_()
    xml.dom.minidom.parseString(history._repr_html_())


def test_what_an_axis_does_not_show_is_said():
    history = history_of([900.0, *np.linspace(1, 0.8, 40)], [1e3, *np.linspace(1.1, 0.9, 40)])
    history.train_loss[5] = np.nan
    assert history.plot().axes[0].get_ylabel() == "mean loss\n(axis cut: most 1e+03; 1 not finite)"


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="there is no epoch to draw: train first"):
        History().plot()


# Classes ----------------------------------------------------------------------------------------


def probabilities(n_classes, n=300, seed=0):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, n_classes, n)
    z = generator.normal(size=(n, n_classes))
    z[np.arange(n), y] += 2
    p = np.exp(z)
    return y, p / p.sum(axis=1, keepdims=True)


def test_a_binary_report_has_the_matrix_and_the_curve_of_the_second_class():
    y = [0, 0, 0, 1, 1]
    p = np.array([0.1, 0.15, 0.9, 0.85, 0.3])
    figure = report_figure(
        None, FALLING, task="classification", y=y, predicted=p, classes=("no", "yes"), title="t"
    )
    assert titles(figure) == [
        "Loss: best epoch 3 of 4",
        "Accuracy 80.00% in epoch 3",
        "Accuracy 60.00% on 5 held-out rows",
        "Calibration: 46.0% expected, 40.0% found",
    ]
    matrix, curve = figure.axes[2:]
    assert texts(matrix) == ["2\n67%", "1\n33%", "1\n50%", "1\n50%"]
    assert [label.get_text() for label in matrix.get_yticklabels()] == ["no", "yes"]
    assert curve.get_xlabel() == "predicted probability of yes"
    points = curve.lines[1].get_xydata()
    np.testing.assert_allclose(points, [[0.125, 0.0], [0.3, 1.0], [0.875, 0.5]])
    two = np.column_stack([1 - p, p])
    again = report_figure(None, FALLING, task="classification", y=y, predicted=two)
    assert texts(again.axes[2]) == texts(matrix)


def test_calibration_of_more_classes_is_that_of_the_predicted_one():
    y, p = probabilities(4)
    figure = report_figure(None, FALLING, task="classification", y=y, predicted=p)
    right = float((p.argmax(axis=1) == y).mean())
    assert titles(figure)[3] == f"Calibration: {p.max(axis=1).mean():.1%} sure, {right:.1%} right"
    assert figure.axes[3].get_ylabel() == "share that is right"


@pytest.mark.parametrize("n_classes", [2, 3, 8, 9, 12, 13, 30])
def test_every_count_of_a_matrix_can_be_read(n_classes):
    y, p = probabilities(n_classes, 100 * n_classes)
    names = [f"a class with the long name {k}" for k in range(n_classes)]
    figure = report_figure(None, FALLING, task="classification", y=y, predicted=p, classes=names)
    matrix = next(panel for panel in figure.axes if "held-out" in panel.get_title(loc="left"))
    counts = [int(text.split("\n")[0].replace(",", "")) for text in texts(matrix)]
    assert sum(counts) == len(y)
    figure.canvas.draw()
    cell = matrix.bbox.width / n_classes, matrix.bbox.height / n_classes
    shade = matrix.collections[0].get_array()
    for text in matrix.texts:
        extent = text.get_window_extent()
        assert extent.width < cell[0]
        assert extent.height < cell[1]
        share = shade[tuple(int(each) for each in text.get_position())[::-1]]
        assert (text.get_color() == "white") == (share > 0.55)


def test_of_many_classes_the_most_confused_are_drawn():
    y = np.repeat(np.arange(40), 5)
    chosen = y.copy()
    chosen[7 * 5 : 8 * 5] = 31  # all of class 7 are taken for 31
    figure = report_figure(None, FALLING, task="classification", y=y, predicted=np.eye(40)[chosen])
    matrix = figure.axes[0]
    assert "the 20 of 40 classes that are confused most" in matrix.get_xlabel()
    labels = [label.get_text() for label in matrix.get_yticklabels()]
    assert len(labels) == 20
    assert {"7", "31"} <= set(labels)


def test_labels_that_are_independent_have_a_calibration_curve():
    y = np.array([[0, 1, 1], [1, 1, 0]])
    p = np.array([[0.1, 0.9, 0.9], [0.9, 0.2, 0.1]])
    figure = report_figure(None, FALLING, task="classification", y=y, predicted=p)
    assert titles(figure)[2:] == ["All labels right in 50.00% on 2 held-out rows"]


def test_rows_of_one_class_and_names_of_any_kind(tmp_path):
    names = ("a<b>&\x01--", "漢字 $x^$ \\frac")
    figure = report_figure(
        tmp_path / "f.svg",
        FALLING,
        task="classification",
        y=[0, 0],
        predicted=[[0.9, 0.1], [0.6, 0.4]],
        classes=names,
        title="100 $ & <more>",
    )
    assert titles(figure)[2] == "Accuracy 100.00% on 2 held-out rows"
    xml.dom.minidom.parse(str(tmp_path / "f.svg"))


@pytest.mark.parametrize(
    "names",
    [
        [f"a long class name {k}" for k in range(3)],
        [f"a long {k} class name that ends alike" for k in range(3)],
        ["a long class name\x01 ", "a long class name\x02 ", "b"],
        ["short", "shorter", "the shortest of all of them"],
    ],
)
def test_classes_with_long_names_can_be_told_apart(names):
    figure = report_figure(
        None, FALLING, task="classification", y=[0, 1, 2], predicted=np.eye(3), classes=names
    )
    ticks = [text.get_text() for text in figure.axes[2].get_yticklabels()]
    assert len(set(ticks)) == 3
    assert max(map(len, ticks)) <= 16


# Numbers ----------------------------------------------------------------------------------------


def test_a_regression_report_has_predictions_and_residuals_in_the_unit():
    y, predicted = [1e5, 2e5, 3e5, 4e5], [1.1e5, 1.9e5, 3.3e5, 4e5]
    figure = report_figure(
        None, NUMBERS, task="regression", y=y, predicted=predicted, name="price in €"
    )
    assert titles(figure) == [
        "Loss: best epoch 3 of 4",
        "R² 0.5000 in epoch 3",
        "R² 0.9780 on 4 held-out rows",
        "Residuals: MAE 12,500, RMSE 16,583",
    ]
    against, residuals = figure.axes[2:]
    assert against.get_xlabel() == "predicted price in €"
    assert against.get_ylabel() == "true price in €"
    assert residuals.get_ylabel() == "true − predicted price in €"
    points = np.column_stack([predicted, y])
    np.testing.assert_array_equal(against.collections[0].get_offsets(), points)
    errors = residuals.collections[0].get_offsets()
    np.testing.assert_array_equal(errors[:, 1], np.subtract(y, predicted))
    figure.canvas.draw()
    assert "200,000" in [label.get_text() for label in against.get_yticklabels()]


def test_many_rows_and_outliers_are_drawn_in_part_which_is_said():
    generator = np.random.default_rng(0)
    y = generator.normal(size=5000)
    predicted = y + 0.1 * generator.normal(size=5000)
    predicted[:3] = 1e6
    figure = report_figure(None, NUMBERS, task="regression", y=y, predicted=predicted)
    for panel in figure.axes[2:]:
        assert len(panel.collections[0].get_offsets()) == 2000
        assert "2,000 of 5,000 rows drawn" in texts(panel)[0]
        assert re.match(r"\d+ outside the axes; ", texts(panel)[0])
        assert panel.get_xlim()[1] < 20


def test_rows_that_are_not_finite_are_left_out_and_counted():
    figure = report_figure(
        None, NUMBERS, task="regression", y=[1.0, 2, 4, np.nan], predicted=[np.nan, 2, 4, 1]
    )
    assert titles(figure)[2] == "R² 1.0000 on 2 held-out rows (2 not finite)"
    empty = report_figure(None, NUMBERS, task="regression", y=[1.0], predicted=[np.inf])
    assert texts(empty.axes[2] if len(empty.axes) > 2 else empty.axes[-1]) == [
        "no predictions to draw on 0 held-out rows (1 not finite)"
    ]
    p = [[np.nan, 0.5], [0.2, 0.8]]
    figure = report_figure(None, FALLING, task="classification", y=[0, 1], predicted=p)
    assert titles(figure)[2] == "Accuracy 100.00% on 1 held-out row (1 not finite)"


def test_constant_targets_and_several_outputs():
    figure = report_figure(None, NUMBERS, task="regression", y=[2.0, 2], predicted=[2.0, 2])
    assert titles(figure)[2] == "R² – on 2 held-out rows"
    y = np.arange(12.0).reshape(4, 3)
    figure = report_figure(None, NUMBERS, task="regression", y=y, predicted=y, name="size")
    assert figure.axes[2].get_xlabel() == "predicted size (output 1 of 3)"


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_rows_that_do_not_fit_are_refused(task):
    for predicted in ([0.5, 0.5, 0.5], None):
        with pytest.raises(ValueError, match="y and predicted must have the same rows"):
            report_figure(None, NUMBERS, task=task, y=[0, 1], predicted=predicted)
    with pytest.raises(ValueError, match="task must be one of"):
        report_figure(None, NUMBERS, y=[0, 1], predicted=[0, 1])
    with pytest.raises(ValueError, match="classes must name each of the 2 columns"):
        report_figure(None, NUMBERS, task="classification", y=[0], predicted=[0.5], classes=["a"])


# Files and notebooks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"), [("f.png", b"\x89PNG"), ("f.SVG", b"<?xml"), ("f.pdf", b"%PDF")]
)
def test_figures_are_written_as_their_suffix_says(tmp_path, name, start):
    path = tmp_path / name
    FALLING.plot(path, title="curves")
    assert path.read_bytes().startswith(start)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    if name.endswith("SVG"):
        first = path.read_bytes()
        FALLING.plot(path, title="curves")
        assert path.read_bytes() == first


def test_the_command_line_draws_the_held_out_rows_with_their_names(tmp_path):
    generator = np.random.default_rng(0)
    area = generator.uniform(30, 200, 100).round(1)
    rows = zip(area, (1000 * area + 100).round(), np.where(area > 90, "big", "small"), strict=True)
    data, path = tmp_path / "housing.csv", tmp_path / "report.svg"
    lines = [f"{size},{price},{kind}" for size, price, kind in rows]
    data.write_text("\n".join(["area,price,kind", *lines]))
    for target, expected in (
        ("price", ("true − predicted price", "Residuals: MAE", "on 20 held-out rows")),
        ("kind", ("predicted probability of small", "big", "on 20 held-out rows")),
    ):
        argv = ["train", str(data), "--target", target, "--plot", str(path), "--epochs", "3"]
        assert cli.main([*argv, "--quiet"]) == 0
        written = " ".join(re.findall("<!-- (.*) -->", path.read_text(encoding="utf-8")))
        for text in (*expected, "housing.csv, ", "Loss: best epoch "):
            assert text in written


def test_formats_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"a plot must be one of .*png.*; got 'xyz'"):
        FALLING.plot(tmp_path / "f.xyz")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match="is not a regular file; name a file that may be replaced"):
        FALLING.plot(tmp_path / "folder.png")
    with pytest.raises(OSError, match=r"no/f\.png"):
        FALLING.plot(tmp_path / "no" / "f.png")


def test_the_figure_is_white_whatever_the_users_style_is():
    with matplotlib.style.context("dark_background"):
        figure = FALLING.plot()
        data = figure._repr_png_()
    pixels = matplotlib.image.imread(io.BytesIO(data))
    np.testing.assert_array_equal(pixels[0, 0, :3], 1)
    assert figure.axes[0].title.get_color() == "black"
    assert figure.axes[0].xaxis.label.get_color() == "black"


def test_notebooks_show_the_figure_and_it_can_be_pickled():
    figure = FALLING.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(figure))._repr_png_().startswith(b"\x89PNG")


def test_no_window_and_no_pyplot():
    program = (
        "import sys, fastbp.plotting, fastbp.history as h\n"
        "assert 'matplotlib' not in sys.modules\n"
        "h.History([1.0], [None], [None], [0.1], [1.0], [1.0], ['x']).plot()\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_history_in_a_notebook():
    shown = FALLING._repr_html_()
    document = xml.dom.minidom.parseString(shown)
    cells = [cell.firstChild.data for cell in document.getElementsByTagName("td")]
    assert cells == [
        "best: 3", "1.5", "1.7", "80.00%", "0.1",
        "last: 4", "1.2", "1.8", "75.00%", "0.1",
    ]  # fmt: skip
    lines = document.getElementsByTagName("polyline")
    assert [line.getAttribute("stroke-dasharray") for line in lines] == ["5 3", ""]
    assert [len(line.getAttribute("points").split()) for line in lines] == [4, 4]
    assert "best epoch 3" in shown
    colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', shown)) | set(re.findall("#\\w+", shown))
    assert colours == {"currentColor", "none"}  # those of the page, light or dark
    assert History()._repr_html_() == "<p>History: no epochs yet</p>"


def test_the_picture_of_a_long_history_is_small_and_breaks_where_it_is_not_finite():
    losses = np.linspace(2, 1, 2000)
    assert len(history_of(losses.tolist(), losses.tolist())._repr_html_()) < 20_000
    broken = history_of([3.0, 2.5, np.nan, 2.2, np.inf, 2.0, 1.9])
    document = xml.dom.minidom.parseString(broken._repr_html_())
    assert len(document.getElementsByTagName("polyline")) == 2
    assert len(document.getElementsByTagName("circle")) == 1
    assert "2 not finite" in broken._repr_html_()


def test_network_in_a_notebook():
    network = fastbp.Network((4, 8, 2), classes=["<b>", "a & b"], seed=0)
    shown = network._repr_html_()
    document = xml.dom.minidom.parseString(shown)
    rows = [
        [cell.firstChild.data for cell in row.childNodes]
        for row in document.getElementsByTagName("tr")
    ]
    assert rows[1] == ["1", "4 → 8", "relu", "he_normal", "40"]
    assert rows[2][1:3] == ["8 → 2", "softmax"]
    caption = document.getElementsByTagName("caption")[0].firstChild.data
    assert caption == "Network: 58 parameters, float32, loss cross_entropy; classes '<b>', 'a & b'"
    preparation = fastbp.Preparation().fit(np.eye(4)[:, :3])
    prepared = fastbp.Network((3, 1), loss="squared_error", preparation=preparation)
    assert "inputs prepared from 3 columns" in prepared._repr_html_()
