import functools
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import threading

import numpy
import pytest

import elman
import elman.onnx_peer

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "own_kernel.py"


def example():
    spec = importlib.util.spec_from_file_location("own_kernel", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.kernel


kernel = example()
tanh = functools.partial(elman.verify.recurrence, activation="tanh")


def sigmoid(a):
    return 1 / (1 + numpy.exp(-numpy.clip(a, -40, 40)))


def gru(xs, lengths, wx, wh, bh, h0, dh, bhn):
    """elman's own, and so also a test of it through this door."""
    if dh is None:
        return elman.recurrence(xs, wx, wh, bh, h0, lengths, cell="gru", bhn=bhn)
    trace = elman.vjp(xs, wx, wh, bh, h0, lengths, cell="gru", bhn=bhn)
    return trace.h, trace.backward(dh)


def ours(activation):
    def states_and_gradients(xs, lengths, wx, wh, bh, h0, dh):
        trace = elman.vjp(xs, wx, wh, bh, h0, lengths, activation=activation)
        return (trace.h, *trace.backward(dh)) if dh is not None else trace.h

    return states_and_gradients


def test_sound_kernels_pass(dtype):
    for report in (
        tanh(kernel, dtype=dtype, cases=12),
        elman.verify.recurrence(gru, cell="gru", dtype=dtype, cases=12, threads=True),
        elman.verify.recurrence(ours("sigmoid"), dtype=dtype, cases=12, threads=True),
        elman.verify.recurrence(ours("relu"), activation="relu", dtype=dtype, cases=12),
    ):
        report.assert_passed()
        assert report.failure is None and report.failures == [] and 0 < report.worst < 1
        digits = 18 if dtype == "float32" else 46
        assert set(report.bits) >= {"h", "xs", "wx", "wh", "bh", "h0"} and min(report.bits.values()) > digits
        same, compared = report.same_bits["repeat"]
        assert same == compared > 200


def test_the_cases_are_those_of_rust():
    names = []
    report = tanh(kernel, cases=2, progress=False)
    names = {measured["case"] for measured in report.data["measurements"]}
    assert {"recurrence/0", "recurrence-large/0", "recurrence/seventy-elman-tanh", "recurrence/wide-elman-tanh"} <= names
    assert {measured["against"] for measured in report.data["measurements"]} == {"duals", "differences", "reference", "itself"}
    assert report.data["number"] == "f32" and report.data["seed"] == 42


def states_alone(xs, lengths, wx, wh, bh, h0, dh):
    return kernel(xs, lengths, wx, wh, bh, h0, None)


def test_states_alone_are_judged_as_such():
    report = tanh(states_alone, cases=8)
    report.assert_passed()
    assert set(report.bits) == {"h"}
    report = tanh(states_alone, cases=8, gradients=True)
    assert not report.passed and "the answer has no xs" in report.failures[0]
    assert not tanh(lambda *given: 1.001 * states_alone(*given), cases=8).passed


def changed(change, when=lambda call: True, name="changed"):
    """The kernel with a change of its results by their names."""
    calls = [0]

    def function(*given):
        calls[0] += 1
        found = kernel(*given)
        results = {"h": found} if given[-1] is None else {"h": found[0], **found[1]}
        if when(calls[0]):
            change(results)
        return results

    function.__name__ = name
    return function


def on(name, f):
    def change(results):
        if name in results:
            results[name] = f(results[name].copy())

    return change


def largest(array):
    array.flat[abs(array).argmax()] *= 1.001
    return array


def last_entry(array):
    array.flat[-1] = 0
    return array


FAULTS = {"negated": numpy.negative, "doubled": lambda a: 2 * a, "largest": largest, "last": last_entry}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("tensor", ["h", "xs", "wx", "wh", "bh", "h0"])
def test_a_fault_in_a_tensor_is_refused(tensor, fault):
    assert not tanh(changed(on(tensor, FAULTS[fault])), dtype="float64", cases=6).passed


def test_rare_faults_and_faults_of_history_are_refused():
    def last_bit(results):
        for array in results.values():
            array.flat[0] *= 1 + numpy.finfo(array.dtype).eps

    for when in (lambda call: call % 151 == 0, lambda call: call > 300):
        assert not tanh(changed(last_bit, when), cases=4).passed
    # Where other bits may come, they are counted.
    report = tanh(changed(last_bit, lambda call: call % 5 == 0), cases=4, repeatable=False)
    report.assert_passed()
    same, compared = report.same_bits["repeat"]
    assert same < compared


def test_a_fault_of_threads_is_refused():
    inside, kept = [0], threading.Lock()

    def mixed_up(*given):
        with kept:
            inside[0] += 1
        threading.Event().wait(0.0005)
        found = kernel(*given)
        with kept:
            inside[0] -= 1
            crowd = inside[0] > 0
        return tuple([1.0001 * found[0], found[1]]) if crowd and given[-1] is not None else found

    assert tanh(mixed_up, case="recurrence/history-elman-tanh").passed
    report = tanh(mixed_up, case="recurrence/history-elman-tanh", threads=True)
    # Whatever is beside h, the states that come with it are compared in the other cases.
    assert report.same_bits["threads"][1] > 0


SOURCE = EXAMPLE.read_text()
EQUATIONS = [
    ("state = h0\n", "state = 0 * h0\n"),
    ("state = h0\n", "state = h0 if end == length else state\n"),
    ("state @ wh + bh", "state @ wh.T + bh"),
    ("state @ wh + bh", "state @ wh"),
    ("state @ wh + bh", "h0 @ wh + bh"),
    ("state @ wh + bh", "(state if t % 30 else 0 * state) @ wh + bh"),
    ("numpy.tanh(", "numpy.arctan("),
    ("numpy.tanh(", "1.0001 * numpy.tanh("),
    ("1 - h[t] ** 2", "1 - h[t]"),
    ("1 - h[t] ** 2", "1 + 0 * h[t]"),
    ("after = da[t] @ wh.T", "after = da[t] @ wh"),
    ("after = da[t] @ wh.T", "after = 0 * da[t]"),
    ("after = da[t] @ wh.T", "after = da[t] @ wh.T if end - t < 4 else 0 * after"),
    ("dh0 += after", "dh0 = after"),
    ("dh0 += after", "pass"),
    ("before.T @ da", "h.T @ da"),
    ("xs.T @ da", "xs[:-1].T @ da[:-1] if len(xs) > 64 else xs.T @ da"),
    ("zip(ends, lengths):\n        after", "zip(ends, lengths[:1].repeat(len(lengths))):\n        after"),
]


@pytest.mark.parametrize("of", range(len(EQUATIONS)))
def test_a_fault_in_the_sequence_or_the_unit_is_refused(of):
    right, wrong = EQUATIONS[of]
    assert right in SOURCE
    names = {"__name__": "broken"}
    exec(SOURCE.replace(right, wrong, 1), names)
    assert not tanh(names["kernel"], dtype="float64", cases=40).passed


def test_a_failing_case_comes_as_arrays_with_a_line_that_runs_it_again(tmp_path):
    broken = changed(on("wh", numpy.negative), name="broken")
    report = tanh(broken, cases=20, seed=7)
    with pytest.raises(AssertionError, match=r"FAILED broken: wh\[.*seed 7") as error:
        report.assert_passed()
    assert report.failure.again in str(error.value)
    again = eval(report.failure.again, {"elman": elman, "broken": broken})
    assert again.data["cases"] == 1 and again.failures[0].split(" = ")[0] == report.failures[0].split(" = ")[0]
    failure = report.failure
    assert failure.seed == 7 and failure.given["wh"].dtype == numpy.float32
    # The smallest has one unit, and is wrong by the arrays that come with it.
    assert failure.given["wh"].shape == (1, 1)
    order = ["xs", "lengths", "wx", "wh", "bh", "h0", "dh"]
    found = broken(*(failure.given[name] for name in order))
    for name in ("h", "xs", "wx", "wh", "bh", "h0"):
        numpy.testing.assert_array_equal(found[name], failure.found[name])
        wrong = abs(failure.found[name] - failure.expected[name]) > failure.allowed[name]
        assert wrong.any() == (name == "wh")
    failure.save(tmp_path / "case.npz")
    assert set(numpy.load(tmp_path / "case.npz")) >= {"given.xs", "given.lengths", "found.h", "expected.wh", "allowed.wh"}
    page = report.html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == page and "<svg" in page
    assert f"{len(report.failures)} failed" in page
    assert json.dumps(report.data) and "failed" in repr(report) and "FAILED" in report._repr_html_()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda h, gradients: h[:-1], "h has the shape"),
        (lambda h, gradients: (h * numpy.nan, gradients), r"= NaN, expected"),
        (lambda h, gradients: h.astype("float64"), "h: expected an array of float32, found float64"),
        (lambda h, gradients: (h, [gradients["xs"]]), "expected 5 gradients, of xs, wx, wh, bh, h0, found 1"),
        (lambda h, gradients: (h, {"dxs": gradients["xs"]}), r"the answer has no xs .*it has dxs"),
        (lambda h, gradients: 1 / 0, "it raised ZeroDivisionError"),
    ],
)
def test_an_answer_that_is_none_is_named(answer, message):
    def wrong(*given):
        found = kernel(*given)
        return answer(*found) if given[-1] is not None else answer(found, {"xs": found, "dxs": found})

    report = tanh(wrong, cases=4, gradients=True)
    assert not report.passed
    assert re.search(message, report.failures[0]), report.failures[0]


def test_an_interrupt_ends_the_judgement():
    calls = [0]

    def interrupted(*given):
        calls[0] += 1
        if calls[0] > 20:
            raise KeyboardInterrupt
        return kernel(*given)

    with pytest.raises(KeyboardInterrupt):
        tanh(interrupted, cases=20)
    assert calls[0] == 21


def test_half_precision_is_judged_by_its_roundoff():
    def rounded(xs, lengths, wx, wh, bh, h0, dh):
        """Products of rounded numbers, added in float32."""
        half = lambda array: array.astype("float16").astype("float32")
        xs, wx, wh = half(xs), half(wx), half(wh)
        h, row = numpy.empty((len(xs), len(h0)), "float32"), 0
        for length in lengths:
            state = h0
            for _ in range(length):
                state = h[row] = numpy.tanh(xs[row] @ wx + half(state) @ wh + bh)
                row += 1
        return h

    report = tanh(rounded, cases=20, arithmetic="f16")
    report.assert_passed()
    assert 8 < report.bits["h"] < 14 and report.worst > 0.02
    assert not tanh(rounded, cases=20).passed
    # Arrays of float16.
    single = lambda *given: states_alone(*(g.astype("float32") if i != 1 else g for i, g in enumerate(given[:-1])), None)
    in_half = lambda *given: single(*given).astype("float16")
    report = tanh(in_half, cases=20, dtype="float16")
    report.assert_passed()
    assert not tanh(lambda *given: 1.01 * in_half(*given), cases=20, dtype="float16").passed


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (dict(f=3), TypeError, "f: expected a function"),
        (dict(cell="elmo"), ValueError, "cell: expected elman"),
        (dict(activation="selu"), ValueError, "activation: expected sigmoid"),
        (dict(dtype="int32"), ValueError, "dtype: expected float16, float32 or float64"),
        (dict(arithmetic="f8"), ValueError, "arithmetic: expected tf32, bf16, f16"),
        (dict(arithmetic="f16", dtype="float64"), ValueError, "arithmetic: expected one of kernels on f32"),
        (dict(case="recurrence/none"), ValueError, "case: expected the name of one"),
    ],
)
def test_what_is_wrong_is_named(arguments, kind, message):
    with pytest.raises(kind, match=message):
        elman.verify.recurrence(**{"f": ours("sigmoid"), "cases": 2, **arguments})


def test_the_bar_shows_the_cases(capsys):
    tanh(states_alone, cases=4, progress=True)
    shown = capsys.readouterr().err
    assert "] 4/4 cases, recurrence" in shown and shown.endswith("\r\x1b[K")
    tanh(states_alone, cases=4)
    assert capsys.readouterr().err == ""


def test_modules_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    packed = elman.verify.torch_function(torch.nn.GRU, "gru", packed_sequence=True)
    for f, options in (
        (torch.nn.RNN(3, 4), dict(activation="tanh", dtype="float64")),
        (torch.nn.RNN(3, 4, nonlinearity="relu", batch_first=True), dict(activation="relu")),
        (torch.nn.GRU, dict(cell="gru")),
        (packed, dict(cell="gru", dtype="float64")),
    ):
        elman.verify.recurrence(f, cases=8, **options).assert_passed()
    assert not elman.verify.recurrence(torch.nn.RNN(3, 4), activation="relu", cases=8).passed
    for module, message in (
        (torch.nn.GRU(3, 4), "expected a torch.nn.RNN for the cell elman, found GRU"),
        (torch.nn.RNN(3, 4, num_layers=2), "expected num_layers=1, found 2"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            elman.verify.recurrence(module)


def test_functions_of_jax():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def states(xs, lengths, wx, wh, bh, h0):
        step = lambda h, a: (jnp.tanh(a + h @ wh),) * 2
        parts = jnp.split(xs @ wx + bh, numpy.cumsum(lengths)[:-1])
        return jnp.concatenate([jax.lax.scan(step, h0, part)[1] for part in parts])

    with jax.default_matmul_precision("highest"):
        tanh(elman.verify.jax_function(states, jit=False), case="recurrence/3").assert_passed()


def test_an_onnx_file(tmp_path):
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    w = numpy.zeros((2, 9), "float32")
    model = elman.verify.onnx_node("GRU", {"linear_before_reset": 1}, 17, 8, w, numpy.zeros((3, 9), "float32"), w[0])
    onnx.save(model, tmp_path / "gru.onnx")
    report = elman.verify.recurrence(tmp_path / "gru.onnx", cell="gru", cases=8)
    report.assert_passed()
    assert set(report.bits) == {"h"} and report.data["name"] == "gru.onnx"
    with pytest.raises(ValueError, match="expected one RNN node for the cell elman, found GRU"):
        elman.verify.recurrence(str(tmp_path / "gru.onnx"))
    # The other form of a GRU is no fault of the engine, and is told apart.
    onnx.save(elman.verify.onnx_node("GRU", {}, 17, 8, w, numpy.zeros((3, 9), "float32"), w[0]), tmp_path / "other.onnx")
    assert not elman.verify.recurrence(tmp_path / "other.onnx", cell="gru", cases=8).passed


@pytest.mark.parametrize("cell, activation", [("elman", "sigmoid"), ("elman", "tanh"), ("gru", None), ("lstm", None)])
def test_an_exported_file_answers_the_protocol_of_the_shell(cell, activation, tmp_path):
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    params = elman.init(vocab=6, embed=3, window=3, hidden=5, classes=4, cell=cell)
    options = {"cell": cell} | ({"activation": activation} if activation else {})
    elman.Tagger(params, ["<UNK>", *"abcde"], list("wxyz"), **options).export(tmp_path / "model.onnx", "onnx")
    peer = elman.onnx_peer.Peer(tmp_path / "model.onnx")
    name = cell if activation in (None, "sigmoid") else f"{cell}-{activation}"
    judge = {"cells": [name], "numbers": ["f32"], "gradients": False, "initial": False}
    assert peer.hello() == {"name": "model.onnx", "judge": judge}

    generator = numpy.random.default_rng(1)
    gates = {"elman": 1, "gru": 3, "lstm": 4}[cell]
    shapes = {"xs": (5, 2), "wx": (2, gates * 3), "wh": (3, gates * 3), "bh": (gates * 3,), "h0": (3,)}
    shapes |= {"gru": {"bhn": (3,)}, "lstm": {"c0": (3,)}}.get(cell, {})
    given = {name: generator.uniform(-1, 1, shape).astype("float32") for name, shape in shapes.items()}
    lengths = numpy.array([2, 3])
    write(tmp_path / "given", given | {"lengths": lengths})
    request = {"cell": name, "number": "f32", "backward": False, "file": tmp_path / "given", "answer": tmp_path / "h"}
    assert peer.judge(**request) == {}
    found = elman.onnx_peer.read(tmp_path / "h")["h"]
    numpy.testing.assert_allclose(found, elman.recurrence(lengths=lengths, **given, **options), rtol=0, atol=1e-6)


def write(path, arrays):
    """A safetensors file."""
    data, header = b"", {}
    for name, array in arrays.items():
        kind = {"float32": "F32", "int64": "I64"}[str(array.dtype)]
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": offsets}
        data += array.tobytes()
    header = json.dumps(header).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def test_an_onnx_file_that_cannot_be_judged_is_named(tmp_path):
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    (tmp_path / "broken").write_text("no model")
    node = functools.partial(onnx.helper.make_node, inputs=["x", "w", "r"], outputs=["y"])
    files = {
        "two": [node("RNN"), node("GRU")],
        "none": [node("Add")],
        "other": [node("GRU")],
        "both": [node("RNN", direction="bidirectional", activations=["Tanh", "Tanh"])],
        "activation": [node("RNN", activations=["Elu"])],
    }
    for name, nodes in files.items():
        graph = onnx.helper.make_graph(nodes, name, [], [])
        onnx.save(onnx.helper.make_model(graph), tmp_path / name)
    for name, message in {
        "broken": "Error parsing message",
        "two": "one RNN, GRU or LSTM node, found RNN, GRU",
        "none": "one RNN, GRU or LSTM node, found none",
        "other": "linear_before_reset",
        "both": "the direction forward",
        "activation": "Sigmoid, Tanh, Relu, found Elu",
    }.items():
        command = [sys.executable, "-m", "elman.onnx_peer", tmp_path / name]
        said = subprocess.run(command, input='{"work": "hello"}\n', capture_output=True, text=True, check=True).stdout
        assert message in json.loads(said)["error"], said


def softmax_of_products(x, w):
    """Two outputs, with the gradient by hand."""
    z = x @ w
    e = numpy.exp(z - z.max(-1, keepdims=True))
    s = e / e.sum(-1, keepdims=True)

    def backward(ds, dnorm):
        dz = s * (ds - (ds * s).sum(-1, keepdims=True))
        return dz @ w.T + 2 * dnorm * x, x.T @ dz

    return (s, (x * x).sum()), backward


def test_the_gradient_of_any_function(dtype):
    generator = numpy.random.default_rng(1)
    inputs = [generator.normal(size=shape).astype(dtype) for shape in ((4, 3), (3, 5))]
    report = elman.verify.vjp(softmax_of_products, inputs)
    report.assert_passed()
    assert set(report.bits) == {"0", "1", "all"} and report.same_bits["repeat"] == (6, 6)

    def wrong(factor, entry=None):
        def f(x, w):
            y, backward = softmax_of_products(x, w)

            def broken(*dy):
                dx, dw = (gradient.copy() for gradient in backward(*dy))
                dw[entry if entry is not None else ...] *= dtype_of(dw)(factor)
                return dx, dw

            return y, broken

        return f

    factor = 1.01 if dtype == "float32" else 1 + 1e-6
    for broken in (wrong(-1), wrong(factor), wrong(1.1, (0, 0))):
        report = elman.verify.vjp(broken, inputs)
        assert not report.passed
        with pytest.raises(AssertionError, match="differences|directions"):
            report.assert_passed()
        assert "elman.verify.vjp(" in str(report)
    # Of the shape of another input.
    report = elman.verify.vjp(lambda x, w: (softmax_of_products(x, w)[0], lambda *dy: (w, x)), inputs)
    assert "the gradients have the shapes" in report.failures[0]
    report = elman.verify.vjp(lambda x, w: ((x * x).sum(), lambda dy: 1 / 0), inputs)
    assert "ZeroDivisionError" in report.failures[0]


def dtype_of(array):
    return array.dtype.type


def test_a_gradient_cannot_be_seen_at_a_kink():
    relu = lambda x: (numpy.maximum(x, 0), lambda dy: dy * (x > 0))
    elman.verify.vjp(relu, [numpy.array([1.0, -1.0, 0.5])]).assert_passed()
    one_sided = lambda x: (numpy.maximum(x, 0), lambda dy: dy * (x >= 0))
    report = elman.verify.vjp(one_sided, [numpy.array([1.0, 0.0])])
    report.assert_passed()
    assert [m["blind"] for m in report.data["measurements"] if m["against"] == "differences"] == [1]
    wrong_beside = lambda x: (numpy.maximum(x, 0), lambda dy: dy * numpy.array([0.99, 1.0]))
    assert not elman.verify.vjp(wrong_beside, [numpy.array([1.0, 0.0])]).passed


def test_the_gradient_of_functions_of_pytorch():
    torch = pytest.importorskip("torch")
    x = torch.linspace(-1, 1, 6, dtype=torch.float64)
    elman.verify.vjp(lambda x, y: (torch.tanh(x) * y, y.sum()), [x, x + 1]).assert_passed()
    unused = elman.verify.vjp(lambda x, y: x * x, [x, x])
    unused.assert_passed()

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, dy):
            return dy * ctx.saved_tensors[0].sin()

    assert not elman.verify.vjp(Wrong.apply, [x]).passed
