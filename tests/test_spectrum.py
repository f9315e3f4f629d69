"""measure.spectrum: waves, noise and filters whose spectrum is known."""

import numpy as np
import pytest

from vaejax.errors import LabError
from vaejax.measure import spectrum
from vaejax.measure.spectrum import Spectrum

RNG = np.random.default_rng(0)
SHAPES = [(4, 4), (8, 8), (9, 9), (16, 24), (28, 28)]
NOISE = RNG.normal(0, 0.1, (300, 16, 16, 2))


def wave(side: int, down: int, across: int) -> np.ndarray:
    """One picture of a plane wave of amplitude 1."""
    y, x = np.mgrid[:side, :side]
    return np.cos(2 * np.pi * (down * y + across * x) / side + 0.3)[None, :, :, None]


def of(*power: float) -> Spectrum:
    """A spectrum of rings 1, 2, ... which have 10, 20, ... coefficients."""
    rings = np.arange(1, len(power) + 1)
    return Spectrum(rings.astype(float), 10 * rings, np.array(power, float))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_power_is_lost_or_made(shape: tuple[int, int]) -> None:
    """Parseval: over all coefficients as over all pixels."""
    images = RNG.normal(size=(7, *shape, 3)) + 0.5
    windowed = images * spectrum.window(*shape)[:, :, None]
    power = spectrum.coefficient_power(images)
    np.testing.assert_allclose(power.mean(), np.square(windowed).mean(), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_window_is_that_of_hann_at_the_centres_of_pixels(shape: tuple[int, int]) -> None:
    window = spectrum.window(*shape)
    np.testing.assert_allclose(np.square(window).mean(), 1, rtol=1e-12)
    np.testing.assert_allclose(window, window[::-1, ::-1], rtol=1e-9)
    middle = np.hanning(2 * shape[0] + 1)[1::2]  # every other sample lies at a pixel's centre
    np.testing.assert_allclose(window.sum(1) / window.sum(1).max(), middle / middle.max())


@pytest.mark.parametrize("shape", SHAPES)
def test_rings_are_those_around_whole_frequencies_up_to_nyquist(shape: tuple[int, int]) -> None:
    found = spectrum.radial_power(RNG.normal(size=(2, *shape, 1)))
    np.testing.assert_array_equal(found.frequency, np.arange(1, min(shape) // 2 + 1))
    counts = np.zeros(len(found.frequency), int)
    for down in range(-(shape[0] // 2), (shape[0] + 1) // 2):
        for across in range(-(shape[1] // 2), (shape[1] + 1) // 2):
            length = np.hypot(down / shape[0], across / shape[1]) * min(shape)
            for ring in range(len(counts)):
                counts[ring] += ring + 0.5 <= length < ring + 1.5
    np.testing.assert_array_equal(found.coefficients, counts)


@pytest.mark.parametrize("cycles", range(3, 11))
@pytest.mark.parametrize("down", [True, False])
def test_a_wave_lies_in_its_ring_and_a_sixth_in_either_neighbour(cycles: int, down: bool) -> None:
    picture = wave(24, cycles, 0) if down else wave(24, 0, cycles)
    found = spectrum.radial_power(picture)
    share = found.coefficients * found.power / (24 * 24 / 2)  # of the mean square, 1/2
    want = np.zeros(12)
    want[cycles - 2 : cycles + 1] = 1 / 6, 2 / 3, 1 / 6
    np.testing.assert_allclose(share, want, atol=1e-12)


@pytest.mark.parametrize(("down", "across"), [(3, 4), (-3, 4), (6, 8), (5, -5)])
def test_an_oblique_wave_lies_at_the_length_of_its_frequency(down: int, across: int) -> None:
    found = spectrum.radial_power(wave(24, down, across))
    share = found.coefficients * found.power
    assert found.frequency[np.argmax(share)] == round(np.hypot(down, across))


def test_frequencies_are_those_of_the_shorter_side() -> None:
    """Stripes 8 pixels apart are 2 cycles in 16 pixels, along the longer side as the shorter."""
    pixels = np.cos(2 * np.pi * np.arange(48) / 8)
    wide = np.broadcast_to(pixels, (16, 48))[None, :, :, None]
    for images in (wide, wide.swapaxes(1, 2)):
        found = spectrum.radial_power(np.ascontiguousarray(images))
        assert found.frequency[np.argmax(found.power)] == 2
        assert found.frequency[-1] == 8


def test_white_noise_is_flat_at_its_variance() -> None:
    found = spectrum.radial_power(NOISE)
    np.testing.assert_allclose(found.power, 0.01, rtol=0.1)
    np.testing.assert_allclose(found.power[3:], 0.01, rtol=0.05)


def test_a_smooth_picture_has_no_high_frequencies_for_its_edges() -> None:
    ramp = np.broadcast_to(np.linspace(-0.5, 0.5, 32), (32, 32))[None, :, :, None]
    found = spectrum.radial_power(np.ascontiguousarray(ramp))
    bare = np.square(np.abs(np.fft.fft2(ramp[0, :, :, 0])))
    assert found.power[8:].sum() < 1e-5 * found.power.sum()
    assert bare[0, 9:16].sum() > 1e-2 * bare[0, 1:16].sum()


def test_a_filter_gives_its_ratio_back_smoothed_by_the_window() -> None:
    cycles = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16)) * 16
    kept = np.exp(-np.square(cycles / 5))
    passed = np.fft.ifft2(np.fft.fft2(NOISE, axes=(1, 2)) * kept[:, :, None], axes=(1, 2)).real
    inputs, outputs = spectrum.radial_power(NOISE), spectrum.radial_power(passed)
    ratio = spectrum.power_ratio(outputs, inputs)
    np.testing.assert_allclose(ratio, np.exp(-2 * np.square(inputs.frequency / 5)), atol=0.08)
    smooth = np.square(kept)
    for axis in (0, 1):
        beside = np.roll(smooth, 1, axis) + np.roll(smooth, -1, axis)
        smooth = smooth * 2 / 3 + beside / 6
    want = [smooth[np.floor(cycles + 0.5) == ring].mean() for ring in range(1, 9)]
    np.testing.assert_allclose(ratio, want, rtol=0.05)
    half = spectrum.half_power_frequency(outputs, inputs)
    assert abs(half - 5 * np.sqrt(np.log(2) / 2)) < 0.25
    whole = sum(n * p for n, p in zip(inputs.coefficients[4:], want[4:], strict=True))
    share = spectrum.high_frequency_share(outputs, inputs)
    np.testing.assert_allclose(share, whole / inputs.coefficients[4:].sum(), rtol=0.05)


def test_the_share_counts_coefficients_above_half_of_nyquist() -> None:
    share = spectrum.high_frequency_share(of(9, 9, 1, 2), of(1, 1, 4, 2))
    np.testing.assert_allclose(share, (30 * 1 + 40 * 2) / (30 * 4 + 40 * 2))


def test_half_power_is_the_first_fall_linear_between_rings() -> None:
    half = spectrum.half_power_frequency(of(1, 0.8, 0.4, 0.9), of(1, 1, 1, 1))
    np.testing.assert_allclose(half, 2.75)
    assert spectrum.half_power_frequency(of(1, 0.5, 0.5, 0.5), of(1, 1, 1, 1)) == 4


def test_rings_without_power_in_the_inputs_say_nothing() -> None:
    inputs, outputs = of(1, 0, 1, 0), of(1, 0, 0, 1)
    np.testing.assert_array_equal(spectrum.power_ratio(outputs, inputs), [1, np.nan, 0, np.nan])
    assert spectrum.half_power_frequency(outputs, inputs) == 2  # halfway from 1 to 3
    assert np.isnan(spectrum.high_frequency_share(of(1, 1), of(1, 0)))
    assert np.isnan(spectrum.half_power_frequency(of(1, 1, 1), of(0, 0, 0)))
    assert spectrum.half_power_frequency(of(1, 1, 1), of(0, 1, 0)) == 3


@pytest.mark.parametrize("values", [1, 16 * 16 * 2, 7 * 16 * 16 * 2, 10**9])
def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    want = spectrum.radial_power(NOISE)
    monkeypatch.setattr(spectrum, "CHUNK_VALUES", values)
    np.testing.assert_allclose(spectrum.radial_power(NOISE).power, want.power, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (1, 1)])
def test_images_too_small_for_two_rings_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(LabError, match=rf"^Images of {shape[0]}x{shape[1]} pixels"):
        spectrum.radial_power(np.zeros((2, *shape, 1)))


@pytest.mark.parametrize(
    ("side", "cycles"), [(4, 1), (8, 2), (9, 2), (14, 3.5), (16, 4), (28, 4), (32, 4), (224, 4)]
)
def test_pictures_are_blur_below_four_cycles_or_half_of_nyquist(side: int, cycles: float) -> None:
    rings = spectrum.radial_power(np.zeros((1, side, side, 1))).frequency
    assert spectrum.discernible_from(rings) == cycles
    assert spectrum.discernible_from(rings.tolist()) == cycles  # as a row has them


SHARP = RNG.uniform(size=(9, 8, 8, 1))


@pytest.mark.parametrize("contrast", [1, 0.9, 0.5, 0])
def test_sharpness_is_the_share_of_power_that_is_left(contrast: float) -> None:
    """All of it for the images themselves; none for their mean, whatever its edges."""
    mean = SHARP.mean(0)
    outputs = mean + contrast * (SHARP - mean)
    got = spectrum.sharpness(outputs, SHARP, mean)
    assert got["high_frequency_share"] == pytest.approx(contrast**2)
    np.testing.assert_allclose(got["power_ratio"], [contrast**2] * 4)
    np.testing.assert_array_equal(got["cycles_per_image"], [1, 2, 3, 4])
    assert got["half_power_cycles"] == (4 if contrast**2 > 0.5 else 0)
    assert got["decoded_mean_mse"] == pytest.approx((1 - contrast) ** 2 * SHARP.var(0).mean())
