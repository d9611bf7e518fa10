"""Trains Elman's network to the bits of `elman train`. Written from docs/bits.md alone, in its order and its words.

    elman demo --corpora . && python bits.py train.conll dev.conll --hidden 64 --embed 40 --lr 0.2 --epochs 20 --seed 42

prints the hash of the demo's model. It needs NumPy, and corpora of two columns with tags in IOB2.
"""
import argparse, collections, hashlib
import numpy as np

F, D, L, ONE = np.float32, np.float64, 16, np.float32(1)
pad = lambda x: np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % L)])
total = lambda start, rows: np.add.accumulate([start, *rows])[-1]

def fma(a, b, c):
    """a·b + c rounded once. The product is exact in f64. Where the sum could round twice, it is first rounded to odd."""
    p = np.multiply(a, b, dtype=D)
    s = np.atleast_1d(p + c)
    if ((s.view(np.int64) & 0x1FFFFFFF) == 0x10000000).any() or ((np.abs(s) < 2.0**-125) & (s != 0)).any():
        t = s - p
        error = (p - (s - t)) + (c - t)
        even = (error != 0) & (s.view(np.int64) & 1 == 0)
        s = np.where(even, np.nextafter(s, np.copysign(np.inf, error)), s)
    return s.astype(F).reshape(np.broadcast(p, c).shape)

def chain(c, a, b):  # chain(c[r, j]; a[r, k], b[k, j]) for all r and j
    a, b = a.astype(D), b.astype(D)
    for k in range(len(b)):
        c = fma(a[:, k, None], b[k], c)
    return c
against = lambda a, b: chain(np.zeros((len(a), len(b)), F), a, b.T)  # chain(0; a[r], b[k]) for all r and k
def fold(sums):
    half = sums.shape[-1] // 2
    return fold(sums[..., :half] + sums[..., half:]) if half else sums[..., 0]

def lanes(a, b):  # lanes(a[r], b[k]) for all r and k; blocks are a dimension before the last one
    a, b = (pad(x).reshape(len(x), -1).astype(D) for x in (a, b))
    sums = np.zeros((len(a), len(b), L), F)
    for j in range(0, a.shape[1], L):
        sums = fma(a[:, None, j : j + L], b[None, :, j : j + L], sums)
    return fold(sums)

def draws(seed, stream):
    state, key, mask, counter = seed, [], 0xFFFFFFFF, 0
    rotate = lambda x, n: (x << n | x >> 32 - n) & mask
    for _ in range(8):
        state = (state * 0x5851F42D4C957F2D + 0xA17654E46FBE17F3) % 2**64
        key.append(rotate(((state >> 18 ^ state) >> 27) & mask, 32 - (state >> 59)))
    rounds = [[i, 4 + (i + d) % 4, 8 + (i + 2 * d) % 4, 12 + (i + 3 * d) % 4] for d in (0, 1) for i in range(4)] * 4
    while True:
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key, counter & mask, counter >> 32, stream & mask, stream >> 32]
        x, counter = start[:], counter + 1
        for a, b, c, d in rounds:
            for i, j, k, n in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]:
                x[i] = (x[i] + x[j]) & mask
                x[k] = rotate(x[k] ^ x[i], n)
        yield from (x[i] + start[i] & mask | (x[i + 1] + start[i + 1] & mask) << 32 for i in range(0, 16, 2))

P = [F(float.fromhex(x)) for x in "0x1.a0d2cep-13 0x1.6e879cp-10 0x1.11121p-7 0x1.555382p-5 0x1.555554p-3 0x1p-1".split()]
MAGIC, LOG2E, HIGH, LOW = (F(float.fromhex(x)) for x in "0x1.8p+23 0x1.715476p+0 0x1.63p-1 -0x1.bd0106p-13".split())
def exp(x):
    x = np.minimum(np.maximum(x, F(-104)), F(89))
    n = fma(x, LOG2E, MAGIC) - MAGIC
    r, q = fma(n, -LOW, fma(n, -HIGH, x)), P[0]
    for p in P[1:]:
        q = fma(q, r, p)
    n1 = fma(n, F(0.5), MAGIC) - MAGIC
    return (fma(r * r, q, r) + ONE) * np.ldexp(ONE, n1.astype(int)) * np.ldexp(ONE, (n - n1).astype(int))

def sigmoid(x):
    z = exp(-np.abs(x))
    one, numerator = ONE + z, np.where(x < 0, z, ONE)
    q = numerator / one
    residual, reciprocal = fma(q, -one, numerator), np.where(x < 0, ONE - q, q)
    return fma(fma(q, -(z - (one - ONE)), residual), reciprocal, q)
def softmax(y):
    e = exp(y - y.max(axis=1, keepdims=True))
    sums = total(np.zeros((len(e), L), F), pad(e).reshape(len(e), -1, L).swapaxes(0, 1))
    return e * (ONE / fold(sums))[:, None]

class Net:
    def __init__(self, options, vocab, classes):
        self.window, self.half, self.padding, draw = options.window, options.window // 2, [vocab], draws(options.seed, 0)
        self.padded = lambda words: self.padding * self.half + words + self.padding * self.half
        e, h, x = options.embed, options.hidden, options.window * options.embed
        entry = lambda _: F(0.4 * ((next(draw) >> 11) / 2**53) - 0.2)
        self.p = {name: np.array([*map(entry, range(a * b))], F).reshape(a, b) for name, a, b in
                  [("emb", vocab + 1, e), ("wx", x, h), ("wh", h, h), ("w", h, classes)]}
        self.p |= {name: np.zeros(n, F) for name, n in [("bh", h), ("b", classes), ("h0", h)]}
    def forward(self, words, alone):  # inputs, states (h0 first), logits
        p, n, ids = self.p, len(words), self.padded(words)
        x = [p["emb"][ids[o : o + n]] for o in range(self.window)]
        a, h = np.repeat(p["bh"][None], n, axis=0), p["h0"][None]
        by_word = [] if alone else [chain(np.zeros_like(a), e, wx) for e, wx in zip(x, np.split(p["wx"], self.window))]
        x = np.concatenate(x, axis=1)
        a = chain(a, x, p["wx"]) if alone else total(a, by_word)
        for t in range(n):
            h = np.concatenate([h, sigmoid(chain(a[t : t + 1], h[t:], p["wh"]))])
        return x, h, chain(np.repeat(p["b"][None], n, axis=0), h[1:], p["w"])
    def backward(self, h, y, labels, scale, product):  # ds, da, the gradient of h0
        ds = (softmax(y) - np.eye(y.shape[1], dtype=F)[labels]) * scale
        dh, carried, da = product(ds, self.p["w"]), np.zeros_like(self.p["h0"]), np.zeros_like(h[1:])
        for t in reversed(range(len(da))):
            da[t] = (dh[t] + carried) * h[t + 1] * (ONE - h[t + 1])
            carried = product(da[t : t + 1], self.p["wh"])[0]
        return ds, da, carried
    def embeddings(self, rows, sentences):  # q and de of so many rows; of a sentence da and its words' rows, padding included
        q = np.zeros((rows, self.window, len(self.p["bh"])), F)
        for da, numbers in sentences:
            for t, o in np.ndindex(len(da), self.window):
                q[numbers[t + o], o] += da[t]
        return q, lanes(q, np.array(np.split(self.p["wx"], self.window)).transpose(1, 0, 2))
    def step(self, sentences, rate):
        p, share = self.p, ONE / F(len(sentences))
        if len(sentences) == 1:
            rows = self.step_on_one(*sentences[0], rate)
        else:
            gradient = self.tree(sentences, share)
            rows = gradient.pop("emb")
            self.p |= {name: fma(gradient[name], -rate, p[name]) for name in gradient}
            p["emb"][[*rows]] = fma(np.array([*rows.values()]), -rate, p["emb"][[*rows]])
        for row in (p["emb"][i] for i in set(rows)):
            norm = np.sqrt(lanes(row[None], row[None])[0, 0])
            row /= norm if norm != 0 else ONE
    def step_on_one(self, words, labels, rate):
        p, n, half = self.p, len(words), self.half
        x, h, y = self.forward(words, True)
        ds, da, carried = self.backward(h, y, labels, -rate / F(n), lanes)
        _, dx = self.embeddings(n + 1, [(da, [n] * half + [*range(n)] + [n] * half)])
        p["w"], p["wh"], p["wx"] = chain(p["w"], h[1:].T, ds), chain(p["wh"], h[:-1].T, da), chain(p["wx"], x.T, da)
        p["b"], p["bh"], p["h0"] = total(p["b"], ds), total(p["bh"], da), p["h0"] + carried
        rows = words + self.padding * (half > 0)
        np.add.at(p["emb"], rows, dx[: len(rows)])
        return rows
    def tree(self, sentences, share):
        if len(sentences) <= 16:
            return self.chunk(sentences, share)
        left = 16 << ((len(sentences) - 1) // 16).bit_length() - 1
        a, b = self.tree(sentences[:left], share), self.tree(sentences[left:], share)
        rows, others = a.pop("emb"), b.pop("emb")
        rows |= {i: rows[i] + others[i] if i in rows else others[i] for i in others}
        return {name: a[name] + b[name] for name in a} | {"emb": rows}
    def chunk(self, sentences, share):
        numbers, of = {}, []
        for words, labels in sentences:
            _, h, y = self.forward(words, False)
            of.append((h[1:], h[:-1], *self.backward(h, y, labels, share / F(len(words)), against)))
        h, before, ds, da = (np.concatenate(rows) for rows in list(zip(*of))[:4])
        ids = [[numbers.setdefault(i, len(numbers)) for i in self.padded(words)] for words, _ in sentences]
        q, de = self.embeddings(len(numbers), [(row[3], i) for row, i in zip(of, ids)])
        e, zero = self.p["emb"][[*numbers]].T, {name: np.zeros_like(p) for name, p in self.p.items()}
        wx = [chain(zeros, e, q[:, o]) for o, zeros in enumerate(np.split(zero["wx"], self.window))]
        return {"w": chain(zero["w"], h.T, ds), "wh": chain(zero["wh"], before.T, da), "wx": np.concatenate(wx),
                "b": total(zero["b"], ds), "bh": total(zero["bh"], da),
                "h0": total(zero["h0"], [carried for *_, carried in of]), "emb": dict(zip(numbers, de))}

def phrases(sentences):
    found = set()
    for i, tags in enumerate(sentences):
        for s, tag in enumerate(tags):
            if tag[0] == "B" or tag[0] == "I" and (s == 0 or tags[s - 1][1:] != tag[1:]):
                found.add((i, s, next((t for t in range(s + 1, len(tags)) if tags[t] != "I" + tag[1:]), len(tags)), tag[1:]))
    return found

def train(o):
    read = lambda path: [[line.split("\t") for line in block.split("\n")] for block in open(path).read().strip("\n").split("\n\n")]
    (words, labels), (dev, gold) = ([[[line[i] for line in block] for block in read(path)] for i in (0, 1)] for path in (o.train, o.dev))
    counts, tags = collections.Counter(sum(words, [])), sorted(set(sum(labels, [])), key=str.encode)
    known = ["<UNK>"] + sorted((word for word in counts if counts[word] > 1 and word != "<UNK>"), key=str.encode)
    words, dev = ([[known.index(word) if word in known else 0 for word in one] for one in side] for side in (words, dev))
    labels = [[tags.index(tag) for tag in one] for one in labels]
    net, rate, best, waited = Net(o, len(known), len(tags)), o.lr, [], 0
    for epoch in range(1, o.epochs + 1):
        if rate < 1e-5:
            break
        order, draw = list(range(len(words))), draws(o.seed, epoch)
        for last in range(len(words) - 1, 0, -1):
            other = next(draw) * (last + 1) >> 64
            order[last], order[other] = order[other], order[last]
        for i in range(0, len(order), o.batch):
            net.step([(words[j], labels[j]) for j in order[i : i + o.batch]], F(rate))
        given = [[tags[i] for i in net.forward(one, False)[2].argmax(axis=1)] for one in dev]
        correct = 100 * len((found := phrases(given)) & (there := phrases(gold)))
        precision, recall = correct / max(len(found), 1), correct / max(len(there), 1)
        score = [2 * precision * recall / (precision + recall)] if correct else [0, np.equal(sum(given, []), sum(gold, [])).mean(), sum(
            np.log(row[tags.index(tag)], dtype=D) for one, side in zip(dev, gold)
            for row, tag in zip(softmax(net.forward(one, True)[2]), side) if tag in tags)]
        waited += best > [1e-9]
        if score > best:
            waited, best, kept = 0, score, {name: p.copy() for name, p in net.p.items()}
        print(f"epoch {epoch}: dev F1 {score[0]:.2f}", flush=True)
        if waited >= 10:
            rate, net.p = rate * 0.5, {name: p.copy() for name, p in kept.items()}
    return hashlib.sha256(b"".join(p.astype("<f4").tobytes() for p in kept.values())).hexdigest()

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train"), parser.add_argument("dev")
    for name, default in dict(hidden=200, embed=50, window=7, lr=0.0970806646812754, epochs=60, batch=1, seed=345).items():
        parser.add_argument("--" + name, type=type(default), default=default)
    print(train(parser.parse_args()))
