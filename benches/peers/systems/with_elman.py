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
    def __init__(self, cell):
        by_sequence = lambda tensor: np.ascontiguousarray(tensor.transpose(1, 0, 2)).reshape(-1, tensor.shape[2])
        self.inputs = by_sequence(cell.xs), cell.wx, cell.wh, cell.bh, cell.h0
        self.dh, self.lengths = by_sequence(cell.dh), [cell.steps] * cell.batch
        self.by_time = lambda rows: rows.reshape(cell.batch, cell.steps, -1).transpose(1, 0, 2)

    def forward(self):
        return self.by_time(elman.recurrence(*self.inputs, self.lengths))

    def backward(self):
        trace = elman.vjp(*self.inputs, self.lengths)
        xs, *gradients = trace.backward(self.dh)
        return self.by_time(trace.h), self.by_time(xs), *gradients
