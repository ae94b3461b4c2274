"""
Text with sparse rows
=====================

Which library does a paragraph come from? Its words say so. A row has some thousand columns, of
which a few are not 0: the matrix is never made dense, and a step touches the weights of those words
alone.
"""

import ast
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numba
import numpy as np
import scipy
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer

import fastbp

# %%
# Paragraphs of the docstrings of four libraries that are installed anyway.


def paragraphs(library):
    """Paragraphs of more than eight words, without examples."""
    found = set()
    for path in sorted(Path(library.__file__).parent.rglob("*.py"))[:400]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found |= set(re.split(r"\n\s*\n", ast.get_docstring(node) or ""))
    return sorted(part for part in found if len(part.split()) > 8 and ">>>" not in part)[:1500]


libraries = [numba, np, scipy, sklearn]
names = [library.__name__ for library in libraries]
texts, labels = [], []
for k, library in enumerate(libraries):
    found = paragraphs(library)
    texts += found
    labels += [k] * len(found)
order = np.random.default_rng(0).permutation(len(texts))
texts, y = [texts[i] for i in order], np.array(labels)[order]
# The names themselves would make it easy.
words = TfidfVectorizer(
    min_df=2, sublinear_tf=True, stop_words=[*names, "np", "sp"], dtype=np.float32
)
X = words.fit_transform(texts)
print(f"{X.shape[0]:,} paragraphs, {X.shape[1]:,} words, {X.nnz / X.shape[0]:.0f} in each")

# %%
# A tenth is kept back, and the epoch that is best there is kept.

cut = len(y) * 9 // 10
network = fastbp.Network((X.shape[1], 32, len(names)), seed=0)
trainer = fastbp.Trainer(network, learning_rate=0.05, dropout=0.3, seed=0)
history = trainer.fit(
    X[:cut],
    y[:cut],
    epochs=30,
    eval_set=(X[cut:], y[cut:]),
    callbacks=fastbp.callbacks.EarlyStopping(patience=3),
    progress=False,
)
print(f"{network.evaluate(X[cut:], y[cut:]).accuracy:.1%} of those kept back are right")
print(f"{len(history)} epochs in {sum(history.seconds):.2f} s: {history.method[-1]}")

# %%
# The words that speak most for each library: what the odds are, as a logarithm, that a paragraph of
# that one word comes from there.

alone = TfidfVectorizer(vocabulary=words.vocabulary_, use_idf=False, dtype=np.float32)
vocabulary = words.get_feature_names_out()
p = network.predict_proba(alone.fit_transform(vocabulary)).astype(float)
odds = np.log(p / (1 - p + 1e-12))
figure, panels = plt.subplots(1, len(names), figsize=(10, 3.4), layout="constrained")
for k, panel in enumerate(panels):
    best = np.argsort(odds[:, k])[-10:]
    panel.barh(vocabulary[best], odds[best, k])
    panel.set(title=names[k], xlabel="log odds")
plt.show()
