import pytest
from test_recurrence import arrays, gru_arrays, lstm_arrays

import elman

torch = pytest.importorskip("torch", reason="PyTorch is not installed: gradcheck and the torch tests are left out")


def tensors(dtype="float64", **sizes):
    return [torch.from_numpy(array).requires_grad_() for array in arrays(dtype, **sizes)]


def loop(xs, wx, wh, bh, h0, lengths):
    states, row = [], 0
    for length in lengths:
        h = h0
        for x in xs[row : row + length]:
            h = torch.sigmoid(x @ wx + h @ wh + bh)
            states.append(h)
        row += length
    return torch.stack(states)


@pytest.mark.parametrize("lengths", [None, [7], [3, 1, 3]])
def test_gradcheck(lengths):
    assert torch.autograd.gradcheck(lambda *t: elman.recurrence(*t, lengths), tensors())


def test_gradients_are_those_of_a_loop_in_torch():
    ours, theirs = tensors("float32"), tensors("float32")
    for tensors_, function in ((ours, elman.recurrence), (theirs, loop)):
        (function(*tensors_, [3, 4]) ** 2).sum().backward()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(
    ("cell", "extra", "arrays_of"), [("gru", "bhn", gru_arrays), ("lstm", "c0", lstm_arrays)]
)
def test_gradcheck_with_initial_states(cell, extra, arrays_of):
    tensors_ = [torch.from_numpy(array).requires_grad_() for array in arrays_of("float64")]

    def recurrence(xs, wx, wh, bh, h0, more, initial):
        return elman.recurrence(xs, wx, wh, bh, h0, [3, 4], cell=cell, initial=initial, **{extra: more})

    assert torch.autograd.gradcheck(recurrence, tensors_)
    assert torch.autograd.gradcheck(lambda *t: recurrence(*t, None), tensors_[:6])


def test_a_gru_is_that_of_torch():
    xs, wx, wh, bh, h0, bhn, _ = (torch.from_numpy(array) for array in gru_arrays("float64"))
    module = torch.nn.GRU(5, 4, dtype=torch.float64)
    with torch.no_grad():
        module.weight_ih_l0.copy_(wx.T)
        module.weight_hh_l0.copy_(wh.T)
        module.bias_ih_l0.copy_(bh)
        module.bias_hh_l0.zero_()[8:].copy_(bhn)
        expected = module(xs[:, None], h0[None, None])[0][:, 0]
    torch.testing.assert_close(elman.recurrence(xs, wx, wh, bh, h0, cell="gru", bhn=bhn), expected)


def test_an_lstm_is_that_of_torch():
    xs, wx, wh, bh, h0, c0, _ = (torch.from_numpy(array) for array in lstm_arrays("float64"))
    module = torch.nn.LSTM(5, 4, dtype=torch.float64)
    with torch.no_grad():
        module.weight_ih_l0.copy_(wx.T)
        module.weight_hh_l0.copy_(wh.T)
        module.bias_ih_l0.copy_(bh)
        module.bias_hh_l0.zero_()
        expected = module(xs[:, None], (h0[None, None], c0[None, None]))[0][:, 0]
    torch.testing.assert_close(elman.recurrence(xs, wx, wh, bh, h0, cell="lstm", c0=c0), expected)


def test_only_what_needs_a_gradient_gets_one():
    xs, *cell = tensors()
    h = elman.recurrence(xs.detach(), *cell, torch.tensor([3, 4]))
    h.sum().backward()
    assert xs.grad is None and all(tensor.grad is not None for tensor in cell)
    with torch.no_grad():
        assert not elman.recurrence(xs, *cell).requires_grad


def test_a_transposed_gradient_is_taken():
    ours, theirs = tensors(), tensors()
    for tensors_, function in ((ours, elman.recurrence), (theirs, loop)):
        (function(*tensors_, [7]).t().contiguous() * torch.arange(28.0).reshape(4, 7)).sum().backward()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a.grad, b.grad)


def test_what_is_wrong_is_named():
    xs, *cell = tensors()
    with pytest.raises(TypeError, match="xs: expected a torch.Tensor, as one of the others is, found ndarray"):
        elman.recurrence(xs.detach().numpy(), *cell)
    with pytest.raises(TypeError, match="xs: expected a tensor of float32 or float64 on the CPU, found torch.float16"):
        elman.recurrence(xs.half(), *cell)
    with pytest.raises(TypeError, match="on meta"):
        elman.recurrence(xs.to("meta"), *cell)


def test_nn_rnn_gives_the_same_tags(trained, corpora, tmp_path):
    """The module in the documentation of the format, with the exported file, in PyTorch itself."""
    path = tmp_path / "model.safetensors"
    trained.export(path, "torch")
    shape = trained.shape

    class Tagger(torch.nn.Module):
        def __init__(self, vocab, embed, window, hidden, classes):
            super().__init__()
            self.window = window
            self.emb = torch.nn.Embedding(vocab + 1, embed, padding_idx=vocab)
            self.rnn = torch.nn.RNN(embed * window, hidden, batch_first=True)
            self.out = torch.nn.Linear(hidden, classes)
            self.h0 = torch.nn.Parameter(torch.zeros(hidden))

        def forward(self, words):
            half = self.window // 2
            padded = torch.nn.functional.pad(words, (half, half), value=self.emb.num_embeddings - 1)
            x = self.emb(padded.unfold(0, self.window, 1)).flatten(1)
            return self.out(self.rnn(x[None], self.h0[None, None])[0][0])

    module = Tagger(**shape)
    module.load_state_dict(read_safetensors(path))
    network = elman.Network(trained.params)
    for words, _ in corpora[1][:200]:
        ids = trained.ids(words)
        with torch.no_grad():
            s = module(torch.tensor(ids)).softmax(1).numpy()
        ours = network.predict(ids)
        assert abs(s - ours).max() < 1e-5
        assert (s.argmax(1) == ours.argmax(1)).all()


def read_safetensors(path):
    """As safetensors.torch.load_file does, without asking for that package."""
    import json

    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32"
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32).reshape(entry["shape"])
    return tensors
