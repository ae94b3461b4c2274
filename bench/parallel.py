"""What training one network by several processes would cost: the reason why it is not built.

python bench/parallel.py --write    docs/scaling.md, about two minutes

Steps: milliseconds of a step of 784-128-10 in one process, on one thread and on two, beside two
processes that compute the gradient of half a batch each, on one thread, exchange their halves by a
socket on the same machine, and add them in the same order, so that both keep the same parameters
bit for bit. "Exchange" is what of that the exchange takes alone.

Averages: the mean loss on the test part of the digits, after 20 epochs of plain SGD on all rows,
and of 2, 4 and 8 networks that train on a part of the rows each and are averaged after every epoch;
means over five seeds.
"""

import argparse
import multiprocessing
import statistics
import time

import numba
import numpy as np
from report import write_block

from fastbp import Network, Trainer, load_dataset
from fastbp.bench.machine import describe
from fastbp.bench.report import conditions_of, figure, table

SIZES, LEARNING_RATE = (784, 128, 10), 0.01
BATCHES, STEPS = (64, 1024, 4096), 30


def data(n):
    """Dense random rows."""
    generator = np.random.default_rng(0)
    return generator.standard_normal((n, SIZES[0]), dtype=np.float32), np.arange(n) % SIZES[-1]


def alone(batch_size, n_threads):
    """Milliseconds of a step in one process."""
    X, y = data(batch_size)
    trainer = Trainer(
        Network(SIZES, seed=0),
        learning_rate=LEARNING_RATE,
        batch_size=batch_size,
        n_threads=n_threads,
    )
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        trainer.partial_fit(X, y)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3, trainer.network.params.copy()


def ranked(rank, connection, batch_size, results):
    """One of two processes, each with half of every batch and one thread."""
    numba.set_num_threads(1)
    X, y = data(batch_size)
    half = slice(0, batch_size // 2) if rank == 0 else slice(batch_size // 2, None)
    X, y = X[half].copy(), y[half].copy()
    network = Network(SIZES, seed=0)
    mine, other = np.empty_like(network.params), np.empty_like(network.params)
    steps, exchanges = [], []
    for _ in range(STEPS):
        began = time.perf_counter()
        network.value_and_grad(X, y, out=mine)
        computed = time.perf_counter()
        if rank == 0:
            connection.send_bytes(mine)
            connection.recv_bytes_into(other)
            total = mine + other
        else:
            connection.recv_bytes_into(other)
            connection.send_bytes(mine)
            total = other + mine
        exchanged = time.perf_counter()
        network.params[:] -= LEARNING_RATE / 2 * total
        steps.append(time.perf_counter() - began)
        exchanges.append(exchanged - computed)
    results.put((rank, statistics.median(steps), min(exchanges), network.params.tobytes()))


def together(batch_size):
    """Milliseconds of a step of two processes, and of the exchange in it."""
    context = multiprocessing.get_context("spawn")
    ends, results = context.Pipe(), context.Queue()
    processes = [
        context.Process(target=ranked, args=(rank, ends[rank], batch_size, results))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    (_, step, exchange, params), (*_, others) = (results.get() for _ in processes)
    for process in processes:
        process.join()
    assert params == others
    return step * 1e3, exchange * 1e3, np.frombuffer(params, np.float32)


def steps():
    """Milliseconds of a step, one process and two."""
    rows = [["batch", "one thread", "two threads", "two processes", "of which exchange"]]
    for batch_size in BATCHES:
        own, params = alone(batch_size, 1)
        shared, _ = alone(batch_size, 2)
        both, exchange, theirs = together(batch_size)
        np.testing.assert_allclose(theirs, params, rtol=1e-3, atol=1e-5)
        rows.append([f"{batch_size:,}", *map(figure, (own, shared, both, exchange))])
        print(*rows[-1], sep=" | ", flush=True)
    return f"{table(rows)}\n\nms a step, medians of {STEPS}; the exchange is the shortest."


def averages():
    """Loss on the digits' test part, by the number of networks that are averaged."""
    found = load_dataset("digits")
    generator = np.random.default_rng(0)
    order = generator.permutation(len(found.y))
    X, y = found.X[order], found.y[order]
    X, y, X_test, y_test = X[:1400], y[:1400], X[1400:], y[1400:]
    rows = [["networks", "loss", "accuracy"]]
    for n in (1, 2, 4, 8):
        figures = [averaged(n, seed, X, y, X_test, y_test) for seed in range(5)]
        loss, accuracy = np.mean(figures, axis=0)
        rows.append([str(n), f"{loss:.3f}", f"{accuracy:.1%}"])
        print(*rows[-1], sep=" | ", flush=True)
    return table(rows)


def averaged(n, seed, X, y, X_test, y_test):
    """Loss and accuracy of n networks that are averaged after every epoch."""
    network = Network((64, 64, 10), seed=seed)
    trainers = [Trainer(network.copy(), learning_rate=0.01, seed=seed) for _ in range(n)]
    for _ in range(20):
        for k, trainer in enumerate(trainers):
            trainer.network.params[:] = network.params
            trainer.fit(X[k::n], y[k::n], epochs=1, progress=False)
        network.params[:] = np.mean([trainer.network.params for trainer in trainers], axis=0)
    figures = network.evaluate(X_test, y_test)
    return figures.loss, figures.accuracy


def main():
    """Print the tables; write them."""
    parser = argparse.ArgumentParser(description="Train one network by several processes.")
    parser.add_argument("--write", action="store_true", help="write docs/scaling.md too")
    options = parser.parse_args()
    for name, part in (("steps", steps), ("averages", averages)):
        text = (
            f"{part()} {conditions_of(describe())}"
            if name == "steps"
            else f"{part()}\n\n64-64-10, 20 epochs. {conditions_of(describe())}"
        )
        if options.write:
            write_block("docs/scaling.md", f"bench/parallel.py {name}", text)


if __name__ == "__main__":
    main()
