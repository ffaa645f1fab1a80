"""The kinds of arrays that functions here take and give; shapes are said where they are used."""

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
