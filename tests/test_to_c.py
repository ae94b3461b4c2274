"""Headers of `fastbp.to_c`, compiled and compared with the network that they were made of."""

import ctypes
import itertools
import math
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import targets_for
from naive import Naive

import fastbp
from fastbp import Preparation, c_templates, kernels

CC, CXX = shutil.which("cc") or shutil.which("gcc"), shutil.which("c++") or shutil.which("g++")
needs_compiler = pytest.mark.skipif(CC is None, reason="there is no C compiler, cc or gcc")
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wdouble-promotion"]
STRICT += ["-pedantic", "-Werror"]
N_SAMPLES, RATE, DECAY = 50, 0.01, 0.02

# One function of each kind for every header: what a test needs, with pointers that ctypes has.
GLUE = """
#include "{name}.h"
static {name}_parameters {name};
EXPORT const void *{name}_start(void) {{ {name} = {name}_exported; return &{name}; }}
EXPORT size_t {name}_size(void) {{ return sizeof {name}; }}
EXPORT void {name}_out(const {x} *x, {y} *out, int n)
{{
    for (int i = 0; i < n; i++)
        {name}_predict(&{name}, x + i * {name}_inputs, out + i * {name}_outputs);
}}
"""
LEARNING = """
EXPORT double {name}_pass(const {x} *x, const {y} *y, const double *weight, int n,
                          double rate, double decay)
{{
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += weight[i] * (double){name}_learn(&{name}, x + i * {name}_inputs,
            y + i * {name}_outputs, ({real})rate, ({real})decay, ({real})weight[i]);
    return sum / n;
}}
"""
CLASSES = """
EXPORT int {name}_class(const {x} *x) {{ return {name}_predict_class(&{name}, x); }}
"""
LEARNING_CLASSES = """
EXPORT double {name}_step(const {x} *x, int label, double rate)
{{
    return (double){name}_learn_class(&{name}, x, label, ({real})rate, 0, 1);
}}
"""
LABELS = """
EXPORT void {name}_labels(const {x} *x, int *out) {{ {name}_predict_labels(&{name}, x, out); }}
"""


class Library:
    """Headers of several networks by name, compiled into one library by one call."""

    def __init__(self, folder, networks, training=True, flags=(), extra=""):
        parts = ["#include <stddef.h>\n#define EXPORT extern\n"]
        for name, network in networks.items():
            fastbp.to_c(network, folder / f"{name}.h", training=training, name=name)
            text = (folder / f"{name}.h").read_text()
            kinds = dict.fromkeys(
                ("x", "y", "real"), "float" if network.dtype == "f4" else "double"
            )
            if network.preparation is not None:
                kinds["x"] = "double"
                kinds["y"] = "double" if network.preparation.scales_targets else kinds["y"]
            glue = GLUE + LEARNING * training
            glue += CLASSES * ("_predict_class(" in text) + LABELS * ("_predict_labels(" in text)
            glue += LEARNING_CLASSES * ("_learn_class(" in text)
            parts.append(glue.format(name=name, **kinds))
        (folder / "all.c").write_text("".join([*parts, extra]))
        command = [CC, "-std=c99", "-O1", *STRICT, *flags, "-shared", "-fPIC", "all.c"]
        done = subprocess.run(
            [*command, "-o", "all.so", "-lm"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.library = ctypes.CDLL(folder / "all.so")

    def __getitem__(self, name):
        return Model(self.library, name)


class Model:
    """One of them."""

    def __init__(self, library, name):
        self.library, self.name = library, name
        start, size = (
            self.function("start", ctypes.c_void_p),
            self.function("size", ctypes.c_size_t),
        )
        self.start, self.size = start, size()
        self.where = start()

    def function(self, name, result=None):
        function = self.library[f"{self.name}_{name}"]
        function.restype = result
        return function

    def parameters(self, dtype):
        """The struct's numbers as they are now."""
        return np.frombuffer(ctypes.string_at(self.where, self.size), dtype)

    def predict(self, X, out):
        self.function("out")(X.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p),
                             len(X))  # fmt: skip
        return out

    def learn(self, X, Y, weight, rate=RATE, decay=DECAY):
        arrays = [array.ctypes.data_as(ctypes.c_void_p) for array in (X, Y, weight)]
        rates = ctypes.c_double(rate), ctypes.c_double(decay)
        return self.function("pass", ctypes.c_double)(*arrays, len(X), *rates)

    def learn_class(self, x, label, rate=RATE):
        x = x.ctypes.data_as(ctypes.c_void_p)
        return self.function("step", ctypes.c_double)(x, label, ctypes.c_double(rate))


def flat(network):
    """Parameters in the order of the struct."""
    pairs = zip(network.weights, network.biases, strict=True)
    return np.concatenate([part.ravel() for W, b in pairs for part in (W.T, b)])


HIDDEN = [
    ((hidden, hidden), loss, output)
    for hidden in kernels.HIDDEN
    for loss, output in (("cross_entropy", "softmax"), ("squared_error", "identity"))
]
OUTPUTS = [
    (("tanh", "relu"), loss, output)
    for loss, outputs in kernels.LEGAL_OUTPUTS.items()
    for output in outputs
]
CASES = {
    f"c{i}_{dtype[-2:]}": (*case, dtype)
    for i, case in enumerate([*HIDDEN, *OUTPUTS])
    for dtype in ("float32", "float64")
}
# As many units as vectors of eight and some more, for the sums.
SIZES = (5, 19, 9, 3)


def made(hidden, loss, output, dtype, sizes=SIZES, **options):
    return fastbp.Network(
        sizes, activation=hidden, loss=loss, output=output, dtype=dtype, seed=1, **options
    )


def samples(network, generator, n=N_SAMPLES):
    X = generator.normal(size=(n, network.sizes[0])).astype(network.dtype)
    Y = targets_for(network.loss_name, generator, n, network.sizes[-1]).astype(network.dtype)
    return X, Y


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    networks = {name: made(*case) for name, case in CASES.items()}
    return Library(tmp_path_factory.mktemp("headers"), networks)


@needs_compiler
@pytest.mark.parametrize("name", CASES)
def test_fifty_steps_are_those_of_the_trainer_and_of_the_textbook(library, name, generator):
    network = made(*CASES[name])
    X, Y = samples(network, generator)
    weight = generator.uniform(0.5, 1.5, N_SAMPLES).astype(np.float32).astype(float)
    weight += 1 - weight.mean()
    model, oracle = library[name], Naive.of(network)
    np.testing.assert_array_equal(model.parameters(network.dtype), flat(network))
    tolerance = 1e-13 if network.dtype == "f8" else 2e-5
    before = network.outputs(X)
    found = model.predict(X, np.empty_like(before))
    np.testing.assert_allclose(found, before, rtol=tolerance, atol=tolerance)

    loss = model.learn(X, Y, weight)
    trainer = fastbp.Trainer(
        network, learning_rate=RATE, weight_decay=DECAY, shuffle=False, method="sequential"
    )
    trainer.partial_fit(X, Y, sample_weight=weight)
    trained, learned = flat(network), model.parameters(network.dtype)
    np.testing.assert_allclose(learned, trained, rtol=tolerance, atol=tolerance)
    wanted = oracle.train(X, Y, range(N_SAMPLES), RATE, DECAY, weight)
    assert loss == pytest.approx(wanted, rel=max(tolerance, 1e-11))
    np.testing.assert_allclose(learned, flat(oracle), rtol=1e3 * tolerance, atol=1e2 * tolerance)
    assert np.abs(learned - flat(made(*CASES[name]))).max() > 1e-3


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_logits_of_any_size_have_exact_losses(tmp_path, generator, loss, dtype):
    network = made((), loss, None, dtype, (5, 3))
    model = Library(tmp_path, {"net": network})["net"]
    for size in (1e-3, 30, 1e3, 1e30):
        X, Y = samples(network, generator, 20)
        X *= network.dtype.type(size)
        found = model.learn(X, Y, np.ones(len(X)), rate=0.0)
        tolerance = 1e-13 if dtype == "float64" else 1e-6
        assert found == pytest.approx(network.loss(X, Y), rel=tolerance)
    assert set(network.outputs(X).ravel()) == {0, 1}


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    """Networks that only predict, of several shapes and decisions."""
    networks = {}
    for dtype in ("float32", "float64"):
        d = dtype[-2:]
        networks[f"classes{d}"] = made("relu", "cross_entropy", None, dtype, (6, 17, 4))
        networks[f"linear{d}"] = made((), "squared_error", None, dtype, (3, 1))
        networks[f"truth{d}"] = made("elu", "binary_cross_entropy", None, dtype, (1, 1, 1))
        networks[f"labels{d}"] = made("silu", "binary_cross_entropy", None, dtype, (3, 8, 16, 5))
        bits = np.random.default_rng(2).integers(0, 256, 4000 * int(d) // 8, np.uint8)
        values = bits.view(dtype)[np.isfinite(bits.view(dtype))]
        limits = np.finfo(dtype)
        special = [0.0, -0.0, 1.0, limits.max, limits.tiny, limits.smallest_subnormal, -(2.0**30)]
        numbers = networks[f"numbers{d}"] = made((), "squared_error", None, dtype, (30, 100))
        numbers.weights[0][...] = values[:3000].reshape(100, 30)
        numbers.biases[0][:7] = special
    return networks, Library(tmp_path_factory.mktemp("predictors"), networks, training=False)


PREDICTORS = [f"{kind}{d}" for kind in ("classes", "linear", "truth", "labels") for d in (32, 64)]


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_number_is_read_with_its_bits(predictors, dtype):
    networks, library = predictors
    name = f"numbers{dtype[-2:]}"
    found = library[name].parameters(dtype)
    assert np.signbit(found[3001])
    assert found.tobytes() == flat(networks[name]).tobytes()


@needs_compiler
@pytest.mark.parametrize("name", PREDICTORS)
def test_predictions_without_training(predictors, generator, name):
    networks, library = predictors
    network, model = networks[name], library[name]
    X = generator.normal(size=(40, network.sizes[0])).astype(network.dtype)
    model.start()
    outputs, pointer = network.outputs(X), ctypes.POINTER(ctypes.c_char)
    found = model.predict(X, np.full_like(outputs, np.nan))
    tolerance = 1e-15 if network.dtype == "f8" else 1e-6
    np.testing.assert_allclose(found, outputs, rtol=10 * tolerance, atol=tolerance)
    decided = network.predict(X)
    if "labels" in name:
        labels = np.full((len(X), network.sizes[-1]), -1, np.int32)
        for x, row in zip(X, labels, strict=True):
            model.function("labels")(x.ctypes.data_as(pointer), row.ctypes.data_as(pointer))
        np.testing.assert_array_equal(labels, decided)
        assert set(labels.ravel()) == {0, 1}
    elif "linear" not in name:
        classes = [model.function("class", ctypes.c_int)(x.ctypes.data_as(pointer)) for x in X]
        np.testing.assert_array_equal(classes, decided)
        assert len(set(classes)) > 1


@needs_compiler
def test_activations_are_right_for_numbers_of_any_size(tmp_path):
    """To where powers of e are 0 or infinite, subnormal numbers included."""
    elementwise = kernels.LEGAL_OUTPUTS["squared_error"]
    networks = {}
    for name, dtype in itertools.product(elementwise, ("float32", "float64")):
        network = made((), "squared_error", name, dtype, (1, 1))
        network.params[...] = 0
        network.weights[0][...] = 1
        networks[f"{name}{dtype[-2:]}"] = network
    library = Library(tmp_path, networks, training=False)
    for name, network in networks.items():
        limits = np.finfo(network.dtype)
        edge = 104 if network.dtype == "f4" else 746
        X = np.linspace(-edge, edge, 1001, dtype=network.dtype)[:, None]
        wanted = network.outputs(X, check=False)
        library[name].start()
        found = library[name].predict(X, np.empty_like(wanted))
        # 1 + erf and 1 + tanh cancel: what is left has the error of a number near 1.
        # Kernels on x86 take subnormal numbers for 0, in silu before they are multiplied by z.
        absolute = 1e3 * limits.eps if "gelu" in name else edge * limits.tiny
        np.testing.assert_allclose(found, wanted, 20 * limits.eps, absolute, err_msg=name)


def test_constants_are_those_of_their_formulas():
    text = "".join(
        (*c_templates.HELPERS.values(), *itertools.chain(*c_templates.ACTIVATIONS.values()))
    )
    assert {float(each) for each in re.findall(r"0\.\d{9,}", text)} == {
        math.sqrt(1 / 2), math.sqrt(1 / 2 / math.pi), math.sqrt(2 / math.pi)
    }  # fmt: skip


def test_the_text_has_no_state_and_needs_no_library():
    text = fastbp.to_c(made("gelu", "squared_error", None, "float32"), training=True, name="own_x")
    assert re.findall("#include.*", text) == ["#include <math.h>"]
    assert len(re.findall("^static ", text, re.M)) > 5
    assert not re.search(r"^static (?!const|inline)|alloc|\b(double|real|own|\$)\b", text, re.M)
    assert max(map(len, text.splitlines())) <= 110
    text = fastbp.to_c(made("gelu", "squared_error", None, "float64"))
    assert not re.search(r"learn|float|\$", text)
    assert "own_" not in text


def test_all_that_kernels_have_can_be_exported():
    assert {*c_templates.ACTIVATIONS, "softmax"} == set(kernels.ACTIVATIONS)
    assert set(c_templates.LOSSES) == set(kernels.LOSSES)


@needs_compiler
@pytest.mark.skipif(CXX is None, reason="there is no C++ compiler, c++ or g++")
@pytest.mark.parametrize("standard", ["c++98", "c++17"])
def test_a_header_is_c_plus_plus_as_well(tmp_path, standard):
    cases = {"a": ("gelu_tanh", "cross_entropy"), "b": ("elu", "binary_cross_entropy")}
    cases |= {"c": ("silu", "huber"), "for": ("gelu", "poisson")}
    lines = []
    for name, (hidden, loss) in cases.items():
        for training in (True, False):
            its = f"{name}_{training}"
            network = made(hidden, loss, None, "float32", (4, 3, 2))
            fastbp.to_c(network, tmp_path / f"{its}.h", name=its, training=training)
            lines += [f'#include "{its}.h"\n'] * 2
    (tmp_path / "all.cpp").write_text("".join(lines))
    subprocess.run(
        [CXX, f"-std={standard}", *STRICT, "-fsyntax-only", "all.cpp"], cwd=tmp_path, check=True
    )


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("loss", "n_outputs"), [("cross_entropy", 3), ("binary_cross_entropy", 1)])
def test_learning_from_class_numbers(tmp_path, generator, loss, n_outputs, dtype):
    network = made("tanh", loss, None, dtype, (4, 6, n_outputs))
    model = Library(tmp_path, {"net": network})["net"]
    X = generator.normal(size=(30, 4)).astype(dtype)
    labels = generator.integers(0, max(2, n_outputs), 30)
    trainer = fastbp.Trainer(network, learning_rate=RATE, shuffle=False, method="sequential")
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    for x, label in zip(X, labels, strict=True):
        loss = network.loss(x[None], [label])
        trainer.partial_fit(x[None], [label])
        assert model.learn_class(x, int(label)) == pytest.approx(loss, rel=tolerance)
    learned = model.parameters(dtype)
    np.testing.assert_allclose(learned, flat(network), rtol=tolerance, atol=tolerance)
    for label in (-1, max(2, n_outputs), 2**31 - 1, -(2**31)):
        assert np.isnan(model.learn_class(X[0], label))
        assert model.parameters(dtype).tobytes() == learned.tobytes()
    assert model.learn_class(X[0], int(labels[0])) > 0
    assert model.parameters(dtype).tobytes() != learned.tobytes()


@needs_compiler
@pytest.mark.parametrize("activation", sorted(kernels.HIDDEN))
def test_nothing_is_learned_from_what_is_not_finite(library, generator, activation):
    name = next(name for name, case in CASES.items() if case[0][0] == activation)
    network, model = made(*CASES[name]), library[name]
    X, Y = samples(network, generator, 4)
    model.start()
    before = model.parameters(network.dtype).tobytes()
    for array in (X, Y):
        kept, array[0, 1] = array[0, 1], np.nan
        assert np.isnan(model.learn(X[:1], Y[:1], np.ones(1)))
        assert model.parameters(network.dtype).tobytes() == before
        array[0, 1] = kept
    assert np.isfinite(model.learn(X, Y, np.ones(4)))
    assert model.parameters(network.dtype).tobytes() != before


def rows_to_prepare(generator, n):
    """Numbers of any size, some missing where some were in the fitted rows, and truth values."""
    X = generator.normal((1e9, -3, 0, 5), (1e3, 1e-3, 1, 2), (n, 4))
    X[:, 2] = X[:, 2] > 0
    X[:, 1:][generator.uniform(size=(n, 3)) < 0.2] = np.nan
    return X


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scales_targets", [True, False])
def test_a_preparation_of_numbers_is_part_of_the_header(tmp_path, generator, scales_targets, dtype):
    X = rows_to_prepare(generator, 200)
    y = np.column_stack([1e6 + 1e3 * X[:, 3], -np.nan_to_num(X[:, 3])])
    y[np.isnan(y)] = 1e6
    if not scales_targets:
        y /= 1e6
    frame = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2] == 1, "d": X[:, 3]}
    fitted = pd.DataFrame(frame).astype({"c": "object"})
    fitted.loc[np.isnan(X[:, 2]), "c"] = None
    preparation = Preparation().fit(fitted, y if scales_targets else None)
    assert len(preparation.names) == 7
    network = made("tanh", "squared_error", None, dtype, (7, 9, 2), preparation=preparation)
    model = Library(tmp_path, {"net": network})["net"]
    new, targets = rows_to_prepare(generator, 50), y[:50].astype("f8" if scales_targets else dtype)
    new[0, 0] = np.nan  # where none was missing in the fitted rows
    trainer = fastbp.Trainer(network, learning_rate=RATE, shuffle=False, method="sequential")
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for _ in range(2):
        found = np.empty_like(targets)
        model.predict(new, found)
        wanted = network.predict(new)
        assert wanted.dtype == found.dtype
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
        loss = model.learn(new, targets, np.ones(50), decay=0.0)
        trainer.partial_fit(new, targets)
        assert 0 < loss < 10
    learned = model.parameters(dtype)
    np.testing.assert_allclose(learned, flat(network), rtol=tolerance, atol=tolerance)


LABELS_IN_C = {
    "texts": (
        "",
        'a "b" \\ \n',
        "??/ %d",
        "größe 漢",
        "/* c */",
        "own_x $n real 0.5",
        "long, " * 50,
    ),
    "integers": (-(2**63) + 1, 2**63 - 1, 0, -7),
    "numbers": (0.1, -1e300, 5e-324, 3.0),
}


@needs_compiler
@pytest.mark.parametrize("kind", LABELS_IN_C)
def test_labels_of_classes_are_part_of_the_header(tmp_path, kind):
    labels = LABELS_IN_C[kind]
    network = made((), "cross_entropy", None, "float32", (2, len(labels)), classes=labels)
    item = {"texts": "const char *", "integers": "long long ", "numbers": "double "}[kind]
    extra = f"EXPORT {item}label(int k) {{ return net_classes[k]; }}\n"
    library = Library(tmp_path, {"net": network}, training=False, extra=extra).library
    results = {"texts": ctypes.c_char_p, "integers": ctypes.c_longlong, "numbers": ctypes.c_double}
    library.label.restype = results[kind]
    found = [library.label(k) for k in range(len(labels))]
    assert tuple(each.decode() if kind == "texts" else each for each in found) == labels


def test_a_header_is_written_as_a_file(tmp_path):
    network = fastbp.Network((2, 3, 2), seed=0)
    text = fastbp.to_c(network, tmp_path / "model.h", training=True)
    assert (tmp_path / "model.h").read_text() == text
    assert text == fastbp.to_c(network, training=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.h"]


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-b", "_a", "größe", "net\n", None, 3])
def test_a_name_must_be_an_identifier(name):
    with pytest.raises(ValueError, match="name must be a C identifier"):
        fastbp.to_c(fastbp.Network((2, 2), seed=0), name=name)


def test_what_cannot_be_exported_is_refused(tmp_path):
    network = fastbp.Network((2, 2), seed=0)
    with pytest.raises(ValueError, match=r"takes a fastbp\.Network, got Trainer"):
        fastbp.to_c(fastbp.Trainer(network))
    with pytest.raises(ValueError, match="training must be True or False, got 'yes'"):
        fastbp.to_c(network, training="yes")
    network.biases[0][1] = np.nan
    with pytest.raises(ValueError, match=r"network\.params must be finite.* layer 1"):
        fastbp.to_c(network, tmp_path / "net.h")
    preparation = Preparation().fit(pd.DataFrame({"n": [1, 2], "city": ["a", "b"]}))
    network = fastbp.Network((3, 2), seed=0, preparation=preparation)
    with pytest.raises(ValueError, match=r"numbers and truth values.* takes text in 'city'"):
        fastbp.to_c(network, tmp_path / "net.h")
    assert not list(tmp_path.iterdir())
