"""JAX: one compiled function for a whole training step, for each sentence length; a scan over the words with the
products that can be moved out of it moved out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .inputs import in_groups


def states(a, h0, wh):
    """States by time from a = x·wx + bh, [T, hidden] or [T, batch, hidden]."""

    def recurrence(h_prev, a_t):
        h_t = jax.nn.sigmoid(a_t + h_prev @ wh)
        return h_t, h_t

    return jax.lax.scan(recurrence, jnp.broadcast_to(h0, a.shape[1:]), a)[1]


def loss(x, wx, wh, w, bh, b, h0, labels, weights):
    h = states(x @ wx + bh, h0, wh)
    log_s = jax.nn.log_softmax(h @ w + b)
    return -(weights * jnp.take_along_axis(log_s, labels[..., None], -1)[..., 0]).sum()


@partial(jax.jit, donate_argnums=0)
def step(params, contexts, labels, weights, rows, lr):
    """contexts by time, [T, window] or [T, batch, window]; weights 1/(sentences · words), 0 past the end."""
    emb, *others = params
    x = emb[contexts].reshape(*contexts.shape[:-1], -1)
    value, (dx, *grads) = jax.value_and_grad(loss, range(7))(x, *others, labels, weights)
    emb = emb.at[contexts].add(-lr * dx.reshape(*contexts.shape, -1))
    # A row that stands there twice is written twice, with the same value.
    changed = emb[rows]
    emb = emb.at[rows].set(changed / jnp.linalg.norm(changed, axis=1, keepdims=True))
    return [emb, *(p - lr * g for p, g in zip(others, grads))], value


@jax.jit
def tag(params, contexts):
    emb, wx, wh, w, bh, b, h0 = params
    x = emb[contexts].reshape(*contexts.shape[:-1], -1)
    return jnp.argmax(states(x @ wx + bh, h0, wh) @ w + b, axis=-1)


@jax.jit
def forward(xs, wx, wh, bh, h0):
    return states(xs @ wx + bh, h0, wh)


@jax.jit
def backward(xs, dh, wx, wh, bh, h0):
    h, pullback = jax.vjp(forward, xs, wx, wh, bh, h0)
    return h, *pullback(dh)


@jax.jit
def gru_forward(xs, wx, wh, bh, bhn, h0):
    def recurrence(h_prev, a_t):
        a_r, a_z, a_n = jnp.split(a_t, 3, -1)
        h_r, h_z, h_n = jnp.split(h_prev @ wh, 3, -1)
        r, z = jax.nn.sigmoid(a_r + h_r), jax.nn.sigmoid(a_z + h_z)
        n = jnp.tanh(a_n + r * (h_n + bhn))
        h_t = (1 - z) * n + z * h_prev
        return h_t, h_t

    a = xs @ wx + bh
    return jax.lax.scan(recurrence, jnp.broadcast_to(h0, (*a.shape[1:-1], h0.size)), a)[1]


@jax.jit
def gru_backward(xs, dh, wx, wh, bh, bhn, h0):
    h, pullback = jax.vjp(gru_forward, xs, wx, wh, bh, bhn, h0)
    return h, *pullback(dh)


@jax.jit
def lstm_forward(xs, wx, wh, bh, h0, c0):
    def recurrence(states, a_t):
        h_prev, c_prev = states
        i, f, g, o = jnp.split(a_t + h_prev @ wh, 4, -1)
        c_t = jax.nn.sigmoid(f) * c_prev + jax.nn.sigmoid(i) * jnp.tanh(g)
        h_t = jax.nn.sigmoid(o) * jnp.tanh(c_t)
        return (h_t, c_t), h_t

    a = xs @ wx + bh
    first = tuple(jnp.broadcast_to(state, (*a.shape[1:-1], state.size)) for state in (h0, c0))
    return jax.lax.scan(recurrence, first, a)[1]


@jax.jit
def lstm_backward(xs, dh, wx, wh, bh, h0, c0):
    h, pullback = jax.vjp(lstm_forward, xs, wx, wh, bh, h0, c0)
    return h, *pullback(dh)


class Jax:
    what = "scan, one compilation for each shape"
    unchecked = ()
    packages = ("jax", "jaxlib", "numpy")

    def trainer(self, workload):
        return Trainer(workload)

    def tagger(self, workload):
        return Tagger(workload)

    def recurrence(self, cell):
        return Recurrence(cell, forward, backward)

    def gru(self, cell):
        # With vectors, forward and backward took 2 to 4 times as long.
        return Recurrence(cell, gru_forward, gru_backward, matrices=True)

    def lstm(self, cell):
        return Recurrence(cell, lstm_forward, lstm_backward, matrices=True)


class Trainer:
    def __init__(self, workload):
        self.workload = workload

    def batch(self, sentences):
        """Padded to the longest, [T, batch, window]; one sentence as [T, window]."""
        steps = max(len(words) for words, _ in sentences)
        contexts = np.full((steps, len(sentences), self.workload.window), self.workload.vocab, np.int32)
        labels = np.zeros((steps, len(sentences)), np.int32)
        weights = np.zeros((steps, len(sentences)), np.float32)
        rows = np.full((steps, len(sentences)), sentences[0][0][0], np.int32)
        for column, (words, tags) in enumerate(sentences):
            count = len(words)
            contexts[:count, column] = self.workload.contexts(words)
            labels[:count, column] = tags
            weights[:count, column] = 1 / (len(sentences) * count)
            rows[:count, column] = words
        rows = rows.ravel()
        if self.workload.window > 1:
            rows = np.append(rows, np.int32(self.workload.vocab))
        if len(sentences) == 1:
            contexts, labels, weights = contexts[:, 0], labels[:, 0], weights[:, 0]
        return [jnp.asarray(part) for part in (contexts, labels, weights, rows)], len(sentences)

    def reset(self):
        self.params = [jnp.array(tensor) for tensor in self.workload.params.values()]

    def epoch(self, batches, lr):
        losses = []
        params = self.params
        for (contexts, labels, weights, rows), count in batches:
            params, value = step(params, contexts, labels, weights, rows, lr)
            losses.append((value, count))
        self.params = params
        return sum(float(value) * count for value, count in losses)


class Tagger:
    def __init__(self, workload):
        self.workload = workload
        self.params = [jnp.array(tensor) for tensor in workload.trained.values()]

    def tag(self, words):
        return np.asarray(tag(self.params, self.workload.contexts(words)))

    def tag_all(self, sentences):
        return in_groups(sentences, 32, self.tag_padded)

    def tag_padded(self, sentences):
        return np.asarray(tag(self.params, self.workload.padded_contexts(sentences)))


class Recurrence:
    def __init__(self, cell, forward, backward, matrices=False):
        self.functions = forward, backward
        self.xs, self.dh = jnp.asarray(cell.xs), jnp.asarray(cell.dh)
        if cell.batch == 1 and not matrices:
            # As [T, input]: its steps are products of a vector.
            self.xs, self.dh = self.xs[:, 0], self.dh[:, 0]
        self.weights = [jnp.asarray(getattr(cell, name)) for name in cell.names]

    def forward(self):
        forward, _ = self.functions
        return forward(self.xs, *self.weights).block_until_ready()

    def backward(self):
        _, backward = self.functions
        return jax.block_until_ready(backward(self.xs, self.dh, *self.weights))
