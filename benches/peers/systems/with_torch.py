"""PyTorch three ways: a loop with autograd, the same with the gradient by hand, and nn.RNN (or nn.GRU)."""

import torch

from .inputs import NAMES, Batch, in_groups

PACKAGES = ("torch", "numpy")


def one_thread():
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def forward(a, h0, wh, sizes, offsets):
    """The states of all steps, packed as a = x·wx + bh is; differentiable."""
    if sizes[0] == 1:
        transposed, h, states = wh.T, h0, []
        for row in a.unbind():
            h = torch.sigmoid(torch.addmv(row, transposed, h))
            states.append(h)
        return torch.stack(states)
    h, states = h0.expand(sizes[0], -1), []
    for t, size in enumerate(sizes):
        h = torch.sigmoid(torch.addmm(a[offsets[t] : offsets[t + 1]], h[:size], wh))
        states.append(h)
    return torch.cat(states)


class Trainer:
    """A loop with autograd. The embeddings are read as a leaf of their own, so that their gradient is that of
    the words of the batch and not of the whole vocabulary."""

    def __init__(self, workload):
        self.workload = workload

    def batch(self, sentences):
        batch = Batch(self.workload, sentences)
        for name in ["contexts", "labels", "weights", "rows", "before"]:
            setattr(batch, name, torch.from_numpy(getattr(batch, name)))
        batch.flat = batch.contexts.ravel()
        return batch

    def reset(self):
        self.params = [torch.from_numpy(self.workload.params[name].copy()) for name in NAMES]
        for tensor in self.params[1:]:
            tensor.requires_grad_(True)

    def epoch(self, batches, lr):
        return sum(self.step(batch, lr) * batch.sizes[0] for batch in batches)

    def loss(self, x, batch):
        _, wx, wh, w, bh, b, h0 = self.params
        h = forward(torch.addmm(bh, x, wx), h0, wh, batch.sizes, batch.offsets)
        terms = torch.nn.functional.cross_entropy(torch.addmm(b, h, w), batch.labels, reduction="none")
        return terms @ batch.weights

    def step(self, batch, lr):
        emb, *others = self.params
        x = emb[batch.flat].view(len(batch.labels), -1).requires_grad_(True)
        loss = self.loss(x, batch)
        dx, *grads = torch.autograd.grad(loss, [x, *others])
        with torch.no_grad():
            torch._foreach_add_(others, grads, alpha=-lr)
            self.update_embeddings(batch, dx, -lr)
        return loss.item()

    def update_embeddings(self, batch, dx, alpha):
        emb = self.params[0]
        emb.index_add_(0, batch.flat, dx.view(len(batch.flat), -1), alpha=alpha)
        changed = emb[batch.rows]
        changed /= torch.linalg.vector_norm(changed, dim=1, keepdim=True)
        emb[batch.rows] = changed


class ManualTrainer(Trainer):
    """The gradient by hand: no graph is recorded."""

    def reset(self):
        super().reset()
        for tensor in self.params:
            tensor.requires_grad_(False)

    @torch.inference_mode()
    def step(self, batch, lr):
        emb, wx, wh, w, bh, b, h0 = self.params
        x = emb[batch.flat].view(len(batch.labels), -1)
        h = forward(torch.addmm(bh, x, wx), h0, wh, batch.sizes, batch.offsets)
        log_s = torch.log_softmax(torch.addmm(b, h, w), 1)
        labels = batch.labels[:, None]
        loss = -(log_s.gather(1, labels)[:, 0] @ batch.weights)
        ds = log_s.exp_()
        ds.scatter_add_(1, labels, torch.full_like(labels, -1, dtype=ds.dtype))
        ds *= batch.weights[:, None]
        da, dh0 = backward(ds @ w.T, h, wh, batch.sizes, batch.offsets)
        h_prev = torch.cat([h0.expand(batch.sizes[0], -1), h[batch.before]])
        dx = da @ wx.T
        w.addmm_(h.T, ds, alpha=-lr)
        b.add_(ds.sum(0), alpha=-lr)
        wx.addmm_(x.T, da, alpha=-lr)
        wh.addmm_(h_prev.T, da, alpha=-lr)
        bh.add_(da.sum(0), alpha=-lr)
        h0.add_(dh0, alpha=-lr)
        self.update_embeddings(batch, dx, -lr)
        return loss.item()


def backward(dh, h, wh, sizes, offsets):
    """Packed da from dh, in place of dh, and the gradient of h0."""
    slope = h * (1 - h)
    if sizes[0] == 1:
        after = torch.zeros_like(h[0])
        for da, g in zip(reversed(dh.unbind()), reversed(slope.unbind())):
            da.add_(after).mul_(g)
            after = torch.mv(wh, da)
        return dh, after
    transposed, after = wh.T, None
    for t in range(len(sizes) - 1, -1, -1):
        da = dh[offsets[t] : offsets[t + 1]]
        if after is not None:
            da[: len(after)] += after
        da *= slope[offsets[t] : offsets[t + 1]]
        after = da @ transposed
    return dh, after.sum(0)


class Tagger:
    def __init__(self, workload):
        self.workload = workload
        self.params = [torch.from_numpy(tensor.copy()) for tensor in workload.trained.values()]

    @torch.inference_mode()
    def tag(self, words):
        emb, wx, wh, w, bh, b, h0 = self.params
        contexts = torch.from_numpy(self.workload.contexts(words).reshape(-1))
        a = torch.addmm(bh, emb[contexts].view(len(words), -1), wx)
        h = forward(a, h0, wh, [1] * len(words), None)
        return torch.addmm(b, h, w).argmax(1).numpy()

    def tag_all(self, sentences):
        return in_groups(sentences, 32, self.tag_padded)

    @torch.inference_mode()
    def tag_padded(self, sentences):
        emb, wx, wh, w, bh, b, h0 = self.params
        contexts = torch.from_numpy(self.workload.padded_contexts(sentences))
        steps, count = contexts.shape[:2]
        a = torch.addmm(bh, emb[contexts].view(steps * count, -1), wx)
        h = forward(a, h0, wh, [count] * steps, [t * count for t in range(steps + 1)])
        return torch.addmm(b, h, w).argmax(1).view(steps, count).numpy()


class Recurrence:
    def __init__(self, cell):
        self.sizes = [cell.batch] * cell.steps
        self.offsets = [t * cell.batch for t in range(cell.steps + 1)]
        self.xs = torch.from_numpy(cell.xs).view(-1, cell.input)
        self.dh = torch.from_numpy(cell.dh).view(-1, cell.hidden)
        self.weights = [torch.from_numpy(tensor) for tensor in (cell.wx, cell.wh, cell.bh, cell.h0)]

    def states(self):
        wx, wh, bh, h0 = self.weights
        return forward(torch.addmm(bh, self.xs, wx), h0, wh, self.sizes, self.offsets)

    def forward(self):
        with torch.inference_mode():
            return self.states()

    def backward(self):
        leaves = [self.xs, *self.weights]
        for tensor in leaves:
            tensor.requires_grad_(True)
        h = self.states()
        gradient = torch.autograd.grad(h, leaves, self.dh)
        for tensor in leaves:
            tensor.requires_grad_(False)
        return h, *gradient


class ManualRecurrence(Recurrence):
    @torch.inference_mode()
    def backward(self):
        wx, wh, bh, h0 = self.weights
        h = self.states()
        da, dh0 = backward(self.dh.clone(), h, wh, self.sizes, self.offsets)
        first = self.sizes[0]
        h_prev = torch.cat([h0.expand(first, -1), h[:-first]])
        return h, da @ wx.T, self.xs.T @ da, h_prev.T @ da, da.sum(0), dh0


class Torch:
    what = "loop, autograd, products moved out of the loop"
    unchecked = ()
    packages = PACKAGES

    def __init__(self):
        one_thread()

    def trainer(self, workload):
        return Trainer(workload)

    def tagger(self, workload):
        return Tagger(workload)

    def recurrence(self, cell):
        return Recurrence(cell)


class TorchManual(Torch):
    what = "loop and gradient by hand"

    def trainer(self, workload):
        return ManualTrainer(workload)

    def recurrence(self, cell):
        return ManualRecurrence(cell)


class RnnTrainer(Trainer):
    """nn.RNN knows tanh and relu, but no sigmoid: the same work, other numbers."""

    def reset(self):
        super().reset()
        self.rnn = rnn(*(self.params[NAMES.index(name)].detach() for name in ["wx", "wh", "bh"]))
        _, _, _, w, _, b, h0 = self.params
        self.params = [self.params[0], *self.rnn.parameters(), w, b, h0]

    def loss(self, x, batch):
        *_, w, b, h0 = self.params
        # The batches of one sentence are already a sequence without padding.
        h, _ = self.rnn(x, h0[None])
        return torch.nn.functional.cross_entropy(torch.addmm(b, h, w), batch.labels)


def rnn(wx, wh, bh, **arguments):
    module = torch.nn.RNN(wx.shape[0], wx.shape[1], nonlinearity="tanh", **arguments)
    with torch.no_grad():
        module.weight_ih_l0.copy_(wx.T)
        module.weight_hh_l0.copy_(wh.T)
        module.bias_ih_l0.copy_(bh)
        module.bias_hh_l0.zero_()
    return module


def as_tanh(wx, wh, bh, h0):
    """The weights with which g[t] = tanh(…), and h[t] = (1 + g[t]) / 2 is the network's state, since
    sigmoid(z) = (1 + tanh(z/2)) / 2."""
    return wx / 2, wh / 4, bh / 2 + wh.sum(0) / 4, 2 * h0 - 1


class RnnTagger(Tagger):
    """Here the weights can be changed so that tanh gives the network's own labels."""

    def __init__(self, workload):
        super().__init__(workload)
        self.emb, wx, wh, w, bh, b, h0 = self.params
        wx, wh, bh, self.h0 = as_tanh(wx, wh, bh, h0)
        self.rnn = rnn(wx, wh, bh)
        self.w, self.b = w / 2, b + w.sum(0) / 2

    @torch.inference_mode()
    def tag(self, words):
        contexts = torch.from_numpy(self.workload.contexts(words).reshape(-1))
        h, _ = self.rnn(self.emb[contexts].view(len(words), -1), self.h0[None])
        return torch.addmm(self.b, h, self.w).argmax(1).numpy()

    @torch.inference_mode()
    def tag_padded(self, sentences):
        contexts = torch.from_numpy(self.workload.padded_contexts(sentences))
        steps, count = contexts.shape[:2]
        h, _ = self.rnn(self.emb[contexts].view(steps, count, -1), self.h0.expand(1, count, -1).contiguous())
        return torch.addmm(self.b, h.view(steps * count, -1), self.w).argmax(1).view(steps, count).numpy()


class RnnRecurrence:
    def __init__(self, cell):
        self.rnn = self.module(cell)
        self.xs, self.dh = torch.from_numpy(cell.xs), torch.from_numpy(cell.dh)
        self.h0 = torch.from_numpy(cell.h0).expand(1, cell.batch, -1).contiguous()

    def module(self, cell):
        return rnn(*(torch.from_numpy(tensor) for tensor in (cell.wx, cell.wh, cell.bh)))

    def forward(self):
        with torch.inference_mode():
            return self.rnn(self.xs, self.h0)[0]

    def backward(self):
        xs, h0 = self.xs.detach().requires_grad_(True), self.h0.detach().requires_grad_(True)
        h, _ = self.rnn(xs, h0)
        wx, wh, bh, _ = self.rnn.parameters()
        dx, dwx, dwh, dbh, dh0 = torch.autograd.grad(h, [xs, wx, wh, bh, h0], self.dh)
        return h, dx, dwx.T, dwh.T, dbh, dh0.sum(1)


class GruRecurrence(RnnRecurrence):
    def module(self, cell):
        module = torch.nn.GRU(cell.input, cell.hidden)
        with torch.no_grad():
            module.weight_ih_l0.copy_(torch.from_numpy(cell.wx).T)
            module.weight_hh_l0.copy_(torch.from_numpy(cell.wh).T)
            module.bias_ih_l0.copy_(torch.from_numpy(cell.bh))
            module.bias_hh_l0.zero_()[2 * cell.hidden :].copy_(torch.from_numpy(cell.bhn))
        return module

    def backward(self):
        xs, h0 = self.xs.detach().requires_grad_(True), self.h0.detach().requires_grad_(True)
        h, _ = self.rnn(xs, h0)
        dx, dwx, dwh, dbh, dbhn, dh0 = torch.autograd.grad(h, [xs, *self.rnn.parameters(), h0], self.dh)
        return h, dx, dwx.T, dwh.T, dbh, dbhn[2 * h.shape[-1] :], dh0.sum(1)


class LstmRecurrence(RnnRecurrence):
    def module(self, cell):
        self.c0 = torch.from_numpy(cell.c0).expand(1, cell.batch, -1).contiguous()
        module = torch.nn.LSTM(cell.input, cell.hidden)
        with torch.no_grad():
            module.weight_ih_l0.copy_(torch.from_numpy(cell.wx).T)
            module.weight_hh_l0.copy_(torch.from_numpy(cell.wh).T)
            module.bias_ih_l0.copy_(torch.from_numpy(cell.bh))
            module.bias_hh_l0.zero_()
        return module

    def forward(self):
        with torch.inference_mode():
            return self.rnn(self.xs, (self.h0, self.c0))[0]

    def backward(self):
        xs, h0, c0 = (tensor.detach().requires_grad_(True) for tensor in (self.xs, self.h0, self.c0))
        h, _ = self.rnn(xs, (h0, c0))
        dx, dwx, dwh, dbh, _, dh0, dc0 = torch.autograd.grad(h, [xs, *self.rnn.parameters(), h0, c0], self.dh)
        return h, dx, dwx.T, dwh.T, dbh, dh0.sum(1), dc0.sum(1)


class TorchRnn(Torch):
    what = "nn.RNN with tanh; nn.GRU; nn.LSTM"
    unchecked = ("sgd_epoch", "recurrence_forward", "recurrence_backward")
    minibatches = False

    def trainer(self, workload):
        return RnnTrainer(workload)

    def tagger(self, workload):
        return RnnTagger(workload)

    def recurrence(self, cell):
        return RnnRecurrence(cell)

    def gru(self, cell):
        return GruRecurrence(cell)

    def lstm(self, cell):
        return LstmRecurrence(cell)
