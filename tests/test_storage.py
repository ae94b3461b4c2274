"""Model files: what goes in comes out, bit for bit, or a clear error."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastbp
from fastbp import Network, Trainer, schedules


@pytest.fixture
def network():
    return Network((4, 6, 3), activation="gelu", init="lecun_uniform", dtype="float64", seed=0)


def test_network_round_trip(network, tmp_path, generator):
    path = tmp_path / "model.safetensors"
    fastbp.save(network, path, extra={"classes": ["a", "b", "c"]})
    loaded = fastbp.load(path)
    assert isinstance(loaded, Network)
    assert repr(loaded) == repr(network)
    assert loaded.inits == network.inits
    np.testing.assert_array_equal(loaded.params, network.params)
    X = generator.random((5, 4))
    np.testing.assert_array_equal(loaded.predict_proba(X), network.predict_proba(X))
    header = fastbp.read_header(path)
    assert header["format"] == 1
    assert header["extra"] == {"classes": ["a", "b", "c"]}


def test_others_can_read_the_tensors(network, tmp_path):
    path = tmp_path / "model.safetensors"
    fastbp.save(network, path)
    tensors = load_file(path)
    np.testing.assert_array_equal(tensors["layers.0.weight"], network.weights[0])
    np.testing.assert_array_equal(tensors["layers.1.bias"], network.biases[1])
    assert len(tensors) == 4


def test_a_loaded_trainer_goes_on_bit_for_bit(network, tmp_path, generator):
    X, y = generator.random((30, 4)), generator.integers(0, 3, 30)
    trainer = Trainer(network, learning_rate=0.05, weight_decay=0.01, seed=3)
    trainer.fit(X, y, epochs=2, progress=False)
    path = tmp_path / "trainer.safetensors"
    fastbp.save(trainer, path)
    loaded = fastbp.load(path)
    assert isinstance(loaded, Trainer)
    assert loaded.weight_decay == 0.01
    assert vars(loaded.history) == vars(trainer.history)
    for t in (trainer, loaded):
        t.fit(X, y, epochs=2, progress=False)
    np.testing.assert_array_equal(loaded.network.params, trainer.network.params)
    assert loaded.history.train_loss == trainer.history.train_loss


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(network, tmp_path, monkeypatch, step):
    path = tmp_path / "model.safetensors"
    fastbp.save(network, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    network.params[:] = 0
    with pytest.raises(OSError, match="disk full"):
        fastbp.save(network, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_bad_files(network, tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError):
        fastbp.load(path)
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        fastbp.load(path)
    save_file({"x": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="fastbp did not write it"):
        fastbp.load(path)
    fastbp.save(network, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="is not a safetensors file"):
        fastbp.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, and this fastbp reads up to 1: upgrade"),
        (
            {"sizes": [4, 7, 3]},
            r"is damaged: layers.0.weight is float64 \(6, 4\), the header says float64 \(7, 4\)",
        ),
        ({"sizes": [4, 6]}, "is damaged: activation must be one name or 0"),
        ({"sizes": [4, 6, 9, 3]}, "is damaged: activation must be one name or 2"),
        ({"dtype": "float32"}, "is damaged: layers.0.weight is float64"),
        ({"sizes": [2**29, 2**29, 3]}, "is damaged: layers.0.weight is float64"),
        ({"sizes": [2**30, 2**30, 3]}, "is damaged: sizes must describe at most"),
        ({"activations": []}, "is damaged: activation must be one name or 1"),
        ({"format": 0}, "is damaged: format must be an integer from 1"),
        ({"extra": []}, "is damaged: extra must be a dict"),
        ({"loss": "ce"}, "is damaged: .* must be names of ours"),
        ({"loss": "mze"}, "is damaged: loss must be one of"),
        ({"trainer": {}}, "is damaged: trainer.options is missing"),
        ({"author": "me"}, "is damaged: 'author' is no field of a model file"),
    ],
)
def test_bad_headers(network, tmp_path, change, message):
    path = tmp_path / "model.safetensors"
    fastbp.save(network, path)
    header = fastbp.read_header(path) | change
    save_file(load_file(path), path, metadata={"fastbp": json.dumps(header)})
    with pytest.raises(ValueError, match=message):
        fastbp.load(path)


def test_rates_of_numpy_types_are_saved(network, tmp_path):
    trainer = Trainer(network, learning_rate=np.float32(0.5))
    fastbp.save(trainer, tmp_path / "model.safetensors")
    assert fastbp.load(tmp_path / "model.safetensors").learning_rate == 0.5


def test_missing_tensors_and_keys(network, tmp_path):
    path = tmp_path / "model.safetensors"
    fastbp.save(network, path)
    header = fastbp.read_header(path)
    tensors = load_file(path)
    del tensors["layers.1.bias"]
    save_file(tensors, path, metadata={"fastbp": json.dumps(header)})
    with pytest.raises(ValueError, match=r"is damaged: layers\.1\.bias is missing"):
        fastbp.load(path)
    for text in ("{}", "[", "3"):
        save_file(tensors, path, metadata={"fastbp": text})
        with pytest.raises(ValueError, match="is damaged"):
            fastbp.load(path)


def test_bad_arguments(network, tmp_path):
    with pytest.raises(
        ValueError, match=r"save takes a fastbp\.Network or fastbp\.Trainer, got int"
    ):
        fastbp.save(3, tmp_path / "x")
    with pytest.raises(ValueError, match="extra must hold what JSON can hold"):
        fastbp.save(network, tmp_path / "x", extra={"a": {1, 2}})
    with pytest.raises(OSError, match="missing"):
        fastbp.save(network, tmp_path / "missing" / "x")


def test_orders_of_a_function_are_not_saved(network, tmp_path):
    trainer = Trainer(network, shuffle=np.arange)
    with pytest.raises(ValueError, match="shuffle must be True or False to be saved"):
        fastbp.save(trainer, tmp_path / "trainer.safetensors")


def test_links_are_followed_and_modes_kept(network, tmp_path):
    path, link = tmp_path / "real", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o600)
    link.symlink_to(path)
    fastbp.save(network, link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert isinstance(fastbp.load(path), Network)


def test_only_regular_files_are_replaced(network, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path):
        with pytest.raises(ValueError, match="is not a regular file"):
            fastbp.save(network, path)
    assert fifo.is_fifo()


@pytest.mark.parametrize("optimizer", ["adam", "nadam", fastbp.optimizers.SGD(momentum=0.9)])
def test_the_state_of_an_optimizer_goes_on_bit_for_bit(optimizer, tmp_path, generator):
    X, y = generator.normal(size=(100, 4)), generator.integers(0, 3, 100)
    trainer = fastbp.Trainer(fastbp.Network((4, 9, 3), seed=0), optimizer, batch_size=8, seed=1)
    trainer.fit(X, y, epochs=2, progress=False)
    fastbp.save(trainer, tmp_path / "model.safetensors")
    loaded = fastbp.load(tmp_path / "model.safetensors")
    assert loaded.optimizer == trainer.optimizer
    for t in (trainer, loaded):
        t.fit(X, y, epochs=2, progress=False)
    np.testing.assert_array_equal(trainer.network.params, loaded.network.params)


@pytest.mark.parametrize("learn", [Trainer.learn_one, lambda t, x, y: t.partial_fit([x], [y])])
def test_a_stream_goes_on_with_its_losses_and_its_rate(network, learn, tmp_path, generator):
    rate = schedules.BySample(schedules.InverseScaling(0.3))
    trainer, X = Trainer(network, "adam", learning_rate=rate), generator.random((40, 4))
    for x in X[:20]:
        learn(trainer, x, int(x.argmax() % 3))
    fastbp.save(trainer, tmp_path / "model.safetensors")
    loaded = fastbp.load(tmp_path / "model.safetensors")
    assert loaded.current_learning_rate == trainer.current_learning_rate == rate(20)
    for x in X[20:]:
        learn(trainer, x, int(x.argmax() % 3))
        learn(loaded, x, int(x.argmax() % 3))
    assert loaded.stream.samples == 40
    assert repr(loaded.stream) == repr(trainer.stream)
    np.testing.assert_array_equal(loaded.network.params, network.params)
