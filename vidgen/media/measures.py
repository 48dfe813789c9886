"""PSNR and SSIM of two frames (uint8, height x width x 3), to the letter of their definitions."""

from math import inf, log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

WINDOW, SIGMA = 11, 1.5
_LUMA = (0.2126, 0.7152, 0.0722)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(one: "np.ndarray[Any, Any]", other: "np.ndarray[Any, Any]") -> float:
    """10 log10(255^2 / MSE) in dB, the error over all samples of R, G and B; infinite for equal frames."""
    import numpy as np

    apart = np.subtract(one, other, dtype=np.int16).ravel()
    error = int(np.einsum("i,i->", apart, apart, dtype=np.int64)) / apart.size
    return 10 * log10(255**2 / error) if error else inf


def ssim(one: "np.ndarray[Any, Any]", other: "np.ndarray[Any, Any]") -> float:
    """The mean structural similarity of the luma (BT.709, not rounded); 1 for equal luma.

    After Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
    similarity" (2004): a Gaussian window of 11x11 with sigma 1.5, K1 0.01, K2 0.03, L 255, over the places where the
    window lies within the frame, and without scaling down. Across a side of less than 11 pixels the window is the
    longest odd number that fits.
    """
    import numpy as np

    luma = np.array(_LUMA)
    x, y = one @ luma, other @ luma
    mean_x, mean_y = _blurred(x), _blurred(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = _blurred(x * y) - product
    variances = _blurred(x * x + y * y) - squares
    return float(((2 * product + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))).mean())


def _blurred(picture: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The weighted mean of the window around each pixel that has a whole one; a Gaussian goes side by side."""
    from numpy.lib.stride_tricks import sliding_window_view

    for axis in (0, 1):
        weights = _window(picture.shape[axis])
        picture = sliding_window_view(picture, len(weights), axis=axis) @ weights
    return picture


def _window(side: int) -> "np.ndarray[Any, Any]":
    import numpy as np

    half = min(WINDOW, side - 1 + side % 2) // 2
    weights = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * SIGMA**2))
    return np.asarray(weights / weights.sum())
