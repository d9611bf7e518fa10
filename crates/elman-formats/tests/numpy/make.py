"""Writes the folders beside this file as the tutorial's `save` does, with numpy.save; run once, by hand."""

from pathlib import Path

import numpy

here = Path(__file__).parent
SHAPES = {"embeddings": (5, 2), "wx": (6, 3), "wh": (3, 3), "w": (3, 2), "bh": (3,), "b": (2,), "h0": (3,)}
CAPITAL = {"wx": "Wx", "wh": "Wh", "w": "W"}

# As rnn/jordan.py of Mesnil et al. (2013) names them; wh is [classes, hidden].
JORDAN = SHAPES | {"wh": (2, 3), "h0": (2,)}

for folder, dtype, order, names in [
    ("lower", "<f4", "C", {}),
    ("capital", "<f8", "F", CAPITAL),
    ("big_endian", ">f8", "C", {}),
    ("half", "<f2", "C", {}),
    ("half_big_endian", ">f2", "F", {}),
    ("jordan", "<f4", "C", CAPITAL | {"h0": "s0"}),
]:
    (here / folder).mkdir(exist_ok=True)
    for number, (name, shape) in enumerate((JORDAN if folder == "jordan" else SHAPES).items()):
        # Multiples of 1/8: the same in float32 and float64.
        entries = (numpy.arange(numpy.prod(shape)).reshape(shape) - 7 * number) / 8
        array = numpy.array(entries, dtype=dtype, order=order)
        numpy.save(here / folder / f"{names.get(name, name)}.npy", array)
