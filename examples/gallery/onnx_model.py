"""
An ONNX model in onnxruntime
============================

A model learns from a table with gaps and text, and leaves as one file, which takes raw rows where
onnxruntime runs: in other languages, on telephones, in browsers. Its predictions are the same.
"""

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import pandas as pd

import fastbp

generator = np.random.default_rng(0)
n = 3000
homes = pd.DataFrame(
    {
        "area": generator.uniform(30, 200, n).round(1),
        "age": generator.integers(0, 100, n).astype(float),
        "city": generator.choice(["Lyon", "Nice", "Paris"], n),
    }
)
rate = homes["city"].map({"Lyon": 4000.0, "Nice": 5000.0, "Paris": 10_000.0})
price = homes["area"] * rate * np.exp(-homes["age"] / 150) * generator.normal(1, 0.05, n)
homes.loc[::15, "age"] = np.nan
train, test = homes[:2500], homes[2500:]

# %%
# Preparation is a part of the network, and so of the file.

preparation = fastbp.Preparation().fit(train, price[:2500])
network = fastbp.Network(
    (preparation.n_inputs, 64, 64, 1), loss="squared_error", preparation=preparation, seed=0
)
trainer = fastbp.Trainer(network, "adam", learning_rate=0.003, batch_size=32, seed=0)
trainer.fit(train, price[:2500], epochs=60, progress=False)
model = fastbp.to_onnx(network)  # with a path, it is written there
print(f"{model.ByteSize() / 1024:.0f} KiB, {len(model.graph.node)} operators")

# %%
# onnxruntime knows nothing of fastbp. Each column is an input, by its name.

session = onnxruntime.InferenceSession(model.SerializeToString())
inputs = {
    "area": test[["area"]].to_numpy(),
    "age": test[["age"]].to_numpy(),
    "city": test[["city"]].to_numpy(str).astype(object),
}
(theirs,) = session.run(None, inputs)
ours = network.predict(test)
apart = np.abs(theirs / ours - 1).max()
print(f"R² {fastbp.metrics.r2(price[2500:], theirs):.3f}; at most {apart:.1e} apart")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for city, group in test.reset_index(drop=True).groupby("city"):
    left.plot(price[2500:].to_numpy()[group.index], theirs[group.index], "o", ms=3, label=city)
ends = [0, 2e6]
left.plot(ends, ends, "k", lw=0.7)
left.set(xlabel="true price", ylabel="price by onnxruntime", aspect="equal")
left.ticklabel_format(style="plain")
left.set_xticks([0, 1e6, 2e6], ["0", "1M", "2M"])
left.set_yticks([0, 1e6, 2e6], ["0", "1M", "2M"])
left.legend()
right.hist(1e7 * (theirs / ours - 1), bins=30)
right.set(xlabel="relative difference of the two, in ten millionths", ylabel="rows")
plt.show()
