"""The Python package elman: what it costs to call the same kernels from Python."""

import elman
import numpy as np


class Elman:
    what = "our kernels, called from Python; tagging from words to tags"
    unchecked = ()
    packages = ("elman", "numpy")

    def trainer(self, workload):
        return Trainer(workload)

    def tagger(self, workload):
        return Tagger(workload)

    def recurrence(self, cell):
        return Recurrence(cell)

    def gru(self, cell):
        return Recurrence(cell, cell="gru", bhn=cell.bhn)

    def lstm(self, cell):
        return Recurrence(cell, cell="lstm", c0=cell.c0)


class Trainer:
    def __init__(self, workload):
        self.params = workload.params

    def batch(self, sentences):
        return [(words.tolist(), labels.tolist()) for words, labels in sentences]

    def reset(self):
        self.learner = elman.Learner(self.params)

    def epoch(self, batches, lr):
        return sum(self.learner.step(batch, lr) * len(batch) for batch in batches)


class Tagger:
    """The package's tagger begins with words and ends with tags, which the clock sees; here they are ids as text."""

    def __init__(self, workload):
        words = ["<UNK>", *(str(id) for id in range(1, workload.vocab))]
        labels = [str(label) for label in range(workload.classes)]
        self.tagger = elman.Tagger(workload.trained, words, labels)
        self.texts = {id(sentence): [words[word] for word in sentence] for sentence in workload.test}

    def tag(self, sentence):
        return self.tagger.label([self.texts[id(sentence)]])[0]

    def tag_all(self, sentences):
        return self.tagger.label([self.texts[id(sentence)] for sentence in sentences])


class Recurrence:
    def __init__(self, sizes, **options):
        by_sequence = lambda tensor: np.ascontiguousarray(tensor.transpose(1, 0, 2)).reshape(-1, tensor.shape[2])
        self.inputs = by_sequence(sizes.xs), sizes.wx, sizes.wh, sizes.bh, sizes.h0
        self.dh, self.lengths = by_sequence(sizes.dh), [sizes.steps] * sizes.batch
        self.by_time = lambda rows: rows.reshape(sizes.batch, sizes.steps, -1).transpose(1, 0, 2)
        self.options, self.names = options, sizes.names

    def forward(self):
        return self.by_time(elman.recurrence(*self.inputs, self.lengths, **self.options))

    def backward(self):
        trace = elman.vjp(*self.inputs, self.lengths, **self.options)
        xs, *gradients = trace.backward(self.dh)
        order = ["wx", "wh", "bh", "h0", *(name for name in ("bhn", "c0") if name in self.options)]
        gradients = dict(zip(order, gradients, strict=True))
        return self.by_time(trace.h), self.by_time(xs), *(gradients[name] for name in self.names)
