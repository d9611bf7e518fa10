"""The exported graph in other engines, on 1,000 sentences: the same labels, probabilities within 1e-5."""

import json

import numpy
import pytest

import elman


@pytest.fixture(scope="module", params=["sigmoid", "tanh"])
def exported(request, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    trained.export(path, "onnx", nonlinearity=request.param)
    return path


def compare(trained, corpora, run):
    network = elman.Network(trained.params)
    worst = 0.0
    for words, _ in corpora[1]:
        ids = trained.ids(words)
        ours, theirs = network.predict(ids), run(numpy.array(ids, dtype=numpy.int64))
        assert theirs.shape == ours.shape and theirs.dtype == ours.dtype
        worst = max(worst, abs(ours - theirs).max())
        assert (ours.argmax(1) == theirs.argmax(1)).all(), words
    assert len(corpora[1]) == 1000
    print(f"largest difference of a probability: {worst:.1e}")
    assert worst < 1e-5


def test_onnxruntime(trained, corpora, exported):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    compare(trained, corpora, lambda ids: session.run(None, {"words": ids})[0])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == trained.labels
    assert json.loads(metadata["vocabulary"]) == trained.words
    assert json.loads(metadata["normalization"]) == {"lowercase": True, "digits": False}
    assert metadata["unknown"] == "0"


def test_tract(trained, corpora, tmp_path):
    tract = pytest.importorskip("tract", reason="tract is not installed")
    path = tmp_path / "model.onnx"
    trained.export(path, "onnx", nonlinearity="tanh")
    runnable = tract.onnx().load(str(path)).into_model().into_runnable()
    compare(trained, corpora, lambda ids: runnable.run([ids])[0].to_numpy())


def test_checker(exported):
    onnx = pytest.importorskip("onnx", reason="onnx, with the format's own checker, is not installed")
    onnx.checker.check_model(str(exported), full_check=True)


@pytest.mark.parametrize("window", [1, 3, 9])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_other_cells_and_windows_and_short_sentences(cell, window, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    params = elman.init(vocab=6, embed=3, window=window, hidden=5, classes=4, cell=cell)
    generator = numpy.random.default_rng(1)
    for array in params.values():
        array[...] = generator.uniform(-1, 1, array.shape)
    tagger = elman.Tagger(params, ["<UNK>", *"abcde"], list("wxyz"), cell=cell)
    tagger.export(tmp_path / "model.onnx", "onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for ids in ([0], [5, 1], [1, 2, 3, 4, 5, 0, 1, 2, 3]):
        s = session.run(None, {"words": numpy.array(ids)})[0]
        numpy.testing.assert_allclose(s, elman.Network(params, cell=cell).predict(ids), rtol=0, atol=1e-6)
