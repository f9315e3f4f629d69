"""What other programs read of a trained model: its weights with its settings, and its codes.

A weight is named by its path in the tree of parameters, such as `encoder.params.Dense_0.kernel`. A
kernel is [inputs, outputs], so that a layer is `x @ kernel + bias`; PyTorch keeps the transpose.
"""

import importlib
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from vaejax import model
from vaejax.config import Config, Nets
from vaejax.data.dataset import Dataset
from vaejax.errors import LabError
from vaejax.exchange import codes, onnx_models, optional
from vaejax.files import write_bytes
from vaejax.measure.batched import lane_of, map_images, over_lanes
from vaejax.measure.elbo import evaluate
from vaejax.store.checkpoint import Trained, nets_of, restore
from vaejax.study.keys import evaluation_key
from vaejax.study.views import unit_pixels

DESCRIPTION = "description"
"""The name of the description beside the weights."""


def load(folder: Path, nets: str | None = None) -> Trained:
    """The run in a folder.

    Args:
        nets: MODULE:NAME of the nets that it was trained with, if they are not the MLPs.
    """
    trained_with = nets_of(folder)
    if trained_with and nets is None:
        raise LabError(
            f"{folder} was trained with nets of its own ({trained_with}): say where Python finds "
            "them with --nets MODULE:NAME, such as my_nets:CONV."
        )
    return restore(folder, None if nets is None else _nets(nets))


def _nets(text: str) -> Nets:
    module, _, name = text.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise LabError(f"--nets {text}: {error}. Give MODULE:NAME, such as my_nets:CONV.") from None
    if not isinstance(found, Nets):
        raise LabError(f"--nets {text} is a {type(found).__name__}, not a vaejax.Nets.")
    return found


def weights(trained: Trained) -> dict[str, np.ndarray]:
    """The weights of a run of one lane, by their paths."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(lane_of(trained.state.params, 0))
    return {
        # In the order of C: safetensors takes the bytes as they lie in memory.
        jax.tree_util.keystr(path, simple=True, separator="."): np.array(leaf, order="C")
        for path, leaf in leaves
    }


def write_weights(
    trained: Trained, kind: Literal["npz", "safetensors", "onnx"], start: str
) -> list[Path]:
    """Write the weights of a run of one lane. Beside them is, as JSON, its description: its Config,
    the knobs and seed of its lane, its training images and steps. In npz it is a string array, no
    pickle; elsewhere it is in the metadata.

    Args:
        start: how the paths of the files begin.

    Returns:
        The files.
    """
    about = json.dumps(trained.run.to_json() | {"steps": trained.step, "vaejax": version("vaejax")})
    if kind == "npz":
        content = {"weights.npz": codes.npz({**weights(trained), DESCRIPTION: np.array(about)})}
    elif kind == "safetensors":
        save = optional.module("safetensors.numpy").save
        content = {"weights.safetensors": save(weights(trained), {DESCRIPTION: about})}
    else:
        config, params = trained.run.config, lane_of(trained.state.params, 0)
        content = {}
        for net in (onnx_models.encoder, onnx_models.decoder):
            made = net(config, params)
            made.metadata_props.add(key=DESCRIPTION, value=about)
            content[f"{net.__name__}.onnx"] = made.SerializeToString()
    for name, file in content.items():
        write_bytes(Path(f"{start}-{name}"), file)
    return [Path(f"{start}-{name}") for name in content]


def decode_all(
    config: Config,
    params: model.Params,
    means: Float[Array | np.ndarray, "n latent"],
    key: Key[Array, ""],
) -> Float[Array, "n pixels"]:
    """The mean images of codes, pixels in [0, 1], in batches. Nothing is drawn with `key`."""
    return map_images(lambda z, _: model.images_of(config, params, z), means, key, 1000)


def codes_of(trained: Trained, images: Dataset) -> dict[str, np.ndarray]:
    """What a run of one lane makes of images, by the names of `exchange.codes`: posterior means and
    log variances [n, z] (of an AE only the codes, as means), images and decoded means
    [n, height, width, channels] with pixels in [0, 1], and of each image the negative ELBO of one
    drawn code and its reconstruction part (of an AE that alone), in nats, and its label [n]."""
    config, params = trained.run.config, trained.state.params
    flat = images.flat
    key = jax.random.split(evaluation_key())[0]  # as `measure.collapse_figures` does
    evaluation = lane_of(over_lanes(evaluate, config)(params, flat, key), 0)
    outputs = lane_of(over_lanes(decode_all, config)(params, evaluation.mean, key), 0)
    found = {"mean": evaluation.mean, "recon_nats": evaluation.recon}
    if config.model == "vae":
        found |= {"logvar": evaluation.logvar, "neg_elbo_nats": evaluation.neg_elbo}
    found["x"] = unit_pixels(flat, config.image_shape)
    found["x_mean"] = outputs.reshape(found["x"].shape)
    return found | {"labels": images.labels}


def csv(found: dict[str, Any]) -> bytes:
    """The codes of `codes_of` as a table, a line for each image: its label, the negative ELBO and
    its reconstruction part, then the mean and the log variance of each unit. Decimal numbers give
    the same float32."""
    nats = [name for name in ("neg_elbo_nats", "recon_nats") if name in found]
    of_units = [name for name in ("mean", "logvar") if name in found]
    units = range(found["mean"].shape[1])
    names = ["label", *nats, *(f"{name}_{unit}" for name in of_units for unit in units)]
    table = np.column_stack([found["labels"], *(found[name] for name in (*nats, *of_units))])
    text = io.StringIO()
    formats = ["%d"] + ["%.9g"] * (len(names) - 1)
    np.savetxt(text, table, formats, delimiter=",", header=",".join(names), comments="")
    return text.getvalue().encode()
