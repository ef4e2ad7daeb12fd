import numpy as np
from numpy.typing import NDArray

from ..pictures.gate import Pixels
from .base import Encoder

_LAYOUTS = ((4, 4), (2, 4), (2, 2), (1, 2))


class ColorHistogramEncoder(Encoder):
    """Colours by region: instant, deterministic, without TensorFlow. Made for the tests of a shop.

    The picture is cut into a grid of cells, and each cell counts its colours; the longest layout that fits
    ``dimensions`` is taken and the rest filled with zeros. It finds pictures of like colours, not like things.
    """

    def __init__(self, dimensions: int = 1280) -> None:
        layouts = [layout for layout in _LAYOUTS if layout[0] ** 2 * layout[1] ** 3 <= dimensions]
        if not layouts:
            raise ValueError(f"dimensions is {dimensions}; a colour histogram needs at least 8.")
        self._cells, self._levels = layouts[0]
        self._dimensions = dimensions

    @property
    def name(self) -> str:
        return f"color-histogram-{self._dimensions}"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def image_size(self) -> int:
        return 32

    def features(self, pixels: Pixels) -> NDArray[np.float64]:
        cells, levels = self._cells, self._levels
        side = self.image_size // cells
        quantised = (pixels.astype(np.int64) * levels) // 256
        colors = (quantised[..., 0] * levels + quantised[..., 1]) * levels + quantised[..., 2]
        blocks = colors.reshape(-1, cells, side, cells, side).swapaxes(2, 3).reshape(-1, cells**2, side**2)
        counts = (blocks[..., None] == np.arange(levels**3)).sum(axis=2).reshape(len(pixels), -1)
        # The square root makes the cosine of two histograms their Bhattacharyya coefficient.
        return np.pad(np.sqrt(counts), ((0, 0), (0, self._dimensions - counts.shape[1])))
