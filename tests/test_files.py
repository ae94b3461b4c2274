"""Model files that are damaged or hostile, and saving where much goes wrong."""

import contextlib
import itertools
import json
import os
import resource
import stat
import struct
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors
from safetensors.numpy import load_file, save_file

import fastbp
from fastbp import Network, Trainer, files, network, optimizers, storage


def trained(optimizer="nadam", sizes=(3, 4, 2), **options):
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(40, sizes[0])), generator.integers(0, sizes[-1], 40)
    trainer = Trainer(Network(sizes, seed=0), optimizer, batch_size=8, seed=0, **options)
    trainer.fit(X, y, epochs=2, eval_set=(X, y), progress=False)
    return trainer


@pytest.fixture(scope="module")
def trainer():
    return trained()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def refusal(path):
    """What `load` says of a file, without its name."""
    with pytest.raises(ValueError, match=r"is (damaged|not a safetensors file)") as caught:
        fastbp.load(path)
    return str(caught.value).partition(": ")[2]


def metadata(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata()


def contents(model, path):
    """Header and tensors of what would be saved."""
    fastbp.save(model, path)
    return fastbp.read_header(path), load_file(path)


def written(path, header, tensors):
    """A file as the first fastbp wrote them, without a digest; the header is any text."""
    text = header if isinstance(header, str) else json.dumps(header)
    entries, place = {"__metadata__": {"fastbp": text}}, 0
    codes = {"float32": "F32", "float64": "F64", "int8": "F8_E5M2", "int64": "I64"}
    for name, tensor in tensors.items():
        offsets = [place, place + tensor.nbytes]
        kind = codes[tensor.dtype.name]
        entries[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": offsets}
        place = offsets[1]
    raw = json.dumps(entries).encode()
    parts = (struct.pack("<Q", len(raw)), raw, *(t.tobytes() for t in tensors.values()))
    path.write_bytes(b"".join(parts))
    return path


# Digest -------------------------------------------------------------------------------------------


def assert_flips_are_refused(path, bits, read=fastbp.load):
    right = path.read_bytes()
    with open(path, "r+b", buffering=0) as file:
        for bit in bits:
            os.pwrite(file.fileno(), bytes([right[bit // 8] ^ 1 << bit % 8]), bit // 8)
            with pytest.raises(ValueError, match=r"is damaged|has format|safetensors file"):
                read(path)
            os.pwrite(file.fileno(), right[bit // 8 : bit // 8 + 1], bit // 8)


def test_every_flipped_bit_of_a_file_is_refused(path):
    fastbp.save(Network((1, 2), loss="squared_error", seed=0), path, extra={"a": 1})
    assert_flips_are_refused(path, range(8 * path.stat().st_size))


@pytest.mark.parametrize("sizes", [(7, 9, 3), (200, 128, 10)])
@pytest.mark.parametrize("read", [fastbp.load, fastbp.read_header])
def test_flipped_bits_of_larger_files_are_refused(sizes, read, path, generator):
    fastbp.save(trained(sizes=sizes), path)
    bits = generator.integers(0, 8 * path.stat().st_size, 200).tolist()
    assert_flips_are_refused(path, bits, read)


@pytest.mark.parametrize("read", [fastbp.load, fastbp.read_header])
@pytest.mark.parametrize("length", [0, 5000])
def test_a_file_may_be_cut_while_it_is_read(length, read, path, monkeypatch):
    """And the process goes on, as it would not with a file that is mapped into memory."""
    fastbp.save(trained(sizes=(200, 128, 10)), path)
    opened = safetensors.safe_open

    def cut(*args, **options):
        file = opened(*args, **options)
        os.truncate(path, length)
        return file

    monkeypatch.setattr(safetensors, "safe_open", cut)
    with pytest.raises(ValueError, match=r"is damaged: .*layers\.\d"):
        read(path)


def test_names_of_files_need_not_be_utf_8(trainer, tmp_path):
    path = os.path.join(tmp_path, os.fsdecode(b"\xff.safetensors"))
    fastbp.save(trainer, path)
    for name in (path, os.fsencode(path)):
        assert isinstance(fastbp.load(name), Trainer)
        assert fastbp.read_header(name)["sizes"] == [3, 4, 2]


def test_files_that_are_cut_or_longer_or_swapped_are_refused(trainer, path):
    fastbp.save(trainer, path)
    right = path.read_bytes()
    halves = right[: len(right) // 2], right[len(right) // 2 :]
    for wrong in (
        *(right[:n] for n in range(0, len(right), 17)),
        right + b"\0",
        b"".join(halves[::-1]),
    ):
        path.write_bytes(wrong)
        refusal(path)


def test_others_may_write_the_same_again(trainer, path):
    """The digest is of what a file says, and not of how it is laid out."""
    fastbp.save(trainer, path)
    tensors, (text,) = load_file(path), metadata(path).values()
    save_file(dict(reversed(tensors.items())), path, {"fastbp": text})
    np.testing.assert_array_equal(fastbp.load(path).network.params, trainer.network.params)
    for first, second in itertools.combinations(tensors, 2):
        if tensors[first].shape == tensors[second].shape:
            swapped = tensors | {first: tensors[second], second: tensors[first]}
            if first.startswith("moments.1") == second.startswith("moments.1"):
                save_file(swapped, path, {"fastbp": text})
                assert "its digest is of other contents" in refusal(path)


def test_headers_are_in_the_digest_to_the_letter(path):
    fastbp.save(trained(optimizers.Adam(eps=1e-8)), path)
    (text,) = metadata(path).values()
    for old, new in (("1e-08", "1E-08"), (", ", ","), ('"sha256": "', '"sha256": " ')):
        save_file(load_file(path), path, {"fastbp": text.replace(old, new)})
        assert "its digest is of other contents" in refusal(path)
    save_file(load_file(path), path, {"fastbp": text, "sha256": json.loads(text)["sha256"]})
    assert "its metadata holds 'sha256' beside fastbp" in refusal(path)
    save_file(load_file(path), path, {"fastbp": text})
    assert "sha256" not in fastbp.read_header(path)


def test_files_without_a_digest_are_read(trainer, path):
    written(path, *contents(trainer, path))
    loaded = fastbp.load(path)
    np.testing.assert_array_equal(loaded.network.params, trainer.network.params)
    assert vars(loaded.history) == vars(trainer.history)


def test_files_of_version_0_1_are_read(trainer, path):
    header, tensors = contents(trainer, path)
    part = header["trainer"]
    del part["key"], part["counts"], part["history"]["method"], part["history"]["learning_rate"]
    part["options"] = {"optimizer": "sgd", "learning_rate": 0.25, "weight_decay": 0.0}
    tensors = {name: tensor for name, tensor in tensors.items() if "moments" not in name}
    loaded = fastbp.load(written(path, header, tensors))
    np.testing.assert_array_equal(loaded.network.params, trainer.network.params)
    assert loaded.history.learning_rate == [0.25, 0.25]
    assert loaded.history.method == ["sequential"] * 2


def test_the_same_model_gives_the_same_file(trainer, path):
    fastbp.save(trainer, path, extra={"a": [1]})
    first = path.read_bytes()
    fastbp.save(fastbp.load(path), path, extra={"a": [1]})
    assert path.read_bytes() == first


# Fields -------------------------------------------------------------------------------------------

COUNTS = ("trainer", "counts")
STATE = ("trainer", "generator")
LOSSES = ("trainer", "history", "train_loss")
RATE = ("trainer", "options", "learning_rate")

WRONG = [
    *((("format",), value) for value in (1.9, 1.0, True, "1", None, 0, -1, [1], float("inf"))),
    *((("sizes",), value) for value in ([3.0, 4, 2], [True, 4, 2], "342", [3, 4, -2], {"3": 4})),
    *((("dtype",), value) for value in ("<f4", "f4", "float16", "F8", 3, None, "object")),
    *((("activations",), value) for value in ("relu", ["relu"], [None, "softmax"], 3)),
    *((("inits",), value) for value in ("he_normal", ["he_normal"], [1, 2], None)),
    *((("extra",), value) for value in (None, [], "a", 3)),
    *((("sha256",), value) for value in (None, 3, [], "a", "0" * 64)),
    *((("trainer",), value) for value in (None, [], 3, "a")),
    *((COUNTS, v) for v in ([1], [1, 2, 3, 4], [-1, 0, 0], [0.5, 0, 8], [1, 0, 0.5], [1, 1, 8])),
    *((COUNTS, [1, 0, value]) for value in (float("nan"), float("inf"), True, "1", None, 2**60)),
    *(((*LOSSES,), value) for value in (["a", "b"], [{}, {}], [None, 1.0], [1.0], "ab", [True, 1])),
    (("trainer", "history", "method"), [1, 2]),
    (("trainer", "history", "eval_loss"), [10**400, 1]),
    ((*STATE, "state"), {"state": 0, "inc": 0}),
    ((*STATE, "state", "inc"), 4),
    *(((*STATE, "state", "state"), value) for value in (-1, 2**128, 1.5, True, None)),
    ((*STATE, "bit_generator"), "MT19937"),
    ((*STATE, "has_uint32"), 2),
    ((*STATE, "uinteger"), 2**32),
    *((("trainer", "key"), value) for value in ([1], [1, -1], [1, 2**32], [1.0, 2], "12")),
    *(
        (RATE, {"name": "Step", "learning_rate": 0.1, **v})
        for v in ({"step_size": 1.5}, {}, {"x": 1})
    ),
    *((("trainer", "stream"), value) for value in (None, {}, [], {"samples": 1})),
    *(
        (("trainer", "stream"), {"samples": 1, "loss_sum": 1.0, "recent": 1.0} | {name: value})
        for name in ("samples", "loss_sum", "recent")
        for value in (-1 if name == "samples" else "1", None)
    ),
    (RATE, {"name": "Exponential", "learning_rate": 0.1, "gamma": 1e200}),
    *((RATE, value) for value in ({"name": "Schedule"}, {"name": []}, {}, [1], "0.1", -1, None)),
    (("trainer", "options", "optimizer"), {"name": "nadam", "beta1": [0.5]}),
    (("trainer", "options", "optimizer"), {"name": "nadam", "beta3": 0.5}),
    (("trainer", "options", "optimizer"), {"name": ["nadam"]}),
    (("trainer", "options", "n_threads"), 10**18),
    (("trainer", "options", "batch_size"), 10**30),
    (("trainer", "options", "network"), 1),
    (("trainer", "options", "seed"), 1),
]


def changed(header, where, value):
    header = json.loads(json.dumps(header))
    inner = header
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return header


@pytest.mark.parametrize(("where", "value"), WRONG, ids=repr)
def test_fields_that_are_wrong_are_refused(where, value, trainer, path):
    header, tensors = contents(trainer, path)
    refusal(written(path, changed(header, where, value), tensors))


def leaves(value, place=()):
    """Places of everything in a header."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, each in items:
        yield (*place, key)
        yield from leaves(each, (*place, key))


def test_any_field_may_be_anything(trainer, path):
    """Such files are loaded or refused, and what is loaded can be trained and saved."""
    header, tensors = contents(trainer, path)
    odd = [
        float("nan"), float("-inf"), -1, 0, 10**30, 10**400, 0.5, "x", "", None, True, [], {},
        [[]], {"name": "adam"}, [1, 2], "balanced", 2**53, 1e308, 5e-324,
    ]  # fmt: skip
    n_loaded = 0
    for where, value in itertools.product(list(leaves(header)), odd):
        written(path, changed(header, where, value), tensors)
        try:
            loaded = fastbp.load(path)
        except ValueError:
            continue
        n_loaded += 1
        fastbp.save(loaded, path)
        if n_loaded % 20 == 0:
            loaded.partial_fit(np.zeros((8, 3)), np.zeros(8, int))
    assert n_loaded > 100


def prepared_network():
    """One whose preparation has a column of each kind, and targets; and one with classes."""
    columns = {
        "number": [1.0, None, 3.0],
        "truth": [True, False, True],
        "text": ["a", "b", None],
        "many": ["c", "d", "e"],
    }
    table = pa.table(columns)
    preparation = fastbp.Preparation(hashed="many").fit(table, [1.0, 2.0, 4.0])
    sizes = preparation.n_inputs, 1
    regression = Network(sizes, loss="squared_error", preparation=preparation, seed=0)
    preparation = fastbp.Preparation(hashed="many").fit(table)
    classes = Network(
        sizes, loss="binary_cross_entropy", preparation=preparation, classes=("no", "yes"), seed=0
    )
    return table, regression, classes


def test_any_field_of_a_preparation_may_be_anything(path):
    """Such files are refused, or loaded, and then predict and are saved as what they say."""
    table, *networks = prepared_network()
    odd = [
        float("nan"), float("-inf"), -1, 0, 10**30, 10**400, 0.5, "x", "", "\0", "\ud800", None,
        True, False, [], {}, [[]], ["a", "a"], [1, 2], 2**53, 1e308, 5e-324, 1,
    ]  # fmt: skip
    n_loaded = 0
    for each in networks:
        header, tensors = contents(each, path)
        places = [p for p in leaves(header) if p[0] in ("preparation", "classes")]
        for where, value in itertools.product(places, odd):
            written(path, changed(header, where, value), tensors)
            try:
                loaded = fastbp.load(path)
            except ValueError:
                continue
            n_loaded += 1
            loaded.save(path)
            again = fastbp.load(path)
            assert (again.classes, again.preparation) == (loaded.classes, loaded.preparation)
            with contextlib.suppress(ValueError):  # such as a column that has another name now
                np.testing.assert_array_equal(again.predict(table), loaded.predict(table))
    assert n_loaded > 100


@pytest.mark.parametrize(
    "text",
    [
        '{"format":' + "[" * 100_000 + "]" * 100_000 + "}",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"format": Infinity}',
        '{"format": NaN}',
        '{"format": 1' + "0" * 5000 + "}",
        "null",
        "1",
        "",
    ],
    ids=range(9),
)
def test_headers_that_are_no_headers(text, trainer, path):
    _, tensors = contents(trainer, path)
    refusal(written(path, text, tensors))
    for raw in (text.encode(), b"\xff\xfe{}", text.encode("utf-16")):
        path.write_bytes(struct.pack("<Q", len(raw)) + raw)
        refusal(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers.0.weight", np.zeros((4, 3), np.int64)),
        ("layers.0.weight", np.zeros((4, 3), np.int8)),
        ("layers.0.weight", np.zeros((3, 4), np.float32)),
        ("layers.0.weight", np.full((4, 3), np.nan, np.float32)),
        ("layers.0.bias", np.full(4, np.inf, np.float32)),
        ("layers.2.bias", np.zeros(4, np.float32)),
        ("moments.2.layers.0.bias", np.zeros(4, np.float32)),
        ("moments.0.layers.0.bias", np.full(4, np.nan, np.float32)),
        ("moments.1.layers.0.bias", np.full(4, np.inf, np.float32)),
        ("moments.1.layers.0.bias", np.full(4, -1, np.float32)),
    ],
)
def test_tensors_that_are_wrong_are_refused(name, value, trainer, path):
    header, tensors = contents(trainer, path)
    assert name in refusal(written(path, header, tensors | {name: value}))


def test_entries_that_are_wrong_are_refused(trainer, path):
    _, tensors = contents(trainer, path)
    text = fastbp.read_header(path)
    right = written(path, text, tensors).read_bytes()
    for old, new in (
        (b'"F32"', b'"F8"'), (b'"F32"', b"3"), (b'"F32"', b"[]"), (b'"shape"', b'"shape_"'),
        (b"[4, 3]", b"[4.0, 3]"), (b"[4, 3]", b"[true, 3]"), (b"[4, 3]", b'"43"'),
        (b"[4, 3]", b"[4, 3, 1]"), (b"[0, ", b"[-1, "), (b"[0, ", b"[0.0, "), (b"[0, ", b"[8, "),
        (b"[0, ", b"[0, 1, "), (b'{"__metadata__"', b'{"a": 3, "__metadata__"'),
        (b'{"fastbp"', b'{"Fastbp": "", "fastbp"'), (b'{"fastbp"', b'{"sha256": 3, "fastbp"'),
    ):  # fmt: skip
        raw = right[8:].replace(old, new, 1)
        length = struct.unpack("<Q", right[:8])[0] + len(new) - len(old)
        path.write_bytes(struct.pack("<Q", length) + raw)
        refusal(path)


@pytest.mark.parametrize("optimizer", [*optimizers.OPTIMIZERS.values(), "momentum"])
def test_squares_are_never_negative(optimizer, path):
    """And all other moments may be."""
    made = optimizers.SGD(momentum=0.9) if optimizer == "momentum" else optimizer()
    if hasattr(made, "amsgrad"):
        made = optimizer(amsgrad=True)
    if hasattr(made, "centered"):
        made = optimizer(centered=True, momentum=0.9)
    header, tensors = contents(trained(made), path)
    for k in range(made.n_moments):
        name = f"moments.{k}.layers.0.weight"
        file = written(path, header, tensors | {name: -abs(tensors[name]) - 1})
        if k in made.squares:
            assert name in refusal(file)
            assert (tensors[name] >= 0).all()
        else:
            fastbp.load(file)


def test_refusals_are_short(trainer, path):
    header, tensors = contents(trainer, path)
    for where in (("loss",), ("sizes",), ("extra",), ("trainer", "options", "optimizer")):
        for value in ("x" * 10**6, ["x"] * 10**6):
            assert len(refusal(written(path, changed(header, where, value), tensors))) < 600


def test_what_is_no_file_is_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero", "/dev/stdin"):
        if Path(path).is_file():
            continue
        for read in (fastbp.load, fastbp.read_header):
            with pytest.raises(ValueError, match="is not a regular file"):
                read(path)
    with pytest.raises(IsADirectoryError):
        fastbp.load(tmp_path)
    with pytest.raises(TypeError, match="PathLike"):
        fastbp.load(0)


# Memory -------------------------------------------------------------------------------------------

MEMORY = """
import json, resource, struct, sys
import numpy as np
import fastbp

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

path = sys.argv[1]
network = fastbp.Network((3, 2), loss="squared_error", seed=0)
fastbp.save(network, path)
fastbp.load(path)
header = fastbp.read_header(path)

def sparse(sizes, **others):
    n_in, n_out = sizes
    entries, place = {"__metadata__": {"fastbp": json.dumps(header | {"sizes": sizes})}}, 0
    shapes = {"layers.0.weight": [n_out, n_in], "layers.0.bias": [n_out]} | others
    for name, shape in shapes.items():
        end = place + 4 * int(np.prod(shape))
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [place, end]}
        place = end
    raw = json.dumps(entries).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + place)

before = peak()
sparse([3, 2], surplus=[2**28])
for read in (fastbp.load, fastbp.read_header):
    try:
        read(path)
    except ValueError as error:
        assert "surplus" in str(error), error
    else:
        raise AssertionError("surplus")
print(peak() - before)
sparse([15_000_000, 1])
assert fastbp.load(path).sizes == (15_000_000, 1)
print(peak() - before)
big = fastbp.Network((1_000_000, 1), loss="squared_error", seed=0)
before = peak()
fastbp.save(big, path)
print(peak() - before)
fastbp.load(path)
print(peak() - before)
"""


def test_memory_is_bounded_by_the_file(path):
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], check=True, capture_output=True, text=True
    )
    surplus, sparse, saved, loaded = map(int, run.stdout.split())
    assert surplus < 64e6  # of 1 GiB
    assert sparse < 64e6  # of 60 MB, which rows padded to 16 make 960
    assert saved < 64e6
    assert loaded < 16 * 4e6 + 64e6


def test_loading_draws_no_weights(trainer, path, monkeypatch):
    fastbp.save(trainer, path)
    monkeypatch.delattr(network, "initial_weights")
    fastbp.load(path)


# Saving -------------------------------------------------------------------------------------------


def spoilt(part, index, value):
    model = trained()
    where = model.network.params if part == "params" else model.optimizer_state.moments[0]
    where[index] = value
    return model


@pytest.mark.parametrize(
    ("make", "where", "value"),
    [
        (lambda: spoilt("params", 0, np.nan), "layers.0.weight", np.nan),
        (lambda: spoilt("params", 0, -np.inf), "layers.0.weight", -np.inf),
        (lambda: spoilt("moments", 0, np.nan), "moments.0.layers.0.weight", np.nan),
        (lambda: spoilt("moments", 0, np.inf), "moments.0.layers.0.weight", np.inf),
    ],
)
def test_save_refuses_tensors_in_the_words_of_load(make, where, value, trainer, path):
    with pytest.raises(ValueError, match=r"The trainer cannot be saved: ") as caught:
        fastbp.save(make(), path)
    assert not list(path.parent.iterdir())
    header, tensors = contents(trainer, path)
    tensors[where] = tensors[where].copy()
    tensors[where][0, 0] = value
    assert str(caught.value).partition(": ")[2] == refusal(written(path, header, tensors))


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(
    "extra", [["a", "b"], [], "a", 3, 0, False, (), nested(60)], ids=lambda extra: repr(extra)[:9]
)
def test_save_refuses_extra_in_the_words_of_load(extra, trainer, path):
    with pytest.raises(ValueError, match=r"The trainer cannot be saved: extra must") as caught:
        fastbp.save(trainer, path, extra=extra)
    assert not list(path.parent.iterdir())
    header, tensors = contents(trainer, path)
    written(path, header | {"extra": extra}, tensors)
    assert str(caught.value).partition(": ")[2] == refusal(path)


def circle():
    value = {}
    value["a"] = value
    return value


@pytest.mark.parametrize(
    "extra", [{"a": {1, 2}}, {"a": 1j}, {(1, 2): 3}, nested(100_000), circle(), {"a": 10**5000}],
    ids=range(6),
)  # fmt: skip
def test_extra_that_json_cannot_hold(extra, trainer, path):
    with pytest.raises(ValueError, match="extra must hold what JSON can hold"):
        fastbp.save(trainer, path, extra=extra)
    assert not list(path.parent.iterdir())


def test_extra_that_json_can_hold(trainer, path):
    extra = {"a": [1.5, None, True, {"π": "\ud800\0"}], "b": float("inf"), "c": nested(40)}
    fastbp.save(trainer, path, extra=extra)
    assert fastbp.read_header(path)["extra"] == extra


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.history.seconds.pop(), "the columns of the history differ in length"),
        (lambda t: t.history.train_loss.__setitem__(0, "a"), r"train_loss\[0\] must be a number"),
        (lambda t: t.history.seconds.__setitem__(0, {1}), "trainer must hold what JSON can hold"),
        (lambda t: setattr(t, "shuffle", np.arange), "shuffle must be True or False to be saved"),
        (lambda t: setattr(t, "method", "deferred"), "method and block_size are for plain sgd"),
    ],
)
def test_trainers_that_cannot_be_saved(change, message, path):
    model = trained()
    change(model)
    with pytest.raises(ValueError, match=f"The trainer cannot be saved: .*{message}"):
        fastbp.save(model, path)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"class_weight": {np.int64(1): np.float32(2)}},
        {"class_weight": np.array([1, 2])},
        {"class_weight": "balanced"},
        {"dropout": np.array(0.25)},
        {"dropout": np.array([0.25])},
        {"learning_rate": np.float32(0.1)},
        {"learning_rate": Fraction(1, 3)},
        {"weight_decay": Fraction(1, 3), "l1": np.longdouble(0.1)},
        {"batch_size": np.uint8(200), "n_threads": np.int64(1)},
        {"shuffle": np.bool_(False)},
        {"clip_norm": np.float16(0.5), "clip_value": 1, "max_norm": 2**62},
        {"label_smoothing": Fraction(1, 10), "reduction": np.str_("batch")},
        {"optimizer": "sgd", "batch_size": 1, "method": [np.str_("deferred"), "auto"]},
        {"optimizer": "sgd", "batch_size": 1, "method": ("auto", "auto"), "block_size": np.int8(3)},
        {"optimizer": optimizers.SGD(np.float16(0.9), nesterov=np.bool_(True))},
        {"seed": 2**200},
    ],
    ids=repr,
)
def test_whatever_a_trainer_takes_is_saved_and_goes_on_bit_for_bit(options, path):
    options = {"optimizer": "nadam", "batch_size": 8} | options
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(40, 3)), generator.integers(0, 2, 40)
    model = Trainer(Network((3, 4, 2), seed=0), **options)
    model.fit(X, y, epochs=1, progress=False)
    fastbp.save(model, path)
    loaded = fastbp.load(path)
    for each in (model, loaded):
        each.fit(X, y, epochs=1, progress=False)
    np.testing.assert_array_equal(loaded.network.params, model.network.params)


def test_options_are_checked_for_the_epoch_that_comes_next(path):
    """As when they were saved, and not for the first epoch."""
    schedule = fastbp.schedules.Step(0.5, 1, gamma=1e-3)
    model = trained(optimizers.SGD(momentum=0.5), learning_rate=schedule)
    model.weight_decay = 100.0  # times 0.5 it is too much, times 0.5e-6 it is not
    fastbp.save(model, path)
    assert fastbp.load(path).weight_decay == 100.0


def test_settings_may_be_fractions(path):
    fastbp.save(trained(optimizers.Adam(eps=Fraction(1, 3))), path)
    assert fastbp.load(path).optimizer.eps == 1 / 3


def test_headers_have_a_longest_length(trainer, path, monkeypatch):
    for length, message in (
        (storage.LONGEST_HEADER, "invalid JSON"),
        (storage.LONGEST_HEADER + 1, "header too large"),
    ):
        path.write_bytes(struct.pack("<Q", length))
        os.truncate(path, 8 + length)
        assert message in refusal(path)
    fastbp.save(trainer, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"cannot be saved: .*header too large"):  # by the library
        fastbp.save(trainer, path, extra={"a": "x" * storage.LONGEST_HEADER})
    monkeypatch.setattr(storage, "LONGEST_HEADER", 10_000)
    with pytest.raises(ValueError, match="with extra and the history, takes 2"):
        fastbp.save(trainer, path, extra={"a": "x" * 20_000})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    fastbp.save(trainer, path)


@pytest.mark.parametrize(("value", "fits"), [(1e300, False), (-3.5e38, False), (3e38, True)])
@pytest.mark.parametrize("part", ["weights", "biases"])
def test_copies_do_not_overflow(part, value, fits):
    old = Network((3, 2, 2), dtype="float64", seed=0)
    getattr(old, part)[1][..., 0] = value
    if fits:
        assert old.copy("float32").dtype == np.float32
    else:
        with pytest.raises(ValueError, match=rf"{part}\[1\] must be finite in float32 to be copie"):
            old.copy("float32")
    getattr(old, part)[1][...] = np.nan
    for dtype in (None, "float32"):
        assert np.isnan(getattr(old.copy(dtype), part)[1]).all()


# Folders and disks --------------------------------------------------------------------------------

KILLED = """
import os, signal, sys, time
import fastbp

path = sys.argv[1]
network = fastbp.Network((40, 30, 10), seed=0)
fastbp.save(network, path)
for i in range(100):
    child = os.fork()
    if child == 0:
        while True:
            fastbp.save(network, path)
    time.sleep(0.004 + i % 25 * 2e-4)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    fastbp.load(path)
fastbp.save(network, path)
print(os.listdir(os.path.dirname(path)))
"""


def test_what_killed_saves_leave_behind_is_removed(path):
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], check=True, capture_output=True, text=True
    )
    assert run.stdout.strip() == "['model.safetensors']"


def test_leftovers_are_those_of_this_file_that_no_one_writes(path, trainer):
    other = path.with_name("other.safetensors")
    with contextlib.suppress(RuntimeError), files.replaced(other):
        fastbp.save(trainer, path)
        assert len(list(path.parent.iterdir())) == 2
        fastbp.save(trainer, other)  # while the other one is being written
        assert len(list(path.parent.iterdir())) == 3
        raise RuntimeError
    assert isinstance(fastbp.load(other), Trainer)
    assert sorted(path.parent.iterdir()) == [path, other]
    with files.replaced(path) as file:
        fastbp.save(trainer, path)
        file.write(b"later")
    assert path.read_bytes() == b"later"
    assert sorted(path.parent.iterdir()) == [path, other]


@contextlib.contextmanager
def folder_of_mode(mode):
    """A folder that even a superuser may use in that way alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder, user = Path(name), os.geteuid()
        folder.chmod(mode)
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o700)


def test_a_folder_that_cannot_be_listed(trainer):
    with folder_of_mode(0o333) as folder:
        with pytest.raises(PermissionError):
            os.listdir(folder)
        for _ in range(2):
            fastbp.save(trainer, folder / "model")
    with folder_of_mode(0o555) as folder, pytest.raises(PermissionError, match="model"):
        fastbp.save(trainer, folder / "model")


@pytest.mark.parametrize("room", [0, 100, 5000])
def test_a_full_disk_names_the_path(room, trainer, path):
    fastbp.save(trainer, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match=f"File too large: '{path}'"):
            fastbp.save(trained("adam", (200, 40, 3)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("length", [1, 100, 241, 242, 255])
def test_names_may_be_as_long_as_the_system_allows(length, trainer, tmp_path):
    for name in ("a" * length, ("é" * 127)[: length // 2] + "a" * (length % 2)):
        fastbp.save(trainer, tmp_path / name)
        fastbp.load(tmp_path / name)
    with pytest.raises(OSError, match="File name too long"):
        fastbp.save(trainer, tmp_path / ("a" * 256))


@pytest.mark.parametrize(("mode", "umask"), [(0o600, 0o022), (0o640, 0), (0o400, 0), (None, 0o077)])
def test_no_one_reads_the_temporary_file_who_cannot_read_the_model(
    mode, umask, trainer, path, monkeypatch
):
    if mode is not None:
        path.touch(mode)
    seen, sync = [], os.fsync

    def spy(descriptor):
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    before = os.umask(umask)
    try:
        if mode is not None:
            path.chmod(mode)
        fastbp.save(trainer, path)
    finally:
        os.umask(before)
    allowed = 0o666 & ~umask if mode is None else mode | 0o600
    assert seen[0] & ~allowed == 0
    assert stat.S_IMODE(path.stat().st_mode) == (allowed if mode is None else mode)
