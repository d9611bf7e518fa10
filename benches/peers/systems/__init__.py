"""The systems, by the names that the tables use: module, class, and the arguments of the class."""

SYSTEMS = {
    "elman-python": ("with_elman", "Elman", ()),
    "numpy": ("with_numpy", "Numpy", ()),
    "numba": ("with_numba", "Numba", ()),
    "jax": ("with_jax", "Jax", ()),
    "torch": ("with_torch", "Torch", ()),
    "torch-manual": ("with_torch", "TorchManual", ()),
    "torch-rnn": ("with_torch", "TorchRnn", ()),
    "pytensor-tutorial": ("with_pytensor", "PyTensor", (True,)),
    "pytensor": ("with_pytensor", "PyTensor", (False,)),
    "onnxruntime": ("with_onnxruntime", "OnnxRuntime", ()),
}
