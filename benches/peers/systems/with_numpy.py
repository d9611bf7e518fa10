"""numpy: the loop and its gradient written by hand, all products that can be moved out of the loop moved out."""

import numpy as np

from .inputs import NAMES, Batch, in_groups


def sigmoid(z):
    """In place."""
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    np.reciprocal(z, out=z)
    return z


def forward(a, h0, wh, sizes, offsets):
    """Packed states from a = x·wx + bh, in place of a."""
    z = h0 @ wh
    for t, size in enumerate(sizes):
        step = a[offsets[t] : offsets[t + 1]]
        if t > 0:
            z = step_before[:size] @ wh
        step += z
        step_before = sigmoid(step)
    return a


def backward(dh, h, wh, sizes, offsets):
    """Packed da from dh, in place of dh, and the gradient of h0."""
    slope = h * (1 - h)
    transposed = wh.T
    after = None
    for t in range(len(sizes) - 1, -1, -1):
        step = dh[offsets[t] : offsets[t + 1]]
        if after is not None:
            step[: len(after)] += after
        step *= slope[offsets[t] : offsets[t + 1]]
        after = step @ transposed
    return dh, after.sum(axis=0)


class Numpy:
    what = "loop and gradient by hand, products moved out of the loop"
    unchecked = ()
    packages = ("numpy",)

    def __init__(self):
        np.seterr(over="ignore")

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
        return Batch(self.workload, sentences)

    def reset(self):
        self.params = {name: self.workload.params[name].copy() for name in NAMES}

    def epoch(self, batches, lr):
        lr = np.float32(lr)
        return sum(float(self.step(batch, lr)) * batch.sizes[0] for batch in batches)

    def step(self, batch, lr):
        emb, wx, wh, w, bh, b, h0 = self.params.values()
        rows = len(batch.labels)
        x = emb[batch.contexts].reshape(rows, -1)
        a = x @ wx
        a += bh
        h = forward(a, h0, wh, batch.sizes, batch.offsets)

        s = h @ w
        s += b
        s -= s.max(axis=1, keepdims=True)
        picked = s[np.arange(rows), batch.labels]
        np.exp(s, out=s)
        total = s.sum(axis=1)
        loss = batch.weights @ (np.log(total) - picked)

        # From here on all gradients are times -lr.
        scale = batch.weights * -lr
        s *= (scale / total)[:, None]
        s[np.arange(rows), batch.labels] -= scale
        dh = s @ w.T
        w += h.T @ s
        b += s.sum(axis=0)
        first = batch.sizes[0]
        h_prev = np.empty_like(h)
        h_prev[:first] = h0
        h_prev[first:] = h[batch.before]
        da, dh0 = backward(dh, h, wh, batch.sizes, batch.offsets)
        dx = (da @ wx.T).reshape(rows * self.workload.window, -1)
        wx += x.T @ da
        wh += h_prev.T @ da
        bh += da.sum(axis=0)
        h0 += dh0
        changed = emb[batch.rows] + np.add.reduceat(dx[batch.order], batch.starts)
        changed /= np.sqrt(np.einsum("ij,ij->i", changed, changed))[:, None]
        emb[batch.rows] = changed
        return loss


class Tagger:
    def __init__(self, workload):
        self.workload = workload
        self.params = list(workload.trained.values())

    def tag(self, words):
        emb, wx, wh, w, bh, b, h0 = self.params
        a = emb[self.workload.contexts(words)].reshape(len(words), -1) @ wx
        a += bh
        h = forward(a, h0, wh, [1] * len(words), range(len(words) + 1))
        s = h @ w
        s += b
        return s.argmax(axis=1)

    def tag_all(self, sentences):
        return in_groups(sentences, 32, self.tag_padded)

    def tag_padded(self, sentences):
        emb, wx, wh, w, bh, b, h0 = self.params
        lengths = [len(words) for words in sentences]
        steps, count = lengths[0], len(lengths)
        a = emb[self.workload.padded_contexts(sentences)].reshape(steps * count, -1) @ wx
        a += bh
        h = a.reshape(steps, count, -1)
        z = h0 @ wh
        active = count
        for t in range(steps):
            while lengths[active - 1] <= t:
                active -= 1
            step = h[t, :active]
            step += z if t == 0 else before[:active] @ wh
            before = sigmoid(step)
        s = a @ w
        s += b
        return s.argmax(axis=1).reshape(steps, count)


class Recurrence:
    def __init__(self, cell):
        self.cell = cell
        self.sizes = [cell.batch] * cell.steps
        self.offsets = [t * cell.batch for t in range(cell.steps + 1)]
        self.x = cell.xs.reshape(-1, cell.input)
        self.dh = cell.dh.reshape(-1, cell.hidden)

    def forward(self):
        a = self.x @ self.cell.wx
        a += self.cell.bh
        return forward(a, self.cell.h0, self.cell.wh, self.sizes, self.offsets)

    def backward(self):
        cell, h = self.cell, self.forward()
        da, dh0 = backward(self.dh.copy(), h, cell.wh, self.sizes, self.offsets)
        h_prev = np.empty_like(h)
        h_prev[: cell.batch] = cell.h0
        h_prev[cell.batch :] = h[: -cell.batch]
        return h, da @ cell.wx.T, self.x.T @ da, h_prev.T @ da, da.sum(axis=0), dh0
