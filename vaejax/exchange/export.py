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
from typing import Any

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

    Raises:
        LabError: as `store.restore`, or there are no such nets, or they are needed and not named.
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


def description(trained: Trained) -> str:
    """What the run is, as JSON: its Config, the knobs and seed of its lane, its training images and
    steps."""
    known = trained.run.to_json() | {"steps": trained.step, "vaejax": version("vaejax")}
    return json.dumps(known)


def write_npz(trained: Trained, path: Path) -> None:
    """Write the weights of a run of one lane as npz; `description` is a string array, no pickle.

    Raises:
        LabError: the file cannot be written.
    """
    codes.write(path, {**weights(trained), DESCRIPTION: np.array(description(trained))})


def write_safetensors(trained: Trained, path: Path) -> None:
    """Write the weights of a run of one lane as safetensors; `description` is in the metadata.

    Raises:
        LabError: the file cannot be written, or safetensors is not installed.
    """
    save = optional.module("safetensors.numpy").save
    write_bytes(path, save(weights(trained), {DESCRIPTION: description(trained)}))


def write_onnx(trained: Trained, encoder: Path, decoder: Path) -> None:
    """Write the MLPs of a run of one lane as two ONNX models.

    Raises:
        LabError: a file cannot be written, onnx is not installed, or the nets are not the MLPs.
    """
    params = lane_of(trained.state.params, 0)
    for path, build in ((encoder, onnx_models.encoder), (decoder, onnx_models.decoder)):
        made = build(trained.run.config, params)
        made.metadata_props.add(key=DESCRIPTION, value=description(trained))
        write_bytes(path, made.SerializeToString())


def decode_all(
    config: Config,
    params: model.Params,
    means: Float[Array | np.ndarray, "n latent"],
    key: Key[Array, ""],
    batch_size: int = 1000,
) -> Float[Array, "n pixels"]:
    """The mean images of codes, pixels in [0, 1], in batches. Nothing is drawn with `key`."""
    return map_images(lambda z, _: model.images_of(config, params, z), means, key, batch_size)


def codes_of(trained: Trained, images: Dataset) -> dict[str, np.ndarray]:
    """What a run of one lane makes of images, by the names of `exchange.codes`: posterior means and
    log variances [n, z] (of an AE only the codes, as means), images and decoded means
    [n, height, width, channels] with pixels in [0, 1], and of each image the negative ELBO of one
    drawn code and its reconstruction part (of an AE that alone), in nats, and its label [n]."""
    config, params = trained.run.config, trained.state.params
    flat = images.images.reshape(len(images.images), -1)
    key = jax.random.split(evaluation_key())[0]  # as `measure.collapse_figures` does
    evaluation = over_lanes(evaluate, config)(params, flat, key)
    mean = evaluation.mean[0]
    outputs = over_lanes(decode_all, config)(params, mean, key)
    found = {"mean": mean, "recon_nats": evaluation.recon[0]}
    if config.model == "vae":
        found |= {"logvar": evaluation.logvar[0], "neg_elbo_nats": evaluation.neg_elbo[0]}
    found["x"] = unit_pixels(flat, config.image_shape)
    found["x_mean"] = outputs[0].reshape(found["x"].shape)
    return {name: np.asarray(array) for name, array in found.items()} | {"labels": images.labels}


def write_csv(found: dict[str, Any], path: Path) -> None:
    """Write the codes of `codes_of` as a table, a line for each image: its label, the negative ELBO
    and its reconstruction part, then the mean and the log variance of each unit. Decimal numbers
    give the same float32.

    Raises:
        LabError: the file cannot be written.
    """
    nats, codes = (
        [name for name in names if name in found]
        for names in (("neg_elbo_nats", "recon_nats"), ("mean", "logvar"))
    )
    units = range(found["mean"].shape[1])
    names = ["label", *nats, *(f"{name}_{unit}" for name in codes for unit in units)]
    table = np.column_stack([found["labels"], *(found[name] for name in (*nats, *codes))])
    text = io.StringIO()
    formats = ["%d"] + ["%.9g"] * (len(names) - 1)
    np.savetxt(text, table, formats, delimiter=",", header=",".join(names), comments="")
    write_bytes(path, text.getvalue().encode())
