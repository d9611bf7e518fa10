"""The judge for recurrent kernels and for gradients.

    report = elman.verify.recurrence(f, cell="elman", activation="tanh", dtype="float32")
    report.assert_passed()

The cases, the references and the tolerances are those of the Rust crate elman-verify.
"""

import functools
import inspect
import json
import os
import pathlib
import sys

import numpy

from elman import _elman

__all__ = ["Failure", "FailedError", "Report", "recurrence", "vjp"]


class FailedError(AssertionError):
    """A report that has not passed."""


class Failure:
    """The smallest problem at which a kernel failed.

    given, found, expected and allowed are dictionaries of arrays: what the kernel was given (with lengths), what it gave,
    what it should have given and by how much each entry may differ. again is the line that runs the case once more.
    """

    def __init__(self, failing, seed, again):
        self.case, self.seed, self.again = failing["case"], seed, again
        self.given, self.found = failing["given"], failing["found"]
        self.given["lengths"] = numpy.array(failing["lengths"])
        self.expected, self.allowed = failing["expected"], failing["allowed"]

    def save(self, file):
        """Writes all arrays into an .npz file, as given.xs, found.h and so on."""
        groups = {name: getattr(self, name) for name in ("given", "found", "expected", "allowed")}
        arrays = {f"{group}.{name}": array for group, named in groups.items() for name, array in named.items()}
        numpy.savez(file, **arrays)

    def __repr__(self):
        shapes = {name: array.shape for name, array in self.given.items()}
        return f"Failure(case={self.case!r}, seed={self.seed}, given={shapes}, again={self.again!r})"


class Report:
    """What the judge found.

    passed; failures, a list of messages; failure, the smallest failing case as arrays (or None); bits, the effective
    bits of each tensor; same_bits, how many tensors had the same bits on repetition, alone and among others ("batch"), in
    threads; str(report) is the table of the Rust crate, data all of it as a dictionary.
    """

    def __init__(self, outcome, seed, again):
        self.passed, self._text, self._html, text, failing = outcome
        self.data = json.loads(text)
        self.failures = [failure["message"] for failure in self.data["failures"]]
        case = self.data["failures"][0]["case"] if self.failures else ""
        again = again.replace("{seed}", str(seed)).replace("{case}", case)
        self.failure = Failure(failing, seed, again) if failing is not None else None

    @property
    def bits(self):
        bits = {}
        for measured in self.data["measurements"]:
            if measured["blind"] < measured["entries"] and measured["scale"] > 0 and measured["against"] != "itself":
                relative = measured["relative"]
                found = 53.0 if relative == 0 else min(53.0, max(0.0, -float(numpy.log2(relative))))
                bits.setdefault(measured["tensor"], []).append(found)
        return {tensor: float(numpy.median(found)) for tensor, found in bits.items()}

    @property
    def same_bits(self):
        return {kind: (found["same"], found["compared"]) for kind, found in self.data["bits"].items()}

    @property
    def worst(self):
        """The largest error as a part of what is allowed, over all tensors that can be judged."""
        parts = []
        for measured in self.data["measurements"]:
            worst = measured["worst"]
            if None in (worst["found"], worst["expected"]):
                return float("inf")
            error, allowed = abs(worst["found"] - worst["expected"]), worst["allowed"]
            if error > 0 and allowed is not None:
                parts.append(error / allowed if allowed > 0 else float("inf"))
        return max(parts, default=0.0)

    def assert_passed(self):
        """Raises FailedError, an AssertionError, with the table if something is wrong: for tests."""
        if not self.passed:
            raise FailedError(f"\n{self}")

    def html(self, file=None):
        """The report as an HTML page that needs nothing else; written to the file if one is given."""
        if file is not None:
            pathlib.Path(file).write_text(self._html, encoding="utf-8")
        return self._html

    def _repr_html_(self):
        return f"<pre>{self._text.replace('&', '&amp;').replace('<', '&lt;')}</pre>"

    def __str__(self):
        return self._text

    def __repr__(self):
        return f"<Report of {self.data['name']} ({self.data['number']}): {'passed' if self.passed else 'failed'}>"


def recurrence(
    f,
    *,
    cell="elman",
    activation=None,
    dtype="float32",
    name=None,
    gradients=None,
    seed=42,
    cases=87,
    case=None,
    arithmetic=None,
    repeatable=True,
    subnormals=True,
    threads=False,
    slack=1.0,
    progress=None,
):
    """Judges a recurrence: a Report.

    f is one of
    - a function f(xs, lengths, wx, wh, bh, h0, dh) of NumPy arrays that returns the states h, or h and its gradients:
      (h, gradients) or (h, dxs, dwx, dwh, dbh, dh0), where gradients is a dictionary by the names xs, wx, wh, bh, h0 or a
      sequence in this order. xs [steps, input] holds the sequences one after the other without padding, lengths their
      numbers of steps; dh [steps, hidden] is the derivative of a loss by h, or None where the states alone are wanted.
      A cell with more tensors (a GRU has bhn) passes them by name, and their gradients come last.
    - a torch.nn.RNN, GRU or LSTM of one layer in one direction, or its class: judged padded, through autograd. Tensors of
      the module are overwritten. elman.verify.torch_function has other ways to call it.
    - the path of an ONNX file with one RNN, GRU or LSTM node, whose weights are replaced: judged by its states, in ONNX
      Runtime.
    - a function whose arrays are JAX's: functools.partial and jax.jit are seen through; see elman.verify.jax_function.

    The cell is "elman" with the activation "sigmoid" (the default), "tanh" or "relu"; "gru"; or "lstm". Its equations are
    those of elman.recurrence, with the gates side by side. dtype is "float32" or "float64", or "float16": then f gets
    arrays of float16, and is judged by its unit roundoff. arithmetic ("tf32", "bf16", "f16") is that of an f with arrays
    of float32 that computes in less.

    gradients: whether f gives gradients; found out by a call if None. repeatable: whether f must give the same bits each
    time. subnormals: whether f must take subnormal numbers for what they are, not for zero. threads: whether f may be called from several threads at once, and then is. seed, cases and case choose the cases
    (87 is the number of elman verify); slack multiplies what is allowed. progress: whether to show a bar on the standard
    error; by default if it is a terminal.
    """
    function, name = _function(f, cell, name)
    arguments = f"cell={cell!r}"
    arguments += "".join(
        f", {key}={value!r}"
        for key, value, default in (
            ("activation", activation, None),
            ("dtype", str(numpy.dtype(dtype)), "float32"),
            ("gradients", gradients, None),
            ("arithmetic", arithmetic, None),
            ("repeatable", repeatable, True),
            ("subnormals", subnormals, True),
            ("threads", threads, False),
        )
        if value != default
    )
    again = f"elman.verify.recurrence({name}, {arguments}, seed={{seed}}, case={{case!r}})".replace("{case!r}", '"{case}"')
    dtype = numpy.dtype(dtype)
    if dtype not in (numpy.float16, numpy.float32, numpy.float64):
        raise ValueError(f"dtype: expected float16, float32 or float64, found {dtype}")
    if dtype == numpy.float16:
        arithmetic = arithmetic or "f16"
    call = functools.partial(_call, function, dtype)
    if gradients is None:
        gradients = _gives_gradients(call, cell, activation, dtype)
    with _Bar(cases, case, progress) as bar:
        outcome = _elman.judge(
            call,
            name=name,
            cell=cell,
            activation=activation,
            double=dtype == numpy.float64,
            gradients=gradients,
            initial=False,
            threads=threads,
            seed=seed,
            cases=cases,
            case=case,
            shrink=200,
            arithmetic=arithmetic,
            repeatable=repeatable,
            subnormals=subnormals,
            slack=slack,
            again=again,
            progress=bar.step if bar.shown else None,
        )
    report = Report(outcome, seed, again)
    if report.data["cases"] == 0:
        raise ValueError(f"case: expected the name of one, for example recurrence/17, found {case!r}")
    return report


def _gives_gradients(call, cell, activation, dtype):
    """Asks for a gradient of a tiny problem."""
    gates = {"elman": 1, "gru": 3, "lstm": 4}.get(cell, 1)
    kind = numpy.float64 if dtype == numpy.float64 else numpy.float32
    shapes = {"xs": (1, 1), "wx": (1, gates), "wh": (1, gates), "bh": (gates,), "h0": (1,), "dh": (1, 1)}
    given = {name: numpy.full(shape, 0.25, kind) for name, shape in shapes.items()}
    given |= {"gru": {"bhn": given["h0"]}, "lstm": {"c0": given["h0"]}}.get(cell, {})
    return len(call(given | {"lengths": numpy.array([1])})) > 1


def _call(function, dtype, given):
    """Asks f, and gives its results by their names."""
    given = {
        name: array.astype(dtype) if array.dtype != dtype and name != "lengths" else array
        for name, array in given.items()
    }
    kind = numpy.float64 if dtype == numpy.float64 else numpy.float32
    order = ["xs", "wx", "wh", "bh", "h0"]
    more = {name: given[name] for name in ("bhn", "c0") if name in given}
    first = [given["xs"], given["lengths"], given["wx"], given["wh"], given["bh"], given["h0"], given.get("dh")]
    found = function(*first, **more)
    if isinstance(found, dict):
        results = dict(found)
    elif isinstance(found, (tuple, list)):
        h, *gradients = found
        if len(gradients) == 1 and isinstance(gradients[0], (tuple, list, dict)) or gradients == [None]:
            (gradients,) = gradients
        names = [*order, *more]
        if gradients is None or len(gradients) == 0:
            gradients = {}
        if not isinstance(gradients, dict):
            if len(gradients) != len(names):
                raise ValueError(f"expected {len(names)} gradients, of {', '.join(names)}, found {len(gradients)}")
            gradients = dict(zip(names, gradients))
        results = {"h": h, **gradients}
    else:
        results = {"h": found}
    return {name: _array(name, value, dtype, kind) for name, value in results.items() if value is not None}


def _array(name, value, dtype, kind):
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = numpy.asarray(value)
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected an array of {dtype}, found {array.dtype}")
    return array.astype(kind, copy=False)


def _function(f, cell, name):
    """f as a function of NumPy arrays, and its name."""
    torch = sys.modules.get("torch")
    if isinstance(f, (str, os.PathLike)):
        return onnx_function(f, cell), name or pathlib.Path(f).name
    if torch is not None and isinstance(f, type) and issubclass(f, torch.nn.Module):
        return torch_function(f, cell), name or f.__name__
    if torch is not None and isinstance(f, torch.nn.Module):
        return torch_function(f, cell), name or type(f).__name__
    if not callable(f):
        raise TypeError(f"f: expected a function, a torch.nn.Module or the path of an ONNX file, found {type(f).__name__}")
    shown = name or getattr(inspect.unwrap(f), "__name__", type(f).__name__)
    return f, shown


class _Bar:
    """A bar on the standard error."""

    def __init__(self, cases, case, progress):
        self.all, self.done = (1 if case else cases), 0
        self.shown = sys.stderr.isatty() if progress is None else progress

    def step(self, case):
        if case.rsplit("/", 1)[-1].isdigit():
            self.done += 1
        filled = 30 * min(self.done, self.all) // max(self.all, 1)
        sys.stderr.write(f"\r\x1b[K[{'#' * filled}{'.' * (30 - filled)}] {self.done}/{self.all} cases, {case}")
        sys.stderr.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def padded(lengths, rows):
    """The packed rows as [longest, sequences, width], zeros beyond the ends."""
    result = numpy.zeros((max(lengths), len(lengths), rows.shape[1]), rows.dtype)
    start = 0
    for i, length in enumerate(lengths):
        result[:length, i] = rows[start : start + length]
        start += length
    return result


def packed(lengths, array):
    """The rows of each sequence of [longest, sequences, width], without those beyond the ends."""
    return numpy.concatenate([numpy.asarray(array)[:length, i] for i, length in enumerate(lengths)])


def jax_function(states, *, jit=True):
    """A function of a recurrence in JAX, for recurrence: its gradient is jax.vjp's.

    states(xs, lengths, wx, wh, bh, h0) and what else the cell has by name: JAX arrays (lengths a tuple, static) to h. It is
    compiled once for each shape, unless jit is False. For float64, enable jax_enable_x64.
    """
    import jax

    @functools.lru_cache(maxsize=None)
    def functions(lengths, names):
        call = lambda xs, wx, wh, bh, h0, *more: states(xs, lengths, wx, wh, bh, h0, **dict(zip(names, more)))

        def both(dh, *arrays):
            h, pullback = jax.vjp(call, *arrays)
            return h, pullback(dh)

        return (jax.jit(call), jax.jit(both)) if jit else (call, both)

    def function(xs, lengths, wx, wh, bh, h0, dh, **more):
        forward, backward = functions(tuple(int(length) for length in lengths), tuple(more))
        arrays = [xs, wx, wh, bh, h0, *more.values()]
        return forward(*arrays) if dh is None else backward(dh, *arrays)

    function.__name__ = getattr(inspect.unwrap(states), "__name__", "jax")
    return function


def torch_function(module, cell, *, packed_sequence=False, device="cpu"):
    """torch.nn.RNN, GRU or LSTM (an instance, or the class) as a function for recurrence.

    The sequences go in padded, or with packed_sequence as a torch.nn.utils.rnn.PackedSequence (which sorts them by their
    length). An instance must have one layer and one direction; its weights are overwritten by those of each case, in a
    module of the case's sizes with the instance's other options.
    """
    import torch

    kind, options = (module, {}) if isinstance(module, type) else (type(module), _options(module))
    expected = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
    if not issubclass(kind, expected):
        raise TypeError(f"f: expected a torch.nn.{expected.__name__} for the cell {cell}, found {kind.__name__}")

    def function(xs, lengths, wx, wh, bh, h0, dh, bhn=None, c0=None):
        tensor = lambda array: torch.from_numpy(numpy.ascontiguousarray(array)).to(device)
        rnn = kind(wx.shape[0], wh.shape[0], **options, dtype=tensor(xs).dtype, device=device)
        with torch.no_grad():
            rnn.weight_ih_l0.copy_(tensor(wx).T)
            rnn.weight_hh_l0.copy_(tensor(wh).T)
            rnn.bias_ih_l0.copy_(tensor(bh))
            rnn.bias_hh_l0.zero_()
            if bhn is not None:
                rnn.bias_hh_l0[2 * wh.shape[0] :] = tensor(bhn)
        x = tensor(xs).requires_grad_(dh is not None)
        firsts = [tensor(first).requires_grad_(dh is not None) for first in (h0, c0) if first is not None]
        count = len(lengths)
        states = [first.expand(1, count, -1).contiguous() for first in firsts]
        states = states[0] if c0 is None else tuple(states)
        parts = list(torch.split(x, [int(length) for length in lengths]))
        if packed_sequence:
            given = torch.nn.utils.rnn.pack_sequence(parts, enforce_sorted=False)
            out, _ = torch.nn.utils.rnn.pad_packed_sequence(rnn(given, states)[0], batch_first=True)
        elif options.get("batch_first"):
            out = rnn(torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), states)[0]
        else:
            out = rnn(torch.nn.utils.rnn.pad_sequence(parts), states)[0].transpose(0, 1)
        h = torch.cat([out[i, :length] for i, length in enumerate(lengths)])
        if dh is None:
            return h
        weights = [rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0]
        gradients = torch.autograd.grad(h, [x, *weights, *firsts], tensor(dh))
        dx, dwx, dwh, dbh, dbhh, *dfirsts = gradients
        results = {"xs": dx, "wx": dwx.T, "wh": dwh.T, "bh": dbh, "h0": dfirsts[0]}
        if bhn is not None:
            results["bhn"] = dbhh[2 * wh.shape[0] :]
        if c0 is not None:
            results["c0"] = dfirsts[1]
        return h, results

    function.__name__ = kind.__name__
    return function


def _options(module):
    for option, expected in (("num_layers", 1), ("bidirectional", False), ("bias", True), ("proj_size", 0)):
        if getattr(module, option, expected) != expected:
            raise ValueError(f"f: expected {option}={expected}, found {getattr(module, option)}")
    options = {"batch_first": module.batch_first}
    if hasattr(module, "nonlinearity"):
        options["nonlinearity"] = module.nonlinearity
    return options


def onnx_function(path, cell, *, providers=("CPUExecutionProvider",), threads=1):
    """The RNN, GRU or LSTM node of an ONNX file as a function for recurrence, in ONNX Runtime: its attributes are kept, its
    weights and sizes are those of each case. States alone."""
    import onnx

    model = onnx.load(str(path))
    operator = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}[cell]
    nodes = [node for node in model.graph.node if node.op_type in ("RNN", "GRU", "LSTM")]
    found = ", ".join(node.op_type for node in nodes) or "none"
    if [node.op_type for node in nodes] != [operator]:
        raise ValueError(f"{path}: expected one {operator} node for the cell {cell}, found {found}")
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in nodes[0].attribute}
    if attributes.get("direction", b"forward") != b"forward" or attributes.get("layout", 0) != 0:
        raise ValueError(f"{path}: expected a node in the direction forward with the layout 0")
    opset = {imported.domain: imported.version for imported in model.opset_import}.get("", 17)
    return onnx_node_function(operator, attributes, opset=opset, ir=model.ir_version, providers=providers, threads=threads)


# The order of the gates of a node of ONNX, by their places here.
_ONNX_GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}


def onnx_node(operator, attributes, opset, ir, wx, wh, bh, bhn=None):
    """A model of one node of these weights: x [steps, batch, input], lengths [batch] and initial states [1, batch, hidden] to
    y [steps, 1, batch, hidden]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    gates, hidden = _ONNX_GATES[operator], wh.shape[0]
    order = lambda array: numpy.concatenate([numpy.split(array, len(gates), -1)[gate] for gate in gates], -1)
    recurrent = numpy.zeros_like(bh)
    if bhn is not None:
        recurrent[2 * hidden :] = bhn
    constants = {"W": order(wx).T[None], "R": order(wh).T[None], "B": numpy.concatenate([order(bh), recurrent])[None]}
    kind = helper.np_dtype_to_tensor_dtype(wx.dtype)
    firsts = ["h0", "c0"][: 2 if operator == "LSTM" else 1]
    inputs = [helper.make_tensor_value_info("x", kind, ["steps", "batch", wx.shape[0]])]
    inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    inputs += [helper.make_tensor_value_info(first, kind, [1, "batch", hidden]) for first in firsts]
    output = helper.make_tensor_value_info("y", kind, ["steps", 1, "batch", hidden])
    attributes = {**attributes, "hidden_size": hidden}
    node = helper.make_node(operator, ["x", "W", "R", "B", "lengths", *firsts], ["y"], **attributes)
    tensors = [numpy_helper.from_array(numpy.ascontiguousarray(value), key) for key, value in constants.items()]
    graph = helper.make_graph([node], "recurrence", inputs, [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.checker.check_model(model)
    return model


def onnx_node_function(operator, attributes, *, opset=17, ir=8, providers=("CPUExecutionProvider",), threads=1):
    """A node of ONNX with these attributes as a function for recurrence, in ONNX Runtime."""
    import onnxruntime

    kept = {}

    def function(xs, lengths, wx, wh, bh, h0, dh, bhn=None, c0=None):
        key = b"".join(array.tobytes() for array in (wx, wh, bh, h0[:0] if bhn is None else bhn)), xs.dtype
        if key not in kept:
            kept.clear()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            options.log_severity_level = 3
            model = onnx_node(operator, attributes, opset, ir, wx, wh, bh, bhn).SerializeToString()
            kept[key] = onnxruntime.InferenceSession(model, options, list(providers))
        firsts = {name: first for name, first in (("h0", h0), ("c0", c0)) if first is not None}
        given = {name: numpy.repeat(first[None, None], len(lengths), axis=1) for name, first in firsts.items()}
        given |= {"x": padded(lengths, xs), "lengths": numpy.asarray(lengths, numpy.int32)}
        return packed(lengths, kept[key].run(["y"], given)[0][:, 0])

    function.__name__ = operator
    return function


def vjp(f, inputs, *, seed=42, entries=100, name=None):
    """Compares the gradient of any differentiable function with differences of its values: a Report.

    inputs is a sequence of arrays of one of these kinds, which says what f is:
    - NumPy: f(*inputs) returns (y, backward), where y is an array or a tuple of arrays, and backward takes as many
      arrays of their shapes and returns the gradients of sum(dy * y) by each input, a sequence (or an array for one);
    - PyTorch: f(*inputs) returns a tensor or a tuple of tensors, whose gradients are autograd's;
    - JAX: the same, with jax.vjp.

    dy is drawn from the seed. Each input is checked in so many entries, drawn where it has more, and everything along
    eight random directions. The allowance is derived: the error of the extrapolated differences, and the noise of f's
    values, which is measured. The report cannot see an error of the values themselves (the gradient is compared with
    them alone), an error below what is allowed, or one entry among those that were not drawn. In float32 that is a good
    deal: check in float64 where f has it.
    """
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    inputs = list(inputs)
    if not inputs:
        raise ValueError("inputs: expected at least 1 array, found none")
    if torch is not None and isinstance(inputs[0], torch.Tensor):
        kind, values, gradient = _torch_pair(torch, f)
        arrays = [tensor.detach().cpu().numpy() for tensor in inputs]
    elif jax is not None and isinstance(inputs[0], jax.Array):
        values, gradient = (lambda arrays: f(*map(jax.numpy.asarray, arrays))), _jax_gradient(jax, f)
        arrays = [numpy.asarray(array) for array in inputs]
    else:
        values, gradient = (lambda arrays: f(*arrays)[0]), _numpy_gradient(f)
        arrays = [numpy.asarray(array) for array in inputs]
    dtype = arrays[0].dtype
    if dtype not in (numpy.float32, numpy.float64) or any(array.dtype != dtype for array in arrays):
        found = ", ".join(str(array.dtype) for array in arrays)
        raise TypeError(f"inputs: expected arrays of float32 or of float64, found {found}")

    def of_type(given):
        return [numpy.asarray(array).astype(dtype) for array in given]

    def outputs(given):
        found = values(of_type(given))
        found = found if isinstance(found, (tuple, list)) else (found,)
        return [numpy.asarray(y.detach().cpu() if hasattr(y, "detach") else y) for y in found]

    generator = numpy.random.default_rng(seed)
    dys = [generator.uniform(-1, 1, y.shape).astype(dtype) for y in outputs(arrays)]

    def value(given):
        return float(sum((dy.astype(numpy.float64) * y).sum() for dy, y in zip(dys, outputs(given), strict=True)))

    def gradients(given):
        found = gradient(of_type(given), dys)
        return [numpy.asarray(array, numpy.float64) for array in found]

    name = name or getattr(inspect.unwrap(f), "__name__", type(f).__name__)
    again = f"elman.verify.vjp({name}, inputs, seed={{seed}})"
    outcome = _elman.judge_vjp(
        value,
        gradients,
        [array.astype(numpy.float64) for array in arrays],
        name=name,
        double=dtype == numpy.float64,
        seed=seed,
        entries=entries,
        again=again,
    )
    return Report(outcome, seed, again)


def _numpy_gradient(f):
    def gradient(arrays, dys):
        _, backward = f(*arrays)
        found = backward(*dys)
        return found if isinstance(found, (tuple, list)) else [found]

    return gradient


def _torch_pair(torch, f):
    def gradient(arrays, dys):
        leaves = [torch.from_numpy(array).requires_grad_(True) for array in arrays]
        y = f(*leaves)
        y = y if isinstance(y, (tuple, list)) else (y,)
        dys = [torch.from_numpy(dy) for dy in dys]
        found = torch.autograd.grad(y, leaves, dys, allow_unused=True)
        return [numpy.zeros_like(a) if g is None else g.numpy() for a, g in zip(arrays, found)]

    return torch, lambda arrays: f(*map(torch.from_numpy, arrays)), gradient


def _jax_gradient(jax, f):
    def gradient(arrays, dys):
        y, pullback = jax.vjp(f, *map(jax.numpy.asarray, arrays))
        return pullback(tuple(dys) if isinstance(y, (tuple, list)) else jax.numpy.asarray(dys[0]))

    return gradient
