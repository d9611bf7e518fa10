"""Tagger.label_arrow; imported when the first column comes."""

import numpy

from elman._engines import needed

pyarrow = needed("pyarrow", "label_arrow")
import pyarrow.compute  # noqa: E402


def label(tagger, column):
    chunks = column
    if not isinstance(column, (pyarrow.Array, pyarrow.ChunkedArray)):
        if hasattr(column, "__arrow_c_stream__"):
            chunks = pyarrow.chunked_array(column)
        elif hasattr(column, "__arrow_c_array__"):
            chunks = pyarrow.array(column)
        else:
            raise TypeError(f"column: expected an Arrow column of list<string>, found {type(column).__name__}")
    tags = pyarrow.array(tagger.labels, pyarrow.string())
    if isinstance(chunks, pyarrow.Array):
        return _chunk(tagger, tags, chunks, 0)
    row, found = 0, []
    for chunk in chunks.chunks or [pyarrow.array([], chunks.type)]:
        found.append(_chunk(tagger, tags, chunk, row))
        row += len(chunk)
    return pyarrow.chunked_array(found)


def decoded(column):
    """The same as list<string>, for those who cannot read dictionaries: a copy."""
    if isinstance(column, pyarrow.ChunkedArray):
        return pyarrow.chunked_array([decoded(chunk) for chunk in column.chunks])
    mask = column.is_null() if column.null_count else None
    return type(column).from_arrays(column.offsets, column.values.dictionary_decode(), mask=mask)


def _chunk(tagger, tags, chunk, row):
    types, found = pyarrow.types, chunk.type
    lists = [types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view]
    if types.is_null(found):
        chunk = chunk.cast(pyarrow.list_(pyarrow.string()))
    elif not (any(is_list(found) for is_list in lists) and _is_text(found.value_type)):
        raise TypeError(f"column: expected list<string>, found {found}")
    is_large = types.is_large_list(found) or types.is_large_list_view(found)
    kind, size = (pyarrow.LargeListArray, numpy.int64) if is_large else (pyarrow.ListArray, numpy.int32)
    mask = chunk.is_null() if chunk.null_count else None
    if isinstance(chunk, kind) and mask is None:
        words = chunk.values
        offsets = chunk.offsets.to_numpy() if len(chunk) else numpy.zeros(1, size)
    else:
        # A null row, or one of a view, may lie anywhere: the words of the others, row by row.
        words = chunk.flatten()
        lengths = pyarrow.compute.fill_null(pyarrow.compute.list_value_length(chunk), 0)
        offsets = numpy.zeros(len(chunk) + 1, size)
        numpy.cumsum(lengths.to_numpy(zero_copy_only=False), out=offsets[1:])
    first, last = int(offsets[0]), int(offsets[-1])
    if words.null_count:
        missing = words.slice(first, last - first).is_null().index(True).as_py()
        if missing >= 0:
            sentence = int(numpy.searchsorted(offsets, first + missing, side="right")) - 1
            place = first + missing - int(offsets[sentence])
            raise ValueError(f"column: expected words, found null as word {place} of row {row + sentence}")
    ids = tagger._label_offsets(offsets, *_strings(words), row)
    coded = pyarrow.DictionaryArray.from_arrays(pyarrow.array(ids.view(numpy.int32)), tags)
    offsets = pyarrow.array(offsets - first if first else offsets)
    return kind.from_arrays(offsets, coded, mask=mask)


def _is_text(word):
    types = pyarrow.types
    word = word.value_type if types.is_dictionary(word) else word
    return any(is_text(word) for is_text in (types.is_string, types.is_large_string, types.is_string_view, types.is_null))


def _strings(words):
    """The offsets and bytes of strings: in place, or of a copy if they have another layout."""
    if pyarrow.types.is_dictionary(words.type):
        words = words.dictionary_decode()
    if not (pyarrow.types.is_string(words.type) or pyarrow.types.is_large_string(words.type)):
        words = words.cast(pyarrow.large_string())
    _, offsets, text = words.buffers()
    size = numpy.dtype(numpy.int64 if pyarrow.types.is_large_string(words.type) else numpy.int32)
    if not len(words):
        return numpy.zeros(1, size), numpy.zeros(0, numpy.uint8)
    offsets = numpy.frombuffer(offsets, size, len(words) + 1, words.offset * size.itemsize)
    return offsets, numpy.frombuffer(text or b"", numpy.uint8)
