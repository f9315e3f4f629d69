"""A model of your own: does a convolutional VAE wake where the linear theory says?

The theory predicts from the images alone at which recon_scale a latent unit wakes, the threshold.
It knows nothing of the encoder and the decoder.

Runs: a convolutional VAE with squared error, twice: "warmup", where the weight of the KL grows from
0 over the first quarter of the steps, so that units start awake and go to sleep if they do not pay;
and "no_warmup", where a unit has to wake against the whole KL. Scales, as multiples of the
predicted threshold, and seeds are lanes. The learning rate falls to 0.

Measurement, on the images that are trained on: active units, active directions, KL.

Figure: conv_vae.png (KL and active units against the scale, with the predicted curves).

Command: python -m docs.examples.conv_vae

Cost, three seeds, 1,500 steps twice: patches, 6 minutes of processor time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import vaejax as vj


class Encoder(nn.Module):
    """Images [batch, height, width, channels] to means and log variances, side by side."""

    latent_size: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        hidden = nn.relu(nn.Conv(8, (4, 4), strides=(4, 4))(images))
        hidden = nn.relu(nn.Conv(16, (3, 3), strides=(2, 2))(hidden))
        return nn.Dense(2 * self.latent_size)(hidden.reshape(len(images), -1))


class Decoder(nn.Module):
    """Codes [batch, latent] to images: the encoder in reverse."""

    image_shape: tuple[int, int, int]

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        height, width, channels = self.image_shape
        small = (height // 8, width // 8, 16)
        hidden = nn.relu(nn.Dense(int(np.prod(small)))(codes)).reshape(-1, *small)
        hidden = nn.relu(nn.ConvTranspose(8, (3, 3), strides=(2, 2))(hidden))
        return nn.ConvTranspose(channels, (4, 4), strides=(4, 4))(hidden)


def init(config: vj.Config, key: Any) -> dict[str, Any]:
    encoder_key, decoder_key = jax.random.split(key)
    image, code = jnp.zeros((1, *config.image_shape)), jnp.zeros((1, config.latent_size))
    return {
        "encoder": Encoder(config.latent_size).init(encoder_key, image),
        "decoder": Decoder(config.image_shape).init(decoder_key, code),
    }


def encode(config: vj.Config, params: Any, x: Any) -> vj.Posterior:
    images = x.reshape(-1, *config.image_shape)  # they come flat
    outputs: Any = Encoder(config.latent_size).apply(params["encoder"], images)
    return vj.Posterior(*jnp.split(outputs, 2, axis=-1))


def decode(config: vj.Config, params: Any, z: Any) -> Any:
    images: Any = Decoder(config.image_shape).apply(params["decoder"], z)
    return images.reshape(len(z), config.pixels)


CONV = vj.Nets("conv", init, encode, decode)


ACTIVE = vj.study.column("active_units", "number of active units")
KL = vj.study.column("kl_nats", "KL in nats")


def claims(start: str) -> list[vj.study.Claim]:
    def own(rows: list[vj.store.Row]) -> list[vj.store.Row]:
        return vj.study.matching(rows, run=start)

    return [
        vj.study.Claim(
            f"conv, {start}",
            "Does a convolutional VAE sleep at half the predicted threshold, and wake at twice?",
            [ACTIVE.at(times=0.5) < 0.5, KL.at(times=0.5) < 0.01, ACTIVE.at(times=2.0) > 0.5],
            rows=own,
        ),
        vj.study.Claim(
            f"conv, {start}, near",
            "Does a convolutional VAE wake within 10% of the predicted threshold?",
            [ACTIVE.at(times=0.9) < 0.5, ACTIVE.at(times=1.1) > 0.5],
            rows=own,
        ),
    ]


STARTS = ("warmup", "no_warmup")
CLAIMS = [claim for start in STARTS for claim in claims(start)]


@dataclass(frozen=True, kw_only=True)
class ConvVaeFlags(vj.study.Flags):
    dataset: str = "patches"
    """patches and digits need no network; cifar10 or another TFDS image set, of pictures whose
    height and width are multiples of 8."""
    train_images: int | None = 2000
    """Use only the first so many training images; the threshold is predicted from them, too. None:
    all."""
    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 3e-3
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    output: vj.study.Fixed[vj.config.Output] = "linear"
    decoder_variance: vj.study.Fixed[vj.config.DecoderVariance] = "fixed"
    binarize: vj.study.Fixed[bool] = False
    widths: vj.study.Fixed[tuple[int, ...]] = ()  # the nets have their own
    decay_steps: vj.study.Fixed[float] = 0.0  # the learning rate falls over the whole run
    kl_weight: vj.study.Fixed[float] = 1.0
    kl_warmup: vj.study.Fixed[float] = 0.0  # that of "warmup" is a quarter of the run
    kl_cycle: vj.study.Fixed[float] = 0.0
    free_bits: vj.study.Fixed[float] = 0.0
    latent_size: int = 4
    """Number of latent units."""
    times: tuple[float, ...] = (0.5, 0.9, 1.1, 1.4, 2.0)
    """Scales, as multiples of the predicted threshold."""
    starts: tuple[Literal["warmup", "no_warmup"], ...] = ("warmup", "no_warmup")
    """With or without a KL whose weight grows from 0."""


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    flags = lab.flags
    height, width, _ = lab.shape
    if height % 8 or width % 8:
        raise vj.LabError(
            f"--dataset {flags.dataset}: the pictures have {height} by {width} pixels, and the "
            "strides of this net need multiples of 8. Change the net, or use patches or cifar10."
        )
    config = lab.config(latent_size=flags.latent_size, nets=CONV)
    first, steps = lab.first_threshold(config), lab.steps(config)
    scales = [float(f"{first * time:.4g}") for time in sorted(flags.times)]
    warmups = {"warmup": steps // 4, "no_warmup": 0.0}
    return [
        replace(flags, decay_steps=steps, kl_warmup=warmups[start]).run(
            start, lab.split, config, scales
        )
        for start in flags.starts
    ]


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    config, scale = trained.run.config, np.asarray(trained.run.knobs.recon_scale)
    found = vj.study.on_lanes(vj.measure.evaluate, trained, lab.train, vj.study.evaluation_key())
    thresholds = lab.thresholds(config)[: config.latent_size]
    figures = {
        "times": np.round(scale / thresholds[0], 3),
        "threshold_times": [thresholds / thresholds[0]] * len(scale),
        "active_units": vj.measure.active_units(found.mean).sum(-1),
        "active_directions": vj.measure.active_directions(found.mean),
        "kl_nats": found.kl.sum(-1).mean(-1),
        **vj.theory.predictions(thresholds, scale, 1.0, config.latent_size),
    }
    return vj.study.rows_of(trained, figures)


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    times = vj.study.distinct(rows, "times")
    grid = np.geomspace(times[0], times[-1], 500)
    relative = np.nan_to_num(np.asarray(rows[0]["threshold_times"], float), nan=np.inf)
    predicted = vj.theory.predictions(relative, grid, 1.0, len(relative))
    titles = {"kl_nats": "KL, nats", "active_units": "active units"}
    curves = {
        "kl_nats": (grid.tolist(), predicted["predicted_kl_nats"].tolist()),
        "active_units": (grid.tolist(), predicted["predicted_units"].tolist()),
    }
    panels = vj.study.column_panels(
        rows, "times", titles, "run", mark=("threshold", 1.0), curves=curves
    )
    title = f"{lab.flags.dataset}, a convolutional VAE: mean and range over seeds"
    return {"conv_vae": vj.show.curves(panels, "recon_scale / threshold", title)}


STUDY = vj.study.Study(
    "conv_vae", __doc__, ConvVaeFlags, runs, measure, CLAIMS, figures,
    ["predicted_units", "active_units", "active_directions", "predicted_kl_nats", "kl_nats"],
    by=["run", "times"],
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
