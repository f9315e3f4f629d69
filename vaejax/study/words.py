"""What readers see of short names. Columns, runs, folders and flags keep the names themselves."""

NETS = {
    "linear": "linear VAE",
    "mlp1": "MLP with one hidden layer",
    "mlp2": "MLP with two hidden layers",
}
"""Encoder and decoder of a model, each with so many hidden layers."""
LIKELIHOODS = {"gaussian": "squared error", "bernoulli": "Bernoulli"}
RUNS = {
    f"{net}-{likelihood}": f"{of_net} ({error})"
    for net, of_net in NETS.items()
    for likelihood, error in LIKELIHOODS.items()
}
"""The runs of `phase_diagram`."""
MODELS = {"ae": "AE", "vae": "VAE"}
VALUES = {"net": NETS, "run": RUNS, "model": MODELS}
"""Values of these columns."""
COLUMNS = {"times": "times the threshold", "units_that_pay": "units that pay for their KL"}


def of_value(column: str, value: object) -> str:
    """A value of a column as claims and figures say it."""
    return VALUES.get(column, {}).get(str(value), str(value))


def of_column(name: str) -> str:
    """A column as the heading of a table."""
    return COLUMNS.get(name, name).replace("_", " ")
