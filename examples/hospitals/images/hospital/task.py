"""The model and the data: a small convolutional network, and one hospital's pictures."""

from pathlib import Path

import numpy as np
import torch
from torch import nn


def load(folder):
    """Return (training pictures, labels, test pictures, labels) of one hospital, as tensors."""
    with np.load(Path(folder) / "digits.npz", allow_pickle=False) as file:
        pictures, labels = torch.tensor(file["pictures"]).unsqueeze(1), torch.tensor(file["labels"])
    held = torch.arange(len(labels)) % 5 == 4
    return pictures[~held], labels[~held], pictures[held], labels[held]


def new_model(seed=0):
    """Return a network that knows nothing."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )


def train(model, pictures, labels, *, epochs, rate, pull=0.0, seed=0):
    """Train in place; `pull` draws the model back to where it began (FedProx)."""
    chance = torch.Generator().manual_seed(seed)
    start = [part.detach().clone() for part in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=chance).split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(pictures[batch]), labels[batch])
            for part, first in zip(model.parameters(), start, strict=True):
                loss = loss + pull / 2 * ((part - first) ** 2).sum()
            loss.backward()
            optimizer.step()


def accuracy(model, pictures, labels):
    """Return the share of right answers."""
    model.eval()
    with torch.no_grad():
        return float((model(pictures).argmax(1) == labels).float().mean())
