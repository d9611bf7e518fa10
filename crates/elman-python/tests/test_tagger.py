import copy
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import elman


def test_tags_are_the_most_probable_labels(trained, corpora):
    sentences = [words for words, _ in corpora[1]]
    tags = trained.label(sentences)
    network = elman.Network(trained.params)
    for words, found in zip(sentences[:200], tags):
        expected = network.predict(trained.ids(words)).argmax(1)
        assert found == [trained.labels[label] for label in expected]
        assert trained.label([words]) == [found]
    right = sum(a == b for (_, own), found in zip(corpora[1], tags) for a, b in zip(own, found))
    assert right / sum(map(len, tags)) > 0.9
    assert trained.label([[], sentences[0], ()]) == [[], tags[0], []]
    assert trained.label(iter(sentences[:3])) == tags[:3]
    assert trained.label([[word.upper() for word in sentences[0]]]) == [tags[0]]
    assert trained.ids(["never-seen"]) == [0]


def test_save_load_pickle(trained, corpora, tmp_path):
    sentences = [words for words, _ in corpora[1][:50]]
    trained.save(tmp_path / "model")
    again = [elman.Tagger.load(tmp_path / "model"), elman.Tagger.load(str(tmp_path / "model"), threads=2)]
    again += [pickle.loads(pickle.dumps(trained)), copy.deepcopy(trained)]
    for tagger in again:
        assert tagger.label(sentences) == trained.label(sentences)
        assert (tagger.words, tagger.labels, tagger.shape) == (trained.words, trained.labels, trained.shape)
        upper = [[word.upper() for word in sentence] for sentence in sentences]
        assert tagger.label(upper) == trained.label(sentences)


def test_npy_is_what_numpy_reads(trained, tmp_path):
    trained.export(tmp_path / "npy", "npy")
    names = dict(emb="embeddings")
    for name, array in trained.params.items():
        read = numpy.load(tmp_path / "npy" / f"{names.get(name, name)}.npy")
        assert read.dtype == array.dtype and (read == array).all()
    # As `elman export` writes them.
    assert (tmp_path / "npy" / "vocab.txt").read_text().splitlines() == trained.words
    assert (tmp_path / "npy" / "labels.txt").read_text().splitlines() == trained.labels
    trained.export(tmp_path / "capital", "npy", capital=True, dtype="float64")
    assert numpy.load(tmp_path / "capital" / "Wx.npy").dtype == numpy.float64


def test_what_is_exported_can_be_read(trained, corpora, tmp_path):
    sentences = [words for words, _ in corpora[1][:50]]
    trained.export(tmp_path / "npy", "npy")
    trained.export(tmp_path / "rnn.safetensors", "torch", nonlinearity="sigmoid")
    rename = {"emb.weight": "words.weight", "rnn": "encoder"}
    trained.export(tmp_path / "named", "torch", prefix="model.", rename=rename, dtype="float64")
    back = {after: before for before, after in rename.items()}
    for tagger in (
        elman.Tagger.read(tmp_path / "npy", "npy", lowercase=True),
        elman.Tagger.read(tmp_path / "rnn.safetensors", "torch", threads=2),
        elman.Tagger.read(tmp_path / "named", "torch", prefix="model.", rename=back),
    ):
        assert (tagger.words, tagger.labels) == (trained.words, trained.labels)
        assert tagger.label(sentences) == trained.label(sentences)
        assert tagger.label([[word.upper() for word in sentences[0]]]) == trained.label(sentences[:1])
    (tmp_path / "oov").write_text("\n".join(["oov", *trained.words[1:]]))
    arguments = (tmp_path / "npy", "npy")
    assert elman.Tagger.read(*arguments, words=tmp_path / "oov", unknown="oov").words == trained.words
    (tmp_path / "npy" / "labels.txt").unlink()
    for call, kind, message in [
        (lambda: elman.Tagger.read(*arguments), FileNotFoundError, "labels.txt: .* the option labels names another"),
        (
            lambda: elman.Tagger.read(*arguments, words=tmp_path / "oov", labels=tmp_path / "npy" / "vocab.txt"),
            ValueError,
            r"option labels\)",
        ),
        (lambda: elman.Tagger.read(tmp_path / "named", "torch"), ValueError, 'tensor "model.encoder.bias_hh_l0"'),
        (lambda: elman.Tagger.read(*arguments, prefix="a."), ValueError, "prefix: expected the format torch"),
        (lambda: elman.Tagger.read(tmp_path, "onnx"), ValueError, "format: expected npy or torch, found onnx"),
        (lambda: elman.Tagger.read(*arguments, rename=3), TypeError, "rename"),
        (lambda: trained.export(tmp_path / "x", "onnx", dtype="float64"), ValueError, "dtype: expected the format npy"),
        (lambda: trained.export(tmp_path / "x", "npy", dtype="float16"), ValueError, "dtype: expected float32 or"),
    ]:
        with pytest.raises(kind, match=message):
            call()
    assert not (tmp_path / "x").exists()


def test_a_jordan_folder_is_refused_by_its_name(trained, tmp_path):
    trained.export(tmp_path / "npy", "npy")
    (tmp_path / "npy" / "h0.npy").rename(tmp_path / "npy" / "s0.npy")
    with pytest.raises(ValueError, match="expected elman, found jordan"):
        elman.Tagger.read(tmp_path / "npy", "npy")


def test_what_is_wrong_is_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot read the model: there is no such folder"):
        elman.Tagger.load(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="a file, expected a model folder"):
        trained.save(tmp_path / "file")
    with pytest.raises(ValueError, match="format: expected onnx, torch or npy, found xml"):
        trained.export(tmp_path / "out", "xml")
    with pytest.raises(ValueError, match="nonlinearity: expected tanh or sigmoid, found relu"):
        trained.export(tmp_path / "out", "onnx", nonlinearity="relu")
    with pytest.raises(ValueError, match="nonlinearity: expected none for npy"):
        trained.export(tmp_path / "out", "npy", nonlinearity="tanh")
    assert not (tmp_path / "out").exists()
    with pytest.raises(OSError, match="cannot write"):
        trained.export(tmp_path / "none" / "out", "onnx")
    for wrong in ("a text", ["a text"], [[1]], [["a"], 3]):
        with pytest.raises(TypeError):
            trained.label(wrong)
    arguments = dict(params=trained.params, words=trained.words, labels=trained.labels)
    for change, message in [
        (dict(words=trained.words[1:]), "word 0: expected <UNK>"),
        (dict(words=trained.words[:-1]), "number of words"),
        (dict(labels=trained.labels[:-1]), "number of tags"),
        (dict(params={**trained.params, "b": trained.params["b"] * numpy.nan}), "expected a finite number, found NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            elman.Tagger(**{**arguments, **change})


def test_the_example(tmp_path, monkeypatch, capsys):
    example = Path(__file__).parent.parent / "examples" / "train.py"
    monkeypatch.setattr(sys, "argv", [str(example), str(tmp_path / "model")])
    runpy.run_path(str(example), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "oslo/B-" in lines[-1] and float(lines[-4].split("%")[0].split()[-1]) > 99
    assert elman.Tagger.load(tmp_path / "model").label([["oslo"]])


def test_stubs_name_what_there_is():
    import ast

    stubs = ast.parse((Path(elman.__file__).parent / "__init__.pyi").read_text())
    stubbed = {node.name: node for node in stubs.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    # The module verify has stubs of its own.
    public = {name for name in elman.__all__ if name not in ("__version__", "verify")}
    assert public == {name for name in stubbed if not name.startswith("_")}
    for name in public:
        found = getattr(elman, name)
        assert found.__doc__, name
        if isinstance(found, type):
            methods = {node.name for node in stubbed[name].body if isinstance(node, ast.FunctionDef)} - {"__new__"}
            assert methods == {method for method in vars(found) if not method.startswith("_")}, name
            assert all(getattr(found, method).__doc__ for method in methods), name


def test_import_does_not_bring_torch():
    code = "import sys, elman; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
