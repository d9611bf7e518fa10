"""The files beside this one, as PyTorch writes them: state dicts of nn.Embedding, nn.RNN, nn.GRU or nn.LSTM,
and nn.Linear,
and the probabilities that PyTorch computes with them.

    python make.py            by hand; needs numpy, safetensors and torch; made with torch 2.15.0 and safetensors 0.8.0

NAME.safetensors holds the state dict in float64, under its own names. NAME.expected.safetensors holds `words` [T], ids,
and `s` [T, classes], the softmax of each word's scores.

| NAME | rnn | metadata |
|---|---|---|
| rnn_tanh | nn.RNN with tanh, its default | format: pt |
| rnn_relu | nn.RNN with relu | format: pt, nonlinearity: relu |
| gru | nn.GRU | format: pt |
| lstm | nn.LSTM | format: pt |
"""

import pathlib

import torch
from safetensors.torch import save_file

VOCAB, EMBED, WINDOW, HIDDEN, CLASSES = 9, 3, 3, 5, 4
WORDS = [3, 1, 4, 1, 5, 8, 2]
FOLDER = pathlib.Path(__file__).parent


class Tagger(torch.nn.Module):
    def __init__(self, kind, **arguments):
        super().__init__()
        self.emb = torch.nn.Embedding(VOCAB + 1, EMBED)  # the last row is the padding
        self.rnn = kind(EMBED * WINDOW, HIDDEN, **arguments)
        self.out = torch.nn.Linear(HIDDEN, CLASSES)
        self.h0 = torch.nn.Parameter(torch.rand(HIDDEN) - 0.5)
        self.c0 = torch.nn.Parameter(torch.rand(HIDDEN) - 0.5) if kind is torch.nn.LSTM else None

    def forward(self, words):
        half = WINDOW // 2
        padded = torch.tensor([VOCAB] * half + words + [VOCAB] * half)
        x = self.emb(padded.unfold(0, WINDOW, 1)).flatten(1)
        h, _ = self.rnn(x, self.h0[None] if self.c0 is None else (self.h0[None], self.c0[None]))
        return torch.softmax(self.out(h), 1)


def main():
    torch.set_default_dtype(torch.float64)
    for seed, (name, kind, arguments) in enumerate(
        [
            ("rnn_tanh", torch.nn.RNN, {}),
            ("rnn_relu", torch.nn.RNN, {"nonlinearity": "relu"}),
            ("gru", torch.nn.GRU, {}),
            ("lstm", torch.nn.LSTM, {}),
        ]
    ):
        torch.manual_seed(seed)
        tagger = Tagger(kind, **arguments)
        with torch.no_grad():
            s = tagger(WORDS)
        save_file(tagger.state_dict(), FOLDER / f"{name}.safetensors", {"format": "pt", **arguments})
        save_file({"words": torch.tensor(WORDS), "s": s}, FOLDER / f"{name}.expected.safetensors")


if __name__ == "__main__":
    main()
