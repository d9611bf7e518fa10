"""The Elman network of the Theano slot-filling tutorial, near the hardware's limit.

    h[-1] = h0
    h[t]  = sigmoid(x[t] @ wx + h[t-1] @ wh + bh)
    s[t]  = softmax(h[t] @ w + b)

The sigmoid may be tanh or ReLU (activation="tanh", "relu"), and the cell a GRU or an LSTM (cell="gru", "lstm").

Network computes probabilities and gradients, Learner trains, Tagger goes from words to tags, and recurrence is the
recurrence alone, for NumPy arrays and, with gradients, for PyTorch tensors.
"""

import os
import sys

from elman import _elman, verify
from elman._elman import Learner, Network, Tagger, Trace, __version__, init, travel, vjp

__all__ = ["Learner", "Network", "Tagger", "Trace", "__version__", "init", "recurrence", "travel", "verify", "vjp"]


# Threads do not survive a fork: what has them is made again in the child.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_elman._forked)


def recurrence(
    xs,
    wx,
    wh,
    bh,
    h0,
    lengths=None,
    *,
    bhn=None,
    c0=None,
    initial=None,
    cell="elman",
    activation=None,
    isa=None,
    threads=1,
):
    """The states h[t] = f(xs[t] @ wx + h[t-1] @ wh + bh), with h[-1] = h0: [sum of lengths, hidden].

    xs [sum of lengths, input] holds one or more sequences, one after the other, without padding; lengths are their
    numbers of steps (all rows are one sequence if it is None), and each starts from h0. wx [input, hidden], wh
    [hidden, hidden], bh [hidden], h0 [hidden].

    f is the activation "sigmoid" (the default), "tanh" or "relu". With the cell "gru" the states are those of
    torch.nn.GRU: wx, wh and bh hold the three gates r, z and n side by side, [..., 3 * hidden], and bhn [hidden] is the
    bias inside the product with r. With the cell "lstm" they are those of torch.nn.LSTM: four gates, i, f, g and o, and
    c0 [hidden] is the cell's other state before the first step.

    initial [sequences, hidden] (of an LSTM [sequences, 2 * hidden], h and c side by side) are states to start from instead of h0. A sequence can so be cut anywhere: the part that
    starts from the last state of the part before it (Trace.last) has the states that it has in the whole, bit for bit.

    All are NumPy arrays of float32 or float64; or all are PyTorch tensors of one of these types on the CPU: then so
    is the result, and gradients flow to all of them.

    threads are used for more than one sequence; the result has the same bits with any number.
    """
    arrays = (xs, wx, wh, bh, h0, bhn, c0, initial)
    options = {"cell": cell, "activation": activation, "isa": isa, "threads": threads}
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(array, torch.Tensor) for array in arrays):
        from elman import _torch

        return _torch.recurrence(arrays, lengths, options)
    return _elman.forward(xs, wx, wh, bh, h0, lengths, bhn=bhn, c0=c0, initial=initial, **options)
