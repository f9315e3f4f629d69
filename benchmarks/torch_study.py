"""A whole study in PyTorch: its models one after another, or all at once under vmap."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch.func import (  # pyright: ignore[reportMissingImports]
    functional_call,
    grad_and_value,
    stack_module_state,
    vmap,
)

from benchmarks.study import RATE, Study
from benchmarks.torch_loops import VAE, compiled, floats, orders


def initial(study: Study, which: int) -> VAE:
    """A model with PyTorch's own initial weights."""
    torch.manual_seed(study.seeds[which])
    return VAE(study.task.config)


def one_by_one(study: Study, device: str, compile_it: bool = False) -> Iterator[float]:
    """The models one after another. A turn trains an equal share of them from the first step to
    the last. Gives the mean objective in the last epoch of all models so far."""
    pixels = floats(study.task.images, device)
    model = initial(study, 0).to(device)
    objective = compiled(model) if compile_it else model
    ends = []
    for share in np.array_split(np.arange(len(study.seeds)), study.turns):
        for which in share:
            model.load_state_dict(initial(study, which).state_dict())  # what is compiled stays
            ends.append(train_one(study, which, model, objective, pixels))
        yield float(np.mean(ends))


def train_one(study: Study, which: int, model: VAE, objective: Any, pixels: Any) -> float:
    """Train a model; gives its mean objective in the last epoch."""
    config, _, epochs = study.task
    scale = torch.tensor(study.scales[which] / config.pixels, device=pixels.device)
    weights = torch.tensor(study.kl_weights.astype(np.float32), device=pixels.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    rates, step = study.rates.tolist(), 0
    losses = []
    for _ in range(epochs):
        order = torch.randperm(len(pixels), device=pixels.device)
        losses = []
        for rows in order.split(config.batch_size):
            optimizer.param_groups[0]["lr"] = rates[step]
            optimizer.zero_grad()
            loss = objective(pixels[rows], scale, weights[step])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            step += 1
    return torch.stack(losses).mean().item()


def vmapped(study: Study, device: str) -> Iterator[float]:
    """All models at once; gives their mean objective in the last epoch."""
    config, images, epochs = study.task
    pixels = floats(images, device)
    skeleton = VAE(config).to(device)
    initials = [initial(study, which).to(device) for which in range(len(study.seeds))]
    params = {name: leaf.detach() for name, leaf in stack_module_state(initials)[0].items()}
    scales = torch.tensor(study.scales, device=device) / config.pixels
    weights = torch.tensor(study.kl_weights.astype(np.float32), device=device)

    def objective(params: Any, x: Any, scale: Any, weight: Any) -> Any:
        return functional_call(skeleton, params, (x, scale, weight))

    gradients = vmap(grad_and_value(objective), (0, 0, 0, None), randomness="different")
    optimizer = torch.optim.Adam(params.values(), lr=RATE, fused=True)
    rates, step = study.rates.tolist(), 0
    for _ in range(study.turns):
        losses = []
        for _ in range(epochs // study.turns):
            losses = []
            for rows in orders(len(initials), len(pixels), device).split(config.batch_size, 1):
                optimizer.param_groups[0]["lr"] = rates[step]
                grads, values = gradients(params, pixels[rows], scales, weights[step])
                for name, param in params.items():
                    param.grad = grads[name]
                optimizer.step()
                losses.append(values.mean())
                step += 1
        yield torch.stack(losses).mean().item()
