"""Bulk tagging on Ray Data: pip install "ray[data]".

    dataset = elman.ray.tag(ray.data.read_parquet("text"), "model", workers=4)
    dataset.write_parquet("tagged")

Each worker is an actor that reads the model once. A worker that dies is replaced, and its blocks are tagged again. The
tags do not depend on the number of workers, nor on batches.
"""

from elman._engines import Columns, needed

ray = needed("ray.data", "elman.ray", '"ray[data]"')

__all__ = ["Tag", "tag"]


class Tag:
    """A callable class for Dataset.map_batches with batch_format="pyarrow": adds the column tags to the column words.

        dataset.map_batches(elman.ray.Tag, fn_constructor_args=["model"], batch_format="pyarrow",
                            compute=ray.data.ActorPoolStrategy(size=4))

    model is a model folder that every worker can read, or an elman.Tagger, which Ray sends to them. words names a column of
    list<string>, which Tagger.label_arrow reads; tags becomes one of list<dictionary<int32, string>>. isa and threads are
    those of Tagger.load.
    """

    def __init__(self, model, words="words", tags="tags", *, isa=None, threads=1):
        self._columns = Columns(model, words, tags, isa, threads)
        self._columns.loaded()

    def __call__(self, batch):
        if not hasattr(batch, "append_column"):
            found = f"{type(batch).__module__}.{type(batch).__name__}"
            raise TypeError(f'batch: expected a pyarrow.Table (batch_format="pyarrow"), found {found}')
        return self._columns.added(batch)


def tag(dataset, model, words="words", tags="tags", *, workers=None, batch_size=None, isa=None, threads=1, **options):
    """A dataset with the column tags beside its others: map_batches with Tag. Rows keep their order and number.

    workers is the number of actors; None leaves it to Ray. Each uses so many threads, and reserves so many CPUs. options are
    those of map_batches; the others are those of Tag. The dataset's option preserve_order is set.
    """
    compute = ray.ActorPoolStrategy() if workers is None else ray.ActorPoolStrategy(size=workers)
    options = {"num_cpus": threads, "compute": compute, "batch_size": batch_size, **options}
    tagged = dataset.map_batches(
        Tag,
        fn_constructor_args=[model, words, tags],
        fn_constructor_kwargs={"isa": isa, "threads": threads},
        batch_format="pyarrow",
        udf_modifying_row_count=False,
        **options,
    )
    tagged.context.execution_options.preserve_order = True
    return tagged
