"""Model files of every kind there has been, and saves that are disturbed: docs/format.md."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastbp
from fastbp import Network, Trainer, schema

MODELS = sorted((Path(__file__).parent / "models").glob("*.safetensors"))
PAGE = (Path(__file__).resolve().parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
each_kind = pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)


def known(path):
    """Raw rows, and what the fastbp that wrote the file made of them."""
    expected = json.loads(path.with_suffix(".json").read_text())
    rows = expected["rows"]
    return pd.DataFrame(rows) if isinstance(rows, dict) else np.array(rows), expected


@each_kind
def test_files_of_every_kind_predict_as_on_their_day(path):
    X, expected = known(path)
    trainer = fastbp.load(path)
    assert isinstance(trainer, Trainer)
    limit = {"float32": 1e-5, "float64": 1e-12}[trainer.network.dtype.name]
    found = trainer.network.predict_proba(X)
    np.testing.assert_allclose(found, expected["probabilities"], rtol=limit)
    assert trainer.history.train_loss == expected["train_loss"]
    assert trainer.learning_rate == 0.05
    header = fastbp.read_header(path)
    assert header["format"] == 1 == schema.FORMAT


@each_kind
def test_files_of_every_kind_go_on_and_are_saved_anew(path, tmp_path):
    X, _ = known(path)
    trainer, new = fastbp.load(path), tmp_path / "new.safetensors"
    fastbp.save(trainer, new, extra=fastbp.read_header(path)["extra"])
    again = fastbp.load(new)
    assert json.loads(metadata(new)["fastbp"])["sha256"]
    y = np.arange(len(X)) % 3
    if trainer.network.classes is not None:
        y = np.array(trainer.network.classes)[y]
    for each in (trainer, again):
        each.fit(X, y, epochs=2, progress=False)
    np.testing.assert_array_equal(again.network.params, trainer.network.params)
    assert len(again.history) == len(trainer.history) == 5


@pytest.mark.parametrize("path", MODELS[3:], ids=lambda path: path.stem)
def test_flipped_bits_of_every_kind_with_a_digest(path, tmp_path, generator):
    contents, damaged = path.read_bytes(), tmp_path / "damaged.safetensors"
    for place in generator.integers(0, 8 * len(contents), 300).tolist():
        flipped = bytearray(contents)
        flipped[place // 8] ^= 1 << place % 8
        damaged.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"damaged|safetensors file|has format"):
            fastbp.load(damaged)


def metadata(path):
    with safe_open(path, "numpy") as file:
        return file.metadata()


def test_later_formats_are_refused_by_name_whatever_they_hold(tmp_path):
    path = tmp_path / "model.safetensors"
    later = {"format": schema.FORMAT + 1, "layers": [{"kind": "attention"}]}
    for beside in ({}, {"zzz": "1"}, {"sha256": "0" * 64}):
        save_file({"Q": np.zeros(3, np.float16)}, path, beside | {"fastbp": json.dumps(later)})
        for read in (fastbp.load, fastbp.read_header):
            with pytest.raises(
                ValueError, match="has format 2, and this fastbp reads up to 1: upgrade"
            ):
                read(path)


def names(value):
    """Names of all fields in a header, but for those that users give."""
    if isinstance(value, list):
        return set().union(*map(names, value))
    if not isinstance(value, dict):
        return set()
    theirs = ("extra", "options", "metrics", "values")
    return set(value).union(*(names(v) for key, v in value.items() if key not in theirs))


def test_the_page_has_every_field_and_every_kind():
    for path in MODELS:
        header = json.loads(metadata(path)["fastbp"])
        for field in names(header):
            assert f"`{field}`" in PAGE, field
        assert f"| {path.stem} |" in PAGE
    assert len(MODELS) == len(re.findall(r"^\| 1\.\d+ \|", PAGE, re.M)) == 10
    assert f"describes format {schema.FORMAT}," in PAGE


def test_a_field_that_is_new_makes_a_new_kind(tmp_path):
    """A file of it is to be kept in tests/models, and the page gets a line."""
    trainer = Trainer(Network((2, 3, 2), classes=["a", "b"]), "adam")
    trainer.fit([[0.0, 1.0], [1.0, 0.0]], ["a", "b"], epochs=1, progress=False)
    trainer.partial_fit([[0.0, 1.0]], ["a"])
    fastbp.save(trainer, tmp_path / "model.safetensors")
    kept, found = (
        names(json.loads(metadata(path)["fastbp"]))
        for path in (MODELS[-1], tmp_path / "model.safetensors")
    )
    assert found <= kept, found - kept


def test_tensors_are_those_of_the_page():
    every = {name for path in MODELS for name in load_file(path)}
    for kind in {re.sub(r"\d+", "0", name) for name in every if name.endswith("weight")}:
        assert f"`{kind}`" in PAGE
    assert {name.split(".")[0] for name in every} == {"layers", "moments", "callbacks"}


# Saves that are disturbed ------------------------------------------------------------------------

KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from fastbp import files

path = Path(sys.argv[1])
old, new = b"old" * 1000, b"new" * 1000
outcomes = []
for step in itertools.count():
    path.write_bytes(old)
    child = os.fork()
    if child == 0:
        left = step

        def count(frame, event, argument):
            global left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        with files.replaced(path) as file:
            file.write(new)
        sys.setprofile(None)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    outcomes.append({old: "old", new: "new"}[path.read_bytes()])
    if status == 0:
        break
with files.replaced(path):
    pass
print(len(os.listdir(path.parent)), *outcomes)
"""


def test_a_save_may_be_killed_after_each_of_its_steps(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "model.safetensors")],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    n_files, *outcomes = done.stdout.split()
    assert n_files == "1"
    assert len(outcomes) > 50
    # The old file up to some step, and the new one from there on.
    assert [outcome for outcome, _ in itertools.groupby(outcomes)] == ["old", "new"]


WRITER = """
import sys
import fastbp

network = fastbp.Network((30, 20, 10), seed=int(sys.argv[2]))
for _ in range(60):
    fastbp.save(network, sys.argv[1])
"""


def test_two_writers_leave_a_whole_file_of_one_of_them(tmp_path):
    path = tmp_path / "model.safetensors"
    made = [Network((30, 20, 10), seed=seed).params for seed in (0, 1)]
    fastbp.save(Network((30, 20, 10), seed=0), path)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(seed)]) for seed in (0, 1)
    ]
    running = True
    while running:
        running = any(writer.poll() is None for writer in writers)
        found = fastbp.load(path).params
        assert any(np.array_equal(found, params) for params in made)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]
