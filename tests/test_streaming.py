"""Streams: the bits of a pass in memory, whatever the pieces; and what ends an epoch early."""

import copy
import itertools
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import Network, Preparation, Trainer, mapped, prefetching, runs, streams, windows

GENERATOR = np.random.default_rng(0)
N = 600
X = GENERATOR.normal(size=(N, 5)).astype(np.float32)
X[GENERATOR.random(X.shape) < 0.4] = 0
y = GENERATOR.integers(0, 3, N)
NESTEROV = fastbp.optimizers.SGD(momentum=0.9, nesterov=True)
# More than the rows by which the method is chosen.
LONG = np.tile(X, (10, 1)), np.tile(y, 10)
ALONE = {"n_threads": 1, "seed": 0, "learning_rate": 0.01}


def trainer_of(X=X, sizes=None, dtype="float32", loss="cross_entropy", **options):
    network = Network(sizes or (X.shape[1], 7, 3), loss=loss, dtype=dtype, seed=1)
    return Trainer(network, **(ALONE | options))


def cut(lengths, *arrays):
    """Pieces of these lengths, again and again."""
    start = 0
    for length in itertools.cycle(lengths):
        if start >= arrays[0].shape[0]:
            return
        yield tuple(each[start : start + length] for each in arrays)
        start += length


def pickle_of(trainer):
    return pickle.loads(pickle.dumps(trainer))


def assert_same(one, other):
    np.testing.assert_array_equal(one.network.params, other.network.params)
    np.testing.assert_array_equal(one.optimizer_state.moments, other.optimizer_state.moments)
    assert one.history.train_loss == other.history.train_loss


# The bits of a pass in memory ---------------------------------------------------------------------


@settings(max_examples=60)
@given(
    lengths=st.lists(st.sampled_from((1, 2, 7, 31, 64, 100, 333)), min_size=1, max_size=4),
    optimizer=st.sampled_from(("sgd", "adam", "nadam", "adadelta", NESTEROV)),
    batch_size=st.sampled_from((1, 8, 50, 600, 1000)),
    dropout=st.sampled_from((0.0, 0.3)),
    is_sparse=st.booleans(),
    is_weighted=st.booleans(),
    dtype=st.sampled_from(("float32", "float64")),
    reduction=st.sampled_from(("mean", "batch")),
    how=st.fixed_dictionaries(
        {"prefetch": st.sampled_from((0, 2)), "window": st.sampled_from((64, 512, 10_000))}
    ),
)
def test_in_order_a_stream_has_the_bits_of_a_pass_in_memory(
    lengths, optimizer, batch_size, dropout, is_sparse, is_weighted, dtype, reduction, how
):
    rows = (scipy.sparse.csr_array(X) if is_sparse else X).astype(dtype)
    weights = np.tile([0.5, 1.5], N // 2)
    options = {"optimizer": optimizer, "batch_size": batch_size, "dropout": dropout}
    options |= {"dtype": dtype, "weight_decay": 0.01, "reduction": reduction}
    in_memory, streamed = (trainer_of(**options) for _ in range(2))
    in_memory.shuffle = False
    in_memory.fit(rows, y, epochs=2, sample_weight=weights if is_weighted else None)
    arrays = (rows, y, weights) if is_weighted else (rows, y)
    streamed.fit_stream(lambda epoch: cut(lengths, *arrays), epochs=2, shuffle=False, **how)
    assert_same(in_memory, streamed)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "deferred", "block_size": 24},
        {"method": "zero-skipping"},
        {"class_weight": [0.0, 2.0, 1.0]},
        {"label_smoothing": 0.1, "l1": 0.001, "batch_size": 16},
        {"optimizer": "adam", "sizes": (5, 40, 3)},
    ],
)
def test_methods_and_options_have_the_same_bits(options):
    in_memory, streamed = (trainer_of(**options, shuffle=False) for _ in range(2))
    in_memory.fit(X, y, epochs=2)
    source = streams.arrays(X, y, rows=37)
    streamed.fit_stream(source, epochs=2, shuffle=False, window=400)
    assert_same(in_memory, streamed)


def test_moments_that_lag_behind_have_the_same_bits():
    rows = np.zeros((200, 400), np.float32)
    rows[np.arange(200), np.arange(200) * 2 % 400] = 1
    made = [
        trainer_of(rows, (400, 30, 3), optimizer=fastbp.optimizers.SGD(momentum=0.9))
        for _ in range(2)
    ]
    made[0].shuffle = False
    made[0].fit(rows, y[:200], epochs=1)
    made[1].fit_stream(streams.arrays(rows, y[:200], rows=9), shuffle=False)
    assert_same(*made)


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 900), min_size=1, max_size=4),
    batch_size=st.sampled_from((257, 300, 1000, 1024, 5999)),
    optimizer=st.sampled_from(("sgd", "adam")),
    how=st.fixed_dictionaries({"prefetch": st.sampled_from((0, 2)), "window": st.just(64)}),
)
def test_long_batches_have_the_bits_of_memory(lengths, batch_size, optimizer, how):
    options = {"batch_size": batch_size, "optimizer": optimizer, "dropout": 0.1}
    in_memory, streamed = (trainer_of(**options, shuffle=False) for _ in range(2))
    in_memory.fit(*LONG, epochs=1)
    streamed.fit_stream(lambda epoch: cut(lengths, *LONG), shuffle=False, **how)
    assert_same(in_memory, streamed)


def test_weights_and_class_weights_are_multiplied():
    weights = np.tile([0.5, 1.5], N // 2)
    in_memory, streamed = (trainer_of(class_weight=[1, 2, 0], shuffle=False) for _ in range(2))
    in_memory.fit(X, y, epochs=1, sample_weight=weights)
    streamed.fit_stream([(X, y, weights)], shuffle=False)
    assert_same(in_memory, streamed)


def test_weights_so_light_that_the_penalty_would_turn_signs_are_refused():
    weights = np.ones(N)
    weights[300:] = 1e-6
    options = {"batch_size": 10, "reduction": "batch", "weight_decay": 0.01}
    with pytest.raises(ValueError, match="weight must be above learning_rate · weight_decay"):
        trainer_of(**options).fit_stream(lambda epoch: cut((50,), X, y, weights), window=8)
    trainer_of(**options).fit_stream([(X, y, np.where(y == 0, 0.0, 1.0))], window=8)


# Shuffled -----------------------------------------------------------------------------------------


def order_of(window=64, lengths=(50,), seed=0, epoch=0, n=N, prefetch=0, is_sparse=False):
    """Row numbers as they are trained on."""
    numbers = np.arange(1.0, n + 1, dtype=np.float32)[:, np.newaxis]
    rows = scipy.sparse.csr_array(numbers) if is_sparse else numbers
    network = Network((1, 2), seed=0)
    made = (network.samples(*piece) for piece in cut(lengths, rows, np.zeros(n, int)))
    generator = Trainer(network, seed=seed).workings.orders.of_stream(epoch)
    parts = windows.shuffled(made, window, generator)
    return np.concatenate(
        [part.inputs.data if is_sparse else part.inputs.X[:, 0] for part in parts]
    ).astype(int)


@given(
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=5),
    window=st.sampled_from((1, 7, 64, 599, 600, 601, 5000)),
    is_sparse=st.booleans(),
)
def test_the_order_of_a_window_does_not_depend_on_the_pieces(lengths, window, is_sparse):
    order = order_of(window, lengths, is_sparse=is_sparse)
    np.testing.assert_array_equal(order, order_of(window))
    np.testing.assert_array_equal(np.sort(order), np.arange(1, N + 1))


def test_each_seed_epoch_and_window_has_its_own_order():
    orders = [order_of(), order_of(seed=1), order_of(epoch=1), order_of(window=100)]
    for one, other in itertools.combinations(orders, 2):
        assert (one != other).any()


def test_a_window_mixes_beyond_its_own_length():
    """A row waits for as many others as the window holds, on average, and some for much longer.

    An eighth of the window is drawn at a time, so waiting times are geometric; those of an
    exponential distribution of mean w differ from w by 2 w / e on average.
    """
    order = order_of(window=800, n=16_000)
    moved = np.argsort(order) - np.arange(16_000)
    assert np.abs(moved).mean() == pytest.approx(2 * 800 / np.e, rel=0.1)
    assert moved.max() > 3000


def test_shuffled_streams_learn_the_same_whatever_the_pieces_and_the_batches():
    made = [trainer_of(batch_size=24) for _ in range(3)]
    made[0].fit_stream(lambda epoch: cut((1, 90), X, y), epochs=2, window=200, prefetch=0)
    made[1].fit_stream([(X, y)], epochs=2, window=200, prefetch=5)
    assert_same(*made[:2])
    made[2].fit_stream([(scipy.sparse.csr_array(X), y)], epochs=2, window=200)
    np.testing.assert_allclose(made[2].network.params, made[0].network.params, atol=1e-6)


# Sources ------------------------------------------------------------------------------------------


class DataSet:
    """As torch has them: single samples by their number."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i], y[i]


def frames_of_pandas():
    import pandas as pd

    frame = pd.DataFrame(X).rename(columns=str).assign(y=y)
    return streams.frames([frame[:100], frame[100:101], frame[101:]], "y")


def frames_of_polars():
    import polars as pl

    frame = pl.DataFrame({f"x{j}": X[:, j] for j in range(5)} | {"y": y})
    return streams.frames(lambda epoch: (frame[i : i + 70] for i in range(0, N, 70)), "y")


def files(folder):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({f"x{j}": X[:, j] for j in range(5)} | {"y": y, "more": np.ones(N)})
    pq.write_table(table[:250], folder / "a.parquet", row_group_size=100)
    pq.write_table(table[250:], folder / "b.parquet")
    return streams.parquet(folder, "y", columns=[f"x{j}" for j in range(5)], rows=64)


def hdf5(folder):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "rows.h5", "w")
    file.create_dataset("X", data=X, chunks=(64, 5))
    source = streams.arrays(file["X"], file.create_dataset("y", data=y), rows=70)
    assert "70 at a time" in repr(source)
    assert "600 rows, 209,664 at a time" in repr(streams.arrays(file["X"], y))  # whole chunks
    return source


def zarr_array(folder):
    zarr = pytest.importorskip("zarr")
    stored = zarr.create_array(str(folder / "x.zarr"), shape=X.shape, chunks=(64, 5), dtype="f4")
    stored[:] = X
    return streams.arrays(stored, y, rows=70)


def tensors(folder):
    torch = pytest.importorskip("torch")
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    return torch.utils.data.DataLoader(rows, batch_size=70)


def memory_map(folder):
    np.save(folder / "X.npy", X)
    return streams.arrays(np.load(folder / "X.npy", mmap_mode="r"), list(y), rows=70)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: [(X[:1], y[:1]), (X[1:].tolist(), y[1:].tolist())],
        lambda folder: DataSet(),
        lambda folder: zip(X, y, strict=True),
        lambda folder: streams.arrays(scipy.sparse.coo_array(X), y, rows=70),
        lambda folder: iter(streams.arrays(X, y, np.ones(N))),
        lambda folder: frames_of_pandas(),
        lambda folder: frames_of_polars(),
        files,
        hdf5,
        zarr_array,
        tensors,
        memory_map,
    ],
)
def test_sources(make, tmp_path):
    wanted, streamed = trainer_of(shuffle=False), trainer_of()
    wanted.fit(X, y, epochs=1)
    streamed.fit_stream(make(tmp_path), shuffle=False)
    np.testing.assert_allclose(streamed.network.params, wanted.network.params, atol=1e-6)


def test_targets_and_names_of_classes_come_in_pieces():
    names = np.array(["no", "yes", "maybe"])[y]
    one, other = trainer_of(), trainer_of()
    one.fit(X, names, epochs=1)
    other.fit_stream([(X[:300], names[:300]), (X[300:], names[300:])])
    assert one.network.classes == other.network.classes == ("maybe", "no", "yes")
    targets = X[:, :2] * 2
    one, other = (trainer_of(sizes=(5, 2), loss="squared_error") for _ in range(2))
    one.shuffle = False
    one.fit(X, targets, epochs=1)
    other.fit_stream(zip(X, targets, strict=True), shuffle=False)
    assert_same(one, other)


def test_a_source_may_change_what_it_gave():
    buffer = np.empty((50, 5), np.float32)
    wanted, streamed = trainer_of(shuffle=False), trainer_of()
    wanted.fit(X, y, epochs=1)

    def reused():
        for start in range(0, N, 50):
            buffer[:] = X[start : start + 50]
            yield buffer, y[start : start + 50]
        buffer[:] = 7

    streamed.fit_stream(reused(), shuffle=False, window=400)
    assert_same(wanted, streamed)


def test_memory_maps_are_read_through_their_files(tmp_path):
    np.save(tmp_path / "X.npy", X)
    rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    part = mapped.loaded(rows[100:200])
    assert type(part) is np.ndarray
    assert not np.shares_memory(part, rows)
    np.testing.assert_array_equal(part, X[100:200])
    np.testing.assert_array_equal(mapped.loaded(rows[3:][10:12]), X[13:15])
    assert mapped.loaded(rows[:, 1:]).base is not None  # not contiguous: as it is
    changed = np.load(tmp_path / "X.npy", mmap_mode="c")
    changed[0] = 5
    assert mapped.loaded(changed)[0, 0] == 5


def test_maps_of_more_elements_than_32_bits_count(tmp_path):
    path = tmp_path / "rows"
    with open(path, "wb") as file:
        os.truncate(file.fileno(), 9 << 30)  # it takes no room on the disk
        file.seek(-80, os.SEEK_END)
        file.write(X[:4].tobytes())
    numbers = np.memmap(path, np.float32, "r")
    rows = numbers[len(numbers) % 5 :].reshape(-1, 5)
    assert rows.size > 1 << 31
    np.testing.assert_array_equal(mapped.loaded(rows[-4:]), X[:4])


def test_memory_maps_larger_than_memory_are_streamed(tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", X)
    rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    names = np.sort(np.array(["no", "yes", "maybe"])[y])  # the first piece has not all of them
    weights = np.linspace(1, 3, N)
    in_memory, streamed, other = (trainer_of(batch_size=16) for _ in range(3))
    for trainer in (in_memory, streamed):
        trainer.shuffle = False
    in_memory.fit(X, names, epochs=2, sample_weight=weights)
    few = X.nbytes - 1
    for function in ("_physical", "memory_limits"):  # of the machine, and of a control group
        with monkeypatch.context() as patched:
            patched.setattr(mapped, function, lambda f=function: few if f == "_physical" else [few])
            assert mapped.exceeds_memory(rows, 4)
            assert not mapped.exceeds_memory(X, 4)
            assert not mapped.exceeds_memory(rows[1:], 4)
            assert mapped.exceeds_memory(rows[1:], 8)
    monkeypatch.setattr(mapped, "_physical", lambda: 100)
    monkeypatch.setattr(streams, "_BYTES", 1000)
    streamed.fit(rows, names, epochs=2, sample_weight=weights)
    assert_same(in_memory, streamed)
    other.fit(rows, names, epochs=2)
    assert (other.network.params != streamed.network.params).any()
    with pytest.raises(ValueError, match="validation_split must be None for a memory map"):
        streamed.fit(rows, names, validation_split=0.2)
    streamed.shuffle = np.arange
    with pytest.raises(ValueError, match="shuffle must be True or False for a memory map"):
        streamed.fit(rows, names)


# Epochs, steps ------------------------------------------------------------------------------------


def test_steps_cut_epochs_of_an_endless_source():
    def endless():
        while True:
            yield X, y

    trainer, wanted = trainer_of(batch_size=10), trainer_of(batch_size=10, shuffle=False)
    history = trainer.fit_stream(endless(), epochs=3, steps=40, shuffle=False)
    rows = np.concatenate([X, X]), np.concatenate([y, y])
    for start in range(0, 1200, 400):
        wanted.fit(rows[0][start : start + 400], rows[1][start : start + 400], epochs=1)
    assert len(history) == 3
    assert_same(wanted, trainer)


def test_steps_begin_anew_where_that_is_possible():
    trainer, wanted = trainer_of(batch_size=10), trainer_of(batch_size=10, shuffle=False)
    trainer.fit_stream(streams.arrays(X, y, rows=17), epochs=2, steps=5, shuffle=False)
    wanted.fit(X[:50], y[:50], epochs=2)
    assert_same(wanted, trainer)


def test_an_iterator_that_ends_ends_the_fit():
    trainer = trainer_of(batch_size=100)
    assert len(trainer.fit_stream(iter([(X, y)]), epochs=9, steps=4)) == 2  # of 4 and 2 batches


def test_functions_get_the_number_of_the_epoch():
    numbers = []
    trainer = trainer_of()
    for _ in range(2):
        trainer.fit_stream(lambda epoch: numbers.append(epoch) or [(X, y)], epochs=2)
    assert numbers == [0, 1, 2, 3]


def test_callbacks_sets_and_bars():
    trainer, seen = trainer_of(batch_size=20), []
    history = trainer.fit_stream(
        [(X, y)], epochs=20, eval_set=(X, y), metrics="balanced_accuracy", progress=True,
        callbacks=[fastbp.callbacks.Target("eval_loss", 1.2), lambda trainer: seen.append(1)],
    )  # fmt: skip
    assert len(history) == len(seen) < 20
    assert "balanced_accuracy" in history.metrics


def test_rows_are_not_read_beyond_the_last_step():
    rows, trainer, wanted = zip(*LONG, strict=True), trainer_of(), trainer_of(shuffle=False)
    for start in range(0, 1500, 500):
        trainer.fit_stream(rows, steps=500, shuffle=False, window=80)
        wanted.fit(LONG[0][start : start + 500], LONG[1][start : start + 500], epochs=1)
    left = len(list(rows))
    assert 6000 - 1500 - 3 * 256 <= left <= 6000 - 1500
    assert trainer.history.train_loss[0] == wanted.history.train_loss[0]


def test_frames_have_their_columns_by_name():
    import pandas as pd

    frame = pd.DataFrame(X, columns=list("abcde")).assign(y=y)
    wanted, streamed = trainer_of(shuffle=False), trainer_of()
    wanted.fit(X, y, epochs=1)
    source = streams.frames([frame[:50], frame[["y", "e", "d", "c", "b", "a"]][50:]], "y")
    streamed.fit_stream(source, shuffle=False)
    assert_same(wanted, streamed)
    source = streams.frames([frame[:50], frame[50:].rename(columns={"a": "z"})], "y")
    with pytest.raises(ValueError, match="X must have the columns of the first piece"):
        trainer_of().fit_stream(source)


def test_partitions_of_parquet_are_columns(tmp_path):
    import pandas as pd

    table = pd.DataFrame({"x": X[:, 0], "region": y % 2, "y": y})
    table.to_parquet(tmp_path / "parts", partition_cols=["region"])
    rows = pd.concat([piece[0].to_pandas() for piece in streams.parquet(tmp_path / "parts", "y")])
    assert list(rows.columns) == ["x", "region"]
    assert rows.region.astype(int).sum() == (y % 2).sum()
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="must hold Parquet files, and there are none"):
        streams.parquet(tmp_path / "none", "y")


def test_a_set_without_an_end_of_its_own_has_that_of_its_length():
    class Cyclic:
        def __len__(self):
            return N

        def __getitem__(self, i):
            return X[i % N], y[i % N]

    made = Preparation().fit_stream(Cyclic())
    np.testing.assert_allclose(made.transform(X), Preparation().fit(X).transform(X), atol=1e-6)


def test_days_of_different_lengths():
    """The batches of a later epoch are not those of the first one."""
    days = [slice(0, 10), slice(0, 1), slice(0, N), slice(5, 200)]
    streamed, wanted = (trainer_of(batch_size=64, shuffle=False) for _ in range(2))
    streamed.fit_stream(lambda epoch: [(X[days[epoch]], y[days[epoch]])], epochs=4, shuffle=False)
    for day in days:
        wanted.fit(X[day], y[day], epochs=1)
    assert_same(wanted, streamed)


def test_options_that_callbacks_set_hold_from_the_next_fit_on():
    class Sets(fastbp.callbacks.Callback):
        def on_chunk(self, trainer, samples, loss):
            trainer.label_smoothing, trainer.class_weight = 0.5, [0.0, 1.0, 5.0]

    one, other = trainer_of(batch_size=10), trainer_of(batch_size=10)
    one.fit_stream([LONG], window=300, shuffle=False)
    other.fit_stream([LONG], window=300, shuffle=False, callbacks=[Sets()])
    assert_same(one, other)


def test_prepared_frames_in_pieces_are_those_in_memory():
    import pandas as pd

    frame = pd.DataFrame({"size": X[:, 0] * 1e3, "city": np.array(["a", "b", "c"])[y]})
    preparation = Preparation().fit(frame)
    made = [
        Trainer(
            Network((preparation.n_inputs, 4, 3), preparation=preparation, seed=0),
            **ALONE, batch_size=8, shuffle=False,
        )
        for _ in range(2)
    ]  # fmt: skip
    made[0].fit(frame, y, epochs=1)
    source = streams.frames(
        [frame.assign(y=y)[:90], frame.assign(y=y)[["y", "city", "size"]][90:]], "y"
    )
    made[1].fit_stream(source, shuffle=False)
    assert_same(*made)


def test_no_epochs():
    trainer = trainer_of()
    assert len(trainer.fit_stream([(X, y)], epochs=0)) == 0


def test_the_warning_of_sizes_points_at_the_call():
    with pytest.warns(fastbp.ScaleWarning) as caught:
        trainer_of(learning_rate=1e-12).fit_stream([(1e4 * X, y)])
    assert caught[0].filename == __file__


# What ends an epoch early -------------------------------------------------------------------------


def failing(at, error):
    for k, piece in enumerate(cut((500,), *LONG)):
        if k == at:
            raise error
        yield piece


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 16, "optimizer": "adam", "dropout": 0.2},
        {"batch_size": 300, "dropout": 0.2},
        {"optimizer": NESTEROV},
    ],
)
def test_after_an_error_of_the_source_the_same_call_goes_on(shuffle, prefetch, options):
    how = {"window": 160, "shuffle": shuffle, "prefetch": prefetch}
    whole, broken = trainer_of(**options), trainer_of(**options)
    whole.fit_stream(lambda epoch: cut((500,), *LONG), **how)
    with pytest.raises(OSError, match="gone") as caught:
        broken.fit_stream(lambda epoch: failing(9, OSError("gone")), **how)
    assert caught.value.__notes__ == ["source raised this for piece 9, which begins with row 4500."]
    assert len(broken.history) == 0
    assert 2048 <= broken.unfinished <= 4500
    assert broken.unfinished % broken.batch_size == 0
    broken.fit_stream(lambda epoch: cut((700,), *LONG), **how, start=broken.unfinished)
    assert broken.unfinished == 0
    assert_same(whole, broken)


def test_whoever_fails_again_at_once_still_knows_where_to_go_on():
    trainer = trainer_of(batch_size=16)
    for failures in (9, 0, 0):
        with pytest.raises(OSError, match="gone"):
            trainer.fit_stream(
                lambda epoch, at=failures: failing(at, OSError("gone")), shuffle=False, window=80,
                start=trainer.unfinished,
            )  # fmt: skip
        assert trainer.unfinished == 4496
    with pytest.raises(OSError, match="gone"):
        trainer.fit_stream(lambda epoch: failing(0, OSError("gone")))
    assert trainer.unfinished == 0


class Breaks(fastbp.callbacks.Callback):
    """Raises after the last chunk of an epoch, which ends in a batch of fewer samples."""

    def on_chunk(self, trainer, samples, loss):
        if samples == N:
            raise KeyboardInterrupt


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_epoch_that_is_broken_off_after_its_last_sample_is_finished_without_any(prefetch):
    whole, broken = (trainer_of(batch_size=64) for _ in range(2))
    whole.fit_stream([(X, y)])
    with pytest.raises(KeyboardInterrupt):
        broken.fit_stream([(X, y)], callbacks=[Breaks()], prefetch=prefetch)
    assert broken.unfinished == N
    broken.fit_stream([(X, y)], start=broken.unfinished)
    assert_same(whole, broken)


def test_a_batch_that_was_broken_off_begins_anew_with_its_own_masks():
    whole, broken = (trainer_of(batch_size=2000, dropout=0.3, optimizer="adam") for _ in range(2))
    whole.fit_stream([LONG], window=100)

    class Stops(fastbp.callbacks.Callback):
        def on_chunk(self, trainer, samples, loss):
            if samples > 2000 and samples % 2000:
                raise KeyboardInterrupt

    runs.paced, before = lambda n, *_: ((i, min(n, i + 256)) for i in range(0, n, 256)), runs.paced
    try:
        with pytest.raises(KeyboardInterrupt):
            broken.fit_stream([LONG], window=100, callbacks=[Stops()])
    finally:
        runs.paced = before
    assert broken.unfinished == 2000
    broken.fit_stream([LONG], window=100, start=2000)
    np.testing.assert_array_equal(broken.network.params, whole.network.params)
    np.testing.assert_array_equal(broken.optimizer_state.counts, whole.optimizer_state.counts)


def test_a_fit_to_rows_in_memory_leaves_no_stream_to_go_on_with():
    trainer = trainer_of()
    with pytest.raises(OSError, match="gone"):
        trainer.fit_stream(lambda epoch: failing(9, OSError("gone")), window=80)
    assert trainer.unfinished > 0
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, y, callbacks=[Breaks()])
    assert trainer.unfinished == 0


def test_an_early_stopping_that_restores_leaves_nothing_to_go_on_with():
    class Fails(fastbp.callbacks.Callback):
        def on_chunk(self, trainer, samples, loss):
            if len(trainer.history) == 2:
                raise OSError("gone")

    trainer = trainer_of()
    stopping = fastbp.callbacks.EarlyStopping(monitor="train_loss", restore_best=True)
    with pytest.raises(OSError, match="gone"):
        trainer.fit_stream([LONG], epochs=5, callbacks=[stopping, Fails()])
    assert trainer.unfinished == 0


def test_a_measurement_that_fails_does_not_have_the_epoch_trained_again():
    def fails(y_true, y_pred):
        raise OSError("gone")

    trainer = trainer_of()
    with pytest.raises(OSError, match="gone"):
        trainer.fit_stream([(X, y)], eval_set=(X, y), metrics=[fails])
    assert trainer.unfinished == N
    trainer.fit_stream([(X, y)], start=trainer.unfinished)
    assert len(trainer.history) == 1


@pytest.mark.parametrize("is_copied", [pickle_of, copy.deepcopy])
def test_copies_of_a_trainer_go_on(is_copied):
    whole, broken = trainer_of(batch_size=8), trainer_of(batch_size=8)
    whole.fit_stream([LONG], window=80)
    with pytest.raises(OSError, match="gone"):
        broken.fit_stream(lambda epoch: failing(9, OSError("gone")), window=80)
    again = is_copied(broken)
    again.fit_stream([LONG], window=80, start=again.unfinished)
    assert_same(whole, again)


def test_a_trainer_that_was_saved_within_an_epoch_goes_on(tmp_path):
    path = tmp_path / "trainer.safetensors"
    whole, broken = (trainer_of(batch_size=8, optimizer="adam") for _ in range(2))
    whole.fit_stream(lambda epoch: cut((50,), *LONG), window=80)
    with pytest.raises(OSError, match="gone"):
        broken.fit_stream(lambda epoch: failing(9, OSError("gone")), window=80)
    broken.save(path)
    again = fastbp.load(path)
    assert again.unfinished == broken.unfinished > 0
    again.fit_stream([LONG], window=80, start=again.unfinished)
    np.testing.assert_array_equal(again.network.params, whole.network.params)


def bad_pieces():
    spoilt = X[50:100].copy()
    spoilt[3, 2] = np.nan
    place = "piece 1 of source, from row 50 on: "
    return [
        ((spoilt, y[50:100]), place + "X must be finite, got nan in row 3, column 2."),
        ((X[50:100, :4], y[50:100]), place + "X must have 5 columns, one per input"),
        ((X[50:100], y[50:99]), place + "y must have one entry per row of X, 50"),
        ((X[50:100], y[50:100] + 1), place + "y must hold class numbers from 0 to 2"),
        ((X[50:100], y[50:100], np.ones(50)), place + "weight must be absent as in the first"),
        ((scipy.sparse.csr_array(X[50:100]), y[50:100]), place + "X must be dense as in the"),
        ((X[50:100], np.eye(3)[y[50:100]]), place + "y must be class numbers as in the first"),
        (
            X[50:100],
            place + "source must give pairs (X, y) or triples (X, y, weight), got ndarray;",
        ),
        (
            (X[50:100],),
            place + "source must give pairs (X, y) or triples (X, y, weight), got tuple of",
        ),
        (None, place + "source must give pairs (X, y) or triples (X, y, weight), got NoneType;"),
        ((X[50:100], y[:0]), place + "y must have one entry per row of X, 50"),
        ((X[50:52], [[1], [0, 1]]), place + "y must be a rectangular array"),
    ]


@pytest.mark.parametrize(("piece", "message"), bad_pieces())
def test_bad_pieces_are_named(piece, message):
    trainer = trainer_of()
    with pytest.raises(ValueError, match=re.escape(message)):
        trainer.fit_stream([(X[:50], y[:50]), piece], shuffle=False, window=8)
    assert trainer.unfinished == 0  # how all are trained on was not known yet
    assert np.isfinite(trainer.network.params).all()


def test_pieces_without_rows_are_left_out():
    trainer, wanted = trainer_of(), trainer_of(shuffle=False)
    none = X[:0], y[:0]
    trainer.fit_stream([none, (X[:9], y[:9]), none, (X[9:], y[9:]), none], shuffle=False)
    wanted.fit(X, y, epochs=1)
    assert_same(wanted, trainer)


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ([], {}, "source must give at least one row, got none."),
        ([(X[:0], y[:0])], {}, "source must give at least one row, got none."),
        ([(X, y)], {"start": N}, "after the first 600, which start leaves out, got none."),
        (3, {}, "source must be iterable, or a function of the epoch"),
        (X, {}, "source must give pairs (X, y), got ndarray: fastbp.streams makes sources of"),
        ("rows.csv", {}, "source must give pairs (X, y), got str"),
        (lambda: [(X, y)], {}, "source must"),
        (lambda epoch: 3, {}, "source(0) must give something iterable, got 3."),
        (iter([(X, y)]), {"epochs": 2}, "source must be iterable once an epoch"),
        ([(X, y)], {"window": 0}, "window must be an integer of at least 1"),
        ([(X, y)], {"prefetch": -1}, "prefetch must be an integer of at least 0"),
        ([(X, y)], {"steps": 0}, "steps must be an integer of at least 1"),
        ([(X, y)], {"shuffle": "yes"}, "shuffle must be True or False"),
    ],
)
def test_bad_arguments(source, arguments, message):
    trainer = trainer_of()
    before = trainer.network.params.copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        trainer.fit_stream(source, **arguments)
    np.testing.assert_array_equal(before, trainer.network.params)


def test_balanced_weights_need_all_rows():
    with pytest.raises(ValueError, match="class_weight must be a factor for each class"):
        trainer_of(class_weight="balanced").fit_stream([(X, y)])


def test_divergence_ends_a_stream_at_its_last_finite_parameters():
    trainer = trainer_of(sizes=(5, 3), loss="squared_error", learning_rate=1e30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(fastbp.DivergenceError):
            trainer.fit_stream([(X, X[:, :3])])
    assert np.isfinite(trainer.network.params).all()
    assert trainer.unfinished == 0


def test_a_file_that_becomes_shorter_is_an_error(tmp_path):
    path = tmp_path / "X.bin"
    X.tofile(path)
    rows = np.memmap(path, np.float32, "r", shape=X.shape)
    trainer = trainer_of()

    def shorter():
        yield rows[:200], y[:200]
        os.truncate(path, 400 * X.shape[1] * 4)
        yield rows[200:], y[200:]

    with pytest.raises(ValueError, match="has become shorter: bytes 8,000 to 12,000 are missing"):
        trainer.fit_stream(shorter(), shuffle=False, window=80)


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import fastbp

generator = np.random.default_rng(0)
X, y = generator.normal(size=(300_000, 40)).astype("f4"), generator.integers(0, 3, 300_000)
options = dict(seed=0, n_threads=1, learning_rate=0.001, **eval(sys.argv[1]))
new = lambda: fastbp.Trainer(fastbp.Network((40, 60, 3), seed=0), **options)
source = fastbp.streams.arrays(X, y, rows=700)
whole, broken = new(), new()
whole.fit_stream(source, window=30_000)
times = 0
while not broken.history:
    timer = threading.Timer(0.02 + 0.01 * times, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        broken.fit_stream(source, window=30_000, start=broken.unfinished)
        timer.cancel()
        timer.join()
    except KeyboardInterrupt:
        times += 1
print(times, np.array_equal(whole.network.params, broken.network.params), len(broken.history))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals to itself")
@pytest.mark.parametrize("options", ["{}", "{'batch_size': 32, 'optimizer': 'adam'}"])
def test_after_ctrl_c_the_same_call_goes_on(options):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, options], capture_output=True, text=True, check=False,
        timeout=300, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    times, is_same, epochs = done.stdout.split()
    assert (is_same, epochs) == ("True", "1")
    assert int(times) >= 1


# The thread that reads ----------------------------------------------------------------------------


def test_a_thread_makes_no_more_than_it_was_asked_for():
    made, wait = [], threading.Event()

    def numbers(is_awaited):
        for i in range(100):
            made.append(i)
            yield i
            wait.set()

    ahead = prefetching.Prefetched(numbers, 3)
    assert next(ahead) == 0
    ahead.close()
    assert len(made) <= 6
    assert not any(thread.name == "fastbp source" for thread in threading.enumerate())


def test_small_pieces_are_not_waited_for_but_at_the_beginning():
    rows = np.tile(X, (4, 1)), np.tile(y, 4)
    pieces = (Network((5, 3)).samples(*piece) for piece in cut((10,), *rows))
    parts = windows.in_order(pieces, 100, lambda: True)
    assert [part.inputs.n for part in itertools.islice(parts, 4)] == [2048, 2, 10, 10]


# Preparation --------------------------------------------------------------------------------------


def test_a_preparation_of_pieces_is_that_of_all_rows():
    import pandas as pd

    generator = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "size": generator.normal(1e6, 3, N),
            "tiny": generator.normal(size=N) * 1e-200,
            "huge": generator.normal(size=N) * 1e300,
            "same": np.full(N, 4.25),
            "city": generator.choice(["Paris", "Lyon", "Nice"], N),
            "street": generator.choice([f"s{k}" for k in range(500)], N),
            "open": generator.random(N) < 0.5,
        }
    )
    target = generator.normal(50, 7, (N, 2))
    fitted = Preparation(hashed=["street"]).fit(table, target)
    bounds = [0, 1, 70, 71, 400, N]
    pieces = [(table[a:b], target[a:b]) for a, b in itertools.pairwise(bounds)]
    streamed = Preparation(hashed=["street"]).fit_stream(pieces, targets=True)
    assert streamed.names == fitted.names
    np.testing.assert_allclose(
        streamed.transform(table, "float64"), fitted.transform(table, "float64"), atol=1e-9
    )
    np.testing.assert_allclose(
        streamed.transform_target(target), fitted.transform_target(target), rtol=1e-12
    )


def test_a_missing_number_becomes_the_mean_of_a_stream():
    rows = np.array([[1.0], [np.nan], [3.0], [8.0]])
    made = Preparation().fit_stream([(rows[:1], [0]), (rows[1:2], [0]), (rows[2:], [0, 1])])
    inputs = made.transform(rows, "float64")
    np.testing.assert_allclose(inputs[:, 0].mean(), 0, atol=1e-15)
    np.testing.assert_allclose(inputs[:, 0].std(), 1)
    np.testing.assert_array_equal(inputs[:, 1], [0, 1, 0, 0])
    assert inputs[1, 0] == 0


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([], "source must give at least one row"),
        ([(X, y), (X[:, :4], y)], "piece 1 of source, from row 600 on: X must have the columns"),
        ([([[1.0]], [0]), ([["a"]], [0])], "must hold numbers as in the pieces before, got text"),
        ([([[np.inf]], [0])], "must hold finite numbers, got inf in row 0"),
        ([([[np.nan]], [0])], "column 'x0' of X has no values"),
        ([([[f"v{k}"] for k in range(101)], [0] * 101)], "more than 100 values: 'x0' (101)"),
    ],
)
def test_bad_pieces_for_a_preparation(pieces, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Preparation().fit_stream(pieces)


def test_pixels_of_a_stream():
    pixels = GENERATOR.integers(0, 256, (10, 4)).astype(np.uint8)
    made = Preparation().fit_stream([(pixels[:5], y[:5]), (pixels[5:], y[5:10])])
    assert made == Preparation().fit(pixels)
