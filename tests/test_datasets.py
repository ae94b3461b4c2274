"""Readers: what they return, and that an error names the file and the place in it."""

import csv
import gzip
import itertools
import re
import struct
from decimal import Decimal

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp import columns, load_dataset
from fastbp.datasets import split


def idx(array, code=0x08):
    array = np.asarray(array)
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@pytest.fixture
def images():
    return np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)


def write_idx(folder, images, zipped):
    labels = np.arange(len(images), dtype=np.uint8) % 3
    for part in ("train", "t10k"):
        for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            content = idx(array)
            path = folder / (f"{part}-{name}" + (".gz" if zipped else ""))
            path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_folder(tmp_path, images, zipped):
    write_idx(tmp_path, images, zipped)
    data = load_dataset(tmp_path)
    expected = images.reshape(5, 6).astype(np.float32) / 255
    np.testing.assert_array_equal(data.X, expected)
    np.testing.assert_array_equal(data.X_test, expected)
    assert data.X.dtype == np.float32
    assert data.y.tolist() == [0, 1, 2, 0, 1]
    assert data.y.dtype == np.int64


@pytest.mark.parametrize(
    ("code", "kind"), [(0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_idx_types(tmp_path, images, code, kind):
    write_idx(tmp_path, images, False)
    values = (images.astype(np.int16) * 3 - 20).astype(kind)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(values, code))
    np.testing.assert_array_equal(load_dataset(tmp_path).X, values.reshape(5, 6).astype(float))


def test_idx_folder_with_other_files(tmp_path, images):
    write_idx(tmp_path, images, False)
    (tmp_path / "._train-images-idx3-ubyte").write_bytes(b"of another program")
    assert len(load_dataset(tmp_path).X) == 5


def test_idx_folder_without_a_test_part(tmp_path, images):
    write_idx(tmp_path, images, True)
    for path in tmp_path.glob("t10k*"):
        path.unlink()
    data = load_dataset(tmp_path)
    assert data.X_test is None
    assert data.y_test is None


def test_bad_idx_folders(tmp_path, images):
    with pytest.raises(ValueError, match=r"no IDX files such as train-images-idx3-ubyte\.gz"):
        load_dataset(tmp_path)
    write_idx(tmp_path, images, False)
    path = tmp_path / "train-images-idx3-ubyte"
    good = path.read_bytes()
    for content, message in (
        (good[:-3], "30 bytes of values announced, 27 found"),
        (good[:6], "the IDX header ends early"),
        (b"PNG rubbish", "not an IDX file"),
        (b"\x1f\x8b\x08 cut", "damaged gzip file"),
        (gzip.compress(good, mtime=0)[:12] + b"\xff" * 30, "damaged gzip file"),
        (idx(images[:4]), "has 4 images, but"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(message)) as info:
            load_dataset(tmp_path)
        assert str(path) in str(info.value)


def test_digits():
    data = load_dataset("digits")
    assert data.X.shape == (1797, 64)
    assert data.X.min() == 0
    assert data.X.max() == 1
    assert sorted(set(data.y.tolist())) == list(range(10))
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    np.testing.assert_array_equal(data.X * 16, X)
    np.testing.assert_array_equal(data.y, y)


@pytest.mark.parametrize(
    "names", [("X", "y", "X_test", "y_test"), ("x_train", "y_train", "x_test", "y_test")]
)
def test_npz(tmp_path, names, images):
    path = tmp_path / "d.npz"
    np.savez(
        path, **dict(zip(names, (images, np.arange(5), images[:2], np.arange(2)), strict=True))
    )
    data = load_dataset(path)
    assert data.X.shape == (5, 6)
    assert data.X.max() <= 29 / 255
    assert data.y.tolist() == [0, 1, 2, 3, 4]
    assert data.X_test.shape == (2, 6)


PIXELS = np.array([[0, 255], [51, 102]], np.uint8)


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "i8", "u2", "bool"])
@pytest.mark.parametrize("pixels_in", ["X", "X_test"])
def test_both_parts_of_an_npz_are_scaled_alike(tmp_path, kind, pixels_in):
    parts = {"X": PIXELS.astype(kind), "X_test": PIXELS.astype(kind), pixels_in: PIXELS}
    np.savez(tmp_path / "d.npz", y=[0, 1], y_test=[0, 1], **parts)
    data = load_dataset(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.X, parts["X"])
    np.testing.assert_array_equal(data.X_test, parts["X_test"])


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_both_parts_of_an_idx_folder_are_scaled_alike(tmp_path, images, part):
    write_idx(tmp_path, images, False)
    (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images.astype(">f4"), 0x0D))
    data = load_dataset(tmp_path)
    np.testing.assert_array_equal(data.X, images.reshape(5, 6))
    np.testing.assert_array_equal(data.X_test, images.reshape(5, 6))


def test_targets_are_never_scaled(tmp_path):
    np.savez(tmp_path / "d.npz", X=PIXELS, y=np.array([0, 255], np.uint8))
    data = load_dataset(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.X, PIXELS / np.float32(255))
    assert data.y.tolist() == [0, 255]


def test_parts_that_do_not_go_together(tmp_path, images):
    path = tmp_path / "d.npz"
    np.savez(path, X=np.ones((2, 3)), y=[0, 1], X_test=np.ones((2, 4)), y_test=[0, 1])
    with pytest.raises(ValueError, match="the test part has 4 columns, the training part has 3"):
        load_dataset(path)
    np.savez(path, X=np.ones((2, 3)), y=["0", "1"], X_test=np.ones((2, 3)), y_test=[0, 1])
    with pytest.raises(ValueError, match="targets must be text or numbers in both parts, got <U1"):
        load_dataset(path)
    write_idx(tmp_path, images, False)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(images[:, :1]))
    with pytest.raises(ValueError, match="the test part has 3 columns, the training part has 6"):
        load_dataset(tmp_path)


def test_npz_keeps_floats_and_text_classes(tmp_path):
    path = tmp_path / "d.npz"
    X = np.array([[0.5, 2.0], [1.0, 300.0]])
    np.savez(path, X=X, y=np.array(["b", "a"]))
    data = load_dataset(path)
    np.testing.assert_array_equal(data.X, X)
    assert data.y.tolist() == ["b", "a"]


BAD_NPZ = {
    "no X": ({"a": np.ones(3)}, "no array X, x_train or data; it has a."),
    "nan": (
        {"X": np.array([[1, 2], [3, np.nan]]), "y": [0, 1]},
        "array X has nan in row 1, column 1.",
    ),
    "nan target": ({"X": np.ones((2, 2)), "y": [0, np.inf]}, "array y has inf in row 1."),
    "lengths": ({"X": np.ones((2, 2)), "y": [0, 1, 2]}, "array y has 3 entries for 2 rows of X."),
    "text": ({"X": np.array([["a", "b"]]), "y": [0]}, "array X must hold real numbers"),
    "one dimension": ({"X": np.ones(3), "y": [0, 1, 2]}, "array X must have rows and columns"),
    "objects": ({"X": np.array([[None]]), "y": [0]}, "cannot be read as .npz: Object arrays"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_npz(tmp_path, case):
    arrays, message = BAD_NPZ[case]
    path = tmp_path / "d.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        load_dataset(path)


def test_npy_named_npz(tmp_path):
    path = tmp_path / "d.npz"
    with open(path, "wb") as file:
        np.save(file, np.ones((2, 2)))
    with pytest.raises(ValueError, match=re.escape(f"{path}: cannot be read as .npz")):
        load_dataset(path)


def test_npz_with_arrays_of_others(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, X=np.ones((2, 2)), y=[0, 1], notes=np.array([None], dtype=object))
    assert load_dataset(path).y.tolist() == [0, 1]


def test_npz_that_is_none(tmp_path):
    path = tmp_path / "d.npz"
    path.write_text("hello")
    with pytest.raises(ValueError, match=re.escape(f"{path}: cannot be read as .npz")):
        load_dataset(path)


def write_csv(tmp_path, text):
    path = tmp_path / "d.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("2,3,2", [2, 3, 2]),
        ("0.5,1,2", [0.5, 1.0, 2.0]),
        ("cat,dog,cat", ["cat", "dog", "cat"]),
        ("inf,dog,nan", ["inf", "dog", "nan"]),
    ],
)
def test_csv_targets(tmp_path, column, expected):
    rows = "\n".join(f"{i},{t},-{i}.5e0" for i, t in enumerate(column.split(",")))
    data = load_dataset(write_csv(tmp_path, f"a, t ,b\n{rows}\n\n"), target="t")
    np.testing.assert_array_equal(data.X, [[0, -0.5], [1, -1.5], [2, -2.5]])
    assert data.features == ("a", "b")
    assert data.y.tolist() == expected


def test_csv_columns_by_name_and_byte_order_mark(tmp_path):
    path = write_csv(tmp_path, '\ufeffa,"b, c",d\n1,2,x\n')
    data = load_dataset(path, features=["b, c", "a"])
    np.testing.assert_array_equal(data.X, [[2, 1]])
    assert data.y is None


def csv_column(tmp_path, name, cells, target=None):
    path = tmp_path / "d.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["t", "x"])
        writer.writerows([cell, i] if name == "t" else [i, cell] for i, cell in enumerate(cells))
    return load_dataset(path, target=target)


NUMBERS = [
    "0", "-0", "+0", "7", "-7", "+7", "0.5", "-0.5", ".5", "-.5", "+.5", "5.", "12.50", "2e3",
    "-2e3", "2E3", "2e+3", "2e-05", "1.e2", "0e0", "9007199254740993",
    "123456789012345678901234567890", "0.1000000000000000055511151231257827",
]  # fmt: skip
CODES = [
    "01", "-007", "+01", "00", "-00", "00.5", "01e3", "1_000", "1_0.5", "1e1_0", "0x1F", "0b11",
    "0o7", "\uff11\uff12", "\u0661\u0662", "\u0967.\u0968", "1\u0660", "-\uff11",
]  # fmt: skip
WORDS = [
    "inf", "-inf", "Infinity", "1e", "e5", ".", "-", "+-1", "1 0", "1,5",
    "1.2.3", "\u00b2", "\u2460", "5%", "$5", "1-2", "_", "1\n2", "--5", "\xa05",
]  # fmt: skip


def test_numbers_of_a_csv_file(tmp_path):
    padded = [f" {cell}\t" for cell in NUMBERS]
    expected = [float(cell) for cell in NUMBERS]
    assert csv_column(tmp_path, "x", padded, "t").X[:, 0].tolist() == expected
    assert csv_column(tmp_path, "t", padded, "t").y.tolist() == expected


@pytest.mark.parametrize("cell", CODES + WORDS)
def test_text_is_no_feature(tmp_path, cell):
    with pytest.raises(ValueError, match=r"column 'x' .* belongs.*, line 4[.;]") as info:
        csv_column(tmp_path, "x", ["1", "0.5", cell])
    assert cell.strip() in str(info.value) or repr(cell) in str(info.value)


@pytest.mark.parametrize("cell", CODES)
@pytest.mark.parametrize("others", [("1", "10"), ("0.5", "2e3"), ()])
def test_codes_make_a_target_text(tmp_path, cell, others):
    cells = [*others, cell]
    assert csv_column(tmp_path, "t", cells, "t").y.tolist() == cells


@pytest.mark.parametrize("cell", [cell for cell in WORDS if cell != "\xa05"])
def test_words_among_numbers_are_refused(tmp_path, cell):
    with pytest.raises(ValueError, match=r"column 't' .* belongs"):
        csv_column(tmp_path, "t", ["1", "0.5", cell], "t")
    assert csv_column(tmp_path, "t", [cell, "cat"], "t").y.tolist() == [cell, "cat"]


MERGING = [
    ["9007199254740992", "9007199254740993", "0.5"],
    ["9007199254740993", "9007199254740992.0", "3"],
    ["9223372036854775807", "9223372036854775808"],
    ["-9223372036854775809", "-9223372036854775808"],
    ["18446744073709551617", "18446744073709551616", "1"],
    ["1" + 399 * "0", "2" + 399 * "0"],
    ["1" + 5000 * "0", "2"],
]


@pytest.mark.parametrize("cells", MERGING)
def test_integers_that_would_become_equal_are_labels(tmp_path, cells):
    assert csv_column(tmp_path, "t", cells, "t").y.tolist() == cells
    with pytest.raises(ValueError, match=r"column 'x' has \d+.*(cannot tell from|finite number)"):
        csv_column(tmp_path, "x", [cell.lstrip("-") for cell in cells])


def test_integers_that_stay_different_are_numbers(tmp_path):
    cells = ["9007199254740993", "9007199254740992", "-9223372036854775808"]
    data = csv_column(tmp_path, "t", cells, "t")
    assert data.y.dtype == np.int64
    assert data.y.tolist() == [int(cell) for cell in cells]
    cells = ["9007199254740994", "0.5", "9007199254740994.00", "36893488147419103232", "1e300"]
    assert csv_column(tmp_path, "t", cells, "t").y.tolist() == [float(cell) for cell in cells]


@given(
    st.lists(
        st.one_of(
            st.integers(-(10**25), 10**25).map(str),
            st.text("0123456789_.eE+-", min_size=1, max_size=8),
            st.text("01\uff11\u0661_ ", min_size=1, max_size=3).filter(str.strip),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_labels_stay_different(cells):
    """Of any column, only numbers that are equal by value become equal."""
    try:
        y = columns.typed(pyarrow.array(cells)).to_pylist()
    except columns.CellError:
        return
    for (a, x), (b, z) in itertools.combinations(zip(cells, y, strict=True), 2):
        if isinstance(x, str):
            assert (x == z) == (a.strip(" ") == b.strip(" "))
        elif x == z and max(abs(x), abs(z)) >= 2**53:
            assert Decimal(a.strip(" ")) == Decimal(b.strip(" "))
    numbers = [cell for cell in cells if isinstance(y[0], (int, float))]
    for cell, number in zip(numbers, y, strict=bool(numbers)):
        assert float(Decimal(cell.strip(" "))) == float(number)


def test_equal_numbers_are_one_class(tmp_path):
    """Columns that have a decimal point are compared by value."""
    assert csv_column(tmp_path, "t", ["1", "1.0", "1.00", "+1"], "t").y.tolist() == [1.0] * 4


def test_labels_keep_all_but_spaces_around_them(tmp_path):
    cells = ["a", " a\t", "a\n", "a\xa0", "a\x1f", "A", "a\u0301", "\u00e1"]
    y = csv_column(tmp_path, "t", cells, "t").y.tolist()
    assert y == ["a", "a", *cells[2:]]
    with pytest.raises(ValueError, match=r"NUL character in line 3"):
        csv_column(tmp_path, "t", ["a", "a\0"], "t")


def test_fields_of_any_length(tmp_path):
    limit = csv.field_size_limit()
    long = "x" * (limit + 1)
    path = write_csv(tmp_path, f"note,t,a\n{long},{long},1\nshort,b,2\n")
    data = load_dataset(path, target="t", features=["a"])
    assert data.X.tolist() == [[1], [2]]
    assert data.y.tolist() == [long, "b"]
    assert csv.field_size_limit() == limit
    with pytest.raises(csv.Error, match="field larger than field limit"):
        list(csv.reader([long]))
    with pytest.raises(ValueError, match=r"column 'note' has text 'x{47}\.\.\.' where a number"):
        load_dataset(path, features=["note"])


BAD_CSV = {
    "empty file": ("", "empty file; a header line"),
    "no rows": ("a,t\n", "no rows below the header."),
    "target": ("a,b\n1,2\n", "no column 't'; the columns are a, b."),
    "twice": ("a,a,t\n1,2,3\n", "column 'a' occurs more than once"),
    "only target": ("t\n1\n", "no columns besides the target 't'."),
    "text": ("a,t\n1,0\nsix,1\n", "column 'a' has text 'six' where a number belongs, line 3;"),
    "hole": ("a,t\n1,0\n ,1\n", "column 'a' has a missing value, line 3; fastbp.read"),
    "nan": ("a,t\n1,0\n\nnan,1\n", "column 'a' has a missing value, line 4; fastbp.read"),
    "infinite": (
        "a,t\n1,0\n1e999,1\n",
        "column 'a' has 1e999 where a finite number belongs, line 3;",
    ),
    "ragged": ("a,t\n1,0\n1,2,3\n", "line 3 has 3 fields, the header has 2."),
    "target hole": ("a,t\n1,\n", "column 't' has a missing value, line 2."),
    "target nan": (
        "a,t\n1,0.5\n1,nan\n",
        "column 't' has a missing value, line 3.",
    ),
    "target mixed": (
        "a,t\n1,0.5\n1,cat\n",
        "column 't' has text 'cat' where a number belongs, line 3;",
    ),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path, case):
    text, message = BAD_CSV[case]
    path = write_csv(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        load_dataset(path, target="t")


def test_binary_file_named_csv(tmp_path):
    path = tmp_path / "d.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=re.escape(f"{path}: cannot be read as utf-8 text")):
        load_dataset(path)


def test_wrong_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"digit: no such file or folder; a data set is"):
        load_dataset("digit")
    with pytest.raises(
        FileNotFoundError, match=r"none\.csv: no such file or folder; a data set is"
    ):
        load_dataset(tmp_path / "none.csv", target="y")
    (tmp_path / "folder.data").mkdir()
    with pytest.raises(ValueError, match=r"no IDX files"):
        load_dataset(tmp_path / "folder.data")
    path = tmp_path / "d.xls"
    path.write_text("")
    with pytest.raises(ValueError, match=r"unknown kind of file '\.xls'"):
        load_dataset(path)


def test_split_keeps_every_row_once():
    data = load_dataset("digits")
    parts = split(data, 0.25, seed=3)
    assert len(parts.X_test) == 449
    together = np.concatenate([parts.X, parts.X_test])
    assert sorted(map(bytes, together)) == sorted(map(bytes, data.X))
    np.testing.assert_array_equal(split(data, 0.25, seed=3).y, parts.y)
    assert len(split(data._replace(X=data.X[:2], y=data.y[:2]), 0.01, 0).X_test) == 1
    with pytest.raises(ValueError, match="cannot hold out a share of 1 rows"):
        split(data._replace(X=data.X[:1], y=data.y[:1]), 0.5, 0)
