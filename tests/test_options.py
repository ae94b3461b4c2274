"""Options of a trainer: as plain values and back, as text, and names that were not meant."""

import inspect
import json
import tomllib

import numpy as np
import pytest

import fastbp
from fastbp import Network, Trainer, keywords, optimizers, schedules
from fastbp.options import OPTIONS

# Values that are not the default, one or more for each option.
VALUES = [
    {"optimizer": "adam"},
    {"optimizer": optimizers.SGD(momentum=0.9, nesterov=True)},
    {"optimizer": optimizers.AdamW(), "weight_decay": 0.25},
    {"learning_rate": 0.5},
    {"learning_rate": schedules.Cosine(0.1, epochs=7, warmup=2)},
    {"learning_rate": schedules.Step(0.1, step_size=3)},
    {"batch_size": np.int64(32)},
    {"shuffle": False},
    {"method": "deferred"},
    {"method": ("auto", "sequential")},
    {"block_size": 16},
    {"n_threads": 1},
    {"weight_decay": 0.01},
    {"l1": 1e-4},
    {"dropout": 0.5},
    {"dropout": [0.25]},
    {"clip_value": 1},
    {"clip_norm": 2.5},
    {"max_norm": 3.0},
    {"class_weight": "balanced"},
    {"class_weight": {2: 3.0}},
    {"class_weight": np.array([1.0, 2.0, 0.5])},
    {"label_smoothing": 0.1},
    {"reduction": "batch"},
]


def made(**options):
    return Trainer(Network((4, 8, 3), seed=1), seed=7, **options)


def as_toml(params, indent=""):
    """A dict as a text in TOML, whose inline tables and arrays look like this."""

    def shown(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k} = {shown(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(shown, value)) + "]"
        return json.dumps(value)

    return "\n".join(f"{name} = {shown(value)}" for name, value in params.items())


def test_there_is_a_value_for_every_option():
    assert {name for values in VALUES for name in values} == set(OPTIONS)
    signature = set(inspect.signature(Trainer).parameters)
    assert signature == {"network", "seed", *OPTIONS}


@pytest.mark.parametrize("options", [{}, *VALUES], ids=str)
@pytest.mark.parametrize("through", [dict, lambda p: tomllib.loads(as_toml(p))], ids=["", "toml"])
def test_a_trainer_from_its_params_trains_the_same(options, through, generator):
    X, y = generator.normal(size=(40, 4)), np.arange(40) % 3
    trainer = made(**options)
    params = through(trainer.get_params())
    again = Trainer.from_params(Network((4, 8, 3), seed=1), params)
    assert again.get_params() == trainer.get_params() == params
    for each in (trainer, again):
        each.fit(X, y, epochs=2, progress=False)
    np.testing.assert_array_equal(again.network.params, trainer.network.params)


def test_params_are_of_now():
    trainer = made()
    trainer.batch_size = 5
    assert trainer.get_params()["batch_size"] == 5
    assert "block_size" not in trainer.get_params()
    assert "seed" not in Trainer(Network((4, 3))).get_params()


def test_a_trainer_that_was_loaded_has_no_seed(tmp_path):
    fastbp.save(made(batch_size=3), tmp_path / "model")
    params = fastbp.load(tmp_path / "model").get_params()
    assert params == {k: v for k, v in made(batch_size=3).get_params().items() if k != "seed"}


def test_a_short_form_of_params_will_do():
    params = {"optimizer": {"name": "sgd", "momentum": 0.9}, "learning_rate": 1, "dropout": 0.5}
    trainer = Trainer.from_params(Network((4, 3, 3, 2)), params)
    assert trainer.optimizer == optimizers.SGD(momentum=0.9)
    assert trainer.get_params()["dropout"] == 0.5
    assert Trainer.from_params(Network((4, 2)), {"optimizer": "adam"}).learning_rate == 0.001


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lr": 0.1}, r"'lr' is no option of a trainer \(did you mean 'learning_rate'\?\); they"),
        ({"droput": 0.1}, "did you mean 'dropout'"),
        ({3: 4}, "3 is no option of a trainer; they are optimizer, "),
        ({"optimizer": {"name": "adm"}}, "did you mean 'adam'"),
        ({"optimizer": {"momentum": 0.9}}, "optimizer.name must be one of sgd"),
        ({"optimizer": {"name": "adam", "momentum": 0.9}}, "must have the settings of adam"),
        ({"learning_rate": {"name": "Cosine"}}, "must have the settings of Cosine"),
        ({"learning_rate": {"name": "Cosin"}}, "did you mean 'Cosine'"),
        ({"batch_size": "32"}, "batch_size must be an integer"),
        ({"seed": -1}, "seed must be an integer"),
    ],
)
def test_params_that_cannot_be_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        Trainer.from_params(Network((4, 3)), params)


@pytest.mark.parametrize(
    ("name", "value"), [("shuffle", np.arange), ("learning_rate", lambda epoch: 0.1)]
)
def test_functions_are_no_plain_values(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .* to be saved"):
        made(**{name: value}).get_params()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, ""),
        ({"optimizer": "adam", "learning_rate": 0.001}, ", optimizer=Adam()"),
        (
            {"learning_rate": 1, "batch_size": 32, "dropout": [0.5], "seed": 3},
            ", learning_rate=1, batch_size=32, dropout=[0.5], seed=3",
        ),
        ({"optimizer": "adamw", "weight_decay": 0.01}, ", optimizer=AdamW()"),
        ({"optimizer": "adamw", "weight_decay": 0}, ", optimizer=AdamW(), weight_decay=0"),
        ({"shuffle": False, "class_weight": {0: 2.0}}, ", shuffle=False, class_weight={0: 2.0}"),
    ],
)
def test_a_trainer_shows_what_differs_from_the_defaults(options, text):
    network = Network((4, 8, 3))
    assert repr(Trainer(network, **options)) == f"Trainer({network!r}{text})"


def test_a_trainer_shows_itself_even_with_options_that_cannot_be():
    trainer = made()
    trainer.optimizer, trainer.batch_size = "adm", None
    assert "optimizer='adm', " in repr(trainer)
    assert "batch_size=None, " in repr(trainer)


@pytest.mark.parametrize(
    ("use", "given", "meant"),
    [
        ("network", "activations", "activation"),
        ("network", "random_state", "seed"),
        ("network", "criterion", "loss"),
        ("make", "lr", "learning_rate"),
        ("make", "learnign_rate", "learning_rate"),
        ("make", "random_state", "seed"),
        ("make", "n_jobs", "n_threads"),
        ("fit", "epoch", "epochs"),
        ("fit", "max_iter", "epochs"),
        ("fit", "validation_data", "eval_set"),
        ("fit", "eval_metric", "metrics"),
        ("fit", "Epochs", "epochs"),
        ("fit", "call_backs", "callbacks"),
        ("evaluate", "scoring", "metrics"),
    ],
)
def test_a_keyword_that_does_not_exist_hints_at_the_one_that_was_meant(use, given, meant):
    network, X, y = Network((4, 3)), [[0.0] * 4], [0]
    calls = {
        "network": lambda **keyword: Network((4, 3), **keyword),
        "make": lambda **keyword: Trainer(network, **keyword),
        "fit": lambda **keyword: Trainer(network).fit(X, y, **keyword),
        "evaluate": lambda **keyword: Trainer(network).evaluate(X, y, **keyword),
    }
    with pytest.raises(TypeError, match=rf"no argument '{given}' \(did you mean '{meant}'\?\); it"):
        calls[use](**{given: 1})


def test_a_keyword_that_nothing_resembles_names_those_that_exist():
    with pytest.raises(TypeError, match=r"Trainer.fit has no argument 'foo'; it takes X, y, epoch"):
        Trainer(Network((4, 3))).fit([[0.0] * 4], [0], foo=1)


def test_a_function_that_hints_is_otherwise_the_same():
    def function(a, *, b=2):
        """Text."""
        return a, b

    hinted = keywords.hinted(function)
    assert hinted(1, b=3) == (1, 3)
    assert (hinted.__doc__, inspect.signature(hinted)) == ("Text.", inspect.signature(function))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        hinted()
