import copy
import pickle
import threading

import numpy
import pytest
from conftest import SHAPE, equations, random_params

import elman

WORDS = [3, 0, 19, 7, 7]
BATCH = [(WORDS, [0, 2, 1, 1, 0]), ([5], [2])]
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}


def test_predict_is_the_equations(params, dtype):
    network = elman.Network(params)
    s = network.predict(WORDS)
    assert s.dtype == dtype and s.shape == (5, 3)
    numpy.testing.assert_allclose(s, equations(params, WORDS), rtol=0, atol=TOLERANCE[dtype])
    for same in (numpy.array(WORDS), numpy.array(WORDS, dtype="int16"), tuple(WORDS)):
        assert (network.predict(same) == s).all()
    assert network.shape == SHAPE
    assert network.name.startswith("fast/")


def test_gradient_is_that_of_finite_differences():
    params = random_params("float64")

    def loss(params):
        losses = [-numpy.log(equations(params, words)[range(len(words)), labels]).mean() for words, labels in BATCH]
        return numpy.mean(losses)

    found, gradient = elman.Network(params).gradient(BATCH)
    assert abs(found - loss(params)) < 1e-14
    assert gradient.keys() == params.keys()
    for name, array in params.items():
        assert gradient[name].shape == array.shape
        for index in numpy.ndindex(array.shape):
            sides = []
            for step in (1e-5, -1e-5):
                changed = copy.deepcopy(params)
                changed[name][index] += step
                sides.append(loss(changed))
            assert abs(gradient[name][index] - (sides[0] - sides[1]) / 2e-5) < 1e-9, (name, index)


def test_any_number_of_threads_gives_the_same_bits(params):
    batch = BATCH * 20
    one, three = (elman.Network(params, threads=threads).gradient(batch) for threads in (1, 3))
    assert one[0] == three[0]
    assert all((one[1][name] == three[1][name]).all() for name in one[1])


def test_learner_steps_down_and_normalises(params, dtype):
    learner = elman.Learner(params)
    loss, gradient = elman.Network(params).gradient(BATCH[:1])
    assert abs(learner.step(BATCH[:1], 0.1) - loss) < TOLERANCE[dtype]
    after = learner.params
    numpy.testing.assert_allclose(after["wh"], params["wh"] - 0.1 * gradient["wh"], atol=TOLERANCE[dtype])
    numpy.testing.assert_allclose(numpy.linalg.norm(after["emb"][WORDS], axis=1), 1, atol=1e-6)
    assert (after["emb"][1] == params["emb"][1]).all()
    losses = [learner.step(BATCH, 0.1) for _ in range(50)]
    assert losses[-1] < losses[0]


def test_arrays_of_any_layout_are_taken_and_none_is_kept(params):
    expected = elman.Network(params).predict(WORDS)
    other = {name: numpy.asfortranarray(array) for name, array in params.items()}
    other["h0"] = numpy.repeat(params["h0"], 2)[::2]
    network = elman.Network(other)
    assert (network.predict(WORDS) == expected).all()
    for array in other.values():
        array[...] = 0
    for array in network.params.values():
        array[...] = 0
    assert (network.predict(WORDS) == expected).all()


def test_pickle_and_copy(params):
    network, learner = elman.Network(params, threads=2), elman.Learner(params)
    learner.step(BATCH, 0.1)
    for again in (lambda o: pickle.loads(pickle.dumps(o)), copy.copy, copy.deepcopy):
        assert (again(network).predict(WORDS) == network.predict(WORDS)).all()
        other = again(learner)
        assert all((other.params[name] == array).all() for name, array in learner.params.items())
    assert other.step(BATCH, 0.1) == learner.step(BATCH, 0.1)


@pytest.mark.parametrize("options", [dict(cell="gru"), dict(cell="lstm"), dict(activation="tanh"), dict(activation="relu")])
def test_other_cells_learn_and_keep_what_they_are(options, dtype):
    cell = options.get("cell", "elman")
    params = elman.init(**SHAPE, cell=cell, dtype=dtype)
    assert list(params) == ["emb", "wx", "wh", "w", "bh", *["bhn"] * (cell == "gru"), "b", "h0", *["c0"] * (cell == "lstm")]
    network, learner = elman.Network(params, **options), elman.Learner(params, **options)
    assert (network.cell, network.activation) == (cell, options.get("activation"))
    assert network.shape == SHAPE
    loss, gradient = network.gradient(BATCH)
    assert gradient.keys() == params.keys()
    losses = [learner.step(BATCH, 0.1) for _ in range(50)]
    assert abs(losses[0] - loss) < TOLERANCE[dtype] and losses[-1] < losses[0]
    for again in (lambda o: pickle.loads(pickle.dumps(o)), copy.copy):
        assert (again(network).predict(WORDS) == network.predict(WORDS)).all()
        assert again(learner).step(BATCH, 0.1) == again(learner).step(BATCH, 0.1)
    assert not (elman.Network(random_params(dtype), activation="tanh").predict(WORDS)
                == elman.Network(random_params(dtype)).predict(WORDS)).all()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda p: elman.Network(3), TypeError, "params: expected a mapping of names to arrays, found int"),
        (lambda p: elman.Network({**p, "more": p["b"]}), ValueError, 'found "more"'),
        (lambda p: elman.Network({n: a for n, a in p.items() if n != "wh"}), ValueError, "found no wh"),
        (lambda p: elman.Network({**p, "wh": [[1.0]]}), TypeError, "wh: expected a NumPy array of float64 with 2"),
        (
            lambda p: elman.Network({**p, "wh": p["wh"].astype("float32")}),
            TypeError,
            r"wh: .* found an array of float32 with shape \[7, 7\]",
        ),
        (lambda p: elman.Network({**p, "emb": p["emb"].astype(int)}), TypeError, "found an array of int64"),
        (lambda p: elman.Network({**p, "bh": p["wh"]}), TypeError, "bh: expected .* 1 dimension"),
        (lambda p: elman.Network({**p, "wh": p["wx"]}), ValueError, r"wh: expected \[7, 7\], found \[20, 7\]"),
        (lambda p: elman.Network(p, cell="rnn"), ValueError, "cell: expected elman or gru or lstm, found rnn"),
        (lambda p: elman.Network(p, cell="gru"), ValueError, "expected a multiple of 3|found no bhn"),
        (lambda p: elman.Network({**p, "bhn": p["h0"]}), ValueError, 'found "bhn"'),
        (lambda p: elman.Network({**p, "wx": p["wx"][:-1]}), ValueError, "rows of wx: expected a multiple of 4"),
        (lambda p: elman.Network(p, isa="mmx"), ValueError, "mmx"),
        (lambda p: elman.Network(p, threads=0), ValueError, "threads: expected 1 to 1024, found 0"),
        (lambda p: elman.Network(p).predict([]), ValueError, "sentence: expected at least 1 word, found 0"),
        (lambda p: elman.Network(p).predict([20]), ValueError, "word at position 0: expected an id below 20"),
        (lambda p: elman.Network(p).predict([1 << 32]), ValueError, "words: expected ids of at most 4294967295"),
        (lambda p: elman.Network(p).predict([-1]), ValueError, "words: expected a sequence of integers"),
        (lambda p: elman.Network(p).predict(["a"]), ValueError, "words: expected a sequence of integers"),
        (lambda p: elman.Network(p).predict(numpy.zeros(2)), ValueError, "words: expected a sequence of integers"),
        (lambda p: elman.Network(p).gradient([]), ValueError, "batch: expected at least 1 sentence"),
        (lambda p: elman.Network(p).gradient([([1], [0, 1])]), ValueError, "labels: expected 1"),
        (lambda p: elman.Network(p).gradient([([1], [3])]), ValueError, "label at position 0"),
        (lambda p: elman.Network(p).gradient([1]), TypeError, "batch: expected pairs"),
        (lambda p: elman.Learner(p).step([([1], [3])], 0.1), ValueError, "label at position 0"),
        (
            lambda p: elman.Network({**p, "wh": p["wh"] + numpy.inf}),
            ValueError,
            r"wh\[0, 0\]: expected a finite number, found inf",
        ),
        (lambda p: elman.Learner({**p, "b": p["b"] * numpy.nan}), ValueError, r"b\[0\]: expected a finite number"),
        (lambda p: elman.Learner(p).step(BATCH, float("nan")), ValueError, "learning_rate: expected a finite number"),
        (lambda p: elman.Learner(p).step(BATCH, -float("inf")), ValueError, "learning_rate: .* found -inf"),
        (
            lambda p: elman.Learner({n: a.astype("float32") for n, a in p.items()}).step(BATCH, 1e300),
            ValueError,
            "learning_rate: expected a finite number of the parameters' type",
        ),
        (lambda p: elman.init(**{**SHAPE, "window": 4}), ValueError, "window: expected an odd number, found 4"),
        (lambda p: elman.init(**SHAPE, dtype="int8"), ValueError, "dtype: expected float32 or float64, found int8"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call(random_params("float64"))


def test_the_lock_is_released():
    """While one thread computes for long, another one runs."""
    params = elman.init(vocab=10, embed=100, window=9, hidden=1000, classes=10)
    network = elman.Network(params)
    words = [1, 2, 3, 4] * 1000
    done = threading.Event()
    thread = threading.Thread(target=lambda: (network.predict(words), done.set()))
    turns = 0
    thread.start()
    while not done.wait(0.001):
        turns += 1
    thread.join()
    # With the lock held, the loop above would not turn before the end.
    assert turns > 10
