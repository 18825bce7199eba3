"""The model and the data: a logistic regression, and one hospital's patients."""

from pathlib import Path

import numpy as np

# What the hospitals agreed on before: about the mean and spread of each measurement.
CENTRE = np.array([
    14, 19, 92, 650, 0.096, 0.1, 0.089, 0.049, 0.18, 0.063, 0.41, 1.2, 2.9, 40, 0.007,
    0.025, 0.032, 0.012, 0.021, 0.0038, 16, 26, 110, 880, 0.13, 0.25, 0.27, 0.11, 0.29, 0.084,
])  # fmt: skip
SPREAD = np.array([
    3.5, 4.3, 24, 350, 0.014, 0.053, 0.08, 0.039, 0.027, 0.0071, 0.28, 0.55, 2, 45, 0.003,
    0.018, 0.03, 0.0062, 0.0083, 0.0026, 4.8, 6.1, 34, 570, 0.023, 0.16, 0.21, 0.066, 0.062, 0.018,
])  # fmt: skip


def load(folder):
    """Return (training inputs, labels, test inputs, labels) of one hospital."""
    table = np.loadtxt(Path(folder) / "patients.csv", delimiter=",")
    inputs, labels = (table[:, :-1] - CENTRE) / SPREAD, table[:, -1]
    held = np.arange(len(table)) % 5 == 4
    return inputs[~held], labels[~held], inputs[held], labels[held]


def new_model():
    """Return weights and bias that know nothing."""
    return [np.zeros(len(CENTRE)), np.zeros(1)]


def probabilities(model, inputs):
    """Return how likely each patient's tumour is benign."""
    return 1 / (1 + np.exp(-np.clip(inputs @ model[0] + model[1][0], -30, 30)))


def train(model, inputs, labels, *, epochs, rate, pull=0.0):
    """Return the model after some steps; `pull` draws it back to where it began (FedProx)."""
    weights, bias = (part.copy() for part in model)
    for _ in range(epochs):
        error = probabilities([weights, bias], inputs) - labels
        weights -= rate * (inputs.T @ error / len(labels) + pull * (weights - model[0]))
        bias -= rate * (error.mean() + pull * (bias - model[1]))
    return [weights, bias]


def accuracy(model, inputs, labels):
    """Return the share of right answers."""
    return float(((probabilities(model, inputs) > 0.5) == labels).mean())
