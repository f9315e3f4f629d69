"""What trained models make of images: outputs, codes and curves, for the tables and figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import report
from experiments.study import FIGURE_SEED, Data
from vaejax import charts, diagnostics, figures, model, records, spectrum
from vaejax.checkpoint import Saved
from vaejax.config import Run


def unit_pixels(data: Data, images: np.ndarray) -> np.ndarray:
    """Flat bytes as images [n, height, width, channels] with pixels in [0, 1]."""
    return images.reshape(-1, *data.shape).astype(np.float32) / 255


def mean_image(data: Data) -> np.ndarray:
    """Of the training images: [height, width, channels], pixels in [0, 1]."""
    return (data.train.mean(0) / 255).reshape(data.shape).astype(np.float32)


def error_of(constant: np.ndarray, images: np.ndarray) -> float:
    """Mean squared error of one image [height, width, channels] as the output for all of these
    flat images, pixels in [0, 1]; the variance of the pixels if it is their mean."""
    total = sum(
        float(np.square(few.astype(np.float32) / 255 - constant.ravel()).sum())
        for few in np.array_split(images, -(-len(images) // 1000))
    )
    return total / images.size


def lane_at(run: Run, recon_scale: float) -> int:
    """The first lane, so that of the first seed, with this scale."""
    scales = [run.lane(lane)["recon_scale"] for lane in range(len(run.seeds))]
    return scales.index(recon_scale)


def outputs(data: Data, run: Run, saved: Saved, lane: int, images: np.ndarray) -> np.ndarray:
    """What one lane makes of flat images, decoding its posterior means: images
    [n, height, width, channels], pixels in [0, 1]."""
    params = jax.tree.map(lambda leaf: leaf[None], diagnostics.lane_of(saved.state.params, lane))
    drawn = diagnostics.over_lanes(diagnostics.reconstructions, run.config)(
        params, images, jax.random.key(FIGURE_SEED)
    )
    return np.asarray(drawn).reshape(-1, *data.shape)


def strip(data: Data, run: Run, saved: Saved, lane: int, images: np.ndarray) -> np.ndarray:
    """The five pictures of two flat images: input, output, input, output, output of a random
    code."""
    params = diagnostics.lane_of(saved.state.params, lane)
    inputs, made = unit_pixels(data, images), outputs(data, run, saved, lane, images)
    drawn = model.sample(run.config, params, jax.random.key(FIGURE_SEED), 1)
    random = np.asarray(drawn).reshape(1, *data.shape)
    return np.concatenate([inputs[:1], made[:1], inputs[1:], made[1:], random])


def cloud(run: Run, saved: Saved, lane: int, images: np.ndarray, draws: int = 300) -> charts.Cloud:
    """Codes drawn for a few flat images, in the two units in which their posterior means are
    farthest apart."""
    params = diagnostics.lane_of(saved.state.params, lane)
    keys = jax.random.split(jax.random.key(FIGURE_SEED), draws + 1)
    x = model.to_pixels(run.config, jnp.asarray(images), keys[0])
    posterior = model.encode(run.config, params, x)
    units = np.argsort(-np.ptp(np.asarray(posterior.mean), axis=0), kind="stable")[:2]
    codes = [np.asarray(model.draw_code(run.config, posterior, key)) for key in keys[1:]]
    return charts.Cloud(np.stack(codes, 1)[..., units], np.asarray(posterior.mean)[:, units])


def ends_of_training(saved: Saved, lane: int) -> records.Row:
    """The loss terms at the first step, and over the last hundred: KL in nats, and the error
    averaged over pixels."""
    kl, error = np.asarray(saved.trace.kl)[lane].sum(-1), np.asarray(saved.trace.error)[lane]
    return {
        "kl_first_nats": kl[0],
        "kl_peak_nats": kl.max(),
        "kl_last_nats": kl[-100:].mean(),
        "recon_first": error[0],
        "recon_last": error[-100:].mean(),
    }


def term_panels(run: Run, saved: Saved, title: str, constant: float) -> list[figures.Panel]:
    """Both loss terms at every training step, a line for each scale; `constant` is the
    reconstruction term of a constant image."""
    scales = np.asarray([run.lane(lane)["recon_scale"] for lane in range(len(run.seeds))])
    terms = {
        "reconstruction": np.asarray(saved.trace.error),
        "KL, nats": np.asarray(saved.trace.kl).sum(-1),
    }
    steps = list(range(1, saved.step + 1))
    return [
        figures.Panel(
            f"{term}, {title}",
            term,
            {
                f"scale {scale:g}": figures.Line(steps, values[scales == scale].T.tolist())
                for scale in dict.fromkeys(scales.tolist())
            },
            ("constant image", constant) if term == "reconstruction" else None,
            log_y=True,
        )
        for term, values in terms.items()
    ]


def sharpness(outputs: np.ndarray, inputs: np.ndarray, mean_image: np.ndarray) -> records.Row:
    """How much of the images' power the outputs have, and at which frequencies, whether or not it
    is in the right place: that says the mean squared error beside it (noise is sharp, too). Arrays
    [n, height, width, channels], pixels in [0, 1]; outputs are decoded from posterior means."""
    left, there = (spectrum.radial_power(x - mean_image) for x in (outputs, inputs))
    return {
        "decoded_mean_mse": float(np.square(outputs - inputs).mean(dtype=np.float64)),
        "high_frequency_share": spectrum.high_frequency_share(left, there),
        "half_power_cycles": spectrum.half_power_frequency(left, there),
        "cycles_per_image": there.frequency,
        "power_ratio": spectrum.power_ratio(left, there),
    }


def spectrum_panel(
    title: str, power_ratios: Mapping[str, Sequence[Any]], cycles: Sequence[float]
) -> figures.Panel:
    """The `power_ratio` of all seeds of each labelled model, against frequency."""
    lines = {
        label: figures.Line(cycles, np.asarray(of_seeds, float).T.tolist())
        for label, of_seeds in power_ratios.items()
        if of_seeds
    }
    mark = ("half of Nyquist", cycles[-1] / 2)
    return figures.Panel(title, "power of outputs / of images", lines, mark=mark)


def against(rows: Sequence[records.Row], by: str, name: str) -> figures.Line:
    """One figure of all seeds at each value of another, at those where all have a number."""
    found = {x: report.values(rows, name, **{by: x}) for x in sorted({row[by] for row in rows})}
    known = {x: seeds for x, seeds in found.items() if np.isfinite(seeds).all()}
    return figures.Line(list(known), list(known.values()))


def distances(outputs: np.ndarray, images: np.ndarray) -> records.Row:
    """Of two outputs to the mean of the two images, and to the nearer of them, as fractions of the
    distance between the images; the larger of the two outputs'."""
    apart = np.linalg.norm(images[0] - images[1])
    to_mean = [np.linalg.norm(output - images.mean(0)) for output in outputs]
    to_nearer = [min(np.linalg.norm(output - image) for image in images) for output in outputs]
    return {
        "distance_to_mean": float(max(to_mean) / apart),
        "distance_to_nearer": float(max(to_nearer) / apart),
    }
