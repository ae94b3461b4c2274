"""From data to figures: what each step may know, and what comes out."""

import numpy as np
import pyarrow as pa
import pytest

import fastbp
from fastbp import data, experiment, metrics
from fastbp.experiment import Options
from fastbp.problem import pose


def houses(n=300, seed=0):
    rng = np.random.default_rng(seed)
    area, rooms, age = rng.uniform(40, 250, n), rng.integers(1, 8, n), rng.integers(0, 90, n)
    price = 1500 * area + 12_000 * rooms - 900 * age + rng.normal(0, 8000, n) + 60_000
    return pa.table({"area": area, "rooms": rooms, "age": age, "price": price.round()})


def flowers(n=150, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    X = 100 * (rng.normal(size=(n, 2)) + 4 * np.eye(3)[kind][:, :2]) + 1000
    names = np.array(["iris", "lily", "rose"])[kind]
    return pa.table({"width": X[:, 0], "height": X[:, 1], "kind": names})


QUICK = Options(epochs=30, layers=(16,), training={"learning_rate": 0.01})


def test_a_regression_in_the_units_of_the_table():
    outcome = experiment.run(data.from_table(houses(), "price"), options=QUICK)
    assert list(outcome.figures) == ["train", "validation", "test"]
    assert outcome.figures["test"]["r2"] > 0.9
    assert 3000 < outcome.figures["test"]["mae"] < 30_000
    assert outcome.baseline["r2"] <= 0
    assert outcome.baseline["mae"] > 3 * outcome.figures["test"]["mae"]
    table = houses()
    rows = outcome.parts.test
    predicted = outcome.network.predict(table.select(["age", "area", "rooms"]))
    price = table.column("price").to_numpy()
    assert metrics.mae(price[rows], predicted[rows]) == outcome.figures["test"]["mae"]
    assert 1 <= outcome.best_epoch <= len(outcome.history) <= 30


def test_classes_by_their_names():
    outcome = experiment.run(data.from_table(flowers(), "kind"), options=QUICK)
    assert outcome.problem.classes == ("iris", "lily", "rose")
    assert outcome.figures["test"]["accuracy"] > 0.9
    assert outcome.baseline["accuracy"] < 0.6
    assert set(outcome.network.predict(flowers()).tolist()) <= {"iris", "lily", "rose"}


def test_nothing_is_learned_from_the_test_part():
    """Neither by the network nor by the preparation; the validation part only chooses."""
    table = houses()
    first = experiment.run(data.from_table(table, "price"), options=QUICK)
    columns = {name: table.column(name).to_numpy().copy() for name in table.column_names}
    for values in columns.values():
        values[first.parts.test] *= 3
    second = experiment.run(data.from_table(pa.table(columns), "price"), options=QUICK)
    assert np.array_equal(first.network.params, second.network.params)
    assert first.figures["train"] == second.figures["train"]
    assert first.figures["test"] != second.figures["test"]
    for values in columns.values():
        values[first.parts.validation] *= 3
    chosen_by_none = Options(epochs=3, patience=0, layers=(4,), refit=False)
    third = experiment.run(
        data.from_table(pa.table(columns), "price"),
        options=chosen_by_none,
    )
    fourth = experiment.run(data.from_table(table, "price"), options=chosen_by_none)
    assert np.array_equal(third.network.params, fourth.network.params)


def test_groups_and_times_keep_out_of_the_inputs():
    table = houses().append_column("street", pa.array(np.arange(300) % 20))
    table = table.append_column("year", pa.array(np.arange(300) // 10 + 1990))
    by_group = data.from_table(table, "price", group="street")
    assert by_group.X.column_names == ["area", "rooms", "age", "year"]
    parts = experiment.run(by_group, options=QUICK).parts
    assert not set(by_group.groups[parts.test]) & set(by_group.groups[parts.train])
    by_time = data.from_table(table, "price", time="year")
    assert by_time.X.column_names == ["area", "rooms", "age", "street"]
    parts = experiment.run(by_time, options=QUICK).parts
    assert by_time.times[parts.test].min() > by_time.times[parts.validation].max()
    assert "year" in data.from_table(table, "price", time="year", keep_time=True).X.column_names


def test_rows_without_a_target_are_left_out_and_counted():
    kinds = flowers().column("kind").to_pylist()
    table = flowers().set_column(2, "kind", pa.array([None, *kinds[1:-1], None]))
    made = data.from_table(table, "kind")
    assert len(made.y) == made.X.num_rows == 148
    assert made.notes == ("kind is missing in 2 of 150 rows, which are left out.",)
    prices = houses().column("price").to_numpy().copy()
    prices[:3] = np.nan
    made = data.from_table(houses().set_column(3, "price", pa.array(prices)), "price")
    assert made.notes == ("price is missing in 3 of 300 rows, which are left out.",)
    with pytest.raises(ValueError, match="no rows with a value of kind"):
        pose(data.from_table(table.slice(0, 1), "kind").y, name="kind")


def test_a_test_part_of_the_data_is_used():
    X = np.random.default_rng(0).normal(size=(90, 2))
    y = (X[:, 0] > 0).astype(int)
    outcome = experiment.run(data.from_arrays(X[:80], y[:80], X[80:], y[80:]), options=QUICK)
    assert len(outcome.parts.test) == 0
    assert len(outcome.parts.train) + len(outcome.parts.validation) == 80
    accuracy = np.mean(outcome.network.predict(X[80:]) == y[80:])
    assert outcome.figures["test"]["accuracy"] == accuracy


def test_folds_have_figures_of_their_own():
    found = experiment.cross_validate(data.from_table(flowers(), "kind"), options=QUICK, k=3)
    accuracies = [each.figures["test"]["accuracy"] for each in found.outcomes]
    assert len(accuracies) == 3
    assert found.mean()["accuracy"] == pytest.approx(np.mean(accuracies))
    assert found.sd()["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert found.baseline()["accuracy"] < 0.6
    tested = np.concatenate([each.parts.test for each in found.outcomes])
    assert np.array_equal(np.sort(tested), np.arange(150))


def test_training_again_on_more_rows():
    options = Options(epochs=8, layers=(8,), refit=True)
    planned = experiment.plan(data.from_table(flowers(), "kind"), options=options)
    trainer = experiment.fit(planned)
    outcome = experiment.outcome(planned, trainer)
    assert trainer is not planned.trainer
    assert len(trainer.history) == outcome.best_epoch
    rows = np.union1d(planned.parts.train, planned.parts.validation)
    again = experiment.train_on(planned, rows, outcome.best_epoch)
    assert np.array_equal(again.network.params, trainer.network.params)
    everything = experiment.train_on(planned, np.arange(150), 2)
    assert len(everything.history) == 2


def test_options_reach_the_trainer():
    options = Options(
        training={"optimizer": "sgd", "class_weight": {"rose": 3.0}, "l1": 1e-4, "batch_size": 8},
        schedule={"name": "cosine", "warmup": 2},
        epochs=12,
        layers=(),
    )
    trainer = experiment.plan(data.from_table(flowers(), "kind"), options=options).trainer
    assert trainer.learning_rate == fastbp.schedules.Cosine(0.01, epochs=10, warmup=2)
    assert (trainer.l1, trainer.batch_size, trainer.class_weight) == (1e-4, 8, {"rose": 3.0})
    assert trainer.network.sizes == (2, 3)
    with pytest.raises(
        ValueError,
        match=r"class_weight must name classes among \[.*'rosa' \(did you mean 'rose'\?\)",
    ):
        experiment.plan(
            data.from_table(flowers(), "kind"),
            options=Options(training={"class_weight": {"rosa": 1}}),
        )
    with pytest.raises(ValueError, match="the schedule step has no setting 'warmup'"):
        experiment.plan(
            data.from_table(flowers(), "kind"),
            options=Options(schedule={"name": "step", "warmup": 1}),
        )


def test_a_rate_is_chosen_for_the_optimizer_that_it_suits():
    def rate(**training):
        options = Options(training=training, schedule={})
        return experiment.plan(data.from_table(flowers(), "kind"), options=options).trainer

    chosen = experiment.defaults.choose(120, 2, 3, "classification")
    for optimizer in (chosen.optimizer, fastbp.optimizers.OPTIMIZERS[chosen.optimizer]()):
        assert rate(optimizer=optimizer).learning_rate == chosen.learning_rate
    assert rate(optimizer="sgd").learning_rate == 0.01
    assert rate(optimizer="adadelta").learning_rate == 1
    assert rate(learning_rate=0.3).learning_rate == 0.3


@pytest.mark.parametrize("name", ["step", "exponential", "inversescaling", "cosine", "onecycle"])
def test_a_schedule_needs_no_settings(name):
    options = Options(schedule={"name": name}, epochs=9)
    rate = experiment.plan(
        data.from_table(flowers(), "kind"), options=options
    ).trainer.learning_rate
    assert rate(8) < rate(3) or name == "inversescaling"


def test_what_the_columns_cannot_be_is_said():
    with pytest.raises(ValueError, match=r"no column 'prize' \(did you mean 'price'\?\)"):
        data.from_table(houses(), "prize")
    with pytest.raises(ValueError, match="columns of their own"):
        data.from_table(houses(), "price", group="price")
    with pytest.raises(ValueError, match="no columns besides 'price' to learn from"):
        data.from_table(houses().select(["price"]), "price")
    days = pa.table({"x": [1, 2], "day": pa.array([1, 2], pa.date32())})
    with pytest.raises(ValueError, match="the target day holds dates"):
        data.from_table(days, "day")
    gaps = houses().append_column("street", pa.array([None] * 3 + ["a"] * 297))
    with pytest.raises(
        ValueError, match="street, by which rows are to be split, is missing in 3 of 300 rows"
    ):
        data.from_table(gaps, "price", group="street")


def test_times_are_numbers_or_dates():
    days = np.datetime64("2024-01-01") + np.arange(300)
    table = houses().append_column("day", pa.array(days))
    assert data.from_table(table, "price", time="day").times.dtype.kind == "M"
    german = [f"{1 + i % 28:02}.{1 + i // 28 % 12:02}.2024" for i in range(300)]
    table = houses().append_column("day", pa.array(german))
    with pytest.raises(ValueError, match=r"day must hold numbers or dates .*, got 01\.01\.2024"):
        data.from_table(table, "price", time="day")


def test_frames_of_pandas_are_tables_as_well():
    frame = flowers().to_pandas()
    assert data.from_table(frame, "kind").y.tolist() == frame["kind"].tolist()


def test_texts_that_only_name_the_rows_are_told():
    names = pa.array([f"house {i}" for i in range(300)])
    made = data.from_table(houses().append_column("name", names), "price")
    assert made.notes == (
        "name has 300 texts in 300 rows; if they only name the rows, leave it out: --drop name.",
    )
    assert (
        data.from_table(flowers().append_column("x", pa.array(["a", "b"] * 75)), "kind").notes == ()
    )


def test_truth_values_are_classes_called_true_and_false():
    ok = np.arange(300) % 7 > 2
    made = data.from_table(houses().append_column("ok", pa.array(ok)), "ok")
    assert set(made.y.tolist()) == {"false", "true"}
    assert np.array_equal(made.y == "true", ok)
    outcome = experiment.run(made, options=Options(epochs=2, layers=()))
    assert outcome.network.classes == ("false", "true")
    assert data.from_arrays(np.ones((300, 1)), ok).y.tolist() == made.y.tolist()


def test_without_a_validation_part_all_epochs_are_trained():
    options = Options(epochs=4, validation=0, layers=(3,))
    outcome = experiment.run(data.from_table(houses(), "price"), options=options)
    assert (len(outcome.history), outcome.best_epoch) == (4, 4)
    assert list(outcome.figures) == ["train", "test"]


def test_a_look_at_them_is_short():
    made = data.from_table(houses(), "price")
    assert repr(made) == "Data(300 rows, 3 columns, price)"
    planned = experiment.plan(made, options=QUICK)
    assert "batches of 32, up to 30 epochs" in repr(planned)
    text = repr(experiment.outcome(planned, experiment.fit(planned)))
    assert len(text.splitlines()) == 4
    assert "trivial model" in text


def test_the_default_rate_falls_when_training_again_and_a_given_one_stays():
    made = data.from_table(flowers(), "kind")
    planned = experiment.plan(made, options=Options(layers=(4,)))
    again = experiment.train_on(planned, np.arange(150), 4)
    rates = again.history["learning_rate"]
    assert rates[0] == pytest.approx(0.002)
    assert np.mean(rates) == pytest.approx(0.00125)  # half of it, and a step more
    assert np.all(np.diff(rates) < 0)
    assert again.learning_rate == 0.001  # of whoever goes on
    for training in ({"learning_rate": 0.002}, {"optimizer": "sgd"}):
        planned = experiment.plan(made, options=Options(layers=(4,), training=training))
        rates = experiment.train_on(planned, np.arange(150), 4).history["learning_rate"]
        assert rates == [planned.trainer.learning_rate] * 4
    planned = experiment.plan(made, options=Options(layers=(4,), schedule={}))
    rates = experiment.train_on(planned, np.arange(150), 4).history["learning_rate"]
    assert rates == [0.001] * 4


def test_a_network_that_diverges_when_it_is_trained_again_is_given_up(monkeypatch):
    def diverges(*_, **__):
        raise fastbp.DivergenceError(3, 1, 0.01)

    planned = experiment.plan(data.from_table(houses(), "price"), options=QUICK)
    monkeypatch.setattr(experiment, "train_on", diverges)
    with pytest.warns(RuntimeWarning, match="again is given up for the one before"):
        trainer = experiment.fit(planned)
    assert trainer is planned.trainer
    assert experiment.outcome(planned, trainer).figures["test"]["r2"] > 0.8
