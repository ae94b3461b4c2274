"""Options of a trainer: as plain values and back, as text, and names that were not meant."""

import inspect
import json
import tomllib

import numpy as np
import pytest

import fastbp
from fastbp import Network, Trainer, keywords, optimizers, options, schedules
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


# Values that cannot be, and what is said of them.
WRONG = [
    ("optimizer", "adm", "optimizer must be one of sgd"),
    ("learning_rate", 0, "learning_rate must be a finite float32 number above 0, got 0"),
    ("learning_rate", 1e-60, "learning_rate must be a finite float32 number above 0"),
    ("batch_size", None, "batch_size must be an integer of at least 1, got None"),
    ("batch_size", True, "batch_size must be an integer"),
    ("shuffle", 1, "shuffle must be True or False, got 1"),
    ("method", "fast", "method must be one of auto"),
    ("method", ["auto"], "method must be one name or 2 names"),
    ("block_size", 65, "block_size must be an integer from 1 to 64"),
    ("n_threads", 0, "n_threads must be an integer of at least 1"),
    ("weight_decay", -1, "weight_decay must be a finite float32 number of at least 0"),
    ("l1", np.nan, "l1 must be a finite float32 number of at least 0"),
    ("dropout", 1.0, "dropout must be a number from 0 to below 1"),
    ("dropout", [0.1, 0.1], "dropout must be one number or 1 numbers"),
    ("clip_value", 0, "clip_value must be a finite float32 number above 0"),
    ("clip_norm", "1", "clip_norm must be a finite float32 number above 0"),
    ("max_norm", 1e60, "max_norm must be a finite float32 number above 0"),
    ("class_weight", [1.0], 'class_weight must be "balanced", 3 weights'),
    ("class_weight", {5: 1.0}, "class_weight must name classes from 0 to 2"),
    ("label_smoothing", 1, "label_smoothing must be a number from 0 to below 1"),
    ("reduction", "sum", "reduction must be one of mean, batch"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_a_wrong_option_is_refused_when_it_is_set_and_changes_nothing(name, value, message):
    trainer = made()
    before, params = repr(trainer), trainer.get_params()
    with pytest.raises(ValueError, match=message):
        setattr(trainer, name, value)
    assert (repr(trainer), trainer.get_params()) == (before, params)


def test_there_is_a_wrong_value_for_every_option():
    assert {name for name, *_ in WRONG} == set(OPTIONS)


def test_what_does_not_go_together_is_refused_before_a_pass_and_only_there():
    """One of two options may be set before the other."""
    X, y = np.eye(4), np.arange(4) % 3
    trainer = made(method="deferred")
    trainer.batch_size = 2
    for use in (lambda: trainer.partial_fit(X, y), lambda: trainer.fit(X, y, progress=False)):
        with pytest.raises(ValueError, match="method and block_size are for plain sgd"):
            use()
    trainer.method = "auto"
    trainer.partial_fit(X, y)
    trainer.learning_rate, trainer.weight_decay = 2, 3
    with pytest.raises(ValueError, match=r"must be below 1, .* got 2.0 \* 3.0"):
        trainer.partial_fit(X, y)
    trainer.weight_decay = 0.1
    trainer.partial_fit(X, y)


def test_options_are_checked_again_for_another_network():
    X, y = np.eye(4), np.arange(4) % 3
    trainer = made(dropout=[0.5], learning_rate=1e-40)
    trainer.network = Network((4, 8, 8, 3), seed=0)
    with pytest.raises(ValueError, match="dropout must be one number or 2 numbers"):
        trainer.partial_fit(X, y)
    trainer.dropout = 0.5
    assert trainer.partial_fit(X, y).options.dropout == (0.5, 0.5)
    trainer.network = Network((4, 8, 8, 8, 3), seed=0)
    trainer.dropout = [0.1, 0.2, 0.3]
    assert trainer.partial_fit(X, y).options.dropout == (0.1, 0.2, 0.3)
    trainer = made(class_weight={2: 3.0})
    trainer.network = Network((4, 2), seed=0)
    with pytest.raises(ValueError, match="class_weight must name classes from 0 to 1"):
        trainer.fit(X, y, progress=False)


def test_weights_of_classes_with_labels():
    network = Network((4, 3), classes=("a", "b", "c"), seed=0)
    assert Trainer(network, class_weight={"c": 2}).options.class_weight == (1.0, 1.0, 2.0)
    for wrong, message in (
        ({"d": 1.0}, r"must name classes among \['a', 'b', 'c'\], got 'd'"),
        ({2: 1.0}, r"must name classes among \['a', 'b', 'c'\], got 2"),
        ({"b": -1.0}, r"\['b'\] must be a finite float32 number"),
        ([1.0, 1.0, -1.0], r"\[2\] must be a finite float32 number"),
    ):
        with pytest.raises(ValueError, match=message):
            Trainer(network, class_weight=wrong)


def test_plain_options_say_which_one_was_meant():
    options = made().options
    options.batch_size = np.int64(3)
    assert type(options.batch_size) is int
    with pytest.raises(AttributeError, match=r"'lr' is no option .*mean 'learning_rate'"):
        options.lr = 0.1


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


@pytest.mark.parametrize(
    ("name", "held", "equal"),
    [("batch_size", 1, True), ("batch_size", 2, 2.0), ("shuffle", True, 1)],
)
def test_what_equals_an_option_is_checked_if_it_is_of_another_type(name, held, equal):
    trainer = Trainer(Network((4, 3)), **{name: held})
    setattr(trainer, name, held)
    with pytest.raises(ValueError, match=f"{name} must be "):
        setattr(trainer, name, equal)
    assert getattr(trainer, name) is held


def test_an_option_that_stays_as_it_is_is_not_checked_again(monkeypatch):
    trainer, seen = Trainer(Network((4, 3)), n_threads=2), []
    check = options._CHECKS["n_threads"]
    monkeypatch.setitem(
        options._CHECKS,
        "n_threads",
        lambda value, network: seen.append(value) or check(value, network),
    )
    for value in (2, 2, None, None, 1):
        trainer.n_threads = value
    assert seen == [None, 1]
    trainer.network = Network((5, 3))
    trainer.n_threads = 1
    assert seen == [None, 1, 1]
