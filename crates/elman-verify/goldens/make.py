"""Numbers for the network from three systems that share no code with it: PyTensor, PyTorch and JAX.

    python make.py            computes all cases and writes them beside this file
    python make.py --check    computes all cases and compares them with the files
    python make.py NAME ...   only these cases; with --check too

A file is written only if all three systems agree on every tensor, to AGREEMENT of its largest entry.
The values stored are PyTensor's. README.md describes the files.
"""

import argparse
import os
import pathlib
import platform
import sys
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).parent
AGREEMENT = 1e-12
STEPS = 10
# A ReLU has no derivative at 0. Closer to it, a rounding error could decide which derivative a system takes.
KINK = 1e-6


@dataclass
class Case:
    """One network, the sentences it is trained on (the first is the one that is differentiated), and the
    numbers of steps to which the gradient is truncated."""

    name: str
    vocab: int
    embed: int
    window: int
    hidden: int
    classes: int
    sentences: list
    lr: float
    truncate: tuple = ()
    feedback: str = "elman"
    cell: str = "elman"
    bound: float = 0.8  # of the parameters at the start

    @property
    def jordan(self):
        """Whether the output of a step is fed back, and not its state."""
        return self.feedback == "jordan"

    @property
    def gates(self):
        return {"gru": 3, "lstm": 4}.get(self.cell, 1)

    @property
    def names(self):
        """The parameters, in the order in which they are drawn."""
        bhn, c0 = (["bhn"] if self.cell == "gru" else []), (["c0"] if self.cell == "lstm" else [])
        return ["emb", "wx", "wh", "w", "bh", *bhn, "b", "h0", *c0]


CASES = [
    Case("tiny", 5, 2, 3, 3, 2, [[3, 0, 4, 1], [2, 2], [1, 3, 0]], 0.1, (1, 3, 4, 9)),
    Case("window_1", 6, 3, 1, 4, 3, [[5, 0, 2, 1, 3], [4, 4], [0, 5, 4]], 0.2),
    Case("window_9", 4, 3, 9, 5, 3, [[1, 3, 0], [2, 2, 3, 0, 1], [3]], 0.1),
    Case("repeated_words", 7, 4, 5, 6, 4, [[2, 2, 2, 6, 2, 6, 2, 2], [0] * 6, [6, 0, 6]], 0.3, (1, 3, 8, 20)),
    Case("one_word", 3, 3, 5, 7, 4, [[2], [0], [2]], 0.5),
    Case(
        "medium", 40, 10, 7, 33, 17,
        [
            [17, 3, 39, 8, 0, 21, 3, 33, 12, 5, 28, 3],
            [1, 39, 14, 22],
            [30, 7, 7, 19, 2, 36, 11],
            [25, 3, 9, 9, 31],
        ],
        0.0970806646812754, (5, 30),
    ),
    Case("jordan_tiny", 5, 2, 3, 3, 2, [[3, 0, 4, 1], [2, 2], [1, 3, 0]], 0.1, (1, 3, 4, 9), "jordan"),
    Case("jordan_square", 7, 4, 5, 5, 5, [[2, 2, 2, 6, 2, 6, 2, 2], [0] * 6, [6]], 0.3, (1, 3), "jordan"),
    Case(
        "jordan_medium", 40, 10, 7, 33, 17,
        [
            [17, 3, 39, 8, 0, 21, 3, 33, 12, 5, 28, 3],
            [1, 39, 14, 22],
            [30, 7, 7, 19, 2, 36, 11],
            [25, 3, 9, 9, 31],
        ],
        0.0970806646812754, (5, 30), "jordan",
    ),
]  # fmt: skip


def others(prefix, names, **changes):
    """Cases above with another cell. The sizes of `medium` are reduced to save space."""
    known = {case.name: case for case in CASES}
    known["medium"] = replace(known["medium"], embed=5, window=5, classes=9, truncate=(5,))
    return [replace(known[name], name=f"{prefix}_{name}", **changes) for name in names]


# The seed of a case is its place in the list: add new ones at the end.
SIZES = ["tiny", "window_1", "repeated_words", "one_word", "medium"]
CASES += [
    *others("tanh", SIZES, cell="elman-tanh"),
    *others("jordan_tanh", ["tiny", "medium"], cell="elman-tanh", feedback="jordan"),
    *others("relu", SIZES[:-1], cell="elman-relu"),
    # The states of a ReLU network have no bound: with parameters up to 0.8 they would double at each step.
    *others("relu", SIZES[-1:], cell="elman-relu", bound=0.4),
    *others("gru", SIZES, cell="gru"),
    *others("lstm", SIZES, cell="lstm"),
]


def inputs(case, seed):
    """Parameters (none of them zero) and the labels of the sentences."""
    rng = np.random.default_rng(seed)
    fed_back = case.classes if case.jordan else case.hidden
    shapes = {
        "emb": (case.vocab + 1, case.embed),
        "wx": (case.embed * case.window, case.gates * case.hidden),
        "wh": (fed_back, case.gates * case.hidden),
        "w": (case.hidden, case.classes),
        "bh": (case.gates * case.hidden,),
        "bhn": (case.hidden,),
        "b": (case.classes,),
        "h0": (fed_back,),
        "c0": (case.hidden,),
    }
    params = {name: rng.uniform(-case.bound, case.bound, shapes[name]) for name in case.names}
    if case.cell == "elman-relu":
        params["bh"] = np.abs(params["bh"])  # so that enough units are not 0
    labels = [rng.integers(0, case.classes, len(words)) for words in case.sentences]
    return params, labels


def contexts(words, case):
    """The ids of the words around each word, [T, window]; the padding is the row after the vocabulary."""
    half = case.window // 2
    padded = [case.vocab] * half + list(words) + [case.vocab] * half
    return np.array([padded[t : t + case.window] for t in range(len(words))], dtype=np.int64)


def changed_rows(words, case):
    """The rows of the embeddings that a step changes, each once."""
    return np.array(sorted(set(words) | ({case.vocab} if case.window > 1 else set())), dtype=np.int64)


class PyTensor:
    """The equations as the Theano tutorial writes them: a scan with outputs_info=[h0, None], and those of the Jordan
    network, with [None, s0]. The equations of the GRU and the LSTM are those of torch.nn.GRU's and nn.LSTM's
    documentation; a state c of the LSTM is an output beside h, which is fed back too."""

    version = f"pytensor {pytensor.__version__}"

    def __init__(self, case, params):
        self.case = case
        self.shared = {name: pytensor.shared(params[name].copy(), name=name) for name in case.names}
        self.ids, self.labels, self.changed = pt.lmatrix("ids"), pt.lvector("labels"), pt.bvector("changed")
        h, s, loss, grad = self.graph(-1)
        self.outputs = pytensor.function([self.ids, self.labels], [h, s, loss, *grad])
        lr = pt.dscalar("lr")
        new = {name: p - lr * g for (name, p), g in zip(self.shared.items(), grad)}
        norms = pt.sqrt(pt.sum(new["emb"] ** 2, axis=1, keepdims=True))
        new["emb"] = pt.switch(self.changed[:, None], new["emb"] / norms, new["emb"])
        updates = [(self.shared[name], new[name]) for name in case.names]
        self.update = pytensor.function([self.ids, self.labels, self.changed, lr], loss, updates=updates)

    def unit(self, x_t, fed_back, c):
        """The next states: h, and of an LSTM c."""
        wx, wh, bh = (self.shared[name] for name in ["wx", "wh", "bh"])
        gates = [slice(gate * self.case.hidden, (gate + 1) * self.case.hidden) for gate in range(self.case.gates)]
        match self.case.cell:
            case "elman":
                return [pt.sigmoid(x_t @ wx + fed_back @ wh + bh)]
            case "elman-tanh":
                return [pt.tanh(x_t @ wx + fed_back @ wh + bh)]
            case "elman-relu":
                return [pt.maximum(x_t @ wx + fed_back @ wh + bh, 0.0)]
            case "lstm":
                i, f, g, o = [x_t @ wx[:, of] + fed_back @ wh[:, of] + bh[of] for of in gates]
                c = pt.sigmoid(f) * c + pt.sigmoid(i) * pt.tanh(g)
                return [pt.sigmoid(o) * pt.tanh(c), c]
        r_of, z_of, n_of = gates
        r = pt.sigmoid(x_t @ wx[:, r_of] + fed_back @ wh[:, r_of] + bh[r_of])
        z = pt.sigmoid(x_t @ wx[:, z_of] + fed_back @ wh[:, z_of] + bh[z_of])
        n = pt.tanh(x_t @ wx[:, n_of] + bh[n_of] + r * (fed_back @ wh[:, n_of] + self.shared["bhn"]))
        return [(1 - z) * n + z * fed_back]

    def graph(self, truncate):
        emb, w, b, h0 = (self.shared[name] for name in ["emb", "w", "b", "h0"])
        c0 = [self.shared[name] for name in self.case.names if name == "c0"]
        steps = self.ids.shape[0]
        x = emb[self.ids].reshape((steps, self.case.window * self.case.embed))

        def recurrence(x_t, fed_back, c=None):
            states = self.unit(x_t, fed_back, c)
            s_t = pt.special.softmax(states[0] @ w + b, axis=-1)
            return *states, s_t

        h, *_, s = pytensor.scan(
            fn=recurrence,
            sequences=x,
            outputs_info=[None, h0] if self.case.jordan else [h0, *c0, None],
            n_steps=steps,
            truncate_gradient=truncate,
            return_updates=False,
        )
        loss = -pt.mean(pt.log(s)[pt.arange(steps), self.labels])
        return h, s, loss, pytensor.grad(loss, list(self.shared.values()))

    def gradient(self, words, labels):
        h, s, loss, *grad = self.outputs(contexts(words, self.case), labels)
        return h, s, loss, grad

    def truncated(self, words, labels, k):
        _, _, _, grad = self.graph(k)
        return pytensor.function([self.ids, self.labels], grad)(contexts(words, self.case), labels)

    def step(self, words, labels, lr):
        changed = np.zeros(self.case.vocab + 1, dtype=np.int8)
        changed[changed_rows(words, self.case)] = 1
        return self.update(contexts(words, self.case), labels, changed, lr)

    def params(self):
        return [p.get_value() for p in self.shared.values()]


class PyTorch:
    """A loop over the words and autograd. The steps of the GRU and the LSTM are PyTorch's own."""

    version = f"torch {torch.__version__.split('+')[0]}"
    kink = np.inf  # the distance from 0 of the nearest argument of a ReLU

    def __init__(self, case, params):
        self.case = case
        self.tensors = [torch.tensor(params[name], requires_grad=True) for name in case.names]

    def by_name(self, *names):
        """Tensors by name; None for those that the cell does not have."""
        named = dict(zip(self.case.names, self.tensors))
        return [named.get(name) for name in names]

    def unit(self, x, fed_back, c, wx, wh, bh, bhn):
        """The next h and c; but for an LSTM c is None."""
        if self.case.cell == "lstm":
            return [s[0] for s in torch.lstm_cell(x[None], (fed_back[None], c[None]), wx.T, wh.T, bh, torch.zeros_like(bh))]
        if self.case.cell == "gru":
            bias = torch.cat([torch.zeros(2 * self.case.hidden), bhn])
            return torch.gru_cell(x[None], fed_back[None], wx.T, wh.T, bh, bias)[0], None
        a = x @ wx + fed_back @ wh + bh
        if self.case.cell == "elman-relu":
            self.kink = min(self.kink, a.detach().abs().min().item())
            return torch.relu(a), None
        return torch.tanh(a) if self.case.cell == "elman-tanh" else torch.sigmoid(a), None

    def forward(self, words, first=0):
        """h and the logarithm of s; what is fed back into step `first` is a constant unless it is h0."""
        emb, *cell, w, b, fed_back, c = self.by_name("emb", "wx", "wh", "bh", "bhn", "w", "b", "h0", "c0")
        x = emb[torch.tensor(contexts(words, self.case))].reshape(len(words), -1)
        states = []
        for t in range(len(words)):
            if t == first and t > 0:
                fed_back, c = (state if state is None else state.detach() for state in [fed_back, c])
            h, c = self.unit(x[t], fed_back, c, *cell)
            states.append(h)
            fed_back = torch.softmax(h @ w + b, dim=0) if self.case.jordan else h
        h = torch.stack(states)
        return h, torch.log_softmax(h @ w + b, dim=1)

    def gradient(self, words, labels):
        h, log_s = self.forward(words)
        loss = torch.nn.functional.nll_loss(log_s, torch.tensor(labels))
        grad = torch.autograd.grad(loss, self.tensors)
        return h.detach().numpy(), log_s.exp().detach().numpy(), loss.item(), [g.numpy() for g in grad]

    def truncated(self, words, labels, k):
        first = max(len(words) - k, 0)
        _, log_s = self.forward(words, first)
        # The sum over the last k steps, still divided by the number of all steps.
        terms = log_s[torch.arange(first, len(words)), torch.tensor(labels[first:])]
        grad = torch.autograd.grad(-terms.sum() / len(words), self.tensors, materialize_grads=True)
        return [g.numpy() for g in grad]

    def step(self, words, labels, lr):
        _, _, loss, grad = self.gradient(words, labels)
        with torch.no_grad():
            for p, g in zip(self.tensors, grad):
                p -= lr * torch.tensor(g)
            rows = torch.tensor(changed_rows(words, self.case))
            emb = self.tensors[0]
            emb[rows] = torch.nn.functional.normalize(emb[rows], dim=1)
        return loss

    def params(self):
        return [p.detach().numpy().copy() for p in self.tensors]


class Jax:
    """jax.lax.scan and jax.grad."""

    version = f"jax {jax.__version__}"

    def __init__(self, case, params):
        self.case = case
        self.tensors = [jnp.asarray(params[name]) for name in case.names]

    def unit(self, p, x_t, fed_back, c):
        """The next h and c; but for an LSTM c is empty."""
        x, h = x_t @ p["wx"], fed_back @ p["wh"]
        if self.case.cell == "lstm":
            i, f, g, o = jnp.split(x + h + p["bh"], 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return jax.nn.sigmoid(o) * jnp.tanh(c), c
        if self.case.cell == "gru":
            x_r, x_z, x_n = jnp.split(x + p["bh"], 3)
            h_r, h_z, h_n = jnp.split(h, 3)
            r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + r * (h_n + p["bhn"]))
            return n + z * (fed_back - n), c
        activations = {"elman": jax.nn.sigmoid, "elman-tanh": jnp.tanh, "elman-relu": jax.nn.relu}
        return activations[self.case.cell](x + h + p["bh"]), c

    def loss(self, tensors, ids, labels, first):
        """The loss of the steps from `first` on; what is fed back into step `first` is a constant unless it
        is h0."""
        p = dict(zip(self.case.names, tensors))
        emb, w, b, h0 = p["emb"], p["w"], p["b"], p["h0"]
        steps = ids.shape[0]

        def recurrence(states, x_t):
            h_t, c = self.unit(p, x_t, *states)
            return (jax.nn.softmax(h_t @ w + b) if self.case.jordan else h_t, c), h_t

        x = emb[ids].reshape(steps, -1)
        last, before = jax.lax.scan(recurrence, (h0, p.get("c0", jnp.zeros(0))), x[:first])
        if first > 0:
            last, before = jax.lax.stop_gradient((last, before))
        _, after = jax.lax.scan(recurrence, last, x[first:])
        h = jnp.concatenate([before, after])
        log_s = jax.nn.log_softmax(h @ w + b, axis=1)
        terms = jnp.take_along_axis(log_s, labels[:, None], axis=1)[first:]
        return -terms.sum() / steps, (h, jnp.exp(log_s))

    def value_and_grad(self, words, labels, first):
        ids = jnp.asarray(contexts(words, self.case))
        function = jax.value_and_grad(self.loss, has_aux=True)
        return function(self.tensors, ids, jnp.asarray(labels), first)

    def gradient(self, words, labels):
        (loss, (h, s)), grad = self.value_and_grad(words, labels, 0)
        return h, s, loss, grad

    def truncated(self, words, labels, k):
        return self.value_and_grad(words, labels, max(len(words) - k, 0))[1]

    def step(self, words, labels, lr):
        (loss, _), grad = self.value_and_grad(words, labels, 0)
        self.tensors = [p - lr * g for p, g in zip(self.tensors, grad)]
        rows = changed_rows(words, self.case)
        touched = self.tensors[0][rows]
        norms = jnp.linalg.norm(touched, axis=1, keepdims=True)
        self.tensors[0] = self.tensors[0].at[rows].set(touched / norms)
        return loss

    def params(self):
        return self.tensors


def outputs(computed, case, labels):
    """Every output tensor of a case, by one system."""
    words = case.sentences[0]
    h, s, loss, grad = computed.gradient(words, labels[0])
    result = {"h": h, "s": s, "loss": loss} | {f"grad.{n}": g for n, g in zip(case.names, grad)}
    for k in case.truncate:
        grad = computed.truncated(words, labels[0], k)
        result |= {f"truncated.{k}.{n}": g for n, g in zip(case.names, grad)}
    order = [step % len(case.sentences) for step in range(STEPS)]
    result["sgd.losses"] = [computed.step(case.sentences[i], labels[i], case.lr) for i in order]
    result |= {f"sgd.{n}": p for n, p in zip(case.names, computed.params())}
    return {name: np.ascontiguousarray(value, dtype=np.float64) for name, value in result.items()}


def difference(found, expected):
    """The worst difference of two tensors, relative to the largest entry expected."""
    if found.shape != expected.shape:
        raise SystemExit(f"shape {found.shape}, expected {expected.shape}")
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return np.inf
    worst, scale = np.abs(found - expected).max(), np.abs(expected).max()
    return worst / scale if scale > 0 else (0.0 if worst == 0 else np.inf)


def make(case, seed):
    """All tensors of a case and its metadata; ends the program if the systems disagree."""
    params, labels = inputs(case, seed)
    systems = [system(case, params) for system in [PyTensor, PyTorch, Jax]]
    golden, *confirming = [outputs(system, case, labels) for system in systems]
    kink, active = systems[1].kink, np.mean(golden["h"] != 0)
    if kink < KINK:
        raise SystemExit(f"{case.name}: the argument of a ReLU is {kink:.1e} from 0, less than {KINK}")
    if not 0.25 < active < 0.9 and case.cell == "elman-relu":
        raise SystemExit(f"{case.name}: {active:.0%} of the states are not 0, and would prove little of ReLU")
    worst = 0.0
    for system, other in zip(systems[1:], confirming):
        for name, expected in golden.items():
            found = difference(other[name], expected)
            if found > AGREEMENT:
                raise SystemExit(f"{case.name}: {name}: {system.version} differs by {found:.1e} from PyTensor")
            worst = max(worst, found)
    for name in case.names:
        if not np.abs(golden[f"grad.{name}"]).max() > 0:
            raise SystemExit(f"{case.name}: grad.{name} is zero and would prove nothing")
    tensors = {f"params.{name}": params[name] for name in case.names} | golden
    tensors["words"] = np.concatenate(case.sentences).astype(np.int64)
    tensors["labels"] = np.concatenate(labels).astype(np.int64)
    tensors["lengths"] = np.array([len(words) for words in case.sentences], dtype=np.int64)
    tensors["lr"] = np.array(case.lr)
    metadata = {}
    if case.cell != "elman":
        metadata |= {"cell": case.cell, "feedback": case.feedback}
    elif case.jordan:
        metadata |= {"network": "jordan"}  # as before there were other cells
    if kink < np.inf:
        metadata["least argument of a ReLU"] = f"{kink:.1e}"
    metadata |= {
        "format": "elman golden 1",
        "case": case.name,
        "values from": PyTensor.version,
        "confirmed by": ", ".join(system.version for system in systems[1:]),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numpy seed": str(seed),
        "worst disagreement": f"{worst:.1e}",
    }
    return tensors, metadata


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files, write nothing")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these cases")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {case.name for case in CASES}
    if unknown:
        known = ", ".join(case.name for case in CASES)
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {known}")
    jax.config.update("jax_enable_x64", True)
    torch.set_default_dtype(torch.float64)
    pytensor.config.floatX = "float64"
    pytensor.config.mode = "FAST_COMPILE"  # few rewrites: the graph stays as written
    for seed, case in enumerate(CASES, start=1):
        if arguments.names and case.name not in arguments.names:
            continue
        tensors, metadata = make(case, seed)
        path = FOLDER / f"{case.name}.safetensors"
        agreement = f"the three systems agree to {metadata['worst disagreement']}"
        if arguments.check:
            with safe_open(path, "numpy") as stored:
                if set(stored.keys()) != set(tensors):
                    raise SystemExit(f"{path.name}: other tensors than computed: {set(stored.keys()) ^ set(tensors)}")
                far = {n: difference(stored.get_tensor(n), t) for n, t in tensors.items()}
            name = max(far, key=far.get)
            print(f"{path.name}: {agreement}; worst difference from the file {far[name]:.1e} ({name})")
            if far[name] > AGREEMENT:
                raise SystemExit(f"{path.name}: {name} differs by {far[name]:.1e}, allowed {AGREEMENT}")
        else:
            temporary = path.with_suffix(".tmp")
            save_file(tensors, temporary, metadata)
            os.replace(temporary, path)
            print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes; {agreement}")


if __name__ == "__main__":
    sys.exit(main())
