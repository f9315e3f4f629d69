"""The MLPs of `vaejax.model` as ONNX models.

They are written with the helpers of the onnx package: each layer is one or a few standard
operators. Converters of JAX programs need other versions of orbax than this lab does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

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
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "elu": ("Elu", {"alpha": 1.0}),
    "gelu": ("Gelu", {"approximate": "tanh"}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
}
"""Operators and their attributes as in flax. silu is made of two operators, linear of none."""


class _Graph(NamedTuple):
    """The parts of a graph, which grow as layers are added."""

    onnx: Any
    nodes: list[Any]
    constants: list[Any]

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        """Add an operator; returns the name of its first output."""
        named = list(outputs) or [f"{operator}_{len(self.nodes)}"]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, named, **attributes))
        return named[0]

    def activation(self, name: str, hidden: str) -> str:
        if name == "linear":
            return hidden
        if name == "silu":
            return self.add("Mul", [hidden, self.add("Sigmoid", [hidden])])
        operator, attributes = ACTIVATIONS[name]
        return self.add(operator, [hidden], **attributes)

    def mlp(self, net: str, params: model.Params, activation: str, hidden: str) -> str:
        """The layers of `model.MLP`."""
        layers = params[net]["params"]
        for index in range(len(layers)):
            if index:
                hidden = self.activation(activation, hidden)
            names = [f"{net}.params.Dense_{index}.{part}" for part in ("kernel", "bias")]
            arrays = (layers[f"Dense_{index}"][part] for part in ("kernel", "bias"))
            inputs = [self.constant(*pair) for pair in zip(names, arrays, strict=True)]
            hidden = self.add("Gemm", [hidden, *inputs])
        return hidden


def encoder(config: Config, params: model.Params) -> Any:
    """`x` [batch, D], pixels in the range of the Config, to `mean` and `logvar` [batch, latent]; of
    an AE to `mean` alone, its code.

    Args:
        params: of one model.

    Raises:
        LabError: onnx is not installed, or the nets are not the MLPs.
    """

    def build(graph: _Graph) -> None:
        x = "x"
        if config.centre_inputs and config.pixel_range == "unit":
            x = graph.add("Sub", [x, graph.constant("centre", np.array(0.5, np.float32))])
        both = graph.mlp("encoder", params, config.encoder_activation, x)
        # A runtime drops what is no output. The checker of onnx crashes where it has no name.
        rest = "logvar" if config.model == "vae" else "unused"
        graph.add("Split", [both], "mean", rest, axis=1, num_outputs=2)

    outputs = {"mean": config.latent_size, "logvar": config.latent_size}
    if config.model == "ae":
        del outputs["logvar"]
    return _model(config, "encoder", {"x": config.pixels}, outputs, build)


def decoder(config: Config, params: model.Params) -> Any:
    """`z` [batch, latent] to `x_mean` [batch, D], the mean image in the pixel range of the Config.

    Args:
        params: of one model.

    Raises:
        LabError: onnx is not installed, or the nets are not the MLPs.
    """

    def build(graph: _Graph) -> None:
        logits = graph.mlp("decoder", params, config.decoder_activation, "z")
        graph.add("Identity", [graph.activation(config.output, logits)], "x_mean")

    return _model(config, "decoder", {"z": config.latent_size}, {"x_mean": config.pixels}, build)


def _model(
    config: Config,
    name: str,
    inputs: dict[str, int],
    outputs: dict[str, int],
    build: Callable[[_Graph], None],
) -> Any:
    """An onnx.ModelProto of a graph; `inputs` and `outputs` are sizes by name."""
    if config.nets is not None:
        raise LabError(
            f"--format onnx writes the MLPs of vaejax.model, and these nets are {config.nets.name}:"
            " use --format npz or safetensors."
        )
    onnx = optional.module("onnx")
    graph = _Graph(onnx, [], [])
    build(graph)

    def values(sizes: dict[str, int]) -> list[Any]:
        return [
            onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, ["batch", size])
            for value, size in sizes.items()
        ]

    whole = onnx.helper.make_graph(
        graph.nodes, name, values(inputs), values(outputs), graph.constants
    )
    return onnx.helper.make_model(
        whole,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vaejax",
    )
