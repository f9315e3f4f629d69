"""How sharp images are: their power at each spatial frequency, and what of it is left.

The power spectrum of natural images falls with frequency (Field 1987); a blurry picture is one
whose power falls sooner. All functions take differences from the mean image, so that a model that
always outputs the mean image has power 0 at every frequency, and is not credited with its edges.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vaejax.errors import LabError

SMALLEST = 4
"""The least side in pixels: there are then two rings, one of them above half of Nyquist."""
DISCERNIBLE = 4.0
"""Cycles per image. A picture that keeps half of its power only up to a lower frequency is called
blur: a convention. It has less detail than a picture of 8 by 8 pixels."""
CHUNK_VALUES = 2**20
"""Pixels, over all channels, that are transformed together: some 40 MB with temporaries."""
OF_SPECTRUM = ("high_frequency_share", "half_power_cycles", "cycles_per_image", "power_ratio")
"""What `sharpness` says beside the error."""

Images = Float[np.ndarray, "n height width channels"]
PerRing = Float[np.ndarray, "rings"]


class Spectrum(NamedTuple):
    """Power of images, averaged over rings of the Fourier plane. A ring is one cycle per image
    wide; the rings lie around 1, 2, ... up to Nyquist.

    Frequency 0 is left out: it is the brightness of the whole picture. So are the corners of the
    Fourier plane beyond the last ring, which only diagonal waves reach.
    """

    frequency: PerRing
    """Cycles per image, of its shorter side; the last is Nyquist (rounded down for odd sides)."""
    coefficients: Int[np.ndarray, "rings"]
    """How many Fourier coefficients lie in each ring."""
    power: PerRing
    """Mean power of a coefficient of the ring over images and channels, in squared pixel units:
    noise of variance v, independent in every pixel, has power v in every ring."""


def window(height: int, width: int) -> Float[np.ndarray, "height width"]:
    """A separable Hann window of mean square 1.

    A Fourier transform takes a picture for periodic. Without a window the jump from one edge to
    the opposite one has power at all frequencies, and a smooth picture looks sharp. The window
    costs resolution: a wave spreads to the coefficients next to its own, and brightness to ring 1.
    """
    sides = [1 - np.cos(2 * np.pi * (np.arange(side) + 0.5) / side) for side in (height, width)]
    return np.outer(*sides) / 1.5  # the mean square of each side is 3/2


def coefficient_power(images: Images, mean_image: Any = 0.0) -> Float[np.ndarray, "height width"]:
    """Mean power of each 2-D Fourier coefficient of the windowed images, less their mean image, in
    the order of `np.fft.fft2`, in squared pixel units.

    By Parseval its mean over all coefficients is the mean square of the windowed pixels.
    """
    n, height, width, channels = images.shape
    taper = window(height, width).astype(images.dtype)[:, :, None]
    total = np.zeros((height, width))
    step = max(1, CHUNK_VALUES // (height * width * channels))
    for first in range(0, n, step):
        waves = np.fft.fft2((images[first : first + step] - mean_image) * taper, axes=(1, 2))
        total += np.square(np.abs(waves)).sum((0, 3), dtype=np.float64)
    return total / (n * channels * height * width)


def radial_power(images: Images, mean_image: Any = 0.0) -> Spectrum:
    """The spectrum of images less their mean image; pixels are in [0, 1].

    Raises:
        LabError: images of fewer than 4x4 pixels.
    """
    height, width = images.shape[1:3]
    shorter = min(height, width)
    if shorter < SMALLEST:
        raise LabError(
            f"Images of {height}x{width} pixels have no spectrum to speak of: "
            f"use {SMALLEST}x{SMALLEST} or more."
        )
    cycles = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) * shorter
    rings = np.floor(cycles + 0.5).astype(int).ravel()
    inside = slice(1, shorter // 2 + 1)
    counts = np.bincount(rings)[inside]
    power = np.bincount(rings, weights=coefficient_power(images, mean_image).ravel())[inside]
    return Spectrum(np.arange(1.0, shorter // 2 + 1), counts, power / counts)


def power_ratio(outputs: Spectrum, inputs: Spectrum) -> PerRing:
    """The power of the reconstructions over the power of their inputs in each ring: 1 where nothing
    is lost, NaN where the inputs have no power."""
    ratio = np.full_like(inputs.power, np.nan)
    return np.divide(outputs.power, inputs.power, out=ratio, where=inputs.power > 0)


def high_frequency_share(outputs: Spectrum, inputs: Spectrum) -> float:
    """The power of the reconstructions above half of Nyquist, summed over the coefficients, over
    the same power of their inputs: 1 if they are as sharp, 0 if nothing is left, NaN if the inputs
    have none."""
    high = inputs.frequency > inputs.frequency[-1] / 2
    kept, present = (
        float(np.sum((spectrum.coefficients * spectrum.power)[high]))
        for spectrum in (outputs, inputs)
    )
    return kept / present if present > 0 else float("nan")


def half_power_frequency(outputs: Spectrum, inputs: Spectrum) -> float:
    """Cycles per image at which the ratio of power first falls below 1/2, linear between rings.

    0 if it is below in the first ring already, Nyquist if it never falls. Rings without power in
    the inputs are passed over; NaN if no ring has any, as of inputs that are all the mean image.
    """
    ratio = power_ratio(outputs, inputs)
    known = np.isfinite(ratio)
    if not known.any():
        return float("nan")
    ratio, frequency = ratio[known], inputs.frequency[known]
    below = np.flatnonzero(ratio < 0.5)
    if not len(below):
        return float(inputs.frequency[-1])
    if below[0] == 0:
        return 0.0
    before, after = below[0] - 1, below[0]
    fallen = (ratio[before] - 0.5) / (ratio[before] - ratio[after])
    return float(frequency[before] + fallen * (frequency[after] - frequency[before]))


def discernible_from(frequency: PerRing | Sequence[float]) -> float:
    """The `half_power_frequency` below which pictures with these rings are called blur:
    `DISCERNIBLE`, or half of Nyquist for pictures that are smaller than 16 by 16 pixels."""
    return min(DISCERNIBLE, frequency[-1] / 2)


def sharpness(
    outputs: Images, inputs: Images, mean_image: Float[np.ndarray, "height width channels"]
) -> dict[str, Any]:
    """How much of the images' power the outputs have, and at which frequencies, by name.

    `half_power_cycles` is the measure of detail: a picture that keeps half of its power up to f
    cycles per image has the detail of one of 2 f by 2 f pixels. On natural images
    `high_frequency_share` is stricter than the eye: CIFAR-10 compressed to 65 principal components
    keeps 4.9 cycles and 0.002 of the power above half of Nyquist, and its horses, cars and lorries
    can be told.

    Power counts whether or not it is in the right place (noise is sharp, too): the mean squared
    error beside it, `decoded_mean_mse`, tells that. Outputs are decoded from posterior means;
    pixels are in [0, 1].

    Pictures with a side of fewer than `SMALLEST` pixels, and vectors, have no spectrum: all but the
    error is then None, and `no_spectrum` says why.
    """
    error = {"decoded_mean_mse": _mean_squared_error(outputs, inputs)}
    height, width = inputs.shape[1:3]
    if min(height, width) < SMALLEST:
        why = f"{height}x{width} pixels, and a spectrum needs {SMALLEST}x{SMALLEST}"
        return error | dict.fromkeys(OF_SPECTRUM) | {"no_spectrum": why}
    of_outputs, of_inputs = (radial_power(x, mean_image) for x in (outputs, inputs))
    return error | {
        "high_frequency_share": high_frequency_share(of_outputs, of_inputs),
        "half_power_cycles": half_power_frequency(of_outputs, of_inputs),
        "cycles_per_image": of_inputs.frequency,
        "power_ratio": power_ratio(of_outputs, of_inputs),
    }


def _mean_squared_error(outputs: Images, inputs: Images) -> float:
    difference = outputs - inputs
    return float(np.square(difference, out=difference).mean(dtype=np.float64))
