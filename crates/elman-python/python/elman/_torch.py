"""elman.recurrence for PyTorch tensors; imported when the first one comes."""

import torch
from torch.autograd.function import once_differentiable

from elman import _elman

_NAMES = ("xs", "wx", "wh", "bh", "h0", "bhn", "c0", "initial")


def _call(function, arrays, lengths, options):
    *arrays, bhn, c0, initial = arrays
    return function(*arrays, lengths, bhn=bhn, c0=c0, initial=initial, **options)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, lengths, options, *tensors):
        arrays = [None if tensor is None else tensor.detach().numpy() for tensor in tensors]
        if any(ctx.needs_input_grad):
            # Holds copies of the arrays: a later change in place cannot falsify the gradient.
            ctx.trace = _call(_elman.vjp, arrays, lengths, options)
            ctx.given = [tensor is not None for tensor in tensors]
            return torch.from_numpy(ctx.trace.h)
        return torch.from_numpy(_call(_elman.forward, arrays, lengths, options))

    @staticmethod
    @once_differentiable
    def backward(ctx, dh):
        gradients = iter(ctx.trace.backward(dh.numpy()))
        return None, None, *(torch.from_numpy(next(gradients)) if given else None for given in ctx.given)


def recurrence(tensors, lengths, options):
    """tensors in the order of _NAMES, of which the last two may be None."""
    for name, tensor in zip(_NAMES, tensors):
        if tensor is None and name in ("bhn", "c0", "initial"):
            continue
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a torch.Tensor, as one of the others is, found {type(tensor).__name__}")
        if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
            expected = "a tensor of float32 or float64 on the CPU"
            raise TypeError(f"{name}: expected {expected}, found {tensor.dtype} on {tensor.device}")
    if isinstance(lengths, torch.Tensor):
        lengths = lengths.tolist()
    return _Recurrence.apply(lengths, options, *tensors)
