import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, final

import numpy
from numpy.typing import NDArray

from elman import verify as verify

_Array: TypeAlias = NDArray[numpy.float32] | NDArray[numpy.float64]
_Params: TypeAlias = Mapping[str, _Array]
_Ids: TypeAlias = Sequence[int] | NDArray[numpy.integer[Any]]
_Batch: TypeAlias = Iterable[tuple[_Ids, _Ids]]
_Cell: TypeAlias = Literal["elman", "gru", "lstm"]
_Activation: TypeAlias = Literal["sigmoid", "tanh", "relu"] | None
_Isa: TypeAlias = Literal["portable", "avx2", "avx512", "neon"] | None
# NumPy arrays or PyTorch tensors; the result is of the same kind.
_Tensor = TypeVar("_Tensor")

class _Shape(TypedDict):
    vocab: int
    embed: int
    window: int
    hidden: int
    classes: int

__version__: str

def init(
    *,
    vocab: int,
    embed: int,
    window: int,
    hidden: int,
    classes: int,
    cell: _Cell = "elman",
    seed: int = 345,
    dtype: Literal["float32", "float64"] = "float32",
) -> dict[str, _Array]: ...
def recurrence(
    xs: _Tensor,
    wx: _Tensor,
    wh: _Tensor,
    bh: _Tensor,
    h0: _Tensor,
    lengths: Sequence[int] | None = None,
    *,
    bhn: _Tensor | None = None,
    c0: _Tensor | None = None,
    initial: _Tensor | None = None,
    cell: _Cell = "elman",
    activation: _Activation = None,
    isa: _Isa = None,
    threads: int = 1,
) -> _Tensor: ...
def vjp(
    xs: _Array,
    wx: _Array,
    wh: _Array,
    bh: _Array,
    h0: _Array,
    lengths: _Ids | None = None,
    *,
    bhn: _Array | None = None,
    c0: _Array | None = None,
    initial: _Array | None = None,
    cell: _Cell = "elman",
    activation: _Activation = None,
    isa: _Isa = None,
    threads: int = 1,
) -> Trace: ...
def travel(seed: int, sentences: int) -> list[tuple[list[str], list[str]]]: ...
@final
class Trace:
    @property
    def h(self) -> _Array: ...
    @property
    def last(self) -> _Array: ...
    def backward(self, dh: _Array, dlast: _Array | None = None) -> tuple[_Array, ...]: ...

@final
class Network:
    def __new__(
        cls,
        params: _Params,
        *,
        cell: _Cell = "elman",
        activation: _Activation = None,
        isa: _Isa = None,
        threads: int = 1,
    ) -> Network: ...
    def predict(self, words: _Ids) -> _Array: ...
    def gradient(self, batch: _Batch) -> tuple[float, dict[str, _Array]]: ...
    @property
    def params(self) -> dict[str, _Array]: ...
    @property
    def shape(self) -> _Shape: ...
    @property
    def cell(self) -> _Cell: ...
    @property
    def activation(self) -> _Activation: ...
    @property
    def name(self) -> str: ...

@final
class Learner:
    def __new__(
        cls,
        params: _Params,
        *,
        cell: _Cell = "elman",
        activation: _Activation = None,
        isa: _Isa = None,
        threads: int = 1,
    ) -> Learner: ...
    def step(self, batch: _Batch, learning_rate: float) -> float: ...
    @property
    def params(self) -> dict[str, _Array]: ...

@final
class Tagger:
    def __new__(
        cls,
        params: _Params,
        words: Sequence[str],
        labels: Sequence[str],
        *,
        cell: _Cell = "elman",
        activation: _Activation = None,
        lowercase: bool = False,
        digits: bool = False,
        isa: _Isa = None,
        threads: int = 1,
    ) -> Tagger: ...
    @staticmethod
    def load(folder: str | os.PathLike[str], *, isa: _Isa = None, threads: int = 1) -> Tagger: ...
    def save(self, folder: str | os.PathLike[str]) -> None: ...
    def export(
        self,
        path: str | os.PathLike[str],
        format: Literal["onnx", "torch", "npy"],
        *,
        nonlinearity: Literal["tanh", "sigmoid"] | None = None,
        dtype: Literal["float32", "float64"] = "float32",
        capital: bool = False,
        prefix: str = "",
        rename: Mapping[str, str] | None = None,
    ) -> None: ...
    @staticmethod
    def read(
        path: str | os.PathLike[str],
        format: Literal["npy", "torch"],
        *,
        words: str | os.PathLike[str] | None = None,
        labels: str | os.PathLike[str] | None = None,
        unknown: str = "<UNK>",
        lowercase: bool = False,
        digits: bool = False,
        nonlinearity: Literal["tanh", "sigmoid"] | None = None,
        prefix: str = "",
        rename: Mapping[str, str] | None = None,
        isa: _Isa = None,
        threads: int = 1,
    ) -> Tagger: ...
    def label(self, sentences: Iterable[Sequence[str]]) -> list[list[str]]: ...
    def label_arrow(self, column: Any) -> Any: ...
    def ids(self, words: Sequence[str]) -> list[int]: ...
    @property
    def words(self) -> list[str]: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def params(self) -> dict[str, NDArray[numpy.float32]]: ...
    @property
    def shape(self) -> _Shape: ...
    @property
    def cell(self) -> _Cell: ...
    @property
    def activation(self) -> _Activation: ...
