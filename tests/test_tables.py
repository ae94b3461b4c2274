"""Tables: each kind of file gives the same table, and each wrong file one sentence."""

import csv
import decimal
import gzip
import io
import os
import re
import sys
import threading
from datetime import date, datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp import columns, load_dataset, read_table, tables

TABLE = {
    "area": [54.5, None, 101.0, 77.25],
    "rooms": [2, 3, 4, 3],
    "city": ["Köln", "Bonn, old", 'the "Hague"', None],
    "sold": [True, False, None, True],
    "note": ["two\nlines", "x", "7 a", "; and |"],
}
TYPES = [pa.float64(), pa.int64(), pa.string(), pa.bool_(), pa.string()]


def text(sep=",", end="\n", point=".", quoting=csv.QUOTE_MINIMAL):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=sep, lineterminator=end, quoting=quoting)
    writer.writerow(TABLE)
    for row in zip(*TABLE.values(), strict=True):
        cells = ["" if cell is None else str(cell) for cell in row]
        writer.writerow([cells[0].replace(".", point), *cells[1:]])
    return file.getvalue()


def of(content, **options):
    """The table of a text or of the bytes of a file."""
    return read_table(
        io.BytesIO(content.encode() if isinstance(content, str) else content), **options
    )


def assert_is_table(found):
    assert found.to_pydict() == TABLE
    assert found.schema.types == TYPES


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("end", "quoting"),
    [
        ("\n", csv.QUOTE_MINIMAL),
        ("\r\n", csv.QUOTE_MINIMAL),
        ("\n", csv.QUOTE_ALL),
        ("\r\n", csv.QUOTE_ALL),
        ("\r", csv.QUOTE_ALL),
    ],
)
def test_separators_line_ends_and_quotes_are_found(sep, end, quoting):
    content = text(sep, end, quoting=quoting)
    assert_is_table(of(content))
    assert_is_table(of(content, sep=sep))
    assert_is_table(of(content.rstrip(end)))
    assert_is_table(of(end + content.replace(end, end + end + "  " + end, 1) + end))


@pytest.mark.parametrize(
    ("content", "header", "expected"),
    [
        ("1,5;2,5\n3,5;4,5\n", False, [[1.5, 3.5], [2.5, 4.5]]),
        ('1,2,"x;y"\n3,4,"z;w"\n', False, [[1, 3], [2, 4], ["x;y", "z;w"]]),
        ('a,b,"x;y"\nc,d,"z;w"\n', False, [["a", "c"], ["b", "d"], ["x;y", "z;w"]]),
        ("Meier, A;Bonn\nKunz, B;Köln\n", False, [["Meier, A", "Kunz, B"], ["Bonn", "Köln"]]),
        ("x, m;y, m\n1,5;2,5\n", True, [[1.5], [2.5]]),
        ("a|b,c|d\n1|2,1|3\n", True, [[1], [2.1], [3]]),
        ("a,b\n1;2,3\n4;5,6\n", True, [["1;2", "4;5"], [3, 6]]),
        ("a;b\n1,2;3,4\n", True, [[1.2], [3.4]]),
        ("a\n1;2\n", True, [["1;2"]]),
    ],
)
def test_texts_that_several_separators_cut(content, header, expected):
    assert [column.to_pylist() for column in of(content, header=header).columns] == expected


def test_rows_without_a_value_are_no_blank_lines():
    assert of("a\tb\n\t\n1\t2\n  \n\t3\n").to_pydict() == {"a": [None, 1, None], "b": [None, 2, 3]}
    with pytest.raises(ValueError, match=r"line 5 has 3 fields"):
        of("a\tb\n\t\n1\t2\n\n1\t2\t3\n")
    assert of('a\n1\n""\n \n2\n')["a"].to_pylist() == [1, None, 2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_byte_order_marks(encoding):
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    assert_is_table(of((mark + text()).encode(encoding)))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "cp037", "utf-8"])
def test_encoding_on_request(encoding):
    assert_is_table(of(text().encode(encoding), encoding=encoding))


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_decimal_commas_are_found_where_the_comma_separates_nothing(sep):
    assert_is_table(of(text(sep, point=",")))
    assert_is_table(of(text(sep, point=","), decimal=","))


def test_decimal_commas():
    assert of("a;b\n1,5;1e3\n;-,25\n+2;3,\n").to_pydict() == {
        "a": [1.5, None, 2],
        "b": [1000, -0.25, 3],
    }
    assert of('a,b\n"1,5",2\n"2,5",3\n', sep=",", decimal=",")["a"].to_pylist() == [1.5, 2.5]
    assert of("a\n1,5\n2,5\n", decimal=",")["a"].to_pylist() == [1.5, 2.5]
    # What only looks like one stays text.
    assert of("a;b\n1,5;2,5\n2,5;3,5\n", decimal=".")["a"].to_pylist() == ["1,5", "2,5"]
    assert of("a;b\n1,2,3;4\n2,5;3\n")["a"].to_pylist() == ["1,2,3", "2,5"]
    assert of("a;b\nx, y;4\nz;3\n")["a"].to_pylist() == ["x, y", "z"]


def test_thousands_are_never_guessed():
    with pytest.raises(
        ValueError, match=r"'a' has numbers such as 1,234, which may mean 1\.234 or"
    ):
        of("a;b\n1,234;2\n12,500;3\n")
    assert of("a;b\n1,234;2\n12,500;3\n", decimal=",")["a"].to_pylist() == [1.234, 12.5]
    assert of("a;b\n0,234;2\n12,500;3\n")["a"].to_pylist() == [0.234, 12.5]
    assert of("a;b\n1,234;2,5\n12,500;3\n")["a"].to_pylist() == [1.234, 12.5]
    with pytest.raises(
        ValueError, match=r"'a' has 1\.234, and the decimal sign of this file is the"
    ):
        of("a;b\n1.234;2,5\n12.500;3\n")


FILES = {
    "t.csv": lambda: text().encode(),
    "t.CSV": lambda: text().encode(),
    "t.tsv": lambda: text("\t").encode(),
    "t.txt": lambda: text("|").encode(),
    "t.data": lambda: text(";", point=",").encode(),
    "t.csv.gz": lambda: gzip.compress(text().encode()),
    "t.csv.zst": lambda: pa.compress(text().encode(), "zstd", asbytes=True),
    "compressed.csv": lambda: gzip.compress(text().encode()),
    "t.tsv.gz": lambda: gzip.compress(text("\t").encode()) + gzip.compress(b"\n\n"),
    "t.parquet": lambda: parquet(),
    "t.pq": lambda: parquet(compression="zstd"),
    "t.parquet.gz": lambda: gzip.compress(parquet()),
    "parquet.csv": lambda: parquet(),
    "t.feather": lambda: feather(),
    "t.arrow": lambda: feather(compression="zstd"),
    "stream.arrow": lambda: feather(version="stream"),
    "feather.csv": lambda: feather(),
}


def arrow():
    return pa.table(TABLE, schema=pa.schema(list(zip(TABLE, TYPES, strict=True))))


def parquet(table=None, **options):
    file = io.BytesIO()
    pa.parquet.write_table(arrow() if table is None else table, file, **options)
    return file.getvalue()


def feather(table=None, version=None, **options):
    file = io.BytesIO()
    table = arrow() if table is None else table
    if version == "stream":
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    else:
        pa.feather.write_feather(table, file, **options)
    return file.getvalue()


@pytest.fixture(params=FILES)
def file(request, tmp_path):
    path = tmp_path / request.param
    path.write_bytes(FILES[request.param]())
    return path


def test_each_kind_of_file_gives_the_same_table(file):
    assert_is_table(read_table(file))
    assert_is_table(read_table(str(file)))
    with open(file, "rb") as stream:
        assert_is_table(read_table(stream))
    assert_is_table(pa.concat_tables(tables.pieces(file, 3)))
    found = read_table(file, columns=["note", "area", "rooms"], drop=["area"], text=["rooms"])
    assert found.to_pydict() == {"note": TABLE["note"], "rooms": ["2", "3", "4", "3"]}


@pytest.mark.parametrize("name", FILES)
def test_standard_input(name, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(FILES[name]())))
    assert_is_table(read_table("-"))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="standard input is closed"):
        read_table("-")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_pipe(name, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[FILES[name]()])
    writer.start()
    assert_is_table(read_table(path))
    writer.join()


# Types ------------------------------------------------------------------------------------------


COLUMNS = [
    (["1", "-2", "+3"], [1, -2, 3], pa.int64()),
    (["1", "", "3"], [1, None, 3], pa.int64()),
    (["1", "2.0", "3"], [1, 2, 3], pa.float64()),
    (["1", "NA", "?", "null", "N/A", "None", "NaN", "nan"], [1] + 7 * [None], pa.int64()),
    (["NA", "", "?"], [None] * 3, pa.float64()),
    (["x", "NA", " "], ["x", "NA", None], pa.string()),
    (["true", "False", "TRUE", "NA"], [True, False, True, None], pa.bool_()),
    (["true", "no"], ["true", "no"], pa.string()),
    (["2024-02-29", ""], [date(2024, 2, 29), None], pa.date32()),
    (["2024-02-29", "2024-02-30"], ["2024-02-29", "2024-02-30"], pa.string()),
    (
        ["2024-02-29 10:30", "2024-02-29T10:30:01.5", "?"],
        [datetime(2024, 2, 29, 10, 30), datetime(2024, 2, 29, 10, 30, 1, 500000), None],
        pa.timestamp("us"),
    ),
    (["2024-02-29T10:30Z", "2024-02-29T10:30:00+01:00"], None, pa.timestamp("us", "UTC")),
    (["10:30", "11:00"], ["10:30", "11:00"], pa.string()),
    (["007", "010", "1"], ["007", "010", "1"], pa.string()),
    (["1_000", "2"], ["1_000", "2"], pa.string()),
    (["0x1F", "2", "3"], ["0x1F", "2", "3"], pa.string()),
    (["\u0661", "2", "3"], ["\u0661", "2", "3"], pa.string()),
    (["9007199254740993", "9007199254740992"], [2**53 + 1, 2**53], pa.int64()),
    (["9007199254740993", "9007199254740992", ".5"], None, pa.string()),
    (["9223372036854775808", "1"], [2.0**63, 1], pa.float64()),
    (["9223372036854775808", "9223372036854775809"], None, pa.string()),
    (["inf", "nan", "x"], ["inf", "nan", "x"], pa.string()),
    (["a", "1", "b", "2"], ["a", "1", "b", "2"], pa.string()),
    (["1e5", "1E-3", ".5", "5.", "-.5e+1"], [1e5, 1e-3, 0.5, 5, -5], pa.float64()),
]


@pytest.mark.parametrize(("cells", "expected", "kind"), COLUMNS)
def test_types_of_columns(cells, expected, kind):
    for padded in (cells, [f" {cell}\t" for cell in cells]):
        content = "".join(f"{i};{cell}\n" for i, cell in enumerate(["x", *padded]))
        column = of(content, header=True, drop=["0"], sep=";")["x"]
        assert column.type == kind
        if kind != pa.timestamp("us", "UTC"):
            assert column.to_pylist() == (cells if expected is None else expected)


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.integers().map(str),
    st.from_regex(
        r"[+-]?(0|[1-9][0-9]{0,25})(\.[0-9]{0,25})?([eE][+-]?[0-9]{1,2})?", fullmatch=True
    ),
)


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_numbers_are_rounded_as_python_does(cells):
    """Each is the float nearest to it, or an exact integer, or text if two would become equal."""
    expected = [float(cell) for cell in cells]
    if not np.isfinite(expected).all():
        return
    found = columns.typed(pa.array(cells)).to_pylist()
    if isinstance(found[0], int):
        assert found == [int(cell) for cell in cells]
    elif isinstance(found[0], float):
        assert found == expected
    else:
        assert len(set(map(decimal.Decimal, cells))) > len(set(expected))


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from("\r\n ,;"))
def test_text_stays_as_it_is_written(rows, letter):
    rows = [(first + letter + first, second) for first, second in rows]
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    found = of(file.getvalue(), text=["a", "b"])
    expected = zip(*[[cell.strip(" \t") for cell in row] for row in rows], strict=True)
    for column, cells in zip(found.columns, expected, strict=True):
        assert column.to_pylist() == [None if not cell.strip() else cell for cell in cells]


@given(
    st.lists(st.tuples(*3 * [st.text('a",\r\n;', max_size=4)]), min_size=1, max_size=6),
    st.lists(st.integers(0, 2), min_size=7, max_size=7),
    st.integers(0, 6),
)
def test_the_line_of_a_cell_is_named(rows, blank, place):
    """Whatever line breaks stand in cells before it, and whatever lines are blank."""
    content, bad = "x,y,z,n\n", min(place, len(rows))
    for i, row in enumerate([*rows[:bad], ("v", "w", "q"), *rows[bad:]]):
        content += "\n" * blank[i]
        if i == bad:
            line = len(re.findall("\r\n|\r|\n", content)) + 1
        file = io.StringIO()
        number = "word" if i == bad else "1"
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow([*row, number])
        content += file.getvalue()
    rest = "".join(f'"","","",{i}\n' for i in range(40))
    with pytest.raises(ValueError, match=rf"column 'n' has text 'word' .*, line {line};"):
        of(content + rest)
    ragged = content.replace(',"word"', "") + rest
    with pytest.raises(ValueError, match=rf": line {line} has 3 fields, the header has 4\."):
        of(ragged, sep=",")


def test_a_word_or_two_among_numbers_are_a_mistake_and_more_are_text():
    numbers = [str(i) for i in range(100)]
    for words in (["six"], ["six", "-"], ["O5"], ["1,5"], ["5%"]):
        content = "x;n\n" + "".join(f"{cell};1\n" for cell in numbers + words)
        with pytest.raises(
            ValueError, match=rf"'x' has text '{words[0]}' where a.* line 102;"
        ) as info:
            of(content, decimal=".")
        assert "text=['x'] (--text x of the command line) keeps" in str(info.value)
        assert of(content, text=["x"])["x"].to_pylist() == numbers + words
    content = "x,n\n" + "".join(f"{cell},1\n" for cell in numbers + 6 * ["A5"])
    assert of(content)["x"].type == pa.string()
    with pytest.raises(ValueError, match=r"'x' has inf where a finite number belongs, line 2;"):
        of("x,n\ninf,1\n-Infinity,2\ninf,3\n1,4\n")


# Columns ----------------------------------------------------------------------------------------


def test_no_header():
    assert of("7,x\n2,y\n", header=False).to_pydict() == {"1": [7, 2], "2": ["x", "y"]}
    with pytest.warns(UserWarning, match="the first column, '1', only counts the rows"):
        assert of("1,x\n2,y\n", header=False).to_pydict() == {"2": ["x", "y"]}
    assert of("1\t\n2\ty\n", header=False, columns=["2"]).to_pydict() == {"2": [None, "y"]}
    assert of("7\n", header=False).to_pydict() == {"1": [7]}


def test_a_header_that_looks_like_a_row():
    with pytest.warns(
        UserWarning, match=r"first line \(5\.1, 3\.5, setosa, …\) is taken for the n"
    ):
        of("5.1,3.5,setosa\n4.9,3,setosa\n")
    with pytest.raises(ValueError, match=r"'3\.5' occurs more than once .*\(header=False\)"):
        of("3.5,3.5,setosa\n4.9,3,setosa\n")


def test_columns_named_by_numbers():
    assert of("0,1,2\n5,6,7\n").column_names == ["0", "1", "2"]
    assert of("1,2,3\n5,6,7\n").column_names == ["1", "2", "3"]
    assert of("country,2019,2020\nx,6,7\n", columns=["2020"]).to_pydict() == {"2020": [7]}


def test_a_tab_as_a_shell_gives_it():
    assert_is_table(of(text("\t"), sep=r"\t"))


def test_columns_without_a_name():
    assert of("a,b,\n1,2,\n3,4,\n").to_pydict() == {"a": [1, 3], "b": [2, 4]}
    assert of("a,,b\n1,x,2\n").to_pydict() == {"a": [1], "column 2": ["x"], "b": [2]}


@pytest.mark.parametrize(
    "name", ["", "Unnamed: 0", "index", "id", "ID", "row", "row_id", "rownames"]
)
@pytest.mark.parametrize("start", [0, 1])
def test_row_numbers_are_left_out(name, start):
    rows = "".join(f"{start + i},{7 * i}\n" for i in range(5))
    with pytest.warns(UserWarning, match=r"the first column, .*, only counts the rows"):
        assert of(f"{name},a\n{rows}").column_names == ["a"]
    kept = name or "column 1"
    assert of(f"{name},a\n{rows}", columns=["a", kept]).column_names == ["a", kept]
    reading = tables.read(io.BytesIO(f"{name},a\n{rows}".encode()), keep=[kept])
    assert reading.table.column_names == [kept, "a"]
    assert reading.notes == ()
    table = pa.table({kept: range(start, start + 5), "a": range(5)})
    with pytest.warns(UserWarning, match="only counts the rows"):
        assert of(parquet(table)).column_names == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        "id\n1\n2\n",
        "id,a\n1,5\n3,6\n",
        "id,a\n2,5\n3,6\n",
        "id,a\n1,5\n,6\n",
        "id,a\n1.0,5\n2.0,6\n",
        "size,a\n1,5\n2,6\n",
        "a,id\n5,1\n6,2\n",
        "id,a\nx,5\ny,6\n",
    ],
)
def test_other_first_columns_stay(content):
    assert of(content).column_names == content.partition("\n")[0].split(",")


def test_an_index_of_pandas(tmp_path):
    frame = pd.DataFrame({"a": [1.5, np.nan, 3], "b": ["x", None, "z"]}, index=[7, 3, 5])
    for name, write in {
        "f.parquet": frame.to_parquet,
        "g.parquet": frame.reset_index(drop=True).to_parquet,
    }.items():
        write(tmp_path / name)
        found = read_table(tmp_path / name)
        assert found.to_pydict() == {"a": [1.5, None, 3], "b": ["x", None, "z"]}
        assert found.to_pandas().index.tolist() == [0, 1, 2]
    frame.to_csv(tmp_path / "f.csv")
    assert read_table(tmp_path / "f.csv").column_names == ["column 1", "a", "b"]
    frame.reset_index(drop=True).to_csv(tmp_path / "f.csv")
    with pytest.warns(UserWarning, match="only counts the rows"):
        assert read_table(tmp_path / "f.csv").column_names == ["a", "b"]


def test_types_of_other_libraries():
    table = pa.table(
        {
            "category": pa.array(["b", None, "a"]).dictionary_encode(),
            "codes": pa.array([3, None, 1]).dictionary_encode(),
            "large": pa.array(["x", "", None], pa.large_string()),
            "view": pa.array(["x", " ", None], pa.string_view()),
            "decimal": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal(2)]),
            "half": pa.array([np.float16(1), np.float16(np.nan), None], pa.float16()),
            "single": pa.array([1, np.nan, None], pa.float32()),
            "nothing": pa.nulls(3),
            "a.b": pa.array([1, 2, None], pa.uint8()),
        }
    )
    expected = {
        "category": ["b", None, "a"],
        "codes": ["3", None, "1"],
        "large": ["x", None, None],
        "view": ["x", None, None],
        "decimal": [1.5, None, 2],
        "half": [1, None, None],
        "single": [1, None, None],
        "nothing": [None] * 3,
        "a.b": [1, 2, None],
    }
    assert of(feather(table)).to_pydict() == expected
    # Parquet keeps no categories but those of text, and has no views.
    table = table.drop_columns(["view"])
    del expected["view"]
    assert of(parquet(table)).to_pydict() == expected | {"codes": [3, None, 1]}
    assert of(parquet(table), columns=["a.b", "half"]).column_names == ["a.b", "half"]
    nested = pa.table({"list": [[1], [2]], "x": [1, 2]})
    assert of(parquet(nested), drop=["list"]).to_pydict() == {"x": [1, 2]}
    assert of(parquet(nested), columns=["list"]).num_rows == 2


def test_fields_of_any_length():
    long = "x" * 3_000_000
    found = of(f'note,a\n{long},1\n"{long}\n{long}",2\n')
    assert found["note"].to_pylist() == [long, f"{long}\n{long}"]


# Pieces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [parquet, feather])
def test_pieces_do_not_hold_the_whole_file(tmp_path, write):
    n = 200_000
    table = pa.table({f"x{j}": np.random.default_rng(j).normal(size=n) for j in range(8)})
    options = {"row_group_size": 8192} if write is parquet else {"chunksize": 8192}
    path = tmp_path / "big.bin"
    path.write_bytes(write(table, **options))
    before, rows, most = pa.total_allocated_bytes(), 0, 0
    for piece in tables.pieces(path, 4096):
        assert piece.num_rows <= 4096
        assert piece["x3"][0] == table["x3"][rows]
        rows += piece.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == n
    assert most < table.nbytes / 3


def test_pieces_name_the_row():
    values = np.ones(100)
    values[77] = np.inf
    with pytest.raises(
        ValueError, match=r"column 'x' has inf where a finite number belongs, row 77"
    ):
        list(tables.pieces(io.BytesIO(parquet(pa.table({"x": values}))), 10))
    with pytest.raises(ValueError, match="rows must be"):
        next(tables.pieces(io.BytesIO(parquet()), 0))


# Wrong files ------------------------------------------------------------------------------------


WRONG = {
    "empty": ("t.csv", b"", "empty file; a header line with column names is needed."),
    "blank": ("t.csv", b" \n\r\n", "empty file; a header line with column names is needed."),
    "header only": ("t.csv", b"a,b\n", "no rows below the header."),
    "long row": ("t.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, the header has 2."),
    "short row": ("t.csv", b"a,b\n1,2\n\n1\n", "line 4 has 1 field, the header has 2."),
    "twice": ("t.csv", b"a,b,a\n1,2,3\n", "column 'a' occurs more than once in the header."),
    "open quote": ("t.csv", b'a,b\n1,2\n"3,4\n5,6\n', "a quote in line 3 is never closed."),
    "NUL": ("t.csv", b"a,b\n1,2\n3,\0\n", "not text, for there is a NUL character in line 3; if"),
    "UTF-16": (
        "t.csv",
        "a,b\n1,2".encode("utf-16-le"),
        "not text, for there is a NUL character in",
    ),
    "latin-1": ("t.csv", b"a\nx\nK\xf6ln\n", "cannot be read as utf-8 text, line 3 (invalid"),
    "binary": ("t.csv", bytes(range(256)), "cannot be read as utf-8 text, line "),
    "image": ("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(9), "cannot be read as utf-8 text, line 1 "),
    "spreadsheet": ("t.csv", b"PK\x03\x04" + bytes(9), "not a table, but a spreadsheet or a zip"),
    "old spreadsheet": ("t.txt", b"\xd0\xcf\x11\xe0" + bytes(9), "not a table, but a spreadsheet;"),
    "npy": ("t.csv", b"\x93NUMPY\x01\0", "not a table, but an array of NumPy"),
    "web page": ("t.csv", b"\n<!DOCTYPE html><html>", "not a table, but a web page (HTML)."),
    "JSON": ("t.csv", b'[{"a": 1, "b": 2}]', "not a table, but JSON."),
    "no gzip": ("t.csv.gz", b"a,b\n1,2\n", "not compressed by gzip, in spite of its name."),
    "no zstd": (
        "t.csv.zst",
        gzip.compress(b"a\n1"),
        "not compressed by zstd, in spite of its name.",
    ),
    "cut gzip": ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "damaged gzip file: "),
    "damaged gzip": ("t.csv.gz", b"\x1f\x8b\x08" + b"\xff" * 30, "damaged gzip file: "),
    "cut zstd": (
        "t.csv.zst",
        pa.compress(b"a\n1", "zstd", asbytes=True)[:-2],
        "damaged zstd file: ",
    ),
    "no Parquet": ("t.parquet", b"a,b\n1,2\n", "not a Parquet file, in spite of its name."),
    "empty Parquet": ("t.parquet", b"", "not a Parquet file, in spite of its name."),
    "Feather": ("t.parquet", feather(), "not a Parquet file, in spite of its name."),
    "Parquet": ("t.feather", parquet(), "not a Feather file, in spite of its name."),
    "cut Parquet": ("t.parquet", parquet()[:-9], "damaged Parquet file: "),
    "cut Feather": ("t.feather", feather()[:-9], "damaged Feather file: "),
    "no rows": ("t.parquet", parquet(arrow().slice(0, 0)), "no rows."),
    "no columns": ("t.parquet", parquet(arrow().select([])), "no column is left to read."),
    "same names": (
        "t.feather",
        feather(pa.Table.from_arrays([[1], [2]], ["a", "a"])),
        "column 'a' occurs more than once in the header.",
    ),
    "infinite": (
        "t.parquet",
        parquet(pa.table({"a": [1.0, -np.inf]})),
        "column 'a' has -inf where a finite number belongs, row 1.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_wrong_file_gives_one_sentence(case, tmp_path):
    name, content, message = WRONG[case]
    path = tmp_path / name
    path.write_bytes(content)
    for call in (read_table, load_dataset, lambda path: list(tables.pieces(path))):
        with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")) as info:
            call(path)
        assert "\n" not in str(info.value)
        assert str(info.value).endswith(".")


def test_paths_that_cannot_be_opened(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_table(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")
    path = tmp_path / "link.csv"
    path.symlink_to(path)
    with pytest.raises(OSError, match=r"link\.csv"):
        read_table(path)
    with pytest.raises(ValueError, match=r"the stream must give bytes, as a file opened with mode"):
        read_table(io.StringIO(text()))


OPTIONS = [
    (
        {"columns": ["rooms", "aera"]},
        "no column 'aera' (did you mean 'area'?); the columns are area,",
    ),
    (
        {"drop": ["Rooms"]},
        "no column 'Rooms' (did you mean 'rooms'?); the columns are area, rooms,",
    ),
    ({"text": ["x"]}, "no column 'x'; the columns are area, rooms, city, sold, note."),
    ({"columns": [1]}, "no column 1; the columns are"),
    ({"drop": list(TABLE)}, "no column is left to read."),
    ({"columns": []}, "no column is left to read."),
    ({"columns": "area"}, "columns must be a list of names such as ['area'], got a text."),
    ({"sep": ";;"}, "sep must be one character such as ';' or a tab, got ';;'."),
    ({"sep": "é"}, "sep must be one character such as ';' or a tab, got 'é'."),
    ({"sep": '"'}, "sep must be one character such as ';' or a tab, got '\"'."),
    ({"sep": 1}, "sep must be one character such as ';' or a tab, got 1."),
    ({"decimal": "'"}, "decimal must be '.' or ',', got \"'\"."),
    ({"header": None}, "header must be True or False, got None."),
    (
        {"encoding": "no such"},
        "encoding must be one that Python knows, such as utf-8, latin-1 or utf",
    ),
    (
        {"encoding": "hex"},
        "encoding must be one that Python knows, such as utf-8, latin-1 or utf-16",
    ),
    ({"encoding": 7}, "encoding must be one that Python knows, such as utf-8, latin-1 or utf-16"),
    (
        {"encoding": "ascii"},
        "cannot be read as ascii text, line 2 (ordinal not in range(128)); name",
    ),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)) as info:
        of(text(), **options)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("write", [parquet, feather])
@pytest.mark.parametrize(
    "option", [{"sep": ","}, {"encoding": "utf-8"}, {"decimal": "."}, {"header": False}]
)
def test_options_of_text_are_for_text(write, option):
    (name,) = option
    kind = write.__name__.title()
    with pytest.raises(
        ValueError, match=f"{name} is for text such as CSV, and the stream is a {kind}"
    ):
        of(write(), **option)


@pytest.mark.parametrize("name", [name for name, make in FILES.items() if b"\0" in make()])
def test_damaged_files_never_pass_unnoticed(name, tmp_path):
    """A file cut anywhere, or with a wrong bit, gives one sentence if it cannot be read."""
    content = FILES[name]()
    path = tmp_path / name
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << generator.integers(8)
        for kind in (bytes(damaged), content[: generator.integers(len(content))]):
            path.write_bytes(kind)
            assert "\n" not in (error_of(path) or "")


def error_of(path):
    try:
        read_table(path)
    except ValueError as error:
        return str(error)
    return None


def test_pyarrow_may_be_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"tables are read by pyarrow, .*'\.\[tables\]'"):
        of(text())


def test_the_text_is_not_read_before_the_library_is_there_to_read_it():
    """Neither import of the package nor the bundled digits need pyarrow."""
    import subprocess

    program = (
        "import sys; import fastbp; fastbp.load_dataset('digits'); print('pyarrow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


# Data sets --------------------------------------------------------------------------------------


FRAME = pd.DataFrame(
    {"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "c": [True, False, True], "kind": ["x", "y", "x"]}
)


@pytest.mark.parametrize("name", ["f.csv", "f.tsv", "f.parquet", "f.feather", "f.csv.gz"])
def test_load_dataset_of_a_file(tmp_path, name):
    path = tmp_path / name
    if "parquet" in name:
        FRAME.to_parquet(path)
    elif "feather" in name:
        FRAME.to_feather(path)
    else:
        FRAME.to_csv(path, index=False, sep="\t" if "tsv" in name else ",")
    check_dataset(path)


@pytest.mark.parametrize(
    "frame",
    [FRAME, FRAME.set_axis([5, 3, 9]), pl.from_pandas(FRAME), pa.Table.from_pandas(FRAME)],
    ids=["pandas", "index", "polars", "Arrow"],
)
def test_load_dataset_of_a_frame(frame):
    check_dataset(frame)


def check_dataset(source):
    data = load_dataset(source, target="kind")
    assert data.features == ("a", "b", "c")
    assert data.X.tolist() == [[1, 0.5, 1], [2, 1.5, 0], [3, 2.5, 1]]
    assert data.y.tolist() == ["x", "y", "x"]
    data = load_dataset(source, target="a", features=["b"])
    assert data.X.tolist() == [[0.5], [1.5], [2.5]]
    assert (data.y.dtype, data.y.tolist()) == (np.int64, [1, 2, 3])
    assert load_dataset(source, target="c", features=["b"]).y.tolist() == [True, False, True]
    assert load_dataset(source, features=["b"]).y is None
    for options in ({"target": "kin"}, {"target": "kind", "features": ["kin"]}):
        with pytest.raises(ValueError, match=r"no column 'kin' \(did you mean 'kind'\?\); the col"):
            load_dataset(source, **options)
    with pytest.raises(
        ValueError, match=r"column 'kind' has text 'x' .*0|2; fastbp\.read_table and"
    ):
        load_dataset(source)


def test_load_dataset_of_standard_input(monkeypatch):
    content = FRAME.to_csv(index=False).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert load_dataset("-", target="kind").y.tolist() == ["x", "y", "x"]


def test_files_of_polars(tmp_path):
    frame = pl.from_pandas(FRAME)
    for name, write in {
        "f.parquet": frame.write_parquet,
        "f.feather": frame.write_ipc,
        "f.arrow": frame.write_ipc_stream,
        "f.csv": frame.write_csv,
    }.items():
        write(tmp_path / name)
        assert read_table(tmp_path / name).to_pydict() == FRAME.to_dict("list")


def test_frames_that_are_no_tables():
    with pytest.raises(ValueError, match=r"the frame: .*x"):
        load_dataset(pd.DataFrame({"x": [1, "a", [2]]}))
    with pytest.raises(ValueError, match=r"the frame: column 'x' occurs more than once"):
        load_dataset(pd.DataFrame([[1, 2]], columns=["x", "x"]))
    with pytest.raises(
        ValueError, match=r"the frame: column 'x' has inf where a finite .* row 1\."
    ):
        load_dataset(pd.DataFrame({"x": [1, np.inf]}))


def test_a_target_is_no_row_number():
    table = pa.table({"id": [1, 2, 3], "a": [5, 6, 7]})
    assert load_dataset(table, target="id").y.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, None, 3.0], "column 'x' has a missing value, row 1; fastbp.read_table"),
        ([1.0, np.nan, 3.0], "column 'x' has a missing value, row 1; fastbp.read_table"),
        ([1.0, np.inf, 3.0], "column 'x' has inf where a finite number belongs, row 1."),
        ([date(2024, 1, 1)] * 3, "column 'x' holds date32[day] where numbers belong, row 0;"),
        ([2**53, 2**53 + 1, 0], "column 'x' has 9007199254740993, which float64 cannot tell from"),
        ([[1], [2], [3]], "column 'x' holds list<"),
    ],
)
def test_features_that_are_no_numbers(column, message):
    table = pa.table({"x": column, "y": [1, 2, 3]})
    with pytest.raises(ValueError, match=re.escape(message)):
        load_dataset(table, target="y")


def test_targets_that_are_missing():
    for column in ([1, None, 2], ["a", "", "b"], [1.5, np.nan, 2]):
        with pytest.raises(ValueError, match=r"column 'y' has a missing value, row 1\."):
            load_dataset(pa.table({"x": [1, 2, 3], "y": column}), target="y")


def test_npz_as_scikit_learn_names_it(tmp_path):
    from sklearn.datasets import load_wine

    wine = load_wine()
    np.savez(tmp_path / "wine.npz", **wine)
    data = load_dataset(tmp_path / "wine.npz")
    np.testing.assert_array_equal(data.X, wine.data)
    np.testing.assert_array_equal(data.y, wine.target)


@pytest.fixture
def npy(tmp_path):
    path = tmp_path / "d.npy"
    np.save(path, np.arange(12.0).reshape(4, 3) - [0, 0.5, 2])
    return path


def test_npy(npy):
    data = load_dataset(npy)
    assert isinstance(data.X, np.memmap)
    np.testing.assert_array_equal(data.X, np.arange(12.0).reshape(4, 3) - [0, 0.5, 2])
    assert data.y is None
    for target in (2, -1, "2", "-1", np.int64(2)):
        data = load_dataset(npy, target=target)
        assert data.X.tolist() == [[0, 0.5], [3, 3.5], [6, 6.5], [9, 9.5]]
        assert (data.y.dtype, data.y.tolist()) == (np.int64, [0, 3, 6, 9])
    assert load_dataset(npy, target=1).y.tolist() == [0.5, 3.5, 6.5, 9.5]
    for target in (3, -4, "price", 1.5, "1.5"):
        with pytest.raises(
            ValueError, match=r"target must be the number of a column, from 0 to 2 or"
        ):
            load_dataset(npy, target=target)


def test_npy_of_pixels(tmp_path):
    np.save(tmp_path / "d.npy", np.full((2, 3, 4), 51, np.uint8))
    data = load_dataset(tmp_path / "d.npy")
    assert data.X.shape == (2, 12)
    np.testing.assert_allclose(data.X, 0.2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as .npy: "),
        (b"hello", "cannot be read as .npy: "),
        (b"cut", "cannot be read as .npy: "),
        (b"npz", "cannot be read as .npy: it is an .npz file."),
        ([[1.0, np.nan]], "array in the file has nan in row 0, column 1."),
        ([1.0, 2.0], "array in the file must have rows and columns, got shape (2,)."),
        ([["a", "b"]], "array in the file must hold real numbers, got dtype <U1."),
    ],
)
def test_wrong_npy(npy, content, message):
    whole = npy.read_bytes()
    if content == b"cut":
        npy.write_bytes(whole[:-8])
    elif content == b"npz":
        with open(npy, "wb") as file:
            np.savez(file, X=np.ones(3))
    elif isinstance(content, bytes):
        npy.write_bytes(content)
    else:
        np.save(npy, np.array(content))
    with pytest.raises(ValueError, match=re.escape(f"{npy}: {message}")):
        load_dataset(npy)


def test_values_that_are_not_finite_are_found_in_any_piece(tmp_path):
    values = np.zeros((1200, 1024), np.float32)
    values[1100, 7] = np.nan
    np.save(tmp_path / "d.npy", values)
    with pytest.raises(ValueError, match="has nan in row 1100, column 7"):
        load_dataset(tmp_path / "d.npy")


def test_targets_are_named_in_tables_only(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.ones((2, 2)), y=[0, 1])
    for source in ("digits", tmp_path / "d.npz"):
        with pytest.raises(
            ValueError, match=r"target names a column of a table or of an \.npy file"
        ):
            load_dataset(source, target="y")
