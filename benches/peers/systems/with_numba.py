"""numba: one compiled function for a whole training step and one for a whole sentence of tagging. Large products
go through BLAS, the loop over the words is written out."""

import numpy as np
from numba import njit

from .inputs import NAMES, Batch

# The compiled code is kept on disk, as a user who cares for the start would have it.
compiled = njit(cache=True, fastmath=True, error_model="numpy")


@compiled
def forward(a, h0, wh):
    """States [T, hidden] from a = x·wx + bh, in place of a."""
    steps, hidden = a.shape
    before = h0
    for t in range(steps):
        z = a[t]
        for i in range(hidden):
            factor = before[i]
            row = wh[i]
            for j in range(hidden):
                z[j] += factor * row[j]
        for j in range(hidden):
            z[j] = np.float32(1) / (np.float32(1) + np.exp(-z[j]))
        before = z
    return a


@compiled
def backward(dh, h, wh):
    """da [T, hidden] from dh, in place of dh, and the gradient of h0."""
    steps, hidden = dh.shape
    after = np.zeros(hidden, np.float32)
    for t in range(steps - 1, -1, -1):
        da = dh[t]
        for j in range(hidden):
            da[j] = (da[j] + after[j]) * h[t, j] * (np.float32(1) - h[t, j])
        for i in range(hidden):
            row = wh[i]
            total = np.float32(0)
            for j in range(hidden):
                total += row[j] * da[j]
            after[i] = total
    return dh, after


@compiled
def windows(emb, contexts):
    steps, window = contexts.shape
    embed = emb.shape[1]
    x = np.empty((steps, window * embed), np.float32)
    for t in range(steps):
        for k in range(window):
            row = emb[contexts[t, k]]
            for e in range(embed):
                x[t, k * embed + e] = row[e]
    return x


@compiled
def add_rows(a, b):
    for t in range(a.shape[0]):
        for j in range(a.shape[1]):
            a[t, j] += b[j]


@compiled
def add_product(weights, a, b):
    """weights += aᵀ·b, in place: for the few rows of a sentence faster than BLAS and an addition."""
    for i in range(weights.shape[0]):
        row = weights[i]
        for t in range(a.shape[0]):
            factor = a[t, i]
            values = b[t]
            for j in range(row.shape[0]):
                row[j] += factor * values[j]


@compiled
def add_sum(bias, rows):
    for t in range(rows.shape[0]):
        for j in range(bias.shape[0]):
            bias[j] += rows[t, j]


@compiled
def step(emb, wx, wh, w, bh, b, h0, contexts, labels, changed, lr):
    steps, window = contexts.shape
    embed = emb.shape[1]
    classes = w.shape[1]
    x = windows(emb, contexts)
    a = np.dot(x, wx)
    add_rows(a, bh)
    h = forward(a, h0, wh)
    s = np.dot(h, w)
    loss = np.float32(0)
    scale = -lr / np.float32(steps)
    for t in range(steps):
        top = np.float32(-np.inf)
        for c in range(classes):
            s[t, c] += b[c]
            top = max(top, s[t, c])
        picked = s[t, labels[t]] - top
        total = np.float32(0)
        for c in range(classes):
            s[t, c] = np.exp(s[t, c] - top)
            total += s[t, c]
        loss += np.log(total) - picked
        # From here on all gradients are times -lr.
        factor = scale / total
        for c in range(classes):
            s[t, c] *= factor
        s[t, labels[t]] -= scale
    dh = np.dot(s, w.T)
    add_product(w, h, s)
    add_sum(b, s)
    da, dh0 = backward(dh, h, wh)
    dx = np.dot(da, wx.T)
    add_product(wx, x, da)
    h_prev = np.empty_like(h)
    h_prev[0] = h0
    h_prev[1:] = h[:-1]
    add_product(wh, h_prev, da)
    add_sum(bh, da)
    for j in range(h0.shape[0]):
        h0[j] += dh0[j]
    for t in range(steps):
        for k in range(window):
            row = emb[contexts[t, k]]
            for e in range(embed):
                row[e] += dx[t, k * embed + e]
    for r in range(changed.shape[0]):
        row = emb[changed[r]]
        norm = np.float32(0)
        for e in range(embed):
            norm += row[e] * row[e]
        norm = np.float32(1) / np.sqrt(norm)
        for e in range(embed):
            row[e] *= norm
    return loss / np.float32(steps)


@compiled
def tag(emb, wx, wh, w, bh, b, h0, words, window):
    steps = words.shape[0]
    half = window // 2
    contexts = np.empty((steps, window), np.int64)
    for t in range(steps):
        for k in range(window):
            position = t + k - half
            contexts[t, k] = words[position] if 0 <= position < steps else emb.shape[0] - 1
    a = np.dot(windows(emb, contexts), wx)
    add_rows(a, bh)
    s = np.dot(forward(a, h0, wh), w)
    add_rows(s, b)
    labels = np.empty(steps, np.int64)
    for t in range(steps):
        labels[t] = np.argmax(s[t])
    return labels


@compiled
def states(x, wx, bh, h0, wh):
    """Of sequences [batch, T, input]; the states of all sequences at a step share one product."""
    steps, batch, inputs = x.shape
    hidden = wh.shape[0]
    h = np.dot(x.reshape(steps * batch, inputs), wx)
    add_rows(h, bh)
    if batch == 1:
        return forward(h, h0, wh)
    before = np.empty((batch, hidden), np.float32)
    for s in range(batch):
        before[s] = h0
    for t in range(steps):
        z = h[t * batch : (t + 1) * batch]
        product = np.dot(before, wh)
        for s in range(batch):
            for j in range(hidden):
                z[s, j] = np.float32(1) / (np.float32(1) + np.exp(-z[s, j] - product[s, j]))
        before = z
    return h


@compiled
def gradients(x, dh, wx, bh, h0, wh):
    steps, batch, inputs = x.shape
    hidden = wh.shape[0]
    h = states(x, wx, bh, h0, wh)
    da = dh.reshape(steps * batch, hidden).copy()
    dh0 = np.zeros(hidden, np.float32)
    if batch == 1:
        da, dh0 = backward(da, h, wh)
    else:
        after = np.zeros((batch, hidden), np.float32)
        for t in range(steps - 1, -1, -1):
            d = da[t * batch : (t + 1) * batch]
            g = h[t * batch : (t + 1) * batch]
            for s in range(batch):
                for j in range(hidden):
                    d[s, j] = (d[s, j] + after[s, j]) * g[s, j] * (np.float32(1) - g[s, j])
            after = np.dot(d, wh.T)
        add_sum(dh0, after)
    h_prev = np.empty_like(h)
    for s in range(batch):
        h_prev[s] = h0
    h_prev[batch:] = h[: (steps - 1) * batch]
    dbh = np.zeros(hidden, np.float32)
    add_sum(dbh, da)
    flat = x.reshape(steps * batch, inputs)
    return h, np.dot(da, wx.T), np.dot(flat.T, da), np.dot(h_prev.T, da), dbh, dh0


class Numba:
    what = "whole step compiled, written by hand"
    unchecked = ()
    minibatches = False
    packages = ("numba", "numpy", "scipy")

    def trainer(self, workload):
        return Trainer(workload)

    def tagger(self, workload):
        return Tagger(workload)

    def recurrence(self, cell):
        return Recurrence(cell)


class Trainer:
    def __init__(self, workload):
        self.workload = workload

    def batch(self, sentences):
        batch = Batch(self.workload, sentences)
        return batch.contexts, batch.labels, batch.rows

    def reset(self):
        self.params = [self.workload.params[name].copy() for name in NAMES]

    def epoch(self, batches, lr):
        lr = np.float32(lr)
        return sum(float(step(*self.params, *batch, lr)) for batch in batches)


class Tagger:
    def __init__(self, workload):
        self.window = workload.window
        self.params = list(workload.trained.values())

    def tag(self, words):
        return tag(*self.params, words, self.window)

    def tag_all(self, sentences):
        return [self.tag(words) for words in sentences]


class Recurrence:
    def __init__(self, cell):
        self.cell = cell

    def forward(self):
        cell = self.cell
        return states(cell.xs, cell.wx, cell.bh, cell.h0, cell.wh)

    def backward(self):
        cell = self.cell
        return gradients(cell.xs, cell.dh, cell.wx, cell.bh, cell.h0, cell.wh)
