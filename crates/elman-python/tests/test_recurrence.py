import gc
import re

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


def sigmoid(a):
    return 1 / (1 + numpy.exp(-a))


def gru_arrays(dtype, rows=7, inputs=5, hidden=4, sequences=2, seed=1):
    """xs, wx, wh, bh, h0, bhn and initial states."""
    generator = numpy.random.default_rng(seed)
    gates = 3 * hidden
    shapes = [(rows, inputs), (inputs, gates), (hidden, gates), (gates,), (hidden,), (hidden,), (sequences, hidden)]
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def gru_equations(xs, wx, wh, bh, h0, bhn, initial, lengths):
    states, row = [], 0
    for i, length in enumerate(lengths):
        h = h0 if initial is None else initial[i]
        for x in xs[row : row + length]:
            (a_r, a_z, a_n), (h_r, h_z, h_n) = numpy.split(x @ wx + bh, 3), numpy.split(h @ wh, 3)
            r, z = sigmoid(a_r + h_r), sigmoid(a_z + h_z)
            n = numpy.tanh(a_n + r * (h_n + bhn))
            h = (1 - z) * n + z * h
            states.append(h)
        row += length
    return numpy.array(states)


def lstm_arrays(dtype, rows=7, inputs=5, hidden=4, sequences=2, seed=1):
    """xs, wx, wh, bh, h0, c0 and initial states."""
    generator = numpy.random.default_rng(seed)
    gates = 4 * hidden
    shapes = [(rows, inputs), (inputs, gates), (hidden, gates), (gates,), (hidden,), (hidden,), (sequences, 2 * hidden)]
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def lstm_equations(xs, wx, wh, bh, h0, c0, initial, lengths):
    states, row = [], 0
    for k, length in enumerate(lengths):
        h, c = (h0, c0) if initial is None else numpy.split(initial[k], 2)
        for x in xs[row : row + length]:
            i, f, g, o = numpy.split(x @ wx + h @ wh + bh, 4)
            c = sigmoid(f) * c + sigmoid(i) * numpy.tanh(g)
            h = sigmoid(o) * numpy.tanh(c)
            states.append(h)
        row += length
    return numpy.array(states)


# Of each cell its arrays, its equations, and the name of the tensor that Elman's does not have.
cells = pytest.mark.parametrize(
    ("cell", "extra", "arrays_of", "equations_of"),
    [("gru", "bhn", gru_arrays, gru_equations), ("lstm", "c0", lstm_arrays, lstm_equations)],
)


@cells
def test_a_cell_is_its_equations(dtype, cell, extra, arrays_of, equations_of):
    *inputs, more, initial = arrays_of(dtype)
    tolerance = 2e-6 if dtype == "float32" else 1e-14
    for initial in (None, initial):
        h = elman.recurrence(*inputs, [3, 4], cell=cell, initial=initial, **{extra: more})
        expected = equations_of(*inputs, more, initial, [3, 4])
        numpy.testing.assert_allclose(h, expected, atol=tolerance, rtol=0)


@cells
@pytest.mark.parametrize("with_initial", [False, True])
def test_backward_of_a_cell_is_that_of_finite_differences(with_initial, cell, extra, arrays_of, equations_of):
    *inputs, more, initial = arrays_of("float64")
    initial = initial if with_initial else None
    dh = numpy.random.default_rng(2).normal(size=(7, 4))
    gradients = elman.vjp(*inputs, [3, 4], cell=cell, initial=initial, **{extra: more}).backward(dh)
    given = [array for array in (*inputs, more, initial) if array is not None]
    assert [gradient.shape for gradient in gradients] == [array.shape for array in given]
    for array, gradient in zip(given, gradients):
        for index in numpy.ndindex(array.shape):
            kept = array[index]
            sides = []
            for step in (1e-5, -1e-5):
                array[index] = kept + step
                sides.append((dh * equations_of(*inputs, more, initial, [3, 4])).sum())
            array[index] = kept
            assert abs(gradient[index] - (sides[0] - sides[1]) / 2e-5) < 1e-8



def test_the_sigmoid_may_be_another_activation(dtype):
    xs, wx, wh, bh, h0 = arrays(dtype)
    for name, function in (("tanh", numpy.tanh), ("relu", lambda a: numpy.maximum(a, 0)), ("sigmoid", sigmoid)):
        h, states = h0, []
        for x in xs:
            h = function(x @ wx + h @ (wh / 4) + bh)
            states.append(h)
        found = elman.recurrence(xs, wx, wh / 4, bh, h0, activation=name)
        numpy.testing.assert_allclose(found, numpy.array(states), atol=1e-5 if dtype == "float32" else 1e-13, rtol=0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_sequence_cut_anywhere_gives_the_bits_of_the_whole(dtype, cell):
    xs, *tensors, more, _ = gru_arrays(dtype) if cell == "gru" else lstm_arrays(dtype)
    options = dict(cell=cell, **{"bhn" if cell == "gru" else "c0": more})
    whole = elman.recurrence(xs, *tensors, **options)
    dh = numpy.random.default_rng(3).normal(size=whole.shape).astype(dtype)
    expected = elman.vjp(xs, *tensors, **options).backward(dh)
    for cut in range(1, 7):
        first = elman.vjp(xs[:cut], *tensors, **options)
        second = elman.vjp(xs[cut:], *tensors, initial=first.last, **options)
        assert (numpy.concatenate([first.h, second.h]) == whole).all()
        dxs, *_, dinitial = second.backward(dh[cut:])
        assert (numpy.concatenate([first.backward(dh[:cut], dinitial)[0], dxs]) == expected[0]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(cell="rnn"), "cell: expected elman or gru or lstm, found rnn"),
        (dict(c0=numpy.zeros(4)), "c0: expected none for the cell elman"),
        (dict(activation="selu"), "activation: expected sigmoid, tanh, relu, found selu"),
        (dict(cell="gru", activation="tanh"), "activation: expected none for the cell gru, found tanh"),
        (dict(cell="gru"), "columns of wx: expected a multiple of 3, the gates of gru, found 4"),
        (dict(bhn=numpy.zeros(4)), "bhn: expected none for the cell elman"),
        (dict(initial=numpy.zeros((2, 4))), "initial states: expected 1, one for each sequence, found 2"),
        (dict(initial=numpy.zeros((1, 3))), "width of the initial states: expected 4"),
        (dict(initial=numpy.full((1, 4), numpy.nan)), r"initial\[0, 0\]: expected a finite number"),
    ],
)
def test_a_wrong_cell_is_named(options, message):
    for function in (elman.recurrence, elman.vjp):
        with pytest.raises(ValueError, match=message):
            function(*arrays("float64"), **options)
    with pytest.raises(ValueError, match="bhn: expected an array for the cell gru"):
        elman.recurrence(*gru_arrays("float64")[:5], cell="gru")
    with pytest.raises(ValueError, match="c0: expected an array for the cell lstm"):
        elman.recurrence(*lstm_arrays("float64")[:5], cell="lstm")


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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [numpy.nan, numpy.inf, -numpy.inf])
def test_inputs_that_are_not_finite_are_refused(dtype, name, wrong):
    inputs = dict(zip(NAMES, arrays(dtype)))
    inputs[name].flat[-1] = wrong
    last = [size - 1 for size in inputs[name].shape]
    for function in (elman.recurrence, elman.vjp):
        with pytest.raises(ValueError, match=re.escape(f"{name}{last}: expected a finite number, found")):
            function(**inputs)
    # In any order of memory.
    inputs[name] = numpy.asfortranarray(inputs[name])
    with pytest.raises(ValueError, match=f"{name}.*expected a finite number"):
        elman.recurrence(**inputs)
    with pytest.raises(ValueError, match="dh.*expected a finite number"):
        trace = elman.vjp(*arrays(dtype))
        trace.backward(trace.h * dtype_of(trace.h)(wrong))


def dtype_of(array):
    return array.dtype.type
