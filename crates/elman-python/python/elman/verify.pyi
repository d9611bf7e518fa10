import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy
from numpy.typing import DTypeLike, NDArray

_Array = NDArray[Any]

class FailedError(AssertionError): ...

class Failure:
    case: str
    seed: int
    again: str
    given: dict[str, _Array]
    found: dict[str, _Array]
    expected: dict[str, NDArray[numpy.float64]]
    allowed: dict[str, NDArray[numpy.float64]]
    def save(self, file: str | os.PathLike[str]) -> None: ...

class Report:
    passed: bool
    failures: list[str]
    failure: Failure | None
    data: dict[str, Any]
    @property
    def bits(self) -> dict[str, float]: ...
    @property
    def same_bits(self) -> dict[str, tuple[int, int]]: ...
    @property
    def worst(self) -> float: ...
    def assert_passed(self) -> None: ...
    def html(self, file: str | os.PathLike[str] | None = None) -> str: ...

def recurrence(
    f: Callable[..., Any] | type | str | os.PathLike[str],
    *,
    cell: Literal["elman", "gru", "lstm"] = "elman",
    activation: Literal["sigmoid", "tanh", "relu"] | None = None,
    dtype: DTypeLike = "float32",
    name: str | None = None,
    gradients: bool | None = None,
    seed: int = 42,
    cases: int = 87,
    case: str | None = None,
    arithmetic: Literal["tf32", "bf16", "f16"] | None = None,
    repeatable: bool = True,
    subnormals: bool = True,
    threads: bool = False,
    slack: float = 1.0,
    progress: bool | None = None,
) -> Report: ...
def vjp(
    f: Callable[..., Any], inputs: Sequence[Any], *, seed: int = 42, entries: int = 100, name: str | None = None
) -> Report: ...
def jax_function(states: Callable[..., Any], *, jit: bool = True) -> Callable[..., Any]: ...
def torch_function(
    module: Any, cell: str, *, packed_sequence: bool = False, device: str = "cpu"
) -> Callable[..., Any]: ...
def onnx_function(
    path: str | os.PathLike[str], cell: str, *, providers: Sequence[str] = ..., threads: int = 1
) -> Callable[..., Any]: ...
def onnx_node(
    operator: str,
    attributes: Mapping[str, Any],
    opset: int,
    ir: int,
    wx: _Array,
    wh: _Array,
    bh: _Array,
    bhn: _Array | None = None,
) -> Any: ...
def onnx_node_function(
    operator: str,
    attributes: Mapping[str, Any],
    *,
    opset: int = 17,
    ir: int = 8,
    providers: Sequence[str] = ...,
    threads: int = 1,
) -> Callable[..., Any]: ...
def padded(lengths: Sequence[int] | _Array, rows: _Array) -> _Array: ...
def packed(lengths: Sequence[int] | _Array, array: _Array) -> _Array: ...
