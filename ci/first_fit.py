"""What a new process waits for: the import, a first fit, and then all kernels; prints seconds."""

import sys
import time

began = time.perf_counter()

import numpy as np  # noqa: E402  # the time of imports counts

import fastbp  # noqa: E402

X = np.random.default_rng(0).random((1000, 64), dtype=np.float32)
network = fastbp.Network((64, 128, 10), seed=0)
fastbp.Trainer(network, seed=0).fit(X, np.arange(1000) % 10, epochs=1, progress=False)
fitted = time.perf_counter() - began
kernels = fastbp.warmup()
print(f"import and first fit {fitted:.2f} s, then all kernels {kernels:.2f} s", file=sys.stderr)
