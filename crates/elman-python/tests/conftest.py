import numpy
import pytest

import elman

SHAPE = dict(vocab=20, embed=4, window=5, hidden=7, classes=3)


def equations(params, words):
    """The network as its equations read, in the number type of the parameters."""
    emb, wx, wh, w, bh, b, h = (params[name] for name in ("emb", "wx", "wh", "w", "bh", "b", "h0"))
    window = wx.shape[0] // emb.shape[1]
    padding = [len(emb) - 1] * (window // 2)
    padded = padding + list(words) + padding
    rows = []
    for t in range(len(words)):
        x = emb[padded[t : t + window]].reshape(-1)
        h = 1 / (1 + numpy.exp(-(x @ wx + h @ wh + bh)))
        e = numpy.exp(h @ w + b)
        rows.append(e / e.sum())
    return numpy.array(rows)


def random_params(dtype, seed=7):
    params = elman.init(**SHAPE, seed=seed, dtype=dtype)
    generator = numpy.random.default_rng(seed)
    for name in ("bh", "b", "h0"):
        params[name] = generator.uniform(-0.5, 0.5, params[name].shape).astype(dtype)
    return params


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def params(dtype):
    return random_params(dtype)


@pytest.fixture(scope="session")
def corpora():
    return elman.travel(1, 1500), elman.travel(2, 1000)


@pytest.fixture(scope="session")
def trained(corpora):
    """A tagger that has learned something, so that its probabilities differ."""
    train, _ = corpora
    words = ["<UNK>", *sorted({word for sentence, _ in train for word in sentence})]
    labels = sorted({tag for _, tags in train for tag in tags})
    word_ids = {word: id for id, word in enumerate(words)}
    params = elman.init(vocab=len(words), embed=20, window=7, hidden=40, classes=len(labels))
    learner = elman.Learner(params)
    for _ in range(6):
        for sentence, tags in train:
            learner.step([([word_ids[word] for word in sentence], [labels.index(tag) for tag in tags])], 0.1)
    return elman.Tagger(learner.params, words, labels, lowercase=True)
