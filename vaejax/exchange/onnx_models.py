"""The MLPs of `vaejax.model` as ONNX models.

They are written with the helpers of the onnx package: each layer is one or a few standard
operators. Converters of JAX programs need other versions of orbax than this lab does.
"""

from typing import Any

import numpy as np

from vaejax import model
from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.exchange import optional

OPSET = 20
"""The first version of the operators that has Gelu."""
IR_VERSION = 9
"""The file format that came with it: an older runtime cannot have these operators."""
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("Identity", {}),
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "elu": ("Elu", {"alpha": 1.0}),
    "gelu": ("Gelu", {"approximate": "tanh"}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
}
"""Operators and their attributes as in flax. silu is made of two operators."""


def encoder(config: Config, params: model.Params) -> Any:
    """`x` [batch, D], pixels in the range of the Config, to `mean` and `logvar` [batch, latent]; of
    an AE to `mean` alone, its code.

    Args:
        params: of one model.
    """
    onnx = _onnx(config)
    centred = config.centre_inputs and config.pixel_range == "unit"
    nodes, constants = _mlp(onnx, "encoder", params, config.encoder_activation, "centred", "both")
    constants.append(onnx.numpy_helper.from_array(np.array(0.5 * centred, np.float32), "centre"))
    # A runtime drops what is no output. The checker of onnx crashes where it has no name.
    rest = "logvar" if config.model == "vae" else "unused"
    nodes = [
        onnx.helper.make_node("Sub", ["x", "centre"], ["centred"]),
        *nodes,
        onnx.helper.make_node("Split", ["both"], ["mean", rest], axis=1, num_outputs=2),
    ]
    outputs = {name: config.latent_size for name in ("mean", rest) if name != "unused"}
    return _model(onnx, "encoder", {"x": config.pixels}, outputs, nodes, constants)


def decoder(config: Config, params: model.Params) -> Any:
    """`z` [batch, latent] to `x_mean` [batch, D], the mean image in the pixel range of the Config.

    Args:
        params: of one model.
    """
    onnx = _onnx(config)
    nodes, constants = _mlp(onnx, "decoder", params, config.decoder_activation, "z", "logits")
    nodes += _activation(onnx, config.output, "logits", "x_mean")
    inputs, outputs = {"z": config.latent_size}, {"x_mean": config.pixels}
    return _model(onnx, "decoder", inputs, outputs, nodes, constants)


def _onnx(config: Config) -> Any:
    if config.nets is not None:
        raise LabError(
            f"--format onnx writes the MLPs of vaejax.model, and these nets are {config.nets.name}:"
            " use --format npz or safetensors."
        )
    return optional.module("onnx")


def _mlp(
    onnx: Any, net: str, params: model.Params, activation: str, source: str, target: str
) -> tuple[list[Any], list[Any]]:
    """The layers of `model.MLP`, from the array named `source` to the one named `target`, and their
    constants."""
    nodes, constants = [], []
    layers = params[net]["params"]
    for index in range(len(layers)):
        if index:
            nodes += _activation(onnx, activation, source, f"active_{index}")
            source = f"active_{index}"
        names = [f"{net}.params.Dense_{index}.{part}" for part in ("kernel", "bias")]
        arrays = [np.asarray(layers[f"Dense_{index}"][part]) for part in ("kernel", "bias")]
        constants += map(onnx.numpy_helper.from_array, arrays, names)
        output = target if index == len(layers) - 1 else f"layer_{index}"
        nodes.append(onnx.helper.make_node("Gemm", [source, *names], [output]))
        source = output
    return nodes, constants


def _activation(onnx: Any, name: str, source: str, target: str) -> list[Any]:
    if name == "silu":
        gate = onnx.helper.make_node("Sigmoid", [source], [f"{target}_gate"])
        return [gate, onnx.helper.make_node("Mul", [source, f"{target}_gate"], [target])]
    operator, attributes = ACTIVATIONS[name]
    return [onnx.helper.make_node(operator, [source], [target], **attributes)]


def _model(
    onnx: Any,
    name: str,
    inputs: dict[str, int],
    outputs: dict[str, int],
    nodes: Any,
    constants: Any,
) -> Any:
    """An onnx.ModelProto of a graph; `inputs` and `outputs` are sizes by name."""
    sides = [
        [
            onnx.helper.make_tensor_value_info(side, onnx.TensorProto.FLOAT, ["batch", size])
            for side, size in sizes.items()
        ]
        for sizes in (inputs, outputs)
    ]
    return onnx.helper.make_model(
        onnx.helper.make_graph(nodes, name, *sides, constants),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vaejax",
    )
