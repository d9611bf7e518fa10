"""Tagging on Spark gives what `elman tag` prints, for any workers, batches and order, and when a worker dies."""

import os
import random
import sys

import pytest

pytest.importorskip("pyspark", reason="Spark is not installed; .ci/distributed runs this")
from pyspark.sql import SparkSession  # noqa: E402

import elman.spark  # noqa: E402
from engines.texts import PROGRAM, digest  # noqa: E402


def session(master, folder, batch=10_000):
    """A context of so many workers, on the loopback interface."""
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(master)
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "512m",
        "spark.executor.memory": "512m",
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.log.level": "FATAL",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(batch),
    }.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def frame(spark, work, partitions, order=None):
    order = range(len(work.sentences)) if order is None else order
    rows = [(i, work.sentences[i]) for i in order]
    return spark.createDataFrame(spark.sparkContext.parallelize(rows, partitions), "id long, words array<string>")


def rows(tagged):
    return [row.asDict() for row in tagged.collect()]


@pytest.mark.parametrize("workers, batch, partitions", [(1, 10_000, 1), (2, 64, 7), (4, 333, 12)])
def test_any_workers_and_batches(folder, work, tmp_path, workers, batch, partitions):
    spark = session(f"local[{workers}]", folder, batch)
    try:
        given = frame(spark, work, partitions)
        found = rows(elman.spark.tag(given, work.model))
        assert [row["id"] for row in found] == list(range(len(found)))
        work.check(f"Spark, {workers} workers, batches of {batch}, {partitions} partitions", found)
        order = list(range(len(work.sentences)))
        random.Random(7).shuffle(order)
        found = rows(elman.spark.tag(frame(spark, work, partitions, order), work.model))
        assert [row["id"] for row in found] == order
        work.check(f"Spark, {workers} workers, in another order", sorted(found, key=lambda row: row["id"]))
        if workers == 2:
            found = rows(given.mapInPandas(elman.spark.in_pandas(work.model), elman.spark.schema(given)))
            work.check("Spark, 2 workers, mapInPandas", found)
            with pytest.raises(ValueError, match="words: expected one of the columns id, words, found text"):
                elman.spark.tag(given, work.model, words="text")
            work.check_example("tag_spark.py", tmp_path)
            # `elman tag` is a filter: each partition is piped through a process of its own.
            lines = spark.sparkContext.parallelize(work.text.read_text().splitlines(), partitions)
            piped = lines.pipe(f"{PROGRAM} tag --model {work.model}", checkCode=True).collect()
            found = digest("".join(line + "\n" for line in piped))
            print(f"Spark, pipe: {found}")
            assert found == work.digest
    finally:
        spark.stop()


def dying(tag, killed):
    """The same as tag, but its process dies by SIGKILL with the first batch that has the sentence 1000."""

    def tagged(batches):
        for batch in batches:
            if 1000 in batch.column("id").to_pylist():
                try:
                    os.close(os.open(killed, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), 9)
            yield from tag([batch])

    return tagged


def test_a_worker_that_is_killed_is_replaced(folder, work, tmp_path):
    killed = str(tmp_path / "killed")
    for workers in (1, 2, 4):
        # Of a task so many runs may fail.
        spark = session(f"local[{workers},4]", folder, 50)
        try:
            given = frame(spark, work, 9)
            tag = dying(elman.spark.in_arrow(work.model), killed)
            found = rows(given.mapInArrow(tag, elman.spark.schema(given)))
            os.remove(killed)  # It was.
            work.check(f"Spark, {workers} workers, one killed", found)
        finally:
            spark.stop()
