"""What elman.ray and elman.spark share: a worker's model, and the tags of a batch's column."""

import functools
import importlib
import os

from elman._elman import Tagger


def needed(module, name, package=None):
    """A module of another package, which is not installed with this one."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{name} needs the package {module}: pip install {package or module} ({error})") from error


@functools.lru_cache(maxsize=4)
def _loaded(folder, _stamp, isa, threads):
    return Tagger.load(folder, isa=isa, threads=threads)


class Columns:
    """Adds the tags of a column of words to batches. The model is read once in each process, and again when its folder has
    been replaced."""

    def __init__(self, model, words, tags, isa, threads):
        self.tagger = model if isinstance(model, Tagger) else None
        self.folder = None if self.tagger else os.path.abspath(os.fspath(model))
        self.words, self.tags, self.isa, self.threads = words, tags, isa, threads

    def loaded(self):
        if self.tagger:
            return self.tagger
        try:
            found = os.stat(self.folder)
            stamp = found.st_ino, found.st_mtime_ns
        except OSError:
            stamp = None  # Tagger.load says what is wrong.
        return _loaded(self.folder, stamp, self.isa, self.threads)

    def check(self, names):
        """Refuses columns to which the tags cannot be added."""
        if self.words not in names:
            raise ValueError(f"words: expected one of the columns {', '.join(map(str, names))}, found {self.words}")
        if self.tags in names:
            raise ValueError(f"tags: expected the name of a new column, found {self.tags}, which is there")

    def labels(self, column, *, decode=False):
        from elman import _arrow

        found = self.loaded().label_arrow(column)
        return _arrow.decoded(found) if decode else found

    def added(self, batch, *, decode=False):
        """A pyarrow Table or RecordBatch with the column of tags as its last."""
        self.check(batch.schema.names)
        return batch.append_column(self.tags, self.labels(batch.column(self.words), decode=decode))
