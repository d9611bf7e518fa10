"""The program behind `elman verify --onnx FILE`: the RNN, GRU or LSTM node of an ONNX file, run by ONNX Runtime.

    python3 -m elman.onnx_peer FILE

It answers the protocol of benches/peers (its works hello and judge): a line of JSON for each line of JSON.
"""

import json
import os
import pathlib
import struct
import sys

import numpy

from elman import verify

_TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
_ACTIVATIONS = {b"Sigmoid": "elman", b"Tanh": "elman-tanh", b"Relu": "elman-relu"}


def cell_of(path):
    """The name of the cell that the one recurrent node of an ONNX file computes."""
    import onnx

    nodes = [node for node in onnx.load(str(path)).graph.node if node.op_type in ("RNN", "GRU", "LSTM")]
    if len(nodes) != 1:
        found = ", ".join(node.op_type for node in nodes) or "none"
        raise ValueError(f"{path}: expected one RNN, GRU or LSTM node, found {found}")
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in nodes[0].attribute}
    if attributes.get("direction", b"forward") != b"forward":
        raise ValueError(f"{path}: expected a node in the direction forward, found {attributes['direction'].decode()}")
    if nodes[0].op_type == "LSTM":
        return "lstm"
    if nodes[0].op_type == "GRU":
        if attributes.get("linear_before_reset", 0) != 1:
            raise ValueError(f"{path}: expected a GRU node with linear_before_reset = 1, found another form of the GRU")
        return "gru"
    # The default of ONNX.
    (activation,) = attributes.get("activations", [b"Tanh"])
    if activation not in _ACTIVATIONS:
        expected = ", ".join(name.decode() for name in _ACTIVATIONS)
        raise ValueError(f"{path}: expected the activation {expected}, found {activation.decode(errors='replace')}")
    return _ACTIVATIONS[activation]


def read(path):
    """The arrays of a safetensors file."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    arrays = {}
    for name, tensor in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            start, end = tensor["data_offsets"]
            array = numpy.frombuffer(data[8 + length + start : 8 + length + end], _TYPES[tensor["dtype"]])
            arrays[name] = array.reshape(tensor["shape"])
    return arrays


def write(path, name, array):
    """A safetensors file of one array of float32."""
    data = numpy.ascontiguousarray(array, "<f4").tobytes()
    header = json.dumps({name: {"dtype": "F32", "shape": array.shape, "data_offsets": [0, len(data)]}}).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(header)) + header + data)


class Peer:
    def __init__(self, path):
        self.path, self.cell = path, cell_of(path)
        self.function = verify.onnx_function(path, self.cell.split("-")[0])

    def hello(self):
        # ONNX Runtime has no RNN, GRU and LSTM in float64 for the CPU.
        judge = {"cells": [self.cell], "numbers": ["f32"], "gradients": False, "initial": False}
        return {"name": pathlib.Path(self.path).name, "judge": judge}

    def judge(self, cell, number, backward, file, answer):
        given = read(file)
        names = ["xs", "lengths", "wx", "wh", "bh", "h0"]
        more = {name: given[name] for name in ("bhn", "c0") if name in given}
        write(answer, "h", self.function(*(given[name] for name in names), None, **more))
        return {}


def main():
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            peer = peer or Peer(sys.argv[1])
            answer = {"hello": peer.hello, "judge": peer.judge}[request.pop("work")](**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
