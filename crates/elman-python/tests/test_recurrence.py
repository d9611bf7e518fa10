import gc

import numpy
import pytest

import elman

NAMES = ("xs", "wx", "wh", "bh", "h0")


def arrays(dtype, rows=7, inputs=5, hidden=4, seed=1):
    generator = numpy.random.default_rng(seed)
    shapes = [(rows, inputs), (inputs, hidden), (hidden, hidden), (hidden,), (hidden,)]
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def equations(xs, wx, wh, bh, h0, lengths):
    states, row = [], 0
    for length in lengths:
        h = h0
        for x in xs[row : row + length]:
            h = 1 / (1 + numpy.exp(-(x @ wx + h @ wh + bh)))
            states.append(h)
        row += length
    return numpy.array(states)


def test_states_are_the_equations(dtype):
    inputs = arrays(dtype)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    for lengths in ([7], [3, 1, 3]):
        h = elman.recurrence(*inputs, lengths)
        assert h.dtype == dtype
        numpy.testing.assert_allclose(h, equations(*inputs, lengths), atol=tolerance, rtol=0)
        assert (h == elman.recurrence(*inputs, numpy.array(lengths), threads=2)).all()
        assert (h == elman.vjp(*inputs, lengths).h).all()
    assert (elman.recurrence(*inputs) == elman.recurrence(*inputs, [7])).all()
    strided = [numpy.repeat(array, 2, axis=-1)[..., ::2] for array in inputs]
    assert (elman.recurrence(*strided) == elman.recurrence(*inputs)).all()


def test_backward_is_that_of_finite_differences():
    inputs, lengths = arrays("float64"), [3, 4]
    dh = numpy.random.default_rng(2).normal(size=(7, 4))
    trace = elman.vjp(*inputs, lengths)
    gradients = trace.backward(dh)
    assert [gradient.shape for gradient in gradients] == [array.shape for array in inputs]
    for name, array, gradient in zip(NAMES, inputs, gradients):
        for index in numpy.ndindex(array.shape):
            kept = array[index]
            sides = []
            for step in (1e-5, -1e-5):
                array[index] = kept + step
                sides.append((dh * equations(*inputs, lengths)).sum())
            array[index] = kept
            assert abs(gradient[index] - (sides[0] - sides[1]) / 2e-5) < 1e-8, (name, index)


def test_a_trace_outlives_its_inputs_and_is_not_touched_by_their_changes():
    inputs = arrays("float32")
    dh = numpy.ones((7, 4), dtype="float32")
    expected = elman.vjp(*inputs).backward(dh)
    trace = elman.vjp(*inputs)
    for array in inputs:
        array[...] = 9
    del inputs
    gc.collect()
    for _ in range(2):
        assert all((a == b).all() for a, b in zip(trace.backward(dh), expected))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (dict(xs=[[1.0]]), TypeError, "xs: expected a NumPy array of float32 or float64 with 2 dimensions, found list"),
        (dict(xs=numpy.zeros((7, 5), "float16")), TypeError, "found an array of float16"),
        (dict(xs=numpy.zeros((7, 4))), ValueError, "width of the sequences: expected 5"),
        (dict(xs=numpy.zeros((0, 5))), ValueError, "sequence 0: expected at least 1 step"),
        (dict(wh=numpy.zeros((4, 5))), ValueError, "wh: expected"),
        (dict(wh=numpy.zeros((4, 4), "float32")), TypeError, "wh: expected a NumPy array of float64"),
        (dict(lengths=[3, 3]), ValueError, "rows of the sequences: expected 6"),
        (dict(lengths=[7, 0]), ValueError, "sequence 1: expected at least 1 step"),
        (dict(lengths=[-7]), ValueError, "lengths: expected a sequence of integers"),
        (dict(isa="mmx"), ValueError, "mmx"),
    ],
)
def test_what_is_wrong_is_named(change, kind, message):
    for function in (elman.recurrence, elman.vjp):
        with pytest.raises(kind, match=message):
            function(**{**dict(zip(NAMES, arrays("float64"))), **change})
    with pytest.raises(TypeError, match="dh: expected a NumPy array of float64"):
        elman.vjp(*arrays("float64")).backward(numpy.zeros((7, 4), "float32"))
    with pytest.raises(ValueError, match="dh: expected"):
        elman.vjp(*arrays("float64")).backward(numpy.zeros((6, 4)))
