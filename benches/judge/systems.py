"""The systems of the league: for each a function that makes the kernel of a cell, as elman.verify.recurrence takes it."""

import functools
import importlib.metadata
import os

import numpy

# One thread, unless THREADS says otherwise; before any of them is imported.
THREADS = int(os.environ.get("THREADS", "1"))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = str(THREADS)


class Unknown(Exception):
    """The system does not have the cell, or not in this number type."""


def torch_module(packed):
    def kernel(cell, activation, dtype):
        import torch

        from elman.verify import torch_function

        torch.set_num_threads(THREADS)
        if cell == "elman" and activation == "sigmoid":
            raise Unknown("nn.RNN has tanh and relu")
        module = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
        module = module(1, 1, nonlinearity=activation) if cell == "elman" else module(1, 1)
        return torch_function(module, cell, packed_sequence=packed)

    return kernel


def torch_loop(cell, activation, dtype):
    """A loop of tensors, with autograd."""
    import torch

    torch.set_num_threads(THREADS)
    f = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}.get(activation)
    return with_autograd(functools.partial(loop, torch.sigmoid, torch.tanh, f, torch.stack, cell))


def loop(sigmoid, tanh, f, stack, cell, xs, lengths, wx, wh, bh, h0, bhn=None, c0=None):
    """The equations, a step at a time, over any arrays."""
    states, start, hidden = [], 0, wh.shape[0]
    for length in lengths:
        h, c = h0, c0
        for x in xs[start : start + int(length)]:
            a, b = x @ wx + bh, h @ wh
            part = lambda of, gate: of[gate * hidden : (gate + 1) * hidden]
            if cell == "elman":
                h = f(a + b)
            elif cell == "gru":
                r, z = sigmoid(part(a, 0) + part(b, 0)), sigmoid(part(a, 1) + part(b, 1))
                n = tanh(part(a, 2) + r * (part(b, 2) + bhn))
                h = (1 - z) * n + z * h
            else:
                i, f_, g, o = (part(a, gate) + part(b, gate) for gate in range(4))
                c = sigmoid(f_) * c + sigmoid(i) * tanh(g)
                h = sigmoid(o) * tanh(c)
            states.append(h)
        start += int(length)
    return stack(states)


def with_autograd(states):
    """The states of a function of PyTorch tensors, with autograd's gradients."""
    import torch

    def kernel(xs, lengths, wx, wh, bh, h0, dh, **more):
        tensors = [torch.from_numpy(array).requires_grad_(dh is not None) for array in (xs, wx, wh, bh, h0, *more.values())]
        x, *weights = tensors
        h = states(x, lengths, *weights[:4], **dict(zip(more, weights[4:])))
        return h if dh is None else (h, torch.autograd.grad(h, tensors, torch.from_numpy(dh)))

    return kernel


def jax_scan(cell, activation, dtype):
    """lax.scan over padded sequences with jax.vjp; compiled for each shape."""
    import jax
    import jax.numpy as jnp

    from elman.verify import jax_function

    jax.config.update("jax_enable_x64", True)
    f = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}.get(activation)
    sigmoid = jax.nn.sigmoid

    def step(wh, bhn, carry, a):
        h, c = carry
        b = h @ wh
        if cell == "elman":
            h = f(a + b)
        elif cell == "gru":
            (ar, az, an), (br, bz, bn) = jnp.split(a, 3, -1), jnp.split(b, 3, -1)
            r, z = sigmoid(ar + br), sigmoid(az + bz)
            h = (1 - z) * jnp.tanh(an + r * (bn + bhn)) + z * h
        else:
            i, f_, g, o = jnp.split(a + b, 4, -1)
            c = sigmoid(f_) * c + sigmoid(i) * jnp.tanh(g)
            h = sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def states(xs, lengths, wx, wh, bh, h0, bhn=None, c0=None):
        longest, ends = max(lengths), numpy.cumsum(lengths)
        rows = numpy.array([[min(end - length + t, end - 1) for end, length in zip(ends, lengths)] for t in range(longest)])
        a = (xs @ wx + bh)[rows]
        first = lambda state: None if state is None else jnp.broadcast_to(state, (len(lengths), state.size))
        _, h = jax.lax.scan(functools.partial(step, wh, bhn), (first(h0), first(c0)), a)
        at = [(t, i) for i, length in enumerate(lengths) for t in range(length)]
        return h[tuple(numpy.array(at).T)]

    return jax_function(states)


def onnxruntime_node(cell, activation, dtype):
    """The RNN, GRU or LSTM node; states alone."""
    from elman.verify import onnx_node_function

    return onnx_node_function(*onnx_operator(cell, activation), threads=THREADS)


def onnx_operator(cell, activation):
    attributes = {
        "elman": {"activations": [{"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}.get(activation)]},
        "gru": {"linear_before_reset": 1},
        "lstm": {},
    }[cell]
    return {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}[cell], attributes


def tract_node(cell, activation, dtype):
    """The same node, a sequence at a time: tract has no input for the lengths. States alone."""
    import tempfile

    import onnx
    import tract

    from elman.verify import onnx_node

    if dtype != "float32":
        raise Unknown("arrays of float32 alone are tried")
    operator, attributes = onnx_operator(cell, activation)
    kept = {}

    def kernel(xs, lengths, wx, wh, bh, h0, dh, bhn=None, c0=None):
        weights = b"".join(array.tobytes() for array in (wx, wh, bh, h0[:0] if bhn is None else bhn))
        states, start = [], 0
        if kept.get("weights") != weights:
            kept.clear()
            kept["weights"] = weights
        for length in (int(length) for length in lengths):
            if length not in kept:
                model = onnx_node(operator, attributes, 17, 8, wx, wh, bh, bhn)
                node = model.graph.node[0]
                node.input[4] = ""
                del model.graph.input[1]
                for given, shape in zip(model.graph.input, [(length, 1, wx.shape[0]), (1, 1, h0.size), (1, 1, h0.size)]):
                    for dim, size in zip(given.type.tensor_type.shape.dim, shape):
                        dim.dim_value = size
                with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
                    onnx.save(model, file.name)
                    kept[length] = tract.onnx().load(file.name).into_model().into_runnable()
            firsts = [first[None, None] for first in (h0, c0) if first is not None]
            found = kept[length].run([numpy.ascontiguousarray(xs[start : start + length, None]), *firsts])
            states.append(found[0].to_numpy().reshape(length, -1))
            start += length
        return numpy.concatenate(states)

    return kernel


def numpy_loop(cell, activation, dtype):
    """The equations in NumPy, as a book has them; states alone but for tanh, whose gradient is by hand."""
    import importlib.util
    import pathlib

    if cell == "elman" and activation == "tanh":
        path = pathlib.Path(__file__).parents[2] / "crates/elman-python/examples/own_kernel.py"
        spec = importlib.util.spec_from_file_location("own_kernel", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.kernel
    sigmoid = lambda a: 1 / (1 + numpy.exp(-a))
    f = {"sigmoid": sigmoid, "relu": lambda a: numpy.maximum(a, 0)}.get(activation)
    states = functools.partial(loop, sigmoid, numpy.tanh, f, numpy.stack, cell)

    def kernel(xs, lengths, wx, wh, bh, h0, dh, **more):
        with numpy.errstate(over="ignore"):
            return states(xs, lengths, wx, wh, bh, h0, **more)

    return kernel


def numba_loops(cell, activation, dtype):
    """One compiled function by hand, with fastmath as its users write it."""
    import math

    import numba

    if cell != "elman":
        raise Unknown("written for one gate")
    code = {"sigmoid": 0, "tanh": 1, "relu": 2}[activation]

    @numba.njit(fastmath=True)
    def run(xs, lengths, wx, wh, bh, h0, dh, backward):
        steps, hidden = len(xs), len(h0)
        h, before, da = np_empty(steps, hidden, xs), np_empty(steps, hidden, xs), np_empty(steps, hidden, xs)
        t = 0
        for length in lengths:
            for step in range(length):
                before[t] = h0 if step == 0 else h[t - 1]
                a = numpy.dot(xs[t], wx) + numpy.dot(before[t], wh) + bh
                for j in range(hidden):
                    if code == 0:
                        h[t, j] = 1 / (1 + math.exp(-a[j]))
                    elif code == 1:
                        h[t, j] = math.tanh(a[j])
                    else:
                        h[t, j] = max(a[j], 0)
                t += 1
        dh0 = numpy.zeros_like(h0)
        if backward:
            end = steps
            for i in range(len(lengths) - 1, -1, -1):
                after = numpy.zeros_like(h0)
                for t in range(end - 1, end - lengths[i] - 1, -1):
                    for j in range(hidden):
                        if code == 0:
                            slope = h[t, j] * (1 - h[t, j])
                        elif code == 1:
                            slope = 1 - h[t, j] * h[t, j]
                        else:
                            slope = 1 if h[t, j] > 0 else 0
                        da[t, j] = (dh[t, j] + after[j]) * slope
                    after = numpy.dot(wh, da[t])
                dh0 += after
                end -= lengths[i]
        return h, before, da, dh0

    @numba.njit
    def np_empty(rows, columns, like):
        return numpy.empty((rows, columns), like.dtype)

    def kernel(xs, lengths, wx, wh, bh, h0, dh):
        h, before, da, dh0 = run(xs, lengths, wx, wh, bh, h0, xs if dh is None else dh, dh is not None)
        return h if dh is None else (h, da @ wx.T, xs.T @ da, before.T @ da, da.sum(0), dh0)

    return kernel


def pytensor_scan(cell, activation, dtype):
    """scan over one sequence at a time, with its own gradient."""
    import pytensor
    import pytensor.tensor as pt

    pytensor.config.floatX = dtype
    pytensor.config.blas__ldflags = ""
    if cell == "lstm":
        raise Unknown("not written for two states")
    f = {"sigmoid": pt.sigmoid, "tanh": pt.tanh, "relu": lambda a: pt.switch(a > 0, a, 0)}.get(activation)
    names = ["xs", "wx", "wh", "bh", "h0"] + ["bhn"] * (cell == "gru")
    kinds = {"xs": pt.matrix, "wx": pt.matrix, "wh": pt.matrix}
    x, wx, wh, bh, h0, *more = variables = [kinds.get(name, pt.vector)(name, dtype=dtype) for name in names]
    dh = pt.matrix("dh", dtype=dtype)

    def step(a, h, wh, *more):
        b, hidden = h @ wh, wh.shape[0]
        if cell == "elman":
            return f(a + b)
        part = lambda of, gate: of[gate * hidden : (gate + 1) * hidden]
        r, z = pt.sigmoid(part(a, 0) + part(b, 0)), pt.sigmoid(part(a, 1) + part(b, 1))
        return (1 - z) * pt.tanh(part(a, 2) + r * (part(b, 2) + more[0])) + z * h

    h = pytensor.scan(step, sequences=x @ wx + bh, outputs_info=h0, non_sequences=[wh, *more], return_updates=False)
    forward = pytensor.function(variables, h)
    both = pytensor.function([*variables, dh], [h, *pt.grad((h * dh).sum(), variables)])

    def kernel(xs, lengths, wx, wh, bh, h0, dh, **more):
        weights, results, start = [wx, wh, bh, h0, *more.values()], [], 0
        for length in lengths:
            rows = slice(start, start + length)
            given = [xs[rows], *weights]
            results.append([forward(*given)] if dh is None else both(*given, dh[rows]))
            start += length
        h, *gradients = zip(*results)
        h = numpy.concatenate(h)
        if dh is None:
            return h
        return (h, numpy.concatenate(gradients[0]), *(sum(parts) for parts in gradients[1:]))

    return kernel


def autograd_loop(cell, activation, dtype):
    """HIPS autograd over its NumPy."""
    import autograd
    import autograd.numpy as anp

    sigmoid = lambda a: 1 / (1 + anp.exp(-a))
    f = {"sigmoid": sigmoid, "tanh": anp.tanh, "relu": lambda a: a * (a > 0)}.get(activation)
    states = functools.partial(loop, sigmoid, anp.tanh, f, anp.stack, cell)

    def kernel(xs, lengths, wx, wh, bh, h0, dh, **more):
        arrays = (xs, wx, wh, bh, h0, *more.values())
        call = lambda arrays: states(arrays[0], lengths, *arrays[1:5], **dict(zip(more, arrays[5:])))
        with numpy.errstate(over="ignore"):
            if dh is None:
                return call(arrays)
            pullback, h = autograd.make_vjp(call)(arrays)
            return h, pullback(dh)

    return kernel


def elman_itself(cell, activation, dtype):
    """The kernels of this project."""
    import elman

    def kernel(xs, lengths, wx, wh, bh, h0, dh, **more):
        options = dict(cell=cell, activation=activation if cell == "elman" else None, threads=THREADS, **more)
        if dh is None:
            return elman.recurrence(xs, wx, wh, bh, h0, lengths, **options)
        trace = elman.vjp(xs, wx, wh, bh, h0, lengths, **options)
        return trace.h, trace.backward(dh)

    return kernel


# Name: the maker, the packages whose versions the table shows.
SYSTEMS = {
    "elman": (elman_itself, ["elman"]),
    "torch, padded": (torch_module(False), ["torch"]),
    "torch, packed": (torch_module(True), ["torch"]),
    "torch, loop": (torch_loop, ["torch"]),
    "jax": (jax_scan, ["jax"]),
    "onnxruntime": (onnxruntime_node, ["onnxruntime"]),
    "tract": (tract_node, ["tract"]),
    "numba": (numba_loops, ["numba"]),
    "pytensor": (pytensor_scan, ["pytensor"]),
    "autograd": (autograd_loop, ["autograd"]),
    "numpy": (numpy_loop, ["numpy"]),
}


def version(packages):
    def of(package):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "?"

    return ", ".join(of(package) for package in packages)
