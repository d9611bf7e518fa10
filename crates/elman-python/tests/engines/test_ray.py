"""Tagging on Ray Data gives what `elman tag` prints, for any workers, batches and order, and when a worker dies."""

import os
import random

import pytest

pytest.importorskip("ray", reason="Ray is not installed; .ci/distributed runs this")
import pyarrow as pa  # noqa: E402
import ray  # noqa: E402

import elman  # noqa: E402
import elman.ray  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100_000_000,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(tmp_path_factory.mktemp("r")),
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def dataset(work, blocks, order=None):
    """The text with the numbers of its lines, in blocks of about the same size."""
    order = list(range(len(work.sentences))) if order is None else order
    size = -(-len(order) // blocks)
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    words = pa.list_(pa.string())
    tables = [
        pa.table({"id": part, "words": pa.array([work.sentences[i] for i in part], words)}) for part in parts
    ]
    return ray.data.from_arrow(tables)


@pytest.mark.parametrize("workers, batch_size, blocks", [(1, None, 1), (2, 64, 7), (4, 7, 40), (4, 700, 13)])
def test_any_workers_and_batches(work, workers, batch_size, blocks):
    tagged = elman.ray.tag(dataset(work, blocks), work.model, workers=workers, batch_size=batch_size)
    rows = tagged.take_all()
    assert [row["id"] for row in rows] == list(range(len(rows)))
    work.check(f"Ray, {workers} workers, batches of {batch_size}, {blocks} blocks", rows)


def test_any_order_and_a_tagger_that_is_sent(work):
    order = list(range(len(work.sentences)))
    random.Random(7).shuffle(order)
    model = elman.Tagger.load(work.model) if "softmax" in work.model else work.model
    tagged = elman.ray.tag(dataset(work, 9, order), model, workers=2, batch_size=50)
    rows = tagged.take_all()
    assert [row["id"] for row in rows] == order
    work.check("Ray, 2 workers, in another order", sorted(rows, key=lambda row: row["id"]))


def test_the_example(work, tmp_path):
    work.check_example("tag_ray.py", tmp_path)


def test_a_worker_that_is_killed_is_replaced(work, tmp_path):
    killed = str(tmp_path / "killed")

    class Killed(elman.ray.Tag):
        """Dies by SIGKILL with the first batch that has the sentence 1000."""

        def __call__(self, batch):
            if 1000 in batch["id"].to_pylist():
                try:
                    os.close(os.open(killed, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), 9)
            return super().__call__(batch)

    for workers in (1, 2, 4):
        tagged = dataset(work, 20).map_batches(
            Killed,
            fn_constructor_args=[work.model],
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        tagged.context.execution_options.preserve_order = True
        rows = tagged.take_all()
        os.remove(killed)  # It was.
        work.check(f"Ray, {workers} workers, one killed", rows)


def test_columns_and_batches_that_do_not_fit_are_named(work):
    tag = elman.ray.Tag(work.model, words="text")
    with pytest.raises(ValueError, match="words: expected one of the columns id, words, found text"):
        tag(pa.table({"id": [1], "words": [["a"]]}))
    with pytest.raises(ValueError, match="tags: expected the name of a new column, found id"):
        elman.ray.Tag(work.model, tags="id")(pa.table({"id": [1], "words": [["a"]]}))
    with pytest.raises(TypeError, match=r'expected a pyarrow.Table \(batch_format="pyarrow"\), found builtins.dict'):
        tag({"text": [["a"]]})
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        elman.ray.Tag(work.model + "-none")
