"""elman.recurrence for PyTorch tensors; imported when the first one comes."""

import torch
from torch.autograd.function import once_differentiable

from elman import _elman

_NAMES = ("xs", "wx", "wh", "bh", "h0")


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, xs, wx, wh, bh, h0, lengths, isa, threads):
        arrays = [tensor.detach().numpy() for tensor in (xs, wx, wh, bh, h0)]
        if any(ctx.needs_input_grad):
            # Holds copies of the arrays: a later change in place cannot falsify the gradient.
            ctx.trace = _elman.vjp(*arrays, lengths, isa=isa, threads=threads)
            return torch.from_numpy(ctx.trace.h)
        return torch.from_numpy(_elman.forward(*arrays, lengths, isa=isa, threads=threads))

    @staticmethod
    @once_differentiable
    def backward(ctx, dh):
        gradients = ctx.trace.backward(dh.numpy())
        return *(torch.from_numpy(gradient) for gradient in gradients), None, None, None


def recurrence(xs, wx, wh, bh, h0, lengths, isa, threads):
    tensors = (xs, wx, wh, bh, h0)
    for name, tensor in zip(_NAMES, tensors):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a torch.Tensor, as one of the others is, found {type(tensor).__name__}")
        if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
            expected = "a tensor of float32 or float64 on the CPU"
            raise TypeError(f"{name}: expected {expected}, found {tensor.dtype} on {tensor.device}")
    if isinstance(lengths, torch.Tensor):
        lengths = lengths.tolist()
    return _Recurrence.apply(*tensors, lengths, isa, threads)
