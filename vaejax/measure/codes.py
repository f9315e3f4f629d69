"""The figures of posterior collapse from arrays alone: what an encoder makes of images, and what a
decoder makes of its codes. The VAE may be of any framework.

`collapse.collapse_figures` measures the same on a model of this lab; `collapse.judge_collapse`
judges either. Arrays may be of NumPy, JAX or PyTorch (on the CPU, without gradients), and of any
float type: all are measured as float32.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vaejax import model
from vaejax.errors import LabError
from vaejax.loss import kl_divergence
from vaejax.measure.activity import active_directions, active_units, code_distance_to_prior
from vaejax.measure.information import marginal_kl, mutual_information
from vaejax.measure.pairing import partners

LARGEST = {"mean": 1e15, "logvar": 80.0}
"""Beyond these the KL, or a density, is more than a float32 holds."""


def numbers(arrays: Mapping[str, Any], where: str = "") -> dict[str, np.ndarray]:
    """Arrays of the same n inputs as float32: `mean` and `logvar` [n, z]; `x`, `x_mean` and
    `x_shuffled` [n, ...]. A log variance that inputs or units share is repeated for each.

    Args:
        where: the beginning of each message.
    """
    found = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    for name, array in found.items():
        # NumPy does not know that bfloat16 is a float.
        if array.dtype != bool and not jnp.issubdtype(array.dtype, np.number):
            hint = ": save bfloat16 as float32" if array.dtype.kind == "V" else ""
            raise LabError(f"{where}{name} holds {array.dtype}, not numbers{hint}.")
        if 0 in array.shape:
            raise LabError(f"{where}{name} is empty, its shape is {array.shape}.")
    _check_shapes(found, where)
    with np.errstate(over="ignore"):
        found = {name: array.astype(np.float32) for name, array in found.items()}
    if "logvar" in found:
        found["logvar"] = np.broadcast_to(found["logvar"], found["mean"].shape)
    for name, array in found.items():
        _check_numbers(name, array, where)
    _check_ranges({name: array for name, array in found.items() if name not in LARGEST}, where)
    return found


def _check_shapes(found: Mapping[str, np.ndarray], where: str) -> None:
    first, (rows, *_) = next((name, array.shape or (0,)) for name, array in found.items())
    for name, array in found.items():
        shape = array.shape
        if name == "mean" and len(shape) != 2:
            raise LabError(
                f"{where}mean has the shape {shape}, not [n, z]: reshape mean and logvar to "
                "(n, -1) if the code has more axes."
            )
        if name == "logvar":
            try:
                fits = np.broadcast_shapes(shape, found["mean"].shape) == found["mean"].shape
            except ValueError:
                fits = False
            if not fits:
                wanted = found["mean"].shape
                raise LabError(f"{where}logvar has the shape {shape}, but mean has {wanted}.")
        elif shape[:1] != (rows,):
            raise LabError(f"{where}{name} has the shape {shape}, but {first} has {rows} rows.")
        elif name not in LARGEST and shape != (wanted := found.get("x", array).shape):
            raise LabError(
                f"{where}{name} has the shape {shape}, but x has {wanted}: give both with their "
                "axes in one order."
            )


def _check_numbers(name: str, array: np.ndarray, where: str) -> None:
    """Refuse numbers that are not finite, or too large to measure with; name the first unit."""
    wrong = ~np.isfinite(array) | (np.abs(array) > LARGEST.get(name, np.inf))
    if not wrong.any():
        return
    row, *rest = np.argwhere(wrong)[0].tolist()
    value, known = array[row, *rest], name in LARGEST
    hint = "has the model diverged?"
    if known and np.isfinite(value):
        hint += f" Numbers up to {LARGEST[name]:g} can be measured with."
    if name == "logvar" and -np.inf < value < 0:
        hint = f"such a posterior has no noise. Bound it: logvar.clip(-{LARGEST[name]:g}, None)."
    raise LabError(
        f"{where}{f'unit {rest[0]} of {name}' if known else name} is {value:g} in row {row}, the "
        f"first of {wrong.sum()} such numbers: {hint}"
    )


def _check_ranges(images: Mapping[str, np.ndarray], where: str) -> None:
    """Refuse pixels from 0 to 255 beside others from 0 to 1: even outputs of a collapsed decoder
    have about the mean of `x`."""
    means = {name: each.mean() for name, each in images.items() if each.min() >= 0}
    for small, large in itertools.permutations(means, 2):
        if images[small].max() <= 1 < images[large].max() and 0 < 16 * means[small] < means[large]:
            raise LabError(
                f"{where}{large} reaches {images[large].max():g}, and {small} is in [0, 1]: give "
                "all of them in one range of pixels."
            )


def information_figures(
    kl_nats: Float[Array, "*lanes"],
    mean: Float[Array, "*lanes n latent"],
    logvar: Float[Array, "*lanes n latent"],
    code: Float[Array, "*lanes n latent"],
) -> dict[str, Array]:
    """The mutual information of image and code, its ceiling, and what is left of the KL, in nats;
    arrays [lanes].

    Args:
        kl_nats: the KL averaged over images, in nats.
        code: one code drawn from the posterior of each image.
    """
    information = mutual_information(mean, logvar, code)
    return {
        "mi_nats": information,
        "mi_ceiling_nats": jnp.full_like(information, math.log(mean.shape[-2])),
        "marginal_kl_nats": marginal_kl(kl_nats, information),
    }


def posterior_figures(mean: Any, logvar: Any, key: Key[Array, ""]) -> dict[str, Array]:
    """What the posteriors of n images say of an encoder, by name and unit: the figures that
    `collapse_figures` has of it, and `bulk_variance`. One code is drawn for each image.

    Args:
        mean: posterior means [n, z].
        logvar: the natural logarithms of posterior variances: not standard deviations. [n, z], or
            what numpy repeats to it.

    Raises:
        LabError: a single image, which cannot be compared with another; and see `numbers`.
    """
    order_key, code_key = jax.random.split(key)
    mean, logvar = map(jnp.asarray, numbers({"mean": mean, "logvar": logvar}).values())
    code = mean + jnp.exp(logvar / 2) * model.standard_normal(code_key, mean.shape)
    kl = kl_divergence(mean, logvar)
    kl_nats = kl.sum(-1).mean()
    partner = partners(order_key, len(mean))
    return {
        "kl_nats": kl_nats,
        "kl_per_unit_nats": kl.mean(0),
        **information_figures(kl_nats, mean, logvar, code),
        "active_units": active_units(mean).sum(),
        "active_directions": active_directions(mean),
        "mean_variance_per_unit": jnp.var(mean, axis=0),
        "bulk_variance_per_unit": bulk_variance(mean),
        "code_distance_to_prior": code_distance_to_prior(code),
        "code_distance": jnp.sqrt(jnp.square(code - code[partner]).sum(-1).mean()),
        "mean_distance": jnp.sqrt(jnp.square(mean - mean[partner]).sum(-1).mean()),
    }


def bulk_variance(mean: Float[Array, "n latent"]) -> Float[Array, "latent"]:
    """The mean square, around the median, of each unit's posterior means without the hundredth of
    the images (at least one) that are farthest from it: what a few odd images cannot change."""
    squares = jnp.sort(jnp.square(mean - jnp.median(mean, axis=0)), axis=0)
    return squares[: -max(1, len(mean) // 100)].mean(0)


def output_figures(x: Any, x_mean: Any, x_shuffled: Any, key: Key[Array, ""]) -> dict[str, Array]:
    """What the outputs for n images say of a decoder, by name. Errors are squared and averaged over
    pixels, in the unit of `x`.

    Args:
        x: the images [n, ...].
        x_mean: their reconstructions, of the same shape.
        x_shuffled: reconstructions of the images from codes of other images. None: reconstructions
            of other images. The two are the same if the decoder sees nothing but the code.

    Raises:
        LabError: a single image, which cannot be compared with another; and see `numbers`.
    """
    found = numbers({"x": x, "x_mean": x_mean, "x_shuffled": x_shuffled})
    x, x_mean, *given = (jnp.asarray(each).reshape(len(each), -1) for each in found.values())
    partner = partners(key, len(x))
    of_others = x_mean[partner]
    shuffled = given[0] if given else of_others
    return {
        "output_variance_ratio": output_variance_ratio(
            _mean_square(x - x[partner]), _mean_square(x_mean - of_others)
        ),
        "reconstruction_mse": _mean_square(x_mean - x),
        "shuffled_mse": _mean_square(shuffled - x),
    }


def output_variance_ratio(
    input_change: Float[Array, "*lanes"], output_change: Float[Array, "*lanes"]
) -> Float[Array, "*lanes"]:
    """The variance of outputs over that of images, from their mean squared differences over pairs,
    which are twice the variances: 0 if the output ignores the input, NaN if all images are
    equal."""
    return output_change / jnp.where(input_change > 0, input_change, jnp.nan)


def _mean_square(difference: Float[Array, "n pixels"]) -> Float[Array, ""]:
    return jnp.square(difference).mean(-1).mean()
