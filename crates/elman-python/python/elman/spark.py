"""Bulk tagging on Spark: pip install pyspark pyarrow (and Java).

    frame = elman.spark.tag(spark.read.parquet("text"), "model")
    frame.write.parquet("tagged")

A worker of Spark is a process that reads the model once, and keeps it for later tasks. A task whose worker dies is run
again by Spark. The tags do not depend on the number of workers, nor on batches (spark.sql.execution.arrow.maxRecordsPerBatch).
"""

from elman._engines import Columns, needed

needed("pyspark", "elman.spark")
pyarrow = needed("pyarrow", "elman.spark")

from pyspark.sql.types import ArrayType, StringType, StructField, StructType  # noqa: E402

__all__ = ["in_arrow", "in_pandas", "schema", "tag"]


def tag(frame, model, words="words", tags="tags", *, isa=None, threads=1):
    """A DataFrame with the column tags, array<string>, beside its others: mapInArrow with in_arrow. Rows keep their order and
    number.

    model is a model folder that every worker can read. words names a column of array<string>. isa and threads are those of
    Tagger.load.
    """
    return frame.mapInArrow(in_arrow(model, words, tags, isa=isa, threads=threads), schema(frame, words, tags))


def schema(frame, words="words", tags="tags"):
    """The types of the frame's columns and of the column of tags, for mapInArrow and mapInPandas."""
    Columns("", words, tags, None, 1).check(frame.columns)
    return StructType([*frame.schema.fields, StructField(tags, ArrayType(StringType()))])


def in_arrow(model, words="words", tags="tags", *, isa=None, threads=1):
    """A function for DataFrame.mapInArrow: from batches of Arrow to batches with the column of tags. Spark reads no
    dictionaries: the tags are copied into strings."""
    columns = Columns(model, words, tags, isa, threads)

    def tagged(batches):
        for batch in batches:
            yield columns.added(batch, decode=True)

    return tagged


def in_pandas(model, words="words", tags="tags", *, isa=None, threads=1):
    """A function for DataFrame.mapInPandas: from frames of pandas to frames with the column of tags. Slower than in_arrow,
    because pandas has each word as an object."""
    columns = Columns(model, words, tags, isa, threads)

    def tagged(frames):
        for frame in frames:
            columns.check(list(frame.columns))
            column = pyarrow.array(frame[words], pyarrow.list_(pyarrow.string()), from_pandas=True)
            yield frame.assign(**{tags: columns.labels(column).to_pylist()})

    return tagged
