"""Schedules at the ends of what floats hold, and what is known of them before the first step."""

from fractions import Fraction

import numpy as np
import pytest

import fastbp
from fastbp import Network, Trainer, optimizers, schedules

X, Y = [[0.0, 1.0], [1.0, 0.0]], [0, 1]

FALLING = [
    schedules.Step(0.1, 10),
    schedules.Step(0.1, 1, 1e-30),
    schedules.Exponential(0.1, 0.9),
    schedules.Exponential(1e-30, 1e-10),
    schedules.InverseScaling(0.1, 100.0),
    schedules.InverseScaling(0.1, 1e300),
    schedules.Cosine(1e-40, 5, warmup=10**18),
    schedules.OneCycle(0.1, 5, final_divisor=1e308),
    lambda epoch: 0.1 * 0.5**epoch,
    lambda epoch: np.float32(1e-45),
    lambda epoch: Fraction(1, 10**200),
]


def trainer_at(epoch, **options):
    """A trainer with so many epochs behind it."""
    trainer = Trainer(Network((2, 2), seed=0), seed=0, **options)
    for column in vars(trainer.history).values():
        column += ["sequential" if column is trainer.history.method else 0.5] * epoch
    return trainer


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("schedule", FALLING, ids=repr)
def test_a_rate_that_underflows_is_0(schedule, optimizer, tmp_path):
    for epoch in (450, 966, 100_000):
        trainer = trainer_at(epoch, learning_rate=schedule, optimizer=optimizer)
        trainer.fit(X, Y, epochs=3, progress=False)
        assert trainer.history.learning_rate[-1] == np.float32(schedule(epoch + 2))
        if isinstance(schedule, schedules.Schedule):
            fastbp.save(trainer, tmp_path / "model")
            assert fastbp.load(tmp_path / "model").learning_rate == schedule


def test_a_rate_of_0_leaves_the_parameters_alone():
    trainer = trainer_at(2000, learning_rate=schedules.Exponential(0.1, 0.9), optimizer="adam")
    before = trainer.network.params.copy()
    trainer.fit(X, Y, epochs=2, progress=False)
    assert trainer.history.learning_rate[-2:] == [0.0, 0.0]
    np.testing.assert_array_equal(trainer.network.params, before)


@pytest.mark.parametrize(
    ("schedule", "epoch"),
    [
        (schedules.Step(0.1, 10, 10.0), 400),
        (schedules.Step(0.1, 10, 10.0), 4000),
        (schedules.Exponential(0.1, 2.0), 966),
        (schedules.Exponential(0.1, 2.0), 1100),
        (schedules.Exponential(0.1, 1.01), 20_000_000),
        (schedules.Exponential(1e300, 1e30), 1),
        (schedules.Cosine(0.1, 10**6, minimum=1e300), 10**7),
        (schedules.Cosine(1e300, 20, warmup=5), 0),
        (schedules.OneCycle(1e39, 1000), 200),
        (schedules.OneCycle(0.1, 1000, divisor=1e-308), 0),
        (schedules.OneCycle(0.1, 1000, divisor=1e-309), 999),
        (lambda epoch: 2.0**epoch, 500),
        (lambda epoch: 2.0**epoch, 5000),
        (lambda epoch: np.float64(2) * 1e300, 3),
        (lambda epoch: float("nan"), 3),
        (lambda epoch: 10**400, 3),
        (lambda epoch: 10**5000, 3),
    ],
    ids=repr,
)
def test_a_rate_that_overflows_names_epoch_and_schedule(schedule, epoch):
    with pytest.raises(ValueError, match=r"must be a finite float(32|64) number") as caught:
        schedules.rate_at(schedule, epoch, np.dtype(np.float32))
    assert f"learning_rate({epoch})" in str(caught.value)
    assert f"in epoch {epoch}" in str(caught.value)
    assert repr(schedule) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_fit_in_which_a_rate_overflows():
    trainer = trainer_at(966)
    trainer.learning_rate = lambda epoch: 2.0**epoch
    with pytest.raises(ValueError, match=r"learning_rate\(966\) must be a finite float32 number"):
        trainer.fit(X, Y, epochs=1, progress=False)


def test_a_schedule_that_is_called_never_raises_overflow_errors():
    with pytest.raises(ValueError, match=r"learning_rate\(5000\) must be a finite float64 number"):
        schedules.Exponential(0.1, 2.0)(5000)
    assert schedules.Exponential(0.1, 0.5)(5000) == 0


@pytest.mark.parametrize(
    ("schedule", "epochs", "weight_decay"),
    [
        (schedules.Step(0.1, 1, 1e30), 3, 0.0),
        (schedules.Exponential(0.1, 1e20), 3, 0.0),
        (schedules.Exponential(0.1, 1.001), 200_000, 0.0),
        (schedules.Cosine(1e39, 20, warmup=100), 110, 0.0),
        (schedules.OneCycle(1e39, 100), 50, 0.0),
        # Not too large as such, but times weight_decay.
        (schedules.Exponential(0.1, 2.0), 10, 0.1),
    ],
    ids=repr,
)
def test_what_is_wrong_with_later_epochs_is_said_before_the_first(schedule, epochs, weight_decay):
    network = Network((2, 2), seed=0)
    trainer = Trainer(network, learning_rate=schedule, weight_decay=weight_decay)
    before = network.params.copy()
    with pytest.raises(ValueError, match="learning_rate"):
        trainer.fit(X, Y, epochs=epochs, progress=False)
    np.testing.assert_array_equal(network.params, before)
    assert len(trainer.history) == 0


def test_functions_are_not_asked_ahead():
    asked = []
    trainer = Trainer(Network((2, 2), seed=0), learning_rate=lambda e: asked.append(e) or 0.1)
    trainer.fit(X, Y, epochs=3, progress=False)
    assert set(asked) == {0, 1, 2}
    assert asked[-2:] == [1, 2]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: optimizers.Optimizer(), "Optimizer is the base class of all optimizers"),
        (lambda: schedules.Schedule(0.1), "Schedule is the base class of all schedules"),
        (lambda: schedules.Step(0.1, 10, 1e308), "gamma must be a finite float32"),
        (lambda: schedules.Exponential(0.1, 1e200), "gamma must be a finite float32"),
        (
            lambda: Trainer(
                Network((2, 2)), learning_rate=schedules.OneCycle(0.1, 9, divisor=1e-300)
            ),
            r"learning_rate\(0\) must be a finite float32 number",
        ),
        (lambda: schedules.OneCycle(0.1, 10**400), "epochs must be an integer from 1 to"),
        (lambda: schedules.Cosine(0.1, 5, warmup=10**400), "warmup must be an integer from 0 to"),
        (
            lambda: Trainer(Network((2, 2)), n_threads=10**18),
            "n_threads must be an integer from 1 to 1024, got 1000000000000000000",
        ),
        (lambda: Trainer(Network((2, 2)), batch_size=10**30), "batch_size must be an integer from"),
        (lambda: Network((2**64, 2)), r"sizes\[0\] must be an integer from 1 to"),
    ],
)
def test_what_cannot_be_used_is_refused_where_it_is_made(use, message):
    with pytest.raises(ValueError, match=message):
        use()


def test_seeds_may_have_any_length():
    first, second = (Network((3, 2), seed=2**200).params for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.longdouble, Fraction], ids=repr)
def test_settings_are_plain_numbers(number, tmp_path):
    """Or a trainer would go on otherwise when it is loaded, for NumPy rounds in its own way."""
    optimizer = optimizers.Adam(number(0.75), eps=number(1) / 3, amsgrad=np.bool_(True))
    schedule = schedules.Step(number(0.1), np.int8(2), gamma=number(1) / 3)
    trainer = Trainer(Network((2, 2), seed=0), optimizer, learning_rate=schedule)
    fastbp.save(trainer, tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model")
    assert loaded.optimizer == optimizer
    assert [loaded.learning_rate(e) for e in range(9)] == [schedule(e) for e in range(9)]
    assert {type(value) for value in vars(optimizer).values()} == {bool, float}


def test_classes_of_ones_own_are_not_saved(tmp_path):
    class Mine(optimizers.Adam):
        pass

    class Linear(schedules.Schedule):
        def __call__(self, epoch):
            return self.learning_rate / (epoch + 1)

    network = Network((2, 2), seed=0)
    with pytest.raises(ValueError, match=r"optimizer must be one of fastbp\.optimizers to be"):
        fastbp.save(Trainer(network, Mine()), tmp_path / "model")
    trainer = Trainer(network, learning_rate=Linear(0.1), seed=0)
    trainer.fit(X, Y, epochs=2, progress=False)
    assert trainer.history.learning_rate == [0.1, 0.05]
    with pytest.raises(ValueError, match=r"one of fastbp\.schedules to be saved"):
        fastbp.save(trainer, tmp_path / "model")
