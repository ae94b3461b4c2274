"""Settings for tables of every size."""

import pytest

from fastbp import Network, Trainer, defaults


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("n_rows", [1, 100, 3000, 10**5, 10**8])
def test_a_network_and_a_trainer_take_what_is_chosen(n_rows, task):
    chosen = defaults.choose(n_rows, 7, 1, task)
    loss = "squared_error" if task == "regression" else "binary_cross_entropy"
    trainer = Trainer(
        Network((7, *chosen.layers, 1), activation=chosen.activation, loss=loss),
        chosen.optimizer,
        learning_rate=chosen.learning_rate,
        batch_size=chosen.batch_size,
        weight_decay=chosen.weight_decay,
        dropout=chosen.dropout,
    )
    assert trainer.batch_size in (32, 64, 128, 256)
    assert 0 < chosen.validation < 0.5
    assert 0 < chosen.patience < chosen.epochs


def test_more_rows_need_less_weight_decay_and_never_smaller_batches():
    chosen = [defaults.choose(10**power, 10, 1, "regression") for power in range(1, 8)]
    decays = [each.weight_decay for each in chosen]
    sizes = [each.batch_size for each in chosen]
    assert decays == sorted(decays, reverse=True)
    assert sizes == sorted(sizes)
    assert decays[0] == 1
    assert decays[-1] < 0.01


def test_an_unknown_task_is_named():
    with pytest.raises(ValueError, match="task must be 'classification' or 'regression', got 'x'"):
        defaults.choose(100, 10, 1, "x")


def test_small_tables_have_as_many_steps_as_it_takes():
    small, large = (defaults.choose(n, 10, 1, "regression") for n in (100, 10_000))
    assert small.patience * 3 >= 600  # batches of 32 in 85 rows
    assert small.epochs * 3 >= 6000
    assert (large.epochs, large.patience) == (200, 20)
