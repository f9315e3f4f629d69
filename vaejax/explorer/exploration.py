"""What the explorer shows of trained models, as plain values: their weights, some test images, what
was measured on the test images, and what the linear theory predicts from the training images.

`show.explorer` makes a page of it, in which the encoder and the decoder run again.
"""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from vaejax import model
from vaejax.config import Config
from vaejax.data.contents import is_vectors
from vaejax.data.dataset import Dataset
from vaejax.errors import LabError
from vaejax.measure.activity import ACTIVE_VARIANCE
from vaejax.measure.batched import over_lanes
from vaejax.measure.elbo import evaluate, summary
from vaejax.run import Images, Run
from vaejax.store import checkpoint, records
from vaejax.study import provenance
from vaejax.study.keys import evaluation_key, figure_key
from vaejax.study.laboratory import images_of
from vaejax.theory import components, threshold
from vaejax.trained import Trained

Weights = Literal["float16", "float32"]
SMALL = 6.0
"""Megabytes of a page that opens at once on a phone."""
WEIGHT_TYPES = {"float16": "<f2", "float32": "<f4"}
MEGABYTE = 1_000_000
CURVE_POINTS = 160
"""Scales at which the predicted KL is worked out for its curve."""
STRIP = 10
"""Test images in the strip of reconstructions: the first of each class, then the next ones."""
CLASS_NAMES = {
    "cifar10": (
        *("aeroplane", "car", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "lorry"),
    ),
    "fashion_mnist": (
        *("T-shirt", "trousers", "pullover", "dress", "coat"),
        *("sandal", "shirt", "trainer", "bag", "boot"),
    ),
    "patches": ("photograph of china", "photograph of a flower"),
}
"""The words for the classes of data sets in which a class is not a number."""


class Part(NamedTuple):
    """The models that the explorer shows side by side, along one slider: lanes of one run and one
    seed that differ in recon_scale alone."""

    folder: Path
    run: Run
    lanes: tuple[int, ...]
    """By rising recon_scale."""
    name: str
    """The name of the run, with the settings that tell this part from others of the run."""


class Chosen(NamedTuple):
    """What of a folder will be shown."""

    parts: list[Part]
    left_out: list[str]
    """A line for each run or lane that cannot be shown."""


class Exploration(NamedTuple):
    """What the page is made of."""

    page: dict[str, Any]
    """JSON values."""
    weights: dict[str, str]
    """By the name that `page` gives to each model: all its weights, in base64."""


def explore(folder: Path, chosen: Chosen, images: int, weights: Weights = "float16") -> Exploration:
    """Everything that the page shows of the chosen models.

    Args:
        images: test images on the page, from the first on.

    Raises:
        LabError: a checkpoint or the data set cannot be read, a weight is too large for float16,
            or all models diverged.
    """
    first = chosen.parts[0].run
    tests = {part.run.images: images_of(part.run, "test") for part in chosen.parts}
    test = tests[first.images]
    flat, labels = _flat(test), np.asarray(test.labels)[:images]
    moments = {images: _moments(run) for images, run in charged_runs(chosen.parts).items()}
    texts: dict[str, str] = {}
    parts, left_out = [], list(chosen.left_out)
    for part in chosen.parts:
        trained = checkpoint.restore(part.folder)
        diverged = np.asarray(trained.state.diverged)
        left_out += [diverged_line(part, lane) for lane in part.lanes if diverged[lane]]
        sound = part._replace(lanes=tuple(lane for lane in part.lanes if not diverged[lane]))
        if sound.lanes:
            names = [f"weights-{len(texts) + index}" for index in range(len(sound.lanes))]
            own = _flat(tests[sound.run.images])
            parts.append(part_page(sound, trained, names, own, moments.get(sound.run.images)))
            for name, lane in zip(names, sound.lanes, strict=True):
                params = _take(trained.state.params, lane)
                texts[name] = weights_text(sound.run.config, params, weights)
    if not parts:
        raise LabError(
            f"{folder}: nothing to explore. {' '.join(left_out)} Train again with a lower "
            "--learning-rate, or choose another --seed."
        )
    page = {
        "folder": "/".join(folder.resolve().parts[-2:]),
        "dataset": first.images.dataset,
        "shape": list(first.config.image_shape),
        "active_variance": ACTIVE_VARIANCE,
        "weights": weights,
        "labels": labels.tolist(),
        "class_names": class_names(first.images),
        "mean_image": _text(mean_bytes(first)),
        "pictures": {
            name: _text(pixels) for name, pixels in pictures(chosen.parts, flat[:images]).items()
        },
        "strip": strip(labels),
        "parts": parts,
        "left_out": left_out,
    }
    return Exploration(records.plain(page), texts)


def part_page(
    part: Part,
    trained: Trained,
    weight_names: Sequence[str],
    images: UInt8[np.ndarray, "n pixels"],
    moments: components.Moments | None,
) -> dict[str, Any]:
    """A part as the page knows it, with a dict for each of its models.

    Args:
        images: the test images of its run.
        moments: those of the training images; None for models without a threshold.
    """
    stacked = _take(trained.state.params, part.lanes)
    measured = measured_rows(part.run.config, stacked, images)
    predicted = predictions(part, moments)
    models = [
        {"weights": name, "lane": lane, **settings(part.run, lane), **of_data, **of_theory}
        for name, lane, of_data, of_theory in zip(
            weight_names, part.lanes, measured, predicted["models"], strict=True
        )
    ]
    found = {"test_images": len(images), "theory": predicted["theory"], "models": models}
    return part_facts(part, trained.step) | found


def choose(folder: Path, seed: int | None = None, runs: Sequence[str] = ()) -> Chosen:
    """The models of one seed in a folder, which is that of a run or of a study.

    Args:
        seed: None: the first seed of each run.
        runs: the names of the runs to show; none: all.

    Raises:
        LabError: there is no run, none that can be shown, or none of this name or seed.
    """
    folders = run_folders(folder)
    if unknown := sorted(set(runs) - {one.name for one in folders}):
        raise LabError(
            f"--runs {' '.join(unknown)}: {folder} holds {', '.join(one.name for one in folders)}."
        )
    parts: list[Part] = []
    left_out: list[str] = []
    seeds: set[int] = set()
    for one in folders:
        if runs and one.name not in runs:
            continue
        if reason := unusable(one):
            left_out.append(f"{one.name}: {reason}")
            continue
        run = checkpoint.read_run(one)
        if is_vectors(run.config.image_shape):
            left_out.append(f"{one.name}: trained on vectors, and the page shows pictures.")
            continue
        seeds |= set(run.seeds)
        parts += parts_of(one, run, run.seeds[0] if seed is None else seed)
    if not parts and left_out:
        raise LabError(f"{folder} holds no model to explore. {' '.join(left_out)}")
    if not parts:
        raise LabError(f"--seed {seed}: the seeds of {folder} are {sorted(seeds)}.")
    parts.sort(key=lambda part: (part.run.config.latent_size, part.run.name))
    return Chosen(parts, left_out)


def run_folders(folder: Path) -> list[Path]:
    """The folder itself if it is that of a run, or the folders of the runs in it.

    Raises:
        LabError: there is no run.
    """
    if (folder / "config.json").exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/config.json"))
    if not found:
        raise LabError(
            f"{folder} holds no config.json, and no folder in it does: give the folder of a run, "
            "such as checkpoints/mnist/latent_size/z2, or that of a study, such as "
            "checkpoints/mnist/recon_scale."
        )
    return found


def unusable(folder: Path) -> str | None:
    """Why the run in a folder cannot be shown; None if it can."""
    if nets := checkpoint.nets_of(folder):
        return (
            f"trained with nets of its own ({nets}). The page runs only the MLPs of vaejax.model. "
            "In Python, vj.store.restore(folder, nets) opens it and vj.study.views shows it."
        )
    if checkpoint.latest(folder) is None:
        return "holds no checkpoint yet; continue its training with --resume."
    return None


def parts_of(folder: Path, run: Run, seed: int) -> list[Part]:
    """The lanes of a seed, divided such that within a part they differ in recon_scale alone. Lanes
    that are alike in all knobs are told apart by their order."""
    others = [
        {name: value for name, value in lane.items() if name not in ("seed", "recon_scale")}
        for lane in run.lanes
    ]
    varied = [name for name in others[0] if len({lane[name] for lane in others}) > 1]
    met: Counter[tuple[float, ...]] = Counter()
    groups: dict[str, list[int]] = {}
    for index, lane in enumerate(run.lanes):
        if lane["seed"] == seed:
            knobs = tuple(lane[name] for name in varied)
            met[*knobs, lane["recon_scale"]] += 1
            words = [f"{name} {lane[name]:g}" for name in varied]
            if (times := met[*knobs, lane["recon_scale"]]) > 1:
                words.append(f"repetition {times}")
            groups.setdefault(", ".join([run.name, *words]), []).append(index)

    def scale(lane: int) -> float:
        return run.lanes[lane]["recon_scale"]

    return [
        Part(folder, run, tuple(sorted(lanes, key=scale)), name) for name, lanes in groups.items()
    ]


def layers(config: Config) -> list[tuple[int, int]]:
    """Inputs and outputs of every dense layer: those of the encoder, then those of the decoder."""
    encoder = (config.pixels, *config.encoder_widths, 2 * config.latent_size)
    decoder = (config.latent_size, *config.decoder_widths, config.pixels)
    return [pair for sizes in (encoder, decoder) for pair in pairwise(sizes)]


def megabytes(parts: Sequence[Part], images: int, weights: Weights) -> dict[str, float]:
    """How large each part and the test images are on the page, in millions of bytes, by name.
    Base64 takes four bytes for three."""
    each = np.dtype(WEIGHT_TYPES[weights]).itemsize
    sizes = {
        part.name: each
        * len(part.lanes)
        * sum((inputs + 1) * outputs for inputs, outputs in layers(part.run.config))
        for part in parts
    }
    sizes["test images"] = images * parts[0].run.config.pixels
    return {name: size * 4 / 3 / MEGABYTE for name, size in sizes.items()}


def weights_that_fit(parts: Sequence[Part], images: int) -> Weights:
    """float32, with which the page is exact, if it is then smaller than `SMALL` megabytes; else
    float16."""
    exact = sum(megabytes(parts, images, "float32").values())
    return "float32" if exact < SMALL else "float16"


def check_size(parts: Sequence[Part], images: int, weights: Weights, most_megabytes: float) -> None:
    """Refuse, before anything is worked out, a page that would be too large.

    Raises:
        LabError: names the size of each part, and what makes the page smaller.
    """
    sizes = megabytes(parts, images, weights)
    total = sum(sizes.values())
    if total <= most_megabytes:
        return
    listed = ", ".join(f"{name} {size:.1f} MB" for name, size in sizes.items())
    smaller = ["--runs NAME ..."] if len({part.run.name for part in parts}) > 1 else []
    smaller += ["--weights float16"] if weights == "float32" else []
    smaller += ["fewer --images"]
    raise LabError(
        f"The page would take {total:.1f} MB ({listed}), more than --most-megabytes "
        f"{most_megabytes:g}. Make it smaller with {' or '.join(smaller)}, or allow it with "
        f"--most-megabytes {int(total) + 2}."
    )


def weights_text(config: Config, params: model.Params, weights: Weights) -> str:
    """All weights of one model in base64: of each of `layers` the kernel [inputs, outputs], row by
    row, and then the bias.

    Raises:
        LabError: a weight is too large for float16.
    """
    arrays = [
        params[net]["params"][f"Dense_{layer}"][name]
        for net, widths in (("encoder", config.encoder_widths), ("decoder", config.decoder_widths))
        for layer in range(len(widths) + 1)
        for name in ("kernel", "bias")
    ]
    with np.errstate(over="ignore"):
        stored = [np.asarray(array).ravel().astype(WEIGHT_TYPES[weights]) for array in arrays]
    if not all(np.isfinite(array).all() for array in stored):
        raise LabError("A weight is too large for float16: use --weights float32.")
    return base64.b64encode(b"".join(array.tobytes() for array in stored)).decode()


def measured_rows(
    config: Config, stacked: model.Params, images: UInt8[np.ndarray, "n pixels"]
) -> list[dict[str, Any]]:
    """What was measured on the test images, for each of stacked models; with the key of the
    studies, and so with their numbers. KL in nats; an AE has none."""
    key = jax.random.split(evaluation_key())[0]  # as `measure.collapse_figures` does
    evaluation = over_lanes(evaluate, config)(stacked, images, key)
    figures = summary(evaluation) | {"variance_per_unit": jnp.var(evaluation.mean, axis=-2)}
    names = ("kl_nats", "mse", "active_units", "kl_per_unit_nats", "variance_per_unit")
    found = {name: np.asarray(figures[name]) for name in names}
    if config.decoder_variance == "learned":
        found["decoder_sigma"] = np.exp(np.asarray(stacked["log_sigma"]))
    models = len(found["mse"])
    return [{name: values[index] for name, values in found.items()} for index in range(models)]


def settings(run: Run, lane: int) -> dict[str, Any]:
    """The knobs and the seed of a lane, and the effective sigma and beta."""
    sigmas, betas = provenance.effective(run)
    return run.lanes[lane] | {"effective_sigma": sigmas[lane], "effective_beta": betas[lane]}


def part_facts(part: Part, step: int) -> dict[str, Any]:
    """What the models of a part have in common."""
    config = part.run.to_json()["config"]
    config["centre"] = 0.5 if config["centre_inputs"] and config["pixel_range"] == "unit" else 0.0
    return {
        "name": part.name,
        "run": part.run.name,
        "about": about(part.run.config),
        "split": part.run.images.train,
        "test": part.run.images.test,
        "steps": step,
        "config": config,
        "pictures": "drawn" if part.run.config.binarize else "grey",
    }


def about(config: Config) -> str:
    """What kind of model it is, and of which layers, in words."""
    kind = "Autoencoder" if config.model == "ae" else "VAE"
    likelihood = {
        "bernoulli": "cross entropy (a Bernoulli likelihood)",
        "gaussian": "squared error (a Gaussian likelihood)",
    }[config.likelihood]
    if config.decoder_variance == "learned":
        likelihood = "squared error (a Gaussian likelihood of learned variance)"
    return f"{kind} of layers {provenance.layers(config)}; its error is {likelihood}"


def charged_runs(parts: Sequence[Part]) -> dict[Images, Run]:
    """By their images, the runs whose models have a threshold."""
    charged = [part for part in parts if threshold.charged_lanes(part.run)[list(part.lanes)].any()]
    return {part.run.images: part.run for part in charged}


def class_names(images: Images) -> tuple[str, ...] | None:
    """The words for the classes of a data set; None where a class is a number."""
    return None if images.path else CLASS_NAMES.get(images.dataset.split(":")[0])


def predictions(part: Part, moments: components.Moments | None) -> dict[str, Any]:
    """What the linear theory says of a part: `theory` for all of its models, `models` for each.

    `theory` is None where nothing is predicted: for an AE, and where not every nat of KL has a cost
    at the end of training. Thresholds are recon_scales; those of directions without variance are
    left out. With a learned variance the KL is not predicted, since the variance moves the
    thresholds once units wake.
    """
    run, lanes = part.run, list(part.lanes)
    nothing = {"predicted_units": None, "units_that_pay": None, "predicted_kl_per_unit": None}
    if moments is None or not threshold.charged_lanes(run)[lanes].all():
        return {"theory": None, "models": [nothing] * len(lanes)}
    size, weight = run.config.latent_size, run.lanes[lanes[0]]["kl_weight"]
    at_one = threshold.thresholds_of(run.config, moments, run.config.pixels)
    scales = np.array([run.lanes[lane]["recon_scale"] for lane in lanes])
    kl = (
        None
        if run.config.decoder_variance == "learned"
        else kl_per_unit(at_one[:size], scales, weight)
    )
    units = threshold.predicted_units(at_one, scales, weight, size)
    pay = threshold.predicted_units(at_one, scales, weight, len(at_one))
    thresholds = weight * at_one[:size]
    finite = thresholds[np.isfinite(thresholds)]
    theory: dict[str, Any] = {"thresholds": finite, "curve": None}
    if kl is not None and len(finite):
        theory["curve"] = curve(at_one, weight, size, (*scales, finite[0]))
    models = [
        {
            "predicted_units": units[index],
            "units_that_pay": pay[index],
            "predicted_kl_per_unit": None if kl is None else kl[index],
        }
        for index in range(len(lanes))
    ]
    return {"theory": theory, "models": models}


def kl_per_unit(thresholds: np.ndarray, scales: np.ndarray, weight: float) -> np.ndarray:
    """`threshold.predicted_kl` of each unit alone: [scales, units] nats, the largest first."""
    units = [
        threshold.predicted_kl(thresholds[unit : unit + 1], scales, weight, 1)
        for unit in range(len(thresholds))
    ]
    return np.stack(units, -1)


def curve(
    thresholds: np.ndarray, weight: float, size: int, marks: Sequence[float]
) -> dict[str, np.ndarray]:
    """The predicted KL, in nats, at scales around and between the marks."""
    scales = np.geomspace(min(marks) / 2, max(marks) * 2, CURVE_POINTS)
    return {"scale": scales, "kl": threshold.predicted_kl(thresholds, scales, weight, size)}


def pictures(
    parts: Sequence[Part], images: UInt8[np.ndarray, "n pixels"]
) -> dict[str, UInt8[np.ndarray, "n pixels"]]:
    """The test images as the parts see them: `grey` as they are, `drawn` with each pixel drawn, for
    a model that binarizes."""
    found = {}
    for part in parts:
        if part.run.config.binarize:
            x = model.to_pixels(part.run.config, jnp.asarray(images), figure_key())
            found["drawn"] = (np.asarray(x) * 255).astype(np.uint8)
        else:
            found["grey"] = images
    return found


def mean_bytes(run: Run) -> UInt8[np.ndarray, "pixels"]:
    """The mean of the training images of a run, rounded to bytes."""
    return np.rint(_flat(images_of(run, "train")).mean(0)).astype(np.uint8)


def strip(labels: np.ndarray) -> list[int]:
    """The numbers of the test images in the strip: the first of each class, in the order of the
    classes, and then others from the first on."""
    classes, firsts = np.unique(labels, return_index=True)
    order = [int(first) for first in firsts[np.argsort(classes)]]
    others = [index for index in range(len(labels)) if index not in order]
    return [*order, *others][:STRIP]


def diverged_line(part: Part, lane: int) -> str:
    scale = part.run.lanes[lane]["recon_scale"]
    return f"{part.name}, recon_scale {scale:g}: this model diverged in training."


def _moments(run: Run) -> components.Moments:
    return components.moments(_flat(images_of(run, "train")))


def _flat(found: Dataset) -> UInt8[np.ndarray, "n pixels"]:
    return found.images.reshape(len(found.images), -1)


def _take(params: Mapping[str, Any], lanes: int | Sequence[int]) -> Any:
    index = lanes if isinstance(lanes, int) else list(lanes)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], params)


def _text(array: UInt8[np.ndarray, "..."]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
