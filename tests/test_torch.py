"""The same 50 steps as torch, in float64, with every option that torch has a word for."""

import copy
import itertools

import numpy as np
import pytest
from naive import dropout_masks
from test_minibatch import IDS, OPTIMIZERS, TIGHT, problem

from fastbp import Network, Trainer, callbacks, optimizers, schedules

torch = pytest.importorskip("torch")

SIZES = [(4, 3), (7, 12, 3), (20, 17, 33, 5)]
STEPS, BATCH = 50, 8


@pytest.fixture(autouse=True)
def double(monkeypatch):
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)  # of NAdam's product


class Model:
    """A network's double in torch, on which a batch's loss is an expression."""

    def __init__(self, network, activation=torch.tanh):
        def leaf(a):
            return torch.tensor(np.ascontiguousarray(a), requires_grad=True)

        self.weights = [leaf(W) for W in network.weights]
        self.biases = [leaf(b) for b in network.biases]
        self.activation = activation

    @property
    def parameters(self):
        return self.weights + self.biases

    def __call__(self, X, masks=None):
        a = X
        for i, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = torch.nn.functional.linear(a, W, b)
            if i < len(self.weights) - 1:
                a = self.activation(a)
                if masks is not None:
                    a = a * masks[i]
        return a

    def optimizer(self, kind, decay=0.0, **options):
        """Weight decay is for weights alone, where torch's default is for biases too."""
        groups = [
            {"params": self.weights, "weight_decay": decay},
            {"params": self.biases, "weight_decay": 0.0},
        ]
        return getattr(torch.optim, kind)(groups, **options)

    def train(self, optimizer, loss, X, before_step=None, after_step=None):
        """``loss(rows)`` of each batch's rows; 50 steps, or as many as there is data for."""
        for start in range(0, len(X), BATCH):
            optimizer.zero_grad()
            loss(slice(start, start + BATCH)).backward()
            if before_step:
                before_step(self)
            optimizer.step()
            if after_step:
                with torch.no_grad():
                    after_step(self)


def assert_same(network, model):
    pairs = zip(network.weights + network.biases, model.parameters, strict=True)
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs.detach().numpy(), **TIGHT)


def cross_entropy(model, X, y, **options):
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    return lambda rows: torch.nn.functional.cross_entropy(model(X[rows]), y[rows], **options)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [*OPTIMIZERS, ("adamw", {}), ("adamw", {"amsgrad": True})],
    ids=[*IDS, "adamw", "adamw-amsgrad"],
)
def test_every_optimizer_and_decay(name, options, sizes):
    X, y = problem(sizes, STEPS * BATCH)
    decoupled = {"adamw": [True], "adam": [False, True], "nadam": [False, True]}.get(name, [False])
    for decay, decouples in itertools.product([0.0, 0.05], decoupled):
        ours = optimizers.OPTIMIZERS[name](decoupled_weight_decay=decouples, **options)
        network = Network(sizes, activation="tanh", dtype="float64", seed=1)
        model = Model(network)
        theirs = dict(options)
        if "beta1" in theirs or "beta2" in theirs:
            theirs["betas"] = (theirs.pop("beta1", 0.9), theirs.pop("beta2", 0.999))
        if name in ("adam", "nadam"):
            theirs["decoupled_weight_decay"] = decouples
        optimizer = model.optimizer(type(ours).__name__, decay, lr=0.01, **theirs)
        model.train(optimizer, cross_entropy(model, X, y), X)
        Trainer(
            network, ours, learning_rate=0.01, batch_size=BATCH, weight_decay=decay
        ).partial_fit(X, y)
        assert_same(network, model)


def per_sample(values):
    return values.sum(dim=1)


F = torch.nn.functional
LOSSES = {
    "squared_error": lambda z, y: per_sample(F.mse_loss(z, y, reduction="none")) / 2,
    "huber": lambda z, y: per_sample(F.huber_loss(z, y, reduction="none")),
    "absolute_error": lambda z, y: per_sample(F.l1_loss(z, y, reduction="none")),
    "poisson": lambda z, y: per_sample(F.poisson_nll_loss(z, y, reduction="none")),
    "binary_cross_entropy": lambda z, y: per_sample(
        F.binary_cross_entropy_with_logits(z, y, reduction="none")
    ),
    "cross_entropy": lambda z, y: F.cross_entropy(z, y, reduction="none"),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_and_sample_weights(loss, sizes, weighted):
    generator = np.random.default_rng(0)
    X, _ = problem(sizes, STEPS * BATCH)
    y = generator.uniform(0.1, 0.9, (len(X), sizes[-1]))
    if loss == "cross_entropy":
        y /= y.sum(axis=1, keepdims=True)
    weights = generator.uniform(0.5, 2, len(X)) if weighted else np.ones(len(X))
    network = Network(sizes, activation="tanh", loss=loss, dtype="float64", seed=1)
    model = Model(network)
    X_t, y_t, w_t = torch.from_numpy(X), torch.from_numpy(y), torch.from_numpy(weights)
    w_t = w_t / w_t.mean()
    model.train(
        model.optimizer("SGD", lr=0.01, momentum=0.9),
        lambda rows: (w_t[rows] * LOSSES[loss](model(X_t[rows]), y_t[rows])).mean(),
        X,
    )
    Trainer(
        network, optimizers.SGD(momentum=0.9), batch_size=BATCH, shuffle=False
    ).fit(X, y, epochs=1, sample_weight=weights if weighted else None, progress=False)  # fmt: skip
    assert_same(network, model)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"clip_value": 0.01},
        {"clip_norm": 0.1},
        {"clip_norm": 0.1, "clip_value": 0.02},
        {"l1": 0.01},
        {"l1": 0.01, "clip_norm": 0.2},
        {"max_norm": 0.5},
        {"max_norm": 0.5, "l1": 0.003, "clip_value": 0.1},
    ],
    ids=lambda options: "-".join(options),
)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_clipping_and_penalties(kind, options, sizes):
    X, y = problem(sizes, STEPS * BATCH)
    network = Network(sizes, activation="tanh", dtype="float64", seed=1)
    model = Model(network)

    def before_step(model):
        if "clip_value" in options:
            torch.nn.utils.clip_grad_value_(model.parameters, options["clip_value"])
        if "clip_norm" in options:
            torch.nn.utils.clip_grad_norm_(model.parameters, options["clip_norm"])
        for W in model.weights:
            W.grad += options.get("l1", 0.0) * W.sign()

    def after_step(model):
        if "max_norm" in options:
            for W in model.weights:
                W *= (options["max_norm"] / W.norm(dim=1, keepdim=True)).clamp(max=1)

    optimizer = model.optimizer(kind, 0.01, lr=0.05)
    model.train(optimizer, cross_entropy(model, X, y), X, before_step, after_step)
    Trainer(
        network, kind.lower(), learning_rate=0.05, batch_size=BATCH, weight_decay=0.01, **options
    ).partial_fit(X, y)
    assert_same(network, model)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_label_smoothing(sizes):
    X, y = problem(sizes, STEPS * BATCH)
    network = Network(sizes, activation="tanh", dtype="float64", seed=1)
    model = Model(network)
    optimizer = model.optimizer("SGD", lr=0.05)
    model.train(optimizer, cross_entropy(model, X, y, label_smoothing=0.2), X)
    trainer = Trainer(network, learning_rate=0.05, batch_size=BATCH, label_smoothing=0.2)
    trainer.partial_fit(X, y)
    assert_same(network, model)


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu"])
def test_dropout_under_the_same_masks(activation):
    sizes = (20, 17, 33, 5)
    X, y = problem(sizes, STEPS * BATCH)
    network = Network(sizes, activation=activation, dtype="float64", seed=1)
    kinds = {"tanh": torch.tanh, "relu": F.relu, "silu": F.silu}
    model = Model(network, kinds[activation])
    trainer = Trainer(network, "adam", batch_size=BATCH, dropout=(0.5, 0.2), seed=3)
    masks = dropout_masks((0.5, 0.2), sizes[1:-1], trainer.workings.orders.key, range(len(X)))
    masks = [torch.from_numpy(np.array(layer)) for layer in zip(*masks, strict=True)]
    X_t, y_t = torch.from_numpy(X), torch.from_numpy(y)
    model.train(
        model.optimizer("Adam", lr=0.001),
        lambda rows: F.cross_entropy(model(X_t[rows], [m[rows] for m in masks]), y_t[rows]),
        X,
    )
    trainer.partial_fit(X, y)
    assert_same(network, model)


torch_schedulers = torch.optim.lr_scheduler
SCHEDULES = [
    (schedules.Step(0.1, 7, 0.5), lambda o: torch_schedulers.StepLR(o, 7, 0.5)),
    (schedules.Exponential(0.1, 0.9), lambda o: torch_schedulers.ExponentialLR(o, 0.9)),
    (
        schedules.InverseScaling(0.1, 0.7),
        lambda o: torch_schedulers.LambdaLR(o, lambda e: (e + 1) ** -0.7),
    ),
    (
        schedules.Cosine(0.1, 49, minimum=0.001),
        lambda o: torch_schedulers.CosineAnnealingLR(o, 49, 0.001),
    ),
    (
        schedules.Cosine(0.1, 7, minimum=0.01, restarts=True, multiplier=2),
        lambda o: torch_schedulers.CosineAnnealingWarmRestarts(o, 7, 2, 0.01),
    ),
    (
        schedules.Cosine(0.1, 44, warmup=5),
        lambda o: torch_schedulers.SequentialLR(
            o,
            [
                torch_schedulers.LambdaLR(o, lambda e: (e + 1) / 6),
                torch_schedulers.CosineAnnealingLR(o, 44),
            ],
            [5],
        ),
    ),
    (
        schedules.OneCycle(0.1, 50),
        lambda o: torch_schedulers.OneCycleLR(o, 0.1, total_steps=50, cycle_momentum=False),
    ),
    (
        schedules.OneCycle(0.1, 50, rise=0.5, divisor=10.0, final_divisor=100.0),
        lambda o: torch_schedulers.OneCycleLR(
            o, 0.1, total_steps=50, pct_start=0.5, div_factor=10.0, final_div_factor=100.0,
            cycle_momentum=False,
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(
    ("schedule", "scheduler"), SCHEDULES, ids=[str(schedule) for schedule, _ in SCHEDULES]
)
def test_every_schedule(schedule, scheduler, sizes):
    """50 epochs of one step."""
    X, y = problem(sizes, BATCH)
    network = Network(sizes, activation="tanh", dtype="float64", seed=1)
    model = Model(network)
    optimizer = model.optimizer("SGD", lr=0.1, momentum=0.9)
    theirs = scheduler(optimizer)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        model.train(optimizer, cross_entropy(model, X, y), X)
        theirs.step() if len(rates) < 50 else None
    trainer = Trainer(
        network, optimizers.SGD(momentum=0.9), learning_rate=schedule, batch_size=BATCH,
        shuffle=False,
    )  # fmt: skip
    history = trainer.fit(X, y, epochs=50, progress=False)
    np.testing.assert_allclose(history.learning_rate, rates, rtol=1e-12)
    assert_same(network, model)


@pytest.mark.parametrize("monitor", ["eval_loss", "accuracy"])
@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (2, 0), (1, 3)])
def test_reduce_on_plateau(monitor, patience, cooldown):
    generator = np.random.default_rng(1)
    values = np.abs(np.exp(-np.arange(60) / 8) + 0.3 + generator.normal(0, 0.05, 60))
    better = {"eval_loss": values, "accuracy": 1 - values / 3}[monitor]
    network = Network((2, 2), seed=0)
    trainer = Trainer(network, learning_rate=0.5)
    ours = callbacks.ReduceOnPlateau(
        monitor, factor=0.5, patience=patience, cooldown=cooldown, minimum=1e-3
    )
    optimizer = Model(network).optimizer("SGD", lr=0.5)
    theirs = torch_schedulers.ReduceLROnPlateau(
        optimizer, "max" if monitor == "accuracy" else "min", factor=0.5, patience=patience,
        cooldown=cooldown, min_lr=1e-3,
    )  # fmt: skip
    seen = []
    for value in better:
        trainer.history.eval_loss.append(value)
        trainer.history.accuracy.append(value)
        ours.on_epoch(trainer)
        theirs.step(value)
        seen.append(trainer.learning_rate)
        assert trainer.learning_rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert len(set(seen)) > 3
    assert copy.copy(seen) == sorted(seen, reverse=True)
