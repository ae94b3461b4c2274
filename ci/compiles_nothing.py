"""Run a program, and fail if anything had to be compiled for it.

Usage: python ci/compiles_nothing.py PROGRAM [ARGUMENT …]
"""

import runpy
import sys
import time

began = time.perf_counter()

from numba.core import event  # noqa: E402  # the time of imports counts

import fastbp  # noqa: E402


class Compilations(event.Listener):
    """Whatever numba compiles."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def on_start(self, event: event.Event) -> None:
        """Note the function and the types of its arguments."""
        self.found.append(f"{event.data['dispatcher'].py_func.__name__}{event.data['args']}")

    def on_end(self, event: event.Event) -> None:
        """Do nothing."""


compilations = Compilations()
event.register("numba:compile", compilations)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
seconds = time.perf_counter() - began
if compilations.found:
    first = "\n".join(compilations.found[:10])  # and what these call
    sys.exit(f"compiled {len(compilations.found)} functions, which should be shipped:\n{first}")
code = fastbp.kernels.shipped_code()
level = code[0] if code else "none"
print(f"nothing was compiled for {sys.argv[0]}: {seconds:.2f} s, code of {level}", file=sys.stderr)
