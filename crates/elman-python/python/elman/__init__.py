"""The Elman network of the Theano slot-filling tutorial, near the hardware's limit.

    h[-1] = h0
    h[t]  = sigmoid(x[t] @ wx + h[t-1] @ wh + bh)
    s[t]  = softmax(h[t] @ w + b)

Network computes probabilities and gradients, Learner trains, Tagger goes from words to tags, and recurrence is the
recurrence alone, for NumPy arrays and, with gradients, for PyTorch tensors.
"""

import os
import sys

from elman import _elman
from elman._elman import Learner, Network, Tagger, Trace, __version__, init, travel, vjp

__all__ = ["Learner", "Network", "Tagger", "Trace", "__version__", "init", "recurrence", "travel", "vjp"]


# Threads do not survive a fork: what has them is made again in the child.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_elman._forked)


def recurrence(xs, wx, wh, bh, h0, lengths=None, *, isa=None, threads=1):
    """The states h[t] = sigmoid(xs[t] @ wx + h[t-1] @ wh + bh), with h[-1] = h0: [sum of lengths, hidden].

    xs [sum of lengths, input] holds one or more sequences, one after the other, without padding; lengths are their
    numbers of steps (all rows are one sequence if it is None), and each starts from h0. wx [input, hidden], wh
    [hidden, hidden], bh [hidden], h0 [hidden].

    All are NumPy arrays of float32 or float64; or all are PyTorch tensors of one of these types on the CPU: then so
    is the result, and gradients flow to all five.

    threads are used for more than one sequence; the result has the same bits with any number.
    """
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(array, torch.Tensor) for array in (xs, wx, wh, bh, h0)):
        from elman import _torch

        return _torch.recurrence(xs, wx, wh, bh, h0, lengths, isa, threads)
    return _elman.forward(xs, wx, wh, bh, h0, lengths, isa=isa, threads=threads)
