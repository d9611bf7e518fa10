"""Writes numbers.txt into the current folder: outputs, loss and gradient of a small network of each kind.

All is computed by mpmath at 60 digits, the gradient by central differences with a step of 1e-25. Nothing here is
shared with the crate.
"""

from itertools import product as each_of

from mpmath import exp, log, mp, mpf, nstr, tanh

mp.dps = 60
WORDS, LABELS = [2, 0, 2, 1], [1, 2, 0, 1]
VOCAB, EMBED, WINDOW, HIDDEN, CLASSES = 3, 2, 3, 2, 3


def sigmoid(a):
    return 1 / (1 + exp(-a))


CRF = " with crf"
ACTIVATIONS = {"": sigmoid, "-tanh": tanh, "-relu": lambda a: max(a, mpf(0))}


def tensors(network):
    """Names and dimensions, in the order of the buffer."""
    cell = network.removesuffix(CRF)
    gates = {"gru": 3, "lstm": 4}.get(cell, 1)
    back = CLASSES if network.startswith("jordan") else HIDDEN
    table = [("emb", VOCAB + 1, EMBED), ("wx", EMBED * WINDOW, gates * HIDDEN), ("wh", back, gates * HIDDEN)]
    table += [("w", HIDDEN, CLASSES), ("bh", 1, gates * HIDDEN)]
    table += [("bhn", 1, HIDDEN)] if cell == "gru" else []
    table += [("b", 1, CLASSES), ("h0", 1, back)]
    table += [("c0", 1, HIDDEN)] if cell == "lstm" else []
    crf = [("transitions", CLASSES, CLASSES), ("start", 1, CLASSES), ("end", 1, CLASSES)]
    return table + (crf if network != cell else [])


def conditional_random_field(p, scores):
    """The outputs and the loss, from the scores of all labels of the sentence, one by one."""

    def score(labels):
        of_words = sum(row[label] for row, label in zip(scores, labels, strict=True))
        between = sum(p["transitions"][a][b] for a, b in zip(labels, labels[1:]))
        return p["start"][0][labels[0]] + of_words + between + p["end"][0][labels[-1]]

    weights = {labels: exp(score(labels)) for labels in each_of(range(CLASSES), repeat=len(scores))}
    z = sum(weights.values())
    outputs = []
    for t in range(len(scores)):
        for label in range(CLASSES):
            outputs.append(sum(weight for labels, weight in weights.items() if labels[t] == label) / z)
    return outputs, -log(weights[tuple(LABELS)] / z) / len(scores)


def run(network, values):
    """The outputs and the loss."""
    p, start = {}, 0
    for name, rows, columns in tensors(network):
        p[name] = [values[start + i * columns : start + (i + 1) * columns] for i in range(rows)]
        start += rows * columns

    def product(v, name, j):
        return sum(v_i * row[j] for v_i, row in zip(v, p[name], strict=True))

    cell = network.removesuffix(CRF)
    back, scores, outputs, loss = p["h0"][0], [], [], mpf(0)
    c = p["c0"][0] if cell == "lstm" else None
    for t, label in enumerate(LABELS):
        around = [WORDS[i] if 0 <= i < len(WORDS) else VOCAB for i in range(t - 1, t + 2)]
        x = [entry for word in around for entry in p["emb"][word]]
        h = []
        for j in range(HIDDEN):
            by_x = [product(x, "wx", k) + p["bh"][0][k] for k in range(j, len(p["bh"][0]), HIDDEN)]
            by_h = [product(back, "wh", k) for k in range(j, len(p["bh"][0]), HIDDEN)]
            if cell == "gru":
                r, z = sigmoid(by_x[0] + by_h[0]), sigmoid(by_x[1] + by_h[1])
                n = tanh(by_x[2] + r * (by_h[2] + p["bhn"][0][j]))
                h.append((1 - z) * n + z * back[j])
            elif cell == "lstm":
                i, f, g, o = (a + b for a, b in zip(by_x, by_h, strict=True))
                c[j] = sigmoid(f) * c[j] + sigmoid(i) * tanh(g)
                h.append(sigmoid(o) * tanh(c[j]))
            else:
                h.append(ACTIVATIONS[cell.removeprefix("elman").removeprefix("jordan")](by_x[0] + by_h[0]))
        scores.append([product(h, "w", k) + p["b"][0][k] for k in range(CLASSES)])
        e = [exp(score) for score in scores[-1]]
        s = [e_k / sum(e) for e_k in e]
        loss -= log(s[label]) / len(WORDS)
        outputs += s
        back = s if network.startswith("jordan") else h
    return (outputs, loss) if network == cell else conditional_random_field(p, scores)


CELLS = ["elman" + end for end in ACTIVATIONS] + ["gru", "lstm"]
NETWORKS = CELLS + ["jordan" + end for end in ACTIVATIONS] + [cell + CRF for cell in CELLS]


with open("numbers.txt", "w") as file:
    for network in NETWORKS:
        entries = sum(rows * columns for _, rows, columns in tensors(network))
        values = [mpf((7 * k) % 19 - 9) / 20 for k in range(entries)]
        step, gradient = mpf(10) ** -25, []
        for k in range(entries):
            up, down = ([v + (i == k) * d for i, v in enumerate(values)] for d in (step, -step))
            gradient.append((run(network, up)[1] - run(network, down)[1]) / (2 * step))
        outputs, loss = run(network, values)
        for name, numbers in [("s", outputs), ("loss", [loss]), ("gradient", gradient)]:
            print(network, name, *(nstr(number, 17) for number in numbers), file=file)
