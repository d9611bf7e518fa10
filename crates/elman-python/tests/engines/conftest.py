"""Models and a text for the engines. Started by .ci/distributed."""

import pytest

import elman
from engines.texts import MODELS, PROGRAM, Work, tagged_text


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    if not PROGRAM:
        pytest.skip("ELMAN_PROGRAM is not set; .ci/distributed runs this")
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
