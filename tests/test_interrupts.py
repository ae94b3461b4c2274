"""Ctrl-C at any moment, forks at any moment, and the caller's own number of threads."""

import gc
import os
import subprocess
import sys
import weakref

import pytest

from fastbp import kernels
from fastbp.kernels.compiling import compile_aside

DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
compiled_only = pytest.mark.skipif(DISABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT")


def run(code, timeout=300, **environment):
    """Run a program on a machine that has two threads, to say the least."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code],
        env=os.environ | {"NUMBA_NUM_THREADS": "2"} | environment, capture_output=True,
        text=True, check=False, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# In the place of the kernel stands what notes its number of threads: what is looked at is Python.
EVERY_INSTRUCTION = """
import sys
import numba, numpy as np
from fastbp import Network, Trainer, kernels, threads
from fastbp.kernels import _numba

seen = []

def stand_in(*arguments):
    seen.append(size_of(arguments[-1]))
    return arguments[-2]

def size_of(team):
    return int(team[0]) if len(team) else 1

kernels.train_minibatch = stand_in
files = {threads.__file__, _numba.__file__}
X, y = np.zeros((64, 4)), np.zeros(64, int)
network = Network((4, 3), seed=0)
trainer = Trainer(network, batch_size=8, n_threads=2)

def fit():
    trainer.partial_fit(X, y)

def value():
    threads.team(2, lambda team: seen.append(size_of(team)))

def interrupted_at(k, work):
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == k:
                raise KeyboardInterrupt
        return trace

    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks whether any frame has it
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return count >= k

assert numba.get_num_threads() == 2
for work in (fit, value):
    k = 1
    while interrupted_at(k, work):
        assert numba.get_num_threads() == 2, k
        seen.clear()
        work()
        assert seen[-1] == 2, (k, seen)
        k += 1
    assert k > 50
    # With fewer, that number comes back, and the kernel has no more.
    numba.set_num_threads(1)
    k = 1
    while interrupted_at(k, work):
        assert numba.get_num_threads() == 1, k
        seen.clear()
        work()
        assert set(seen) == {1}, (k, seen)
        k += 1
    numba.set_num_threads(2)
"""


def test_ctrl_c_at_every_instruction_leaves_threads_as_they_were():
    run(EVERY_INSTRUCTION)


# A timer of the system's stands in for the user: it strikes wherever the program is.
MANY_FITS = """
import random, signal, threading, time
import numba, numpy as np
from fastbp import Network, Trainer, threads

signal.signal(signal.SIGALRM, signal.default_int_handler)
X, y = np.random.default_rng(0).normal(size=(64, 4)), np.arange(64) % 3
network = Network((4, 5, 3), seed=0)
trainer = Trainer(network, batch_size=16, n_threads=2)

def fit():
    trainer.partial_fit(X, y)

fit()
random.seed(0)
usual, came, tries = 1.0, 0, 0
stop = time.perf_counter() + 10
while came < 4000 and time.perf_counter() < stop:
    tries += 1
    try:
        began = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.02, 1.1) * usual)
        fit()
        signal.setitimer(signal.ITIMER_REAL, 0)
        usual = min(usual, time.perf_counter() - began)
    except KeyboardInterrupt:
        came += 1
    assert numba.get_num_threads() == 2, tries
    threads._rested["at"] = 0.0  # on a busy machine a fit may have been kept waiting
    assert threads.team(2, len) > 0, tries
assert came > 0
# Others can train too.
done = []
threads._rested["at"] = 0.0
other = threading.Thread(target=lambda: done.append(threads.team(2, len) > 0), daemon=True)
other.start()
other.join(60)
assert done == [True]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a timer's signals")
def test_ctrl_c_in_thousands_of_short_fits():
    run(MANY_FITS)


CALLERS_NUMBER = """
import threading
import numba, numpy as np
from fastbp import Network, Trainer, kernels, threads

seen = []
train = kernels.train_minibatch

def watched(*arguments):
    team = arguments[-1]
    seen.append((int(team[0]) if len(team) else 1, numba.get_num_threads()))
    return train(*arguments)

kernels.train_minibatch = watched
X, y = np.random.default_rng(0).normal(size=(64, 30)), np.arange(64) % 3
assert threads.available() == 3
for mask, asked, expected in ((1, 3, 1), (2, 3, 2), (3, 2, 2), (3, 3, 3)):
    trainer = Trainer(Network((30, 20, 3), seed=0), batch_size=16, n_threads=asked)
    numba.set_num_threads(mask)
    assert threads.available() == mask
    for _ in range(2):  # the second is the first again
        seen.clear()
        trainer.partial_fit(X, y)
        assert {n for n, _ in seen} <= {1, expected}, (mask, asked, seen)
        assert (expected, mask) in seen, (mask, asked, seen)
        assert numba.get_num_threads() == mask
    # A pass that was made for more threads takes no more either.
    numba.set_num_threads(1)
    seen.clear()
    trainer.partial_fit(X, y)
    assert {n for n, _ in seen} == {1}
    numba.set_num_threads(3)
numba.set_num_threads(1)
who = []
threads.spread(lambda start, stop: who.append(threading.get_ident()), 1000, 10**9, None)
assert set(who) == {threading.get_ident()}
"""


def test_the_callers_number_of_threads_is_the_limit():
    run(CALLERS_NUMBER, NUMBA_NUM_THREADS="3")


# Small functions, compiled one after the other in another thread, whatever it has to wait for.
FORKS = """
import os, sys, threading, time
import numpy as np
from fastbp.kernels._jit import jit
from fastbp.kernels.activations import softplus

def compiled():
    @jit(entry=True)
    def function(z):
        return softplus(z) + softplus(z + 1)
    return function(1.0)

compiled()
stopped, compilations = threading.Event(), [0]

def compile_on():
    while not stopped.is_set():
        compiled()
        compilations[0] += 1

other = threading.Thread(target=compile_on)
other.start()
for i in range(8):
    time.sleep(0.05 + 0.03 * i)
    child = os.fork()
    if child == 0:
        os._exit(0 if compiled() > 0 else 1)
    end = time.monotonic() + 60
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.01)
    if found[0] == 0:
        os.kill(child, 9)
    stopped_well = found == (child, 0)
    if not stopped_well:
        break
stopped.set()
other.join()
assert stopped_well, f"fork {i}: the child hangs or fails: {found}"
assert compilations[0] > 1
"""


@compiled_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_another_thread_compiles_does_not_hang():
    run(FORKS, FASTBP_NO_CACHE="1")


# Compiling `slow` takes as long as the program wants: who compiles waits for `go_on`.
SLOW = """
import os, signal, sys, threading
import numpy as np
from numba.extending import intrinsic
from fastbp.kernels import _jit, _numba, compiling
from fastbp.kernels._jit import jit

begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

@intrinsic
def waits(typing_context, x):
    begun.set()
    assert go_on.wait(60)
    done.set()
    return x(x), lambda context, builder, signature, args: args[0]

@jit(entry=True)
def slow(x):
    return waits(x) + 1.0

@jit(entry=True)
def other(x):
    return x + 2.0

def interrupt():
    begun.wait()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
"""

AT_ONCE = """
try:
    slow(1.0)
    raise AssertionError("not interrupted")
except KeyboardInterrupt:
    assert begun.is_set() and not done.is_set()  # so it is compiled still
threading.Timer(0.3, go_on.set).start()
assert slow(1.0) == 2.0  # waits for what has begun
assert other(1.0) == 3.0
assert sum(slow.stats.cache_misses.values()) + sum(slow.stats.cache_hits.values()) == 1
"""


@compiled_only
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to oneself on Windows")
def test_ctrl_c_is_heard_while_a_kernel_compiles_and_the_next_call_waits_for_it():
    run(SLOW + AT_ONCE, FASTBP_NO_CACHE="1")


@compiled_only
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to oneself on Windows")
def test_training_goes_on_after_ctrl_c_while_it_compiled():
    """With everything that a first compilation of a process sets up."""
    run(EARLY_INTERRUPT, FASTBP_NO_CACHE="1")


EARLY_INTERRUPT = """
import os, signal, threading
import numpy as np
import fastbp
from fastbp.kernels import _jit, activations, compiling, linear, memory, parallel

@_jit.jit
def fill_part(x, part, parts):
    linear.fill(memory.window(x, 16 * part, 16), x.dtype.type(part), 0, 16)

fill_parts = parallel.in_parts(fill_part)

@_jit.jit(entry=True)
def fill(x, team):
    fill_parts(x, len(x) // 16, team, 1)
    activations.activate(4, x, x, len(x))

began = threading.Event()
start_new_thread = compiling._thread.start_new_thread

def start(run, arguments):
    began.set()
    return start_new_thread(run, arguments)

compiling._thread.start_new_thread = start
came = 0

def interrupt():
    began.wait()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
x = np.zeros(64, np.float32)
try:
    fill(x, parallel.ALONE)
except KeyboardInterrupt:
    came += 1
assert came == 1 and not fill.signatures
fill(x, parallel.ALONE)
assert np.allclose(x, np.tanh(np.repeat(range(4), 16)))
"""

EXIT = """
threading.Timer(0.3, go_on.set).start()
import atexit

@atexit.register
def last():  # what is not compiled yet can still be called
    assert other(1.0) == 3.0
    print("done" if done.is_set() else "not done")

slow(1.0)
"""


@compiled_only
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to oneself on Windows")
def test_a_program_that_ctrl_c_ends_lets_its_compilation_end():
    """LLVM must not run on while the interpreter takes itself apart."""
    done = subprocess.run(
        [sys.executable, "-c", SLOW + EXIT], env=os.environ | {"FASTBP_NO_CACHE": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "KeyboardInterrupt" in done.stderr
    assert done.stdout == "done\n", done.stderr


# While numba compiles, Python code of the user's may call kernels; so may handlers of signals.
NESTED = """
import numba
from numba.extending import overload

def asked(x):
    return x

@overload(asked)
def asked_when_compiled(x):
    constant = other(5.0)
    return lambda x: x + constant

assert numba.njit(lambda x: asked(x))(1.0) == 8.0

@jit(entry=True)
def third(x):
    return x + 3.0

@jit(entry=True)
def fourth(x):
    return x + 4.0

heard = []

def handler(number, frame):
    go_on.set()
    heard.append(third(1.0))

signal.signal(signal.SIGINT, handler)
assert slow(1.0) == 2.0
assert heard == [4.0]

results = []
callers = [threading.Thread(target=lambda i=i: results.append(fourth(float(i)))) for i in range(8)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()
assert sorted(results) == [4.0 + i for i in range(8)]
assert sum(fourth.stats.cache_misses.values()) == 1
"""


@compiled_only
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to oneself on Windows")
def test_kernels_that_compile_while_others_do_wait_for_nobody_in_vain():
    run(SLOW + NESTED, FASTBP_NO_CACHE="1")


FORKED = """
try:
    slow(1.0)
except KeyboardInterrupt:
    pass
threading.Timer(0.3, go_on.set).start()
child = os.fork()  # waits for who compiles
if child == 0:
    os._exit(0 if done.is_set() and (slow(1.0), other(1.0)) == (2.0, 3.0) else 1)
assert os.waitpid(child, 0)[1] == 0
assert (slow(1.0), other(1.0)) == (2.0, 3.0)
"""


@compiled_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_ctrl_c_while_a_kernel_compiles():
    run(SLOW + FORKED, FASTBP_NO_CACHE="1")


@compiled_only
def test_an_error_of_compilation_reaches_the_caller_and_keeps_nothing():
    class Thing:
        """What a frame of the error's traceback has."""

    gone = []

    def work():
        thing = Thing()
        gone.append(weakref.ref(thing))
        raise TypeError("mine")

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(TypeError, match="mine") as raised:
            compile_aside(kernels.infer, (), work)
        del raised
        assert gone[0]() is None
    finally:
        gc.enable()


# Wherever Ctrl-C comes, it is the caller's, and nobody waits for ever after.
INTERRUPTED_CALLS = """import sys
from fastbp import kernels
from fastbp.kernels import compiling

ended = []

def work():
    ended.append(True)
    return len(ended)

def interrupted_at(k):
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename.startswith("<"):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == k:
                raise KeyboardInterrupt
        return trace

    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        compiling.compile_aside(kernels.infer, (), work)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return count >= k

k = 1
while interrupted_at(k):
    before = len(ended)
    assert compiling.compile_aside(kernels.infer, (), work) > before
    k += 1
assert k > 30
"""


@compiled_only
def test_ctrl_c_at_every_instruction_of_a_call_that_compiles():
    run(INTERRUPTED_CALLS)
