"""What every system is given: the workload file, and tensors for the recurrence alone."""

from dataclasses import dataclass

import numpy as np
from safetensors import safe_open

NAMES = ["emb", "wx", "wh", "w", "bh", "b", "h0"]


@dataclass
class Workload:
    """Sentences as int64 arrays of ids, and parameters in float32."""

    vocab: int
    embed: int
    window: int
    hidden: int
    classes: int
    train: list  # of (words, labels)
    test: list  # of words
    params: dict  # from which every training starts
    trained: dict  # what tags

    @staticmethod
    def load(path):
        with safe_open(path, "numpy") as file:
            metadata = file.metadata()
            if metadata.get("format") != "elman workload 1":
                raise ValueError(f"{path}: format {metadata.get('format')!r}, expected 'elman workload 1'")
            get = file.get_tensor
            train = list(zip(split(get, "train", "words"), split(get, "train", "labels")))
            test = split(get, "test", "words")
            params, trained = ({name: get(f"{part}.{name}") for name in NAMES} for part in ["params", "trained"])
        sizes = [int(metadata[name]) for name in ["vocab", "embed", "window", "hidden", "classes"]]
        return Workload(*sizes, train, test, params, trained)

    def contexts(self, words):
        """The ids of the words around each word, [T, window]; beyond the sentence the padding."""
        half = self.window // 2
        padded = np.full(len(words) + 2 * half, self.vocab)
        padded[half : half + len(words)] = words
        return np.lib.stride_tricks.sliding_window_view(padded, self.window)

    def padded_contexts(self, sentences):
        """Of several sentences, the longest first, by time: [T of the longest, sentences, window]."""
        contexts = np.full((len(sentences[0]), len(sentences), self.window), self.vocab)
        for column, words in enumerate(sentences):
            contexts[: len(words), column] = self.contexts(words)
        return contexts


def split(get, part, name):
    return np.split(get(f"{part}.{name}"), np.cumsum(get(f"{part}.lengths"))[:-1])


class Batch:
    """One or more sentences, packed by time: first the first words of all sentences, then the second words of
    those that have one, and so on; longest sentence first, so that the rows of a step continue the first rows
    of the step before. Made before the clock starts.

    contexts [N, window], labels [N], weights [N] (1 / (sentences · words of the sentence)), sizes: the number
    of rows of each step; rows: the rows of the embeddings that a step changes, each once.
    """

    def __init__(self, workload, sentences):
        sentences = sorted(sentences, key=lambda s: -len(s[0]))
        lengths = np.array([len(words) for words, _ in sentences])
        self.sizes = [int((lengths > t).sum()) for t in range(lengths[0])]
        self.offsets = np.concatenate([[0], np.cumsum(self.sizes)]).tolist()
        contexts = [workload.contexts(words) for words, _ in sentences]
        order = [(s, t) for t, size in enumerate(self.sizes) for s in range(size)]
        self.contexts = np.ascontiguousarray([contexts[s][t] for s, t in order])
        self.labels = np.array([sentences[s][1][t] for s, t in order])
        self.weights = np.array([1 / (len(sentences) * lengths[s]) for s, _ in order], dtype=np.float32)
        self.rows = np.unique(self.contexts)
        # The row of the state before each row; of the first step, none.
        self.before = np.concatenate([np.arange(n) + o for n, o in zip(self.sizes[1:], self.offsets)] or [[]])
        self.before = self.before.astype(np.int64)
        # The positions in contexts, sorted by id, and where each id of `rows` begins.
        flat = self.contexts.ravel()
        self.order = np.argsort(flat, kind="stable")
        self.starts = np.searchsorted(flat[self.order], self.rows)


def batches(workload, count, size):
    """The training sentences one at a time in the order of the file, or `size` together, sorted by length."""
    train = workload.train[: count or None]
    if size > 1:
        train = sorted(train, key=lambda s: len(s[0]))
    return [train[i : i + size] for i in range(0, len(train), size)]


def in_groups(sentences, size, tag):
    """Tags `size` sentences of similar length at a time; tag gets the longest first and returns [T, size]."""
    order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
    labels = [None] * len(sentences)
    for first in range(0, len(order), size):
        part = order[first : first + size]
        found = tag([sentences[i] for i in part])
        for column, i in enumerate(part):
            labels[i] = found[: len(sentences[i]), column]
    return labels


def stream(number, shape, width):
    """The tensor of the Rust `Stream(number)`, bit for bit."""
    with np.errstate(over="ignore"):
        z = np.arange(1, np.prod(shape) + 1, dtype=np.uint64) + np.uint64(number << 40)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    unit = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    return ((unit - np.float32(0.5)) * np.float32(width)).reshape(shape)


def fingerprint(tensor):
    """sqrt(sum over i of entry[i]² · (1 + i/n)), as the Rust `fingerprint`."""
    entries = np.asarray(tensor, dtype=np.float64).ravel()
    return float(np.sqrt((entries**2 * (1 + np.arange(entries.size) / entries.size)).sum()))


class Cell:
    """The tensors of the recurrence alone; xs and dh by time, [steps, batch, …]. Three gates are those of a GRU,
    r, z and n, which lie side by side; it has the bias bhn too. Four are those of an LSTM, i, f, g and o; it has the
    state c0 too."""

    def __init__(self, batch, input, hidden, steps, gates=1):
        self.wx = stream(0, (input, gates * hidden), 0.25)
        self.wh = stream(1, (hidden, gates * hidden), 0.25)
        self.bh = stream(2, (gates * hidden,), 0.25)
        if gates == 3:
            self.bhn = stream(6, (hidden,), 0.25)
        self.h0 = stream(3, (hidden,), 1.0)
        if gates == 4:
            self.c0 = stream(7, (hidden,), 1.0)
        self.names = [name for name in ["wx", "wh", "bh", "bhn", "h0", "c0"] if hasattr(self, name)]
        # The file order is sequence after sequence.
        by_time = lambda tensor: np.ascontiguousarray(tensor.transpose(1, 0, 2))
        self.xs = by_time(stream(4, (batch, steps, input), 2.0))
        self.dh = by_time(stream(5, (batch, steps, hidden), 2.0))
        self.batch, self.input, self.hidden, self.steps = batch, input, hidden, steps
