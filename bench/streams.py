"""Training on data that come in pieces, beside the same rows in memory and other libraries.

python bench/streams.py --write                       docs/scaling.md, about 15 minutes
python bench/streams.py --only sources memory         some of the tables
python bench/streams.py --folder DISK --gigabytes 20  a larger file, on a disk of your choice

Needs ``pip install -e '.[bench,tables,dask]' h5py zarr``. A source that needs what is not installed
is named and left out.

Sources: one epoch in the order given, whose parameters must have the bits of a pass in memory;
they take turns, and each time is a median over the rounds. Files are read once before, so that
they come from the system's cache: what is measured is what reading and converting cost, not the
disk, whose speed is measured beside them. torch trains the same network, with the optimizer that is
fastest, on what its DataLoader gives; scikit-learn by `partial_fit`, a piece a call.

Memory: a program of its own, which may take no more than a limit (RLIMIT_DATA), makes an epoch
over a file of several times that size, all of whose rows are zeros and take no room on the disk.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from report import write_block

from fastbp import Ensemble, Network, Trainer, streams
from fastbp.bench.machine import PAUSE, cores, describe
from fastbp.bench.report import conditions_of, figure, table

ROWS, PIECE = 600_000, 16_384
NETS = ((10, 32, 10), (64, 32, 10), (784, 128, 10))
BATCH_SIZES = (1, 32)
LEARNING_RATE = 0.001


def data(n_inputs, n_rows):
    """Dense rows, and labels that can be learned from them."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((n_rows, n_inputs), dtype=np.float32)
    return X, (X[:, :10] @ generator.standard_normal((10, 10))).argmax(axis=1)


def pieces(X, y, rows=PIECE):
    """Pairs of slices."""
    for start in range(0, len(y), rows):
        yield X[start : start + rows], y[start : start + rows]


def hdf5(folder, X, y):
    """A file of HDF5, in chunks of 1 MiB."""
    import h5py

    with h5py.File(folder / "rows.h5", "w") as file:
        chunk = max(1, (1 << 20) // X[:1].nbytes)
        file.create_dataset("X", data=X, chunks=(chunk, X.shape[1]))
    return streams.arrays(h5py.File(folder / "rows.h5")["X"], y)


def zarr(folder, X, y):
    """An array of zarr, as it is compressed by default."""
    import zarr

    chunk = max(1, (1 << 22) // X[:1].nbytes)
    stored = zarr.create_array(
        str(folder / "rows.zarr"), shape=X.shape, chunks=(chunk, X.shape[1]), dtype=X.dtype
    )
    stored[:] = X
    return streams.arrays(stored, y)


def parquet(folder, X, y):
    """A file of Parquet, a column for each input."""
    import pyarrow as pa
    import pyarrow.parquet

    columns = {f"x{j:03}": X[:, j] for j in range(X.shape[1])}
    pyarrow.parquet.write_table(pa.table(columns | {"y": y}), folder / "rows.parquet")
    return streams.parquet(folder / "rows.parquet", "y", rows=PIECE)


def memory_map(folder, X, y):
    """A file of NumPy's."""
    np.save(folder / "rows.npy", X)
    return streams.arrays(np.load(folder / "rows.npy", mmap_mode="r"), y)


def loader(folder, X, y):
    """torch's, which takes the rows of a piece one by one and puts them together."""
    import torch

    rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    return torch.utils.data.DataLoader(rows, batch_size=256)


SOURCES = {
    "arrays, in pieces": lambda folder, X, y: streams.arrays(X, y),
    "memory map, `.npy`": memory_map,
    "HDF5": hdf5,
    "zarr": zarr,
    "Parquet": parquet,
    "torch's `DataLoader`": loader,
    "pieces of 256 rows": lambda folder, X, y: list(pieces(X, y, 256)),
}


class InMemory:
    """`Trainer.fit`, or `Trainer.fit_stream` of a source."""

    def __init__(self, sizes, batch_size, X, y, source=None, **how):
        self.trainer = Trainer(
            Network(sizes, seed=0), learning_rate=LEARNING_RATE, batch_size=batch_size, seed=0,
            shuffle=bool(how.get("shuffle")),
        )  # fmt: skip
        self.data, self.source, self.how = (X, y), source, how

    def run(self):
        if self.source is None:
            self.trainer.fit(*self.data, epochs=1, progress=False)
        else:
            self.trainer.fit_stream(self.source, progress=False, **self.how)


class Torch:
    """An eager step for each batch that the DataLoader gives."""

    def __init__(self, sizes, batch_size, X, y):
        import torch

        self.torch, self.source = torch, loader(None, X, y.astype(np.int64))
        layers = [torch.nn.Linear(*sizes[:2]), torch.nn.ReLU(), torch.nn.Linear(*sizes[1:])]
        self.model = torch.nn.Sequential(*layers)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE, fused=True)
        self.batch_size = batch_size
        self.source = torch.utils.data.DataLoader(self.source.dataset, batch_size=batch_size)

    def run(self):
        cross_entropy = self.torch.nn.functional.cross_entropy
        self.torch.set_num_threads(1)  # as fast as all, or faster, for nets of this size
        for x, labels in self.source:
            self.optimizer.zero_grad()
            cross_entropy(self.model(x), labels).backward()
            self.optimizer.step()


class ScikitLearn:
    """`partial_fit` of one piece after the other."""

    def __init__(self, sizes, batch_size, X, y):
        from sklearn.neural_network import MLPClassifier

        self.model = MLPClassifier(
            sizes[1:-1], solver="sgd", batch_size=batch_size, momentum=0, alpha=0, shuffle=False,
            learning_rate_init=LEARNING_RATE,
        )  # fmt: skip
        self.data, self.classes = (X, y), np.arange(sizes[-1])

    def run(self):
        for x, labels in pieces(*self.data):
            self.model.partial_fit(x, labels, classes=self.classes)


def measured(systems, n_rows, rounds):
    """Medians of the microseconds per sample of systems that take turns."""
    times = {name: [] for name in systems}
    for number in range(rounds + 1):
        for name, system in systems.items():
            time.sleep(PAUSE)
            began = time.perf_counter()
            system.run()
            if number > 0:  # the first compiles, and fills the system's cache
                times[name].append((time.perf_counter() - began) / n_rows[name] * 1e6)
    return times


def sources(options):
    """Microseconds per sample and MB/s by source."""
    problems, columns = [(sizes, b) for sizes in NETS for b in BATCH_SIZES], []
    for sizes, batch_size in problems:
        X, y = data(sizes[0], ROWS if sizes[0] < 100 else ROWS // 2)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            columns.append(column(Path(folder), sizes, batch_size, X, y, options.rounds))
        print(f"{shown(sizes)}, batch {batch_size}: done", flush=True)
    header = [f"{shown(sizes)}, batch {b}" for sizes, b in problems]
    times = [["source, µs per sample", *header]]
    speeds = [["source, MB/s", *header]]
    for name in columns[0]:
        found = [each[name] for each in columns]
        times.append([name, *(f"{figure(us)} ({figure(ratio)}×)" for us, ratio, _ in found)])
        speeds.append([name, *(figure(speed) for *_, speed in found)])
    return (
        f"{table(times)}\n\n{table(speeds)}\n\nIn brackets how many times the time in memory. "
        f"{ROWS:,} rows, of 784 inputs half as many."
    )


def column(folder, sizes, batch_size, X, y, rounds):
    """By system: µs per sample, how many times that in memory, and MB/s."""
    systems, n_rows = {"in memory, `fit`": InMemory(sizes, batch_size, X, y)}, {}
    systems["in memory, shuffled"] = InMemory(sizes, batch_size, X, y, shuffle=True)
    for number, (name, make) in enumerate(SOURCES.items()):
        place = folder / str(number)
        place.mkdir()
        try:
            source = make(place, X, y)
        except ImportError as error:
            print(f"{name} left out: {error}")
            continue
        systems[name] = InMemory(sizes, batch_size, X, y, source, shuffle=False)
        if name.startswith("memory map"):
            systems[f"{name}, shuffled"] = InMemory(sizes, batch_size, X, y, source, shuffle=True)
    n_rows = dict.fromkeys(systems, len(y))
    few = min(len(y), 16_384 if batch_size > 1 else 2_048)
    for name, kind in (
        ("torch, `DataLoader`", Torch),
        ("scikit-learn, `partial_fit`", ScikitLearn),
    ):
        try:
            systems[name] = kind(sizes, batch_size, X[:few], y[:few])
            n_rows[name] = few
        except ImportError as error:
            print(f"{name} left out: {error}")
    times = measured(systems, n_rows, rounds)
    check(systems)
    ours, found = times["in memory, `fit`"], {}
    for name, each in times.items():
        ratio = statistics.median(a / b for a, b in zip(each, ours, strict=True))
        median = statistics.median(each)
        found[name] = median, ratio, X[0].nbytes / median
    return found


def check(systems):
    """All sources in order have trained to the bits of the passes in memory."""
    wanted = systems["in memory, `fit`"].trainer.network.params
    for name, system in systems.items():
        if isinstance(system, InMemory) and "shuffled" not in name:
            np.testing.assert_array_equal(system.trainer.network.params, wanted, err_msg=name)


LIMITED = """
import json, resource, sys, time
import numpy as np
import fastbp

path, rows, columns, limit, how = sys.argv[1:]
network = fastbp.Network((int(columns), 64, 10), seed=0)
trainer = fastbp.Trainer(network, batch_size=32, seed=0)
trainer.partial_fit(np.zeros((64, int(columns)), "f4"), np.arange(64) % 10)
resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
X = np.memmap(path, np.float32, "r", shape=(int(rows), int(columns)))
y = np.arange(int(rows)) % 10
began = time.perf_counter()
try:
    if how == "fit_stream":
        trainer.fit_stream(fastbp.streams.arrays(X, y), progress=False)
    else:
        trainer.fit(np.array(X), y, epochs=1, progress=False)
    outcome = "an epoch"
except MemoryError:
    outcome = "MemoryError"
seconds = time.perf_counter() - began
# Not ru_maxrss, which begins with what the program had that started this one.
lines = open("/proc/self/status").read().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
print(json.dumps([outcome, seconds, peak]))
"""


def memory(options):
    """Peak memory against the size of the file."""
    rows = [["file", "elements", "limit", "way", "outcome", "peak of the process", "µs per sample"]]
    columns, limit = 1000, 1 << 30
    for gigabytes in (4, options.gigabytes):
        n = int(gigabytes * 1e9) // (4 * columns)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "rows"
            with open(path, "wb") as file:
                os.truncate(file.fileno(), 4 * columns * n)
            for how, way in (("fit_stream", "`fit_stream`"), ("fit", "`fit` of an array")):
                arguments = [str(path), str(n), str(columns), str(limit), how]
                done = subprocess.run(
                    [sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True,
                    check=True,
                )  # fmt: skip
                outcome, seconds, peak = json.loads(done.stdout)
                took = figure(seconds / n * 1e6) if outcome == "an epoch" else "–"
                cells = f"{gigabytes:g} GB", f"{n * columns:,}", "1 GiB", way, outcome
                rows.append([*cells, f"{peak / 1e6:.0f} MB", took])
                print(*rows[-1], sep=" | ", flush=True)
    return f"{table(rows)}\n\n1000-64-10, batch 32; rows of zeros in a sparse file."


# Bytes a second of what delivers rows.
DELIVERIES = {
    "SATA SSD, 0.5 GB/s": 0.5e9,
    "10 Gb/s network": 1.25e9,
    "NVMe, 3 GB/s": 3e9,
    "100 Gb/s network": 12.5e9,
}


def rates(options):
    """Microseconds until the next row is there, and until it is learned."""
    rows = [["net", *DELIVERIES, "learned, batch 1", "learned, batch 32"]]
    for sizes in NETS:
        X, y = data(sizes[0], 50_000)
        systems = {b: InMemory(sizes, b, X, y) for b in BATCH_SIZES}
        times = measured(systems, dict.fromkeys(systems, len(y)), options.rounds)
        delivered = [X[0].nbytes / speed * 1e6 for speed in DELIVERIES.values()]
        learned = [statistics.median(each) for each in times.values()]
        rows.append([shown(sizes), *map(figure, delivered + learned)])
    return f"{table(rows)}\n\nµs a sample; what is learned is dense, and in memory."


ENTITIES, FEW, OF_EACH, EPOCHS = 1000, 40, 50, 10


def many(options):
    """Microseconds per sample of a model for each of a thousand entities."""
    from joblib import Parallel, delayed
    from sklearn.neural_network import MLPRegressor

    generator = np.random.default_rng(0)
    group = np.repeat(np.arange(ENTITIES), OF_EACH)
    X = generator.normal(size=(len(group), 8)).astype(np.float32)
    y = (X * generator.normal(size=(ENTITIES, 8))[group]).sum(axis=1).astype(np.float32)
    losses = {}

    def ensemble():
        models = Ensemble((8, 8, 1), ENTITIES, seeds=0, loss="squared_error", learning_rate=0.01)
        losses["`fastbp.Ensemble`"] = models.fit(X, y, groups=group, epochs=EPOCHS)[-1].mean()

    def with_joblib():
        model = MLPRegressor(
            hidden_layer_sizes=(8,), solver="sgd", batch_size=1, learning_rate_init=0.01,
            momentum=0, alpha=0, max_iter=EPOCHS, n_iter_no_change=EPOCHS,
        )  # fmt: skip
        parts = [slice(k * OF_EACH, (k + 1) * OF_EACH) for k in range(FEW)]
        found = Parallel(n_jobs=cores())(delayed(fitted)(model, X[p], y[p]) for p in parts)
        losses["scikit-learn, joblib"] = 2 * np.mean(found)  # which are half the squares

    ways = {"`fastbp.Ensemble`": (ensemble, ENTITIES), "scikit-learn, joblib": (with_joblib, FEW)}
    systems = {name: SimpleNamespace(run=run) for name, (run, _) in ways.items()}
    samples = {name: n * OF_EACH * EPOCHS for name, (_, n) in ways.items()}
    times = measured(systems, samples, options.rounds)
    rows = [["a model each", "models", "µs per sample", "", "mean loss"]]
    ours = statistics.median(times["`fastbp.Ensemble`"])
    for name, each in times.items():
        median = statistics.median(each)
        loss = f"{losses[name]:.2g}"
        rows.append([name, str(ways[name][1]), figure(median), f"{figure(median / ours)}×", loss])
    return (
        f"{table(rows)}\n\n8-8-1, {OF_EACH} rows and {EPOCHS} epochs each, one sample a step, "
        f"{cores()} cores; losses of the last epoch, from other first weights and in another order."
    )


def fitted(model, X, y):
    """The loss of a model that was trained on some rows."""
    from sklearn.base import clone

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to stop after these epochs
        return clone(model).fit(X, y).loss_


PARTITION = 25_000


@contextlib.contextmanager
def cluster(n_workers):
    """A client of so many workers of one thread, in processes, and the scheduler's process."""
    from distributed import Client

    run = [sys.executable, "-m", "distributed.cli.dask_scheduler"], [
        sys.executable, "-m", "distributed.cli.dask_worker", "--nworkers", str(n_workers),
        "--nthreads", "1", "--no-dashboard",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = ["--scheduler-file", str(Path(folder) / "scheduler.json")]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        scheduler = subprocess.Popen([*run[0], *file, "--port", "0", "--no-dashboard"], **quiet)
        workers = subprocess.Popen([*run[1], *file], **quiet)
        try:
            with Client(scheduler_file=file[1], timeout=60) as client:
                client.wait_for_workers(n_workers, timeout=60)
                yield client, scheduler.pid
        finally:
            for process in (workers, scheduler):
                process.terminate()
                process.wait()


def peak_of(pid):
    """Most bytes that a process has had in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def over_dask(options):
    """Microseconds per sample of a network, and of many, by the number of workers."""
    import dask.array

    import fastbp.dask

    sizes, n = (64, 32, 10), ROWS
    X, y = data(sizes[0], n)
    rng = np.random.default_rng(1)
    small = rng.normal(size=(ENTITIES * OF_EACH, 8)).astype(np.float32)
    group = np.repeat(np.arange(ENTITIES), OF_EACH)
    wanted = small.sum(axis=1)

    drawn = dask.array.random.default_rng(0).random(
        (n, sizes[0]), dtype=np.float32, chunks=(PARTITION, -1)
    )
    labels = dask.array.zeros(n, chunks=PARTITION, dtype=np.int64)

    def learn(source):
        InMemory(sizes, 32, X, y, source, shuffle=False).run()

    def train(fit):
        models = Ensemble((8, 8, 1), ENTITIES, seeds=0, loss="squared_error", learning_rate=0.01)
        fit(models, small, wanted, groups=group, epochs=10 * EPOCHS)

    def timed(one, many_at_once):
        systems = {"one": SimpleNamespace(run=one), "many": SimpleNamespace(run=many_at_once)}
        samples = {"one": n, "many": ENTITIES * OF_EACH * 10 * EPOCHS}
        times = measured(systems, samples, options.rounds)
        return [figure(statistics.median(each)) for each in times.values()]

    rows = [["workers", "one network", "a thousand", "peak of the scheduler"]]
    rows.append(
        ["none: in this process", *timed(lambda: learn(None), lambda: train(Ensemble.fit)), "–"]
    )
    for n_workers in range(1, cores() + 1):
        with cluster(n_workers) as (_, pid):
            found = timed(
                lambda: learn(fastbp.dask.source(drawn, labels)),
                lambda: train(fastbp.dask.fit_many),
            )
            rows.append([str(n_workers), *found, f"{peak_of(pid) / 1e6:.0f} MB"])
        print(*rows[-1], sep=" | ", flush=True)
    return (
        f"{table(rows)}\n\nµs per sample. One network: 64-32-10, batch 32, {n:,} rows that workers "
        f"draw at random, {PARTITION:,} at a time. A thousand: 8-8-1, {OF_EACH} rows each, one "
        "sample a step. Workers have a thread each, and share the cores with the trainer."
    )


PARTS = {
    "sources": sources, "memory": memory, "rates": rates, "many": many, "dask": over_dask,
}  # fmt: skip


def shown(sizes):
    """A network, in words."""
    return "-".join(map(str, sizes))


def main():
    """Print the tables; write them."""
    parser = argparse.ArgumentParser(description="Train on data that come in pieces.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where files are written; by default the system's")
    parser.add_argument("--gigabytes", type=float, default=20, help="of the largest file")
    parser.add_argument("--write", action="store_true", help="write docs/scaling.md too")
    options = parser.parse_args()
    for name in options.only:
        medians = "" if name == "memory" else f" Medians of {options.rounds} rounds."
        text = f"{PARTS[name](options)}{medians} {conditions_of(describe())}"
        print(text, flush=True)
        if options.write:
            write_block("docs/scaling.md", f"bench/streams.py {name}", text)


if __name__ == "__main__":
    main()
