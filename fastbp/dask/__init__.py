"""Data larger than memory, and many networks, on the workers of Dask (the ``dask`` extra).

>>> import dask.array
>>> import numpy as np
>>> import fastbp.dask
>>> X = dask.array.from_array(np.random.default_rng(0).normal(size=(1000, 3)), chunks=(300, 3))
>>> y = (X[:, 0] > 0).astype("int64")
>>> trainer = fastbp.Trainer(fastbp.Network((3, 8, 2), seed=0), seed=0)
>>> len(fastbp.dask.fit_stream(trainer, X, y, epochs=2))
2

Workers read and prepare rows, and train many networks at a time; one network learns in one place,
exactly. Without a `distributed.Client`, Dask's scheduler for one machine does the work.
"""

from fastbp.extras import missing

try:
    import dask.dataframe  # noqa: F401
    import distributed  # noqa: F401
except ImportError as error:
    raise missing("fastbp.dask needs dask and distributed", "dask") from error

from fastbp.dask.estimators import MLPClassifier, MLPRegressor
from fastbp.dask.many import Search, fit_many, search
from fastbp.dask.partitions import source
from fastbp.dask.predictions import predict
from fastbp.dask.training import fit_stream

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "Search",
    "fit_many",
    "fit_stream",
    "predict",
    "search",
    "source",
]
