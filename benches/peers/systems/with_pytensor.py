"""PyTensor, the continuation of Theano: as the tutorial writes the network, and with the products moved out of
the scan."""

import numpy as np
import pytensor
import pytensor.tensor as pt

from .inputs import NAMES, Batch


def scan(step, sequence, outputs_info):
    return pytensor.scan(step, sequence, outputs_info, n_steps=sequence.shape[0], return_updates=False)


def probabilities(x, wx, wh, w, bh, b, h0, as_tutorial):
    """s [T, classes] from the windows x [T, input]."""
    if as_tutorial:

        def recurrence(x_t, h_prev):
            h_t = pt.sigmoid(pt.dot(x_t, wx) + pt.dot(h_prev, wh) + bh)
            s_t = pt.special.softmax(pt.dot(h_t, w) + b, axis=-1)
            return h_t, s_t

        return scan(recurrence, x, [h0, None])[1]
    return pt.special.softmax(pt.dot(states(pt.dot(x, wx) + bh, h0, wh), w) + b, axis=1)


def states(a, h0, wh):
    return scan(lambda a_t, h_prev: pt.sigmoid(a_t + pt.dot(h_prev, wh)), a, h0)


class PyTensor:
    unchecked = ()
    minibatches = False
    packages = ("pytensor", "numba", "numpy", "scipy")

    def __init__(self, as_tutorial):
        pytensor.config.floatX = "float32"
        self.as_tutorial = as_tutorial
        self.what = "as the tutorial writes it" if as_tutorial else "products moved out of the scan"
        if not as_tutorial:
            self.recurrence = Recurrence

    def trainer(self, workload):
        return Trainer(workload, self.as_tutorial)

    def tagger(self, workload):
        return Tagger(workload, self.as_tutorial)


def shared(tensors):
    return [pytensor.shared(tensors[name].copy(), name=name) for name in NAMES]


class Trainer:
    def __init__(self, workload, as_tutorial):
        self.workload = workload
        self.params = shared(workload.params)
        emb, *others = self.params
        contexts, labels, rows = pt.lmatrix("contexts"), pt.lvector("labels"), pt.lvector("rows")
        lr = pt.fscalar("lr")
        words = emb[contexts.ravel()]
        x = words.reshape((contexts.shape[0], workload.window * workload.embed))
        s = probabilities(x, *others, as_tutorial)
        loss = -pt.mean(pt.log(s)[pt.arange(contexts.shape[0]), labels])
        dwords, demb, *grads = pytensor.grad(loss, [words, *self.params])
        updates = [(p, p - lr * g) for p, g in zip(others, grads)]
        if as_tutorial:
            # The gradient of all embeddings, then all of them normalised, by a second function.
            updates.append((emb, emb - lr * demb))
            norms = pt.sqrt((emb**2).sum(axis=1)).dimshuffle(0, "x")
            normalize = pytensor.function([], [], updates=[(emb, emb / norms)])
            train = pytensor.function([contexts, labels, lr], loss, updates=updates)

            def step(batch, lr):
                value = train(batch.contexts, batch.labels, lr)
                normalize()
                return value
        else:
            # Only the rows that changed.
            new = pt.inc_subtensor(words, -lr * dwords)
            changed = new[rows]
            norms = pt.sqrt((changed**2).sum(axis=1, keepdims=True))
            updates.append((emb, pt.set_subtensor(changed, changed / norms)))
            train = pytensor.function([contexts, labels, rows, lr], loss, updates=updates)

            def step(batch, lr):
                return train(batch.contexts, batch.labels, batch.rows, lr)

        self.step = step

    def batch(self, sentences):
        return Batch(self.workload, sentences)

    def reset(self):
        for p, name in zip(self.params, NAMES):
            p.set_value(self.workload.params[name].copy(), borrow=True)

    def epoch(self, batches, lr):
        lr = np.float32(lr)
        return sum(float(self.step(batch, lr)) for batch in batches)


class Tagger:
    def __init__(self, workload, as_tutorial):
        self.workload = workload
        emb, *others = shared(workload.trained)
        contexts = pt.lmatrix("contexts")
        x = emb[contexts.ravel()].reshape((contexts.shape[0], workload.window * workload.embed))
        s = probabilities(x, *others, as_tutorial)
        self.classify = pytensor.function([contexts], pt.argmax(s, axis=1))

    def tag(self, words):
        return self.classify(self.workload.contexts(words))

    def tag_all(self, sentences):
        return [self.tag(words) for words in sentences]


class Recurrence:
    """The graphs do not name a size, so that they are compiled once."""

    compiled = None

    def __init__(self, cell):
        self.inputs = [cell.xs, cell.wx, cell.wh, cell.bh, np.repeat(cell.h0[None], cell.batch, axis=0)]
        self.dh = cell.dh
        if Recurrence.compiled is None:
            xs, wx, wh, bh, h0, dh = (pt.ftensor3(), pt.fmatrix(), pt.fmatrix(), pt.fvector(), pt.fmatrix(),
                                      pt.ftensor3())  # fmt: skip
            steps, batch = xs.shape[0], xs.shape[1]
            a = pt.dot(xs.reshape((steps * batch, xs.shape[2])), wx) + bh
            h = states(a.reshape((steps, batch, wh.shape[0])), h0, wh)
            inputs = [xs, wx, wh, bh, h0]
            dxs, dwx, dwh, dbh, dh0 = pytensor.grad((h * dh).sum(), inputs)
            gradient = [h, dxs, dwx, dwh, dbh, dh0.sum(axis=0)]
            Recurrence.compiled = (
                pytensor.function(inputs, h),
                pytensor.function([*inputs, dh], gradient),
            )
        self.functions = Recurrence.compiled

    def forward(self):
        return self.functions[0](*self.inputs)

    def backward(self):
        return self.functions[1](*self.inputs, self.dh)
