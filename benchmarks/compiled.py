"""The programs of the lab, compiled for accelerators that this machine does not have. None runs.

Programs (--programs): first weights, an epoch of training, and what is measured of trained models:
ELBO, NLL with 100 importance samples, pairs of images, prior samples. Nets (--nets): the MLP
3072-512-64-512-3072 and the convolutional net of docs/examples/conv_vae.py, on 50,000 images of
CIFAR-10, in batches of 128; measured on 10,000. Lanes (--lanes): models side by side. Training
divides them among all chips, at least one to each; everything else runs on one chip.

For each program: processor seconds of compiling; memory of a chip in MiB, and of training what the
lab allots; sorts, custom calls and collectives in it; and, in the file, copies of all images. Of
training also FLOP and a range of steps a second. That is computed from peaks that the makers state,
not measured. The upper end: every product at the peak rate, or weights and moments of Adam read and
written once, whichever takes longer. The lower end, one after another: products at the rate of full
float32, every array of the step written once and read twice, and on a GPU 5 us for each kernel.

Compilers: `pip install 'jax[tpu]' jax-cuda13-plugin`. A file of --json keeps what it has of other
programs.

Command: JAX_PLATFORMS=cpu python -m benchmarks.compiled [--json FILE]
"""

import importlib
import json
import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Literal, NamedTuple, get_args

import lazy_loader
import numpy as np

import vaejax as vj
from benchmarks.nets import COLOUR, COUNTS, config_of
from benchmarks.tables import number, table
from benchmarks.timing import target, write

jax: Any = lazy_loader.load("jax")  # --help does not wait for it
Program = Literal["first weights", "training", "ELBO", "NLL", "pairs", "samples"]
Name = Literal["v5e 2x2", "v5e 16x16", "1 H100", "4 H100"]
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84978434048 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 } runtime_version { major: 13 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
"""What XLA has to know of it, as a text of its GpuTargetConfigProto."""
KERNEL = re.compile(r"= (.*?) (?:fusion|custom-call|sort|dot|convolution|copy)\(")
COLLECTIVE = re.compile(r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)"
                        r"(?:-start)?\(")  # fmt: skip
ARRAY = re.compile(r"\b(pred|[a-z]+?(\d+))\[([\d,]+)\]")


class Target(NamedTuple):
    """Chips, and what their makers state of one."""

    chips: int
    platform: str
    topology: str
    peak: float
    """FLOP/s of matrix products at the precision that JAX takes for float32: bfloat16 on a TPU,
    TF32 on a GPU."""
    float32: float
    """FLOP/s at full float32: six products of bfloat16 on a TPU."""
    bandwidth: float
    """Bytes a second of its memory."""
    launch: float
    """Seconds for each kernel."""


V5E = Target(4, "tpu", "v5e:2x2", 197e12, 197e12 / 6, 0.82e12, 0.0)
GPU = Target(1, "cuda", "1x1x1", 495e12, 67e12, 3.35e12, 5e-6)
TARGETS: dict[Name, Target] = {
    "v5e 2x2": V5E,
    "v5e 16x16": V5E._replace(chips=256, topology="v5e:16x16"),
    "1 H100": GPU,
    "4 H100": GPU._replace(chips=4, topology="1x1x4"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CompiledFlags:
    """What to compile, and for what."""

    targets: tuple[Name, ...] = get_args(Name)
    programs: tuple[Program, ...] = get_args(Program)
    nets: tuple[Literal["MLP", "conv"], ...] = ("MLP", "conv")
    lanes: tuple[int, ...] = (1, 64, 1024)
    """How many models."""
    json: Path | None = None
    """Write what was found to this file."""


def mesh_of(name: Name) -> Any:
    """The mesh of the lab on chips that are not there.

    Raises:
        LabError: jax has no compiler for them.
    """
    chips, platform, topology, *_ = TARGETS[name]
    describe = importlib.import_module("jax.experimental.topologies").get_topology_desc
    options = {} if platform == "tpu" else {"topology": topology, "target_config": H100}
    try:
        devices = describe(topology, platform, **options).devices
    except Exception as error:  # of many types
        package = "jax[tpu]" if platform == "tpu" else "jax-cuda13-plugin"
        raise vj.LabError(
            f"jax cannot compile for {name} ({vj.errors.first_line(error)}): install "
            f"'{package}', or leave it out of --targets."
        ) from None
    auto = (jax.sharding.AxisType.Auto,) * 2
    return jax.sharding.Mesh(np.reshape(devices, (chips, 1)), ("lanes", "batch"), axis_types=auto)


def lowered(program: Program, config: vj.Config, lanes: int, mesh: Any) -> Any:
    """A program as the lab calls it on an accelerator. `mesh` has the chips that it runs on."""

    def shapes(tree: Any, *axes: str) -> Any:
        where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), tree)

    split = "train" if program == "training" else "test"
    images = shapes(jax.ShapeDtypeStruct((COUNTS[split], config.pixels), np.uint8))
    seeds, key = np.zeros(lanes, np.uint32), shapes(jax.eval_shape(partial(jax.random.key, 0)))
    if program == "first weights":
        return vj.train.init.lower(config, shapes(seeds[0]))
    state = shapes(jax.eval_shape(jax.vmap(partial(vj.train.init, config)), seeds), "lanes")
    if program == "training":
        knobs = shapes(vj.stack([vj.knobs(config)] * lanes), "lanes")
        over = mesh if mesh.size > 1 else None
        return vj.train.train_lanes.lower(config, knobs, state, images, 1, False, over)
    if program == "samples":  # the lab draws them for one lane at a time
        one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), state.params)
        draw = jax.jit(partial(vj.model.sample, config), static_argnums=2)
        return draw.lower(shapes(one), key, COUNTS["test"])
    measure: Any = {"ELBO": vj.measure.evaluate, "NLL": vj.measure.importance_nll,
                    "pairs": vj.measure.pairs}[program]  # fmt: skip
    batched = vj.measure.batched  # as `over_lanes` has it on an accelerator
    of_lanes = batched.side_by_side(partial(measure, config))
    return jax.jit(of_lanes).lower(state.params, images, key)


def size(shape: str) -> int:
    """The bytes of all arrays in the shape of an instruction of XLA."""
    return sum(
        max(1, int(bits or 8) // 8) * math.prod(map(int, sides.split(",")))
        for _, bits, sides in ARRAY.findall(shape)
    )


def compiled(program: Program, net: str, lanes: int, name: Name, mesh: Any) -> dict[str, Any]:
    """What is known of a program without running it."""
    config, chip = config_of(COLOUR), TARGETS[name]
    if net == "conv":
        conv = importlib.import_module("docs.examples.conv_vae").CONV
        config = vj.Config(image_shape=config.image_shape, latent_size=64, nets=conv)
    if program == "training":
        lanes = math.ceil(lanes / chip.chips) * chip.chips
    start, began = perf_counter(), process_time()
    built = lowered(program, config, lanes, mesh).compile()
    seconds, processor = perf_counter() - start, process_time() - began
    text, memory = built.as_text(), built.memory_analysis()
    taken = {kind: getattr(memory, f"{kind}_size_in_bytes") / 2**20
             for kind in ("argument", "output", "temp")}  # fmt: skip
    collectives = COLLECTIVE.findall(text)
    count = COUNTS["train" if program == "training" else "test"]
    taken_in = f"u8[{count},{config.pixels}]"
    every = rf"\w+\[(?:\d+,)*{count},{config.pixels}\]"  # arrays of all images
    found: dict[str, Any] = {
        "target": name, "program": program, "net": net, "lanes": lanes, "seconds": seconds,
        "processor_seconds": processor, "mib": taken,
        "collectives": {kind: collectives.count(kind) for kind in sorted(set(collectives))},
        "sorts": len(re.findall(r" sort\(", text)),
        "custom_calls": sorted(set(re.findall(r'custom_call_target="([^"]+)"', text))),
        "copies": sorted(set(re.findall(every, text)) - {taken_in}) if taken_in in text else [],
    }  # fmt: skip
    if program == "training":
        found |= training(config, lanes // chip.chips, text, chip)
    return found


def training(config: vj.Config, lanes: int, text: str, chip: Target) -> dict[str, Any]:
    """Of a program that trains so many lanes on each chip: memory that the lab allots, FLOP of a
    step, and the range of steps a second."""
    count, parameters = COUNTS["train"], vj.parallel.memory.parameters(config)
    state, knobs = vj.parallel.memory.shapes(config), vj.knobs(config)
    batch = jax.ShapeDtypeStruct((config.batch_size, config.pixels), np.uint8)
    step = jax.jit(vj.train.step, static_argnums=(0, 4)).lower(config, knobs, state, batch, False)
    flop = lanes * step.compile().cost_analysis()["flops"]
    parts = [part for part in text.split("\n}\n") if "\nENTRY" not in f"\n{part}"]
    kernels = max(map(KERNEL.findall, parts), key=len)  # the step is the largest loop
    least = 6 * 4 * parameters * lanes / chip.bandwidth
    moved = 3 * sum(map(size, kernels)) / chip.bandwidth
    slow = flop / chip.float32 + moved + len(kernels) * chip.launch
    allotted = lanes * vj.parallel.memory.lane_bytes(config, count) + count * config.pixels
    return {
        "allotted_mib": allotted / 2**20, "gflop": flop / 1e9, "kernels": len(kernels),
        "flop_by_rule": flop / (6 * parameters * config.batch_size * lanes),
        "steps_per_second": [1 / slow, 1 / max(flop / chip.peak, least)],
    }  # fmt: skip


def markdown(rows: list[dict[str, Any]]) -> str:
    """Two tables: all programs, and what one would get of training."""
    about = ("target", "program", "net", "lanes")
    headers = (*about, "compiling, s of a processor", "MiB of a chip: arguments, output, temporary",
               "allotted", "collectives", "sorts", "custom calls")  # fmt: skip
    every = [
        [*(str(row[name]) for name in about), number(row["processor_seconds"]),
         ", ".join(map(number, row["mib"].values())),
         number(row["allotted_mib"]) if "allotted_mib" in row else "",
         ", ".join(f"{count} {kind}" for kind, count in row["collectives"].items()) or "none",
         str(row["sorts"]), ", ".join(row["custom_calls"])]
        for row in rows
    ]  # fmt: skip
    trained = [
        [row["target"], row["net"], str(row["lanes"]), number(row["gflop"]),
         number(row["flop_by_rule"]), str(row["kernels"]),
         " to ".join(map(number, row["steps_per_second"]))]
        for row in rows if row["program"] == "training"
    ]  # fmt: skip
    steps = ("target", "net", "lanes", "GFLOP of a step and chip", "by 6 x parameters x images",
             "kernels of a step", "steps a second, computed")  # fmt: skip
    return "\n".join([table("Programs", headers, every), table("Training", steps, trained)])


def benchmark(flags: CompiledFlags) -> None:
    """Compile, write, print."""
    path = target(flags.json)
    rows = json.loads(path.read_text()) if path and path.exists() else []
    for name in flags.targets:
        mesh = mesh_of(name)
        one = jax.sharding.Mesh(mesh.devices[:1], mesh.axis_names, axis_types=mesh.axis_types)
        for program in flags.programs:
            for net in flags.nets:
                for lanes in flags.lanes:
                    chips = mesh if program == "training" else one
                    try:
                        found = compiled(program, net, lanes, name, chips)
                    except jax.errors.JaxRuntimeError as error:  # too little memory on a TPU
                        what = f"{name}, {program}, {net}, {lanes} models"
                        print(f"{what}: {vj.errors.first_line(error)}", flush=True)
                        continue
                    same = ("target", "program", "net", "lanes")
                    rows = [row for row in rows if any(row[key] != found[key] for key in same)]
                    rows.append(found)
                    write(rows, path)
    print(markdown(rows))


def main() -> None:
    with vj.study.failing_clearly():
        benchmark(vj.study.parse(CompiledFlags, __doc__))


if __name__ == "__main__":
    main()
