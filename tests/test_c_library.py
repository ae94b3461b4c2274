"""The shared library: programs of C and Cython and callbacks of SciPy compute what Python does."""

import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import numba
import numpy as np
import pytest

import fastbp
from fastbp import Network, Trainer, jit, optimizers

COMPILED = "nothing is compiled, or its bounds are checked, which needs Python"
pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler named cc"),
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK), reason=COMPILED),
]
STRICT = ["-std=c99", "-O1", "-Wall", "-Wextra", "-pedantic", "-Werror"]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return fastbp.c_library(tmp_path_factory.mktemp("library"))


def compiled(folder, library, name, text, *flags, language="c"):
    """A program of C, or with -shared a library."""
    source = folder / f"{name}.{language}"
    source.write_text(textwrap.dedent(text))
    target = folder / name
    subprocess.run(
        ["cc", *flags, str(source), "-o", str(target), f"-I{library.parent}", str(library),
         f"-Wl,-rpath,{library.parent}", "-lm"],
        check=True, timeout=120,
    )  # fmt: skip
    return target


def problem(dtype, sizes=(5, 20, 3), n=50):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(n, sizes[0])).astype(dtype)
    return Network(sizes, activation="tanh", dtype=dtype, seed=0), X, np.arange(n) % sizes[-1]


PROGRAM = """
    #include <stdio.h>
    #include <stdlib.h>
    #include "fastbp.h"

    static void *read_file(const char *path, long *bytes)
    {
        FILE *file = fopen(path, "rb");
        void *data;
        fseek(file, 0, SEEK_END);
        *bytes = ftell(file);
        rewind(file);
        data = malloc((size_t)*bytes);
        if (fread(data, 1, (size_t)*bytes, file) != (size_t)*bytes)
            exit(1);
        fclose(file);
        return data;
    }

    int main(void)
    {
        long state_bytes, X_bytes, y_bytes;
        REAL *state = read_file("state", &state_bytes), *X = read_file("X", &X_bytes);
        int64_t *y = read_file("y", &y_bytes), n = state_bytes / (long)sizeof(REAL), t, status;
        const int64_t rows = y_bytes / 8, n_x = X_bytes / (long)sizeof(REAL) / rows;
        REAL out[3];
        double loss, total = 0;
        FILE *file;
        for (t = 0; t < rows; t++) {
            status = LEARN(state, n, X + t * n_x, n_x, y[t], NULL, 0, 1.0, &loss);
            if (status != FASTBP_DONE) {
                puts(fastbp_message(status));
                return 1;
            }
            total += loss;
        }
        if (PREDICT(state, n, X, n_x, out, 3) != FASTBP_DONE)
            return 1;
        printf("%.17g %.17g %.17g %.17g\\n", total, (double)out[0], (double)out[1], (double)out[2]);
        puts(fastbp_message(PREDICT(state, n, X, n_x - 1, out, 3)));
        puts(fastbp_message(PREDICT(state, n - 1, X, n_x, out, 3)));
        puts(fastbp_message(LEARN(state, n, X, n_x, 3, NULL, 0, 1.0, &loss)));
        file = fopen("state", "wb");
        fwrite(state, 1, (size_t)state_bytes, file);
        fclose(file);
        return 0;
    }
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [optimizers.SGD(), optimizers.Adam()], ids=repr)
def test_a_program_learns_the_bits_of_a_trainer(tmp_path, library, dtype, optimizer):
    network, X, y = problem(dtype)
    s = jit.state(network, optimizer, learning_rate=0.01, weight_decay=0.1)
    for name, values in (("state", s), ("X", X), ("y", y)):
        values.tofile(tmp_path / name)
    suffix = "f32" if dtype == "float32" else "f64"
    program = compiled(
        tmp_path, library, "main", PROGRAM, *STRICT,
        f"-DREAL={'float' if dtype == 'float32' else 'double'}",
        f"-DLEARN=fastbp_learn_one_{suffix}", f"-DPREDICT=fastbp_predict_one_{suffix}",
    )  # fmt: skip
    done = subprocess.run(
        [str(program)], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )
    first, *messages = done.stdout.splitlines()
    trainer = Trainer(network, optimizer, learning_rate=0.01, weight_decay=0.1)
    trainer.method = "sequential" if optimizer == optimizers.SGD() else "auto"
    trainer.partial_fit(X, y)
    total, *outputs = map(float, first.split())
    assert total == trainer.stream.loss_sum
    assert outputs == network.predict_one(X[0]).tolist()
    learned = np.fromfile(tmp_path / "state", dtype)
    assert np.array_equal(jit.params(learned), network.params)
    for message, word in zip(messages, ("x must", "state must", "y must"), strict=True):
        assert word in message


def test_derivatives_and_steps(tmp_path, library):
    import ctypes

    network, X, _ = problem("float64")
    s = jit.state(network, learning_rate=0.5)
    theirs = s.copy()
    cotangent, gradient, gradient_x = (
        np.array([1.0, -2.0, 0.5]),
        np.zeros_like(network.params),
        np.zeros(5),
    )
    jit.vjp(s, X[0], cotangent, gradient, gradient_x)
    jit.set_learning_rate(s, 0.25)
    jit.apply(s, gradient)
    functions = ctypes.CDLL(str(library))

    def call(name, *arguments):
        passed = []
        for each in arguments:
            if isinstance(each, np.ndarray):
                passed += [ctypes.c_void_p(each.ctypes.data), ctypes.c_int64(len(each))]
            else:
                passed.append(ctypes.c_double(each))
        assert getattr(functions, f"fastbp_{name}_f64")(*passed) == 0

    mine, mine_x = np.zeros_like(gradient), np.zeros(5)
    call("vjp", theirs, X[0], cotangent, mine, mine_x)
    call("set_learning_rate", theirs, 0.25)
    call("apply", theirs, mine)
    assert np.array_equal(mine, gradient)
    assert np.array_equal(mine_x, gradient_x)
    assert np.array_equal(jit.params(theirs), jit.params(s))


CALLBACKS = """
    #include "fastbp.h"

    /* For scipy.integrate.quad: the network's output at x. The data are the state, with its length
       before it. */
    double output_at(int n, double *x, void *data)
    {
        double *state = (double *)data + 1, out;
        (void)n;
        if (fastbp_predict_one_f64(state, (int64_t)state[-1], x, 1, &out, 1) != FASTBP_DONE)
            return 0.0 / 0.0;
        return out;
    }

    /* For scipy.ndimage.generic_filter1d and others of its kind: learn each value from the one
       before it, and give the losses. */
    int losses(double *in, intptr_t n, double *out, intptr_t n_out, void *data)
    {
        double *state = (double *)data + 1;
        intptr_t t;
        for (t = 0; t < n_out; t++)
            if (t + 1 >= n || fastbp_learn_one_f64(state, (int64_t)state[-1], in + t, 1, -1,
                                                   in + t + 1, 1, 1.0, out + t) != FASTBP_DONE)
                return 0;
        return 1;
    }
"""


def test_callbacks_of_scipy(tmp_path, library):
    import ctypes

    from scipy import LowLevelCallable, integrate, ndimage

    network = Network((1, 10, 1), activation="tanh", loss="squared_error", dtype="float64", seed=0)
    s = jit.state(network, learning_rate=0.1)
    data = np.concatenate([[len(s)], s])
    made = compiled(tmp_path, library, "callbacks.so", CALLBACKS, "-shared", "-fPIC", "-O1")
    functions = ctypes.CDLL(str(made))
    user_data = ctypes.c_void_p(data.ctypes.data)
    output_at = functions.output_at
    output_at.restype, output_at.argtypes = ctypes.c_double, [
        ctypes.c_int, ctypes.POINTER(ctypes.c_double), ctypes.c_void_p
    ]  # fmt: skip
    value, _ = integrate.quad(LowLevelCallable(output_at, user_data), -1, 1)
    expected, _ = integrate.quad(lambda x: network.predict_one([x])[0], -1, 1)
    assert value == expected

    learn = functions.losses
    learn.restype, learn.argtypes = ctypes.c_int, [
        ctypes.POINTER(ctypes.c_double), ctypes.c_ssize_t, ctypes.POINTER(ctypes.c_double),
        ctypes.c_ssize_t, ctypes.c_void_p,
    ]  # fmt: skip
    line = np.sin(np.arange(40.0))
    signature = "int (double *, npy_intp, double *, npy_intp, void *)"
    callback = LowLevelCallable(learn, user_data, signature)
    ndimage.generic_filter1d(line, callback, filter_size=2, origin=-1, mode="nearest")
    trainer = Trainer(network, learning_rate=0.1, method="sequential")
    trainer.partial_fit(line[:, np.newaxis], np.append(line[1:], line[-1]))
    assert np.array_equal(jit.params(data[1:]), network.params)


CYTHON = """
    # cython: language_level=3
    from libc.stdint cimport int64_t

    cdef extern from "fastbp.h":
        int64_t fastbp_learn_one_f32(float *state, int64_t n, const float *x, int64_t n_x,
            int64_t label, const float *y, int64_t n_y, double weight, double *loss) nogil

    def learn(float[::1] s, float[:, ::1] X, int64_t[::1] y):
        cdef double loss, total = 0
        cdef int64_t t, status = 0
        with nogil:
            for t in range(X.shape[0]):
                status = fastbp_learn_one_f32(&s[0], s.shape[0], &X[t, 0], X.shape[1], y[t], NULL,
                                              0, 1.0, &loss)
                if status != 0:
                    break
                total += loss
        if status != 0:
            raise ValueError(status)
        return total
"""


def test_a_cython_module_learns_the_bits_of_a_trainer(tmp_path, library, monkeypatch):
    build = pytest.importorskip("Cython.Build.Cythonize", reason="Cython is not installed")
    include = sysconfig.get_paths()["include"]
    if not (Path(include) / "Python.h").exists():
        pytest.skip("Python's headers are not installed")
    (tmp_path / "cy.pyx").write_text(textwrap.dedent(CYTHON))
    from Cython.Compiler.Main import compile as translate

    assert build is not None
    translate(str(tmp_path / "cy.pyx"))
    compiled(
        tmp_path, library, "cy.so", (tmp_path / "cy.c").read_text(), "-shared", "-fPIC", "-O1",
        f"-I{include}",
    )  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path))
    import cy

    network, X, y = problem("float32")
    s = jit.state(network)
    total = cy.learn(s, X, y)
    trainer = Trainer(network, method="sequential")
    trainer.partial_fit(X, y)
    assert total == trainer.stream.loss_sum
    assert np.array_equal(jit.params(s), network.params)
    sys.modules.pop("cy")


def test_a_second_call_finds_the_library(library, monkeypatch):
    before = library.stat().st_mtime_ns
    monkeypatch.setenv("CC", "/nowhere/cc")
    assert fastbp.c_library(library.parent) == library
    assert library.stat().st_mtime_ns == before
    header = library.with_name("fastbp.h")
    text = header.read_text()
    header.write_text(text.replace("kernels ", "kernels 0"))  # of another version
    try:
        with pytest.raises(RuntimeError, match=r"C compiler.*/nowhere/cc was not found"):
            fastbp.c_library(library.parent)
    finally:
        header.write_text(text)


def test_what_cannot_be_built_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="level must"):
        fastbp.c_library(tmp_path, level="x86-64-v9")
    monkeypatch.setenv("CC", "false")
    from fastbp import kernels

    monkeypatch.setattr(kernels, "objects", lambda dtype, level: {f"a{dtype}": b""})
    with pytest.raises(RuntimeError, match="false could not link"):
        fastbp.c_library(tmp_path)
    assert list(tmp_path.iterdir()) == []
