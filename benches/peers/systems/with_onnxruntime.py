"""ONNX Runtime: the whole network as one graph around the RNN node (the recurrence alone also around the GRU node),
which it cannot train."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from .inputs import in_groups


def session(nodes, inputs, output, constants):
    """A model with the inputs (name, type, dimensions), in one thread."""
    values = [helper.make_tensor_value_info(*value) for value in inputs]
    output = helper.make_tensor_value_info(*output)
    tensors = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "elman", values, [output], tensors)
    # Of the versions of the standard, one that this release and older ones read.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def rnn_node(hidden):
    return helper.make_node(
        "RNN", ["x", "W", "R", "B", "", "initial"], ["y"], hidden_size=hidden, activations=["Sigmoid"]
    )


def rnn_constants(wx, wh, bh):
    return {"W": wx.T[None], "R": wh.T[None], "B": np.concatenate([bh, np.zeros_like(bh)])[None]}


def gru_node(hidden):
    # The other form of a GRU multiplies the state by r before the product.
    inputs = ["x", "W", "R", "B", "", "initial"]
    return helper.make_node("GRU", inputs, ["y"], hidden_size=hidden, linear_before_reset=1)


def gru_constants(wx, wh, bh, bhn):
    """The node's gates are z, r, n."""
    reordered = lambda tensor: np.concatenate([np.split(tensor, 3, -1)[gate] for gate in (1, 0, 2)], -1)
    bias = [reordered(bh), np.zeros(2 * bhn.size, bhn.dtype), bhn]
    return {"W": reordered(wx).T[None], "R": reordered(wh).T[None], "B": np.concatenate(bias)[None]}


def lstm_node(hidden):
    return helper.make_node("LSTM", ["x", "W", "R", "B", "", "initial", "initial_c"], ["y"], hidden_size=hidden)


def lstm_constants(wx, wh, bh):
    """The node's gates are i, o, f, g."""
    reordered = lambda tensor: np.concatenate([np.split(tensor, 4, -1)[gate] for gate in (0, 3, 1, 2)], -1)
    bias = [reordered(bh), np.zeros_like(bh)]
    return {"W": reordered(wx).T[None], "R": reordered(wh).T[None], "B": np.concatenate(bias)[None]}


class OnnxRuntime:
    what = "one graph around the RNN, GRU or LSTM node"
    unchecked = ()
    gradients = False
    packages = ("onnxruntime", "onnx", "numpy")

    def tagger(self, workload):
        return Tagger(workload)

    def recurrence(self, cell):
        return Recurrence(cell, rnn_node, rnn_constants(cell.wx, cell.wh, cell.bh))

    def gru(self, cell):
        return Recurrence(cell, gru_node, gru_constants(cell.wx, cell.wh, cell.bh, cell.bhn))

    def lstm(self, cell):
        return Recurrence(cell, lstm_node, lstm_constants(cell.wx, cell.wh, cell.bh), initial_c=cell.c0)


class Tagger:
    def __init__(self, workload):
        self.workload = workload
        p = workload.trained
        self.h0 = p["h0"]
        constants = rnn_constants(p["wx"], p["wh"], p["bh"])
        constants |= {"emb": p["emb"], "w": p["w"], "b": p["b"]}
        constants |= {"row": np.array([0, 0, -1]), "direction": np.array([1])}
        nodes = [
            helper.make_node("Gather", ["emb", "contexts"], ["gathered"]),  # [T, batch, window, embed]
            helper.make_node("Reshape", ["gathered", "row"], ["x"]),
            rnn_node(workload.hidden),  # [T, 1, batch, hidden]
            helper.make_node("Squeeze", ["y", "direction"], ["h"]),
            helper.make_node("MatMul", ["h", "w"], ["product"]),
            helper.make_node("Add", ["product", "b"], ["scores"]),
            helper.make_node("ArgMax", ["scores"], ["labels"], axis=2, keepdims=0),
        ]
        inputs = [
            ("contexts", TensorProto.INT64, ["T", "batch", workload.window]),
            ("initial", TensorProto.FLOAT, [1, "batch", workload.hidden]),
        ]
        self.session = session(nodes, inputs, ("labels", TensorProto.INT64, ["T", "batch"]), constants)
        self.initial = {}

    def run(self, contexts):
        count = contexts.shape[1]
        if count not in self.initial:
            self.initial[count] = np.repeat(self.h0[None, None], count, axis=1)
        return self.session.run(None, {"contexts": contexts, "initial": self.initial[count]})[0]

    def tag(self, words):
        return self.run(np.ascontiguousarray(self.workload.contexts(words)[:, None]))[:, 0]

    def tag_all(self, sentences):
        return in_groups(sentences, 32, lambda part: self.run(self.workload.padded_contexts(part)))


class Recurrence:
    def __init__(self, cell, node, constants, **states):
        states = {"initial": cell.h0, **states}
        firsts = {name: np.repeat(state[None, None], cell.batch, axis=1) for name, state in states.items()}
        self.inputs = {"x": cell.xs, **firsts}
        inputs = [(name, TensorProto.FLOAT, value.shape) for name, value in self.inputs.items()]
        output = ("y", TensorProto.FLOAT, [cell.steps, 1, cell.batch, cell.hidden])
        self.session = session([node(cell.hidden)], inputs, output, constants)

    def forward(self):
        return self.session.run(None, self.inputs)[0]
