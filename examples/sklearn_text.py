"""Text: a sparse TF-IDF matrix, which is never made dense.

    python examples/sklearn_text.py

Needs scikit-learn: ``pip install -e '.[sklearn]'`` in the folder of the clone. The
texts are paragraphs of the docstrings of Python and of three packages; the network says where a
paragraph comes from.
"""

import ast
import asyncio
import re
from pathlib import Path

import numpy
import scipy
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from fastbp.sklearn import MLPClassifier

# The folder of asyncio is in that of the standard library.
FOLDERS = {"python": Path(asyncio.__file__).parents[1]} | {
    module.__name__: Path(module.__file__).parent for module in (numpy, scipy, sklearn)
}


def paragraphs(folder: Path) -> list[str]:
    """Of docstrings of the functions and classes in a folder's files, without examples."""
    found = set()
    files = (path.relative_to(folder) for path in sorted(folder.rglob("*.py")))
    own = [path for path in files if not {"test", "tests", "site-packages"} & set(path.parts)]
    for path in own[:300]:
        for node in ast.walk(ast.parse((folder / path).read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found |= set(re.split(r"\n\s*\n", ast.get_docstring(node) or ""))
    return sorted(part for part in found if len(part.split()) > 8 and ">>>" not in part)[:2000]


def main() -> None:
    """Collect, train, report."""
    texts, labels = [], []
    for package, folder in FOLDERS.items():
        found = paragraphs(folder)
        texts += found
        labels += [package] * len(found)
    train, test, y_train, y_test = train_test_split(texts, labels, random_state=0)
    model = make_pipeline(
        TfidfVectorizer(min_df=2, sublinear_tf=True),
        MLPClassifier(
            hidden_layer_sizes=(32,), early_stopping=True, n_iter_no_change=3, random_state=0
        ),
    )
    model.fit(train, y_train)
    X = model[0].transform(train)
    print(f"{X.shape[0]} paragraphs, {X.shape[1]} words, {X.nnz / X.shape[0]:.0f} in each")
    print(f"accuracy {model.score(test, y_test):.3f}")


if __name__ == "__main__":
    main()
