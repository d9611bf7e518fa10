"""A model and a text for the engines, and what `elman tag` makes of the text."""

import hashlib
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pyarrow
from pyarrow import parquet

# The program, which .ci/distributed has built.
PROGRAM = os.environ.get("ELMAN_PROGRAM")
MODELS = {
    "softmax": [],
    "features and CRF": ["--affixes", "3", "--shape", "--head", "crf"],
}


def run(*arguments, **options):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def tagged_text(rows):
    """Rows (words, tags) as `elman tag` prints them."""
    return "".join("".join(f"{w}\t{t}\n" for w, t in zip(words, tags, strict=True)) + "\n" for words, tags in rows)


def digest(text):
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()[:16]


class Work:
    def __init__(self, folder, name):
        self.model = str(folder / name.replace(" ", "-"))
        options = "--hidden 16 --embed 10 --window 3 --epochs 2 --lr 0.3".split()
        train, dev = folder / "train.conll", folder / "dev.conll"
        run("train", "--train", train, "--dev", dev, "--model", self.model, *options, *MODELS[name])
        self.text = folder / "text"
        self.output = run("tag", "--model", self.model, self.text)
        self.digest = digest(self.output)
        self.sentences = [line.split() for line in self.text.read_text().splitlines()]

    def check(self, what, rows):
        """Rows as dictionaries, in their order."""
        assert len(rows) == len(self.sentences), (what, len(rows))
        found = digest(tagged_text((list(row["words"]), list(row["tags"])) for row in rows))
        print(f"{what}: {found}, {len(rows)} rows")
        assert found == self.digest, what

    def check_example(self, name, folder):
        """The example, from a Parquet file to a folder of them."""
        words = pyarrow.array(self.sentences, pyarrow.list_(pyarrow.string()))
        parquet.write_table(pyarrow.table({"id": range(len(words)), "words": words}), folder / "text.parquet")
        example = Path(__file__).parents[2] / "examples" / name
        before, sys.argv = sys.argv, [str(example), self.model, str(folder / "text.parquet"), str(folder / "tagged")]
        try:
            runpy.run_path(str(example), run_name="__main__")
        finally:
            sys.argv = before
        self.check(name, parquet.read_table(folder / "tagged").sort_by("id").to_pylist())
