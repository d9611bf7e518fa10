"""A kernel in NumPy: the Elman network's recurrence and its gradient, with tanh. It stands for yours.

    python own_kernel.py
"""

import numpy


def kernel(xs, lengths, wx, wh, bh, h0, dh):
    """The states, and where dh is given the gradients of sum(dh * h)."""
    h, before = numpy.empty((len(xs), len(h0)), xs.dtype), numpy.empty((len(xs), len(h0)), xs.dtype)
    ends = numpy.cumsum(lengths)
    for end, length in zip(ends, lengths):
        state = h0
        for t in range(end - length, end):
            before[t] = state
            state = h[t] = numpy.tanh(xs[t] @ wx + state @ wh + bh)
    if dh is None:
        return h
    da, dh0 = numpy.empty_like(h), numpy.zeros_like(h0)
    for end, length in zip(ends, lengths):
        after = numpy.zeros_like(h0)  # what the next step gives back to the state
        for t in reversed(range(end - length, end)):
            da[t] = (dh[t] + after) * (1 - h[t] ** 2)
            after = da[t] @ wh.T
        dh0 += after
    return h, {"xs": da @ wx.T, "wx": xs.T @ da, "wh": before.T @ da, "bh": da.sum(0), "h0": dh0}


if __name__ == "__main__":
    import elman

    report = elman.verify.recurrence(kernel, activation="tanh", dtype="float32")
    print(report)
    report.html("report.html")
    report.assert_passed()
