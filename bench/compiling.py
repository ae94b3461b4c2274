"""CPU seconds of compilation in this process, in all or stage by stage; see `startup.py`.

python bench/compiling.py CASE              prints them
python bench/compiling.py CASE --profile    prints where they go

A case is what a user does first, or an entry of the kernels. With a cache that is not empty there
is little to see.
"""

import argparse
import re
import time
from collections import Counter

import numpy as np
from numba.core import event
from numba.core.codegen import CPUCodeLibrary

import fastbp
from fastbp import Network, Trainer, kernels
from fastbp.bench.report import table

DTYPE = "float32"
MOST_FUNCTIONS = 10
TYPING, LOWERING, PASSES = "types of variables", "numba's IR to LLVM's", "numba's other passes"
LINKING, OPTIMISATION = "LLVM's reading and linking", "LLVM's optimisation"
MACHINE_CODE, REST = "machine code", "the rest"
STAGES = (TYPING, LOWERING, PASSES, LINKING, OPTIMISATION, MACHINE_CODE, REST)
STAGES_OF_PASSES = {
    "nopython_type_inference": TYPING,
    "native_lowering": LOWERING,
    "native_parfor_lowering": LOWERING,
}
STAGES_OF_LIBRARIES = {
    "add_ir_module": LINKING,
    "finalize": LINKING,
    "_optimize_functions": OPTIMISATION,
    "_optimize_final_module": OPTIMISATION,
    "_finalize_final_module": MACHINE_CODE,
}


def problem():
    """A small network and data for it."""
    generator = np.random.default_rng(0)
    X, y = generator.standard_normal((200, 8)).astype(DTYPE), generator.integers(0, 4, 200)
    return Network((8, 16, 4), dtype=DTYPE, seed=0), X, y


def first_fit():
    network, X, y = problem()
    return lambda: Trainer(network, seed=0).fit(X, y, epochs=1, progress=False)


def first_gradient():
    network, X, y = problem()
    return lambda: network.value_and_grad(X, y)


def first_prediction():
    network, X, _ = problem()
    return lambda: network.predict(X)


def all_kernels():
    return lambda: fastbp.warmup(DTYPE)


def entries():
    """A call of each kernel, by name."""
    network, X, y = problem()
    layout, dtype = network.parameters.layout, network.dtype
    state, samples = network.parameters.state, network.samples(X, y)
    none, out = state[:0], np.empty((len(X), 4), dtype)
    block = kernels.make_block(layout, kernels.Plan(*np.zeros((4, 2), int)), 8, dtype)
    batch = kernels.make_batch(layout, 8, dtype, threads=1)
    return {
        "train_sequential": lambda: kernels.train_sequential(state, samples, 0, 8, 0.0),
        "train_deferred": lambda: kernels.train_deferred(
            state, block, samples, 0, 8, 0.0, kernels.ALONE
        ),
        "train_minibatch": lambda: kernels.train_minibatch(
            state, batch, none, samples, 0, 8, 0.0, kernels.ALONE
        ),
        "infer": lambda: kernels.infer(state, batch, samples, 0, 8, out, True),
    }


USES = {
    "fit": first_fit,
    "gradient": first_gradient,
    "prediction": first_prediction,
    "all": all_kernels,
}
ENTRIES = "train_sequential", "train_deferred", "train_minibatch", "infer"
CASES = USES | {name: lambda name=name: entries()[name] for name in ENTRIES}


class Profile(event.Listener):
    """CPU seconds by stage and by function, those within others not counted in these.

    Numba broadcasts its passes; the methods that call LLVM, whose time belongs to the function at
    hand, are wrapped.
    """

    def __init__(self):
        self.stages, self.functions, self.compiled = Counter(), Counter(), Counter()
        self._running, self._since = [(REST, REST)], time.process_time()
        event.register("numba:run_pass", self)
        for name, stage in STAGES_OF_LIBRARIES.items():
            self._wrap(name, stage)

    def _wrap(self, name, stage):
        method = getattr(CPUCodeLibrary, name)

        def timed(library, *arguments):
            self.begin(stage, self._running[-1][1])
            try:
                return method(library, *arguments)
            finally:
                self.end()

        setattr(CPUCodeLibrary, name, timed)

    def on_start(self, event):
        name, function = event.data["name"].split()[0], event.data["qualname"]
        stage = STAGES_OF_PASSES.get(name, PASSES)
        self.begin(stage, short(function))
        self.compiled[short(function)] += stage == LOWERING

    def on_end(self, event):
        self.end()

    def begin(self, stage, function):
        self.note()
        self._running.append((stage, function))

    def end(self):
        self.note()
        self._running.pop()

    def note(self):
        """Credit what is running with the time since the last note."""
        now = time.process_time()
        stage, function = self._running[-1]
        self.stages[stage] += now - self._since
        self.functions[function] += now - self._since
        self._since = now

    def report(self):
        """Tables of the stages and of the functions that took most.

        Functions that were compiled 0 times were copied into their callers as source.
        """
        self.note()
        total = sum(self.stages.values())
        stages = [[stage, f"{self.stages[stage]:.2f}"] for stage in STAGES]
        del self.functions[REST]
        functions = [
            [f"`{name}`", str(self.compiled[name]), f"{seconds:.2f}"]
            for name, seconds in self.functions.most_common(MOST_FUNCTIONS)
        ]
        count = f"{self.compiled.total()} functions"
        return "\n\n".join(
            [
                table([["stage", "CPU seconds"], *stages, [f"all, {count}", f"{total:.2f}"]]),
                table([["function", "compiled, times", "CPU seconds"], *functions]),
            ]
        )


def short(function):
    """Name of a function without its scope, the digest of the kernels' sources, and addresses."""
    return re.sub(r".*<locals>\.|\.[0-9a-f]{16}[PS]*$|_0x[0-9a-f]+$", "", function)


def main():
    """Compile, and print what it took."""
    parser = argparse.ArgumentParser(description="Measure one compilation.")
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    run = CASES[options.case]()
    profile = Profile() if options.profile else None
    began = time.process_time()
    run()
    print(profile.report() if profile else time.process_time() - began)


if __name__ == "__main__":
    main()
