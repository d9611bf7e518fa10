"""Models and a text for the engines, and what `elman tag` makes of the text. Started by .ci/distributed."""

import hashlib
import os
import subprocess

import pytest

import elman

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


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    assert PROGRAM, "ELMAN_PROGRAM: expected the path of the program elman; .ci/distributed sets it"
    folder = tmp_path_factory.mktemp("engines")
    for name, seed, count in (("train", 1, 200), ("dev", 2, 40)):
        (folder / f"{name}.conll").write_text(tagged_text(elman.travel(seed, count)))
    lines = [" ".join(words) for words, _ in elman.travel(3, 2000)]
    lines[77] = "naïve 日本 unknown-words 1234"
    (folder / "text").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session", params=MODELS)
def work(request, folder):
    return Work(folder, request.param)
