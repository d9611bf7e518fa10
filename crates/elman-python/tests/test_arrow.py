"""Tagger.label_arrow: the tags of label, whatever the layout of the column."""

import subprocess
import sys
import textwrap

import pytest

pa = pytest.importorskip("pyarrow")

ODD = [["naïve", "", "日本", "a b"], [], ["x" * 3000]]


@pytest.fixture(scope="module")
def sentences(corpora):
    return [words for words, _ in corpora[1]] + ODD


def test_every_layout_has_the_tags_of_label(trained, sentences):
    expected = trained.label(sentences)
    column = pa.array(sentences, pa.list_(pa.string()))
    found = trained.label_arrow(column)
    assert found.type == pa.list_(pa.dictionary(pa.int32(), pa.string()))
    assert found.to_pylist() == expected
    found.validate(full=True)
    coded = pa.ListArray.from_arrays(column.offsets, column.values.dictionary_encode())
    for kind in [
        pa.list_(pa.large_string()),
        pa.large_list(pa.string()),
        pa.large_list(pa.large_string()),
        pa.list_(pa.string_view()),
        pa.list_view(pa.string()),
        coded.type,
    ]:
        other = coded if kind == coded.type else pa.array(sentences, kind)
        for start, length in [(0, len(sentences)), (700, 303), (5, 0)]:
            found = trained.label_arrow(other.slice(start, length))
            assert found.to_pylist() == expected[start : start + length], (kind, start)
            found.validate(full=True)
    equal = pa.array([words[:2] for words in sentences[:40]], pa.list_(pa.string(), 2))
    assert trained.label_arrow(equal).to_pylist() == trained.label(equal.to_pylist())
    # Words whose strings begin in the middle of their buffers.
    inner = pa.array(["zzz", *column.values.to_pylist()]).slice(1)
    assert trained.label_arrow(pa.ListArray.from_arrays(column.offsets, inner)).to_pylist() == expected
    chunks = pa.chunked_array([column.slice(0, 400), column.slice(400, 0), column.slice(400)])
    found = trained.label_arrow(chunks)
    assert [len(chunk) for chunk in found.chunks] == [400, 0, len(sentences) - 400]
    assert found.to_pylist() == expected
    assert trained.label_arrow(pa.chunked_array([], column.type)).to_pylist() == []
    assert trained.label_arrow(pa.array([None, None])).to_pylist() == [None, None]


def test_null_rows_stay_null(trained, sentences):
    given = [None, *sentences[:20], None, [], None]
    expected = [words if words is None else trained.label([words])[0] for words in given]
    for kind in (pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.dictionary(pa.int8(), pa.string()))):
        column = pa.array(given[1:], kind) if pa.types.is_dictionary(kind.value_type) else pa.array(given, kind)
        for part in (column, column.slice(3)):
            assert trained.label_arrow(part).to_pylist() == expected[len(given) - len(part) :]
    # A null row on words that are there, one of them null.
    below = pa.ListArray.from_arrays([0, 1, 3, 4], pa.array(["a", None, "b", "c"]), mask=pa.array([False, True, False]))
    assert trained.label_arrow(below).to_pylist() == [trained.label([["a"]])[0], None, trained.label([["c"]])[0]]


def test_nothing_is_copied_where_the_layout_allows(trained, sentences):
    column = pa.array(sentences, pa.list_(pa.string()))
    found = trained.label_arrow(column)
    assert found.buffers()[1].address == column.buffers()[1].address
    pa.total_allocated_bytes()
    before = pa.total_allocated_bytes()
    kept = trained.label_arrow(column)
    # The ids are NumPy's; Arrow allocates the tags alone.
    assert pa.total_allocated_bytes() - before < 10_000 < kept.nbytes


def test_columns_of_polars_come_through_the_capsule_interface(trained, sentences):
    class Series:
        def __arrow_c_stream__(self, requested_schema=None):
            chunks = pa.chunked_array([pa.array(sentences[:5], pa.large_list(pa.string_view()))])
            return chunks.__arrow_c_stream__(requested_schema)

    assert trained.label_arrow(Series()).to_pylist() == trained.label(sentences[:5])


def test_wrong_columns_are_named(trained):
    for column, kind, message in [
        ([["a"]], TypeError, "column: expected an Arrow column of list<string>, found list"),
        (pa.array([1]), TypeError, "expected list<string>, found int64"),
        (pa.array(["a"]), TypeError, "expected list<string>, found string"),
        (pa.array([[1]]), TypeError, "expected list<string>, found list<.*int64"),
        (pa.array([[b"a"]]), TypeError, "expected list<string>, found list<.*binary"),
        (pa.array([["a"], [], ["b", "c", None]]), ValueError, "found null as word 2 of row 2"),
        (pa.chunked_array([[["a"]], [["b", None]]]), ValueError, "found null as word 1 of row 1"),
        (pa.array([["a"], ["b", None]]).slice(1), ValueError, "found null as word 1 of row 0"),
    ]:
        with pytest.raises(kind, match=message):
            trained.label_arrow(column)
    # Bytes that are no text, and offsets out of order, as a program that writes buffers may make them.
    binary = pa.array([b"a", b"\xff\xfe"])
    text = pa.StringArray.from_buffers(2, binary.buffers()[1], binary.buffers()[2])
    with pytest.raises(ValueError, match=r"word: expected UTF-8, found \\xff\\xfe in row 1"):
        trained.label_arrow(pa.ListArray.from_arrays([0, 1, 2], text))
    for offsets in ([0, 2, 1], [0, -1, 1]):
        buffer = pa.py_buffer(pa.array(offsets, pa.int32()).buffers()[1])
        column = pa.ListArray.from_buffers(pa.list_(pa.string()), 2, [None, buffer], children=[pa.array(["a", "b"])])
        with pytest.raises(ValueError, match="offsets of the words in row [01]: expected in order"):
            trained.label_arrow(column)


@pytest.mark.parametrize(
    "module, missing, package",
    [
        ("elman.ray", "ray", r'the package ray.data: pip install "ray\[data\]"'),
        ("elman.spark", "pyspark", "the package pyspark: pip install pyspark"),
        ("elman._arrow", "pyarrow", "label_arrow needs the package pyarrow: pip install pyarrow"),
    ],
)
def test_a_missing_package_is_named(module, missing, package):
    program = textwrap.dedent(
        f"""
        import sys
        sys.modules["{missing}"] = None
        import elman
        try:
            import {module}
        except ImportError as error:
            print(error)
        """
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    import re

    assert re.search(package, run.stdout), run.stdout


def test_import_brings_no_engine():
    code = "import sys, elman; assert not {'ray', 'pyspark', 'pyarrow', 'pandas'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
