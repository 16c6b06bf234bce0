"""`ScoreModel` foresees, from a text alone, the score that each of several models would get on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from torch import nn

from dsplus_chains.schema import TrainingDataError, brief_repr
from dsplus_chains.scoring.members.head import one_cycle, one_thread
from dsplus_chains.scoring.members.stored_arrays import StoredArrays

if TYPE_CHECKING:
    from dsplus_chains.encoding.neighbor_index import Search

Floats = NDArray[np.float64]

ALPHAS = tuple(np.logspace(-1, 3, 9).tolist())
"""Penalties of the ridge regression, of which the best by leave-one-out error is taken."""
NEIGHBORS = 40
HIDDEN, DROPOUT = 256, 0.3
BATCH, LEARNING_RATE = 128, 2e-3
EPOCHS, MOST_STEPS = 30, 1000


@brief_repr
@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreModel:
    """The mean of three regressions of scores on sentence vectors: ridge, nearest neighbours and a small network.

    It foresees the scores themselves. A classifier of the best model would do worse, because where several models are
    equally good, the first one's name becomes the truth.

    Args:
        weights: The ridge regression, of shape [dimensions + 1, models]. The last row is added.
        vectors: The vectors of the training texts, of shape [n, dimensions].
        scores: Their scores, of shape [n, models], NaN where a model was not tried.
        net: The network, from vectors to scores.

    Source: Tryage (arXiv 2308.11601) and Herd (arXiv 2310.19902), which foresee each model's worth without running it.
    """

    weights: Floats
    vectors: NDArray[np.float32]
    scores: Floats
    net: nn.Sequential

    @cached_property
    def _search(self) -> Search:
        from dsplus_chains.encoding.neighbor_index import neighbor_index  # loads faiss

        return neighbor_index(self.vectors)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_search"}  # a function of faiss

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], scores: Floats, *, seed: int = 0) -> Self:
        """Fit on the scores that are known.

        Args:
            vectors: Vectors of shape [n, dimensions].
            scores: Scores of shape [n, models], NaN where a model was not tried.
            seed: Seed of the network. The global random state stays as it was.

        Raises:
            TrainingDataError: Some model has fewer than two scores.
        """
        known = np.isfinite(scores)
        if (known.sum(axis=0) < 2).any():
            msg = f"Got a model with {known.sum(axis=0).min()} scores but expected two or more of each"
            raise TrainingDataError(msg)
        columns = []
        for column, has in zip(scores.T, known.T, strict=True):
            ridge = RidgeCV(alphas=ALPHAS).fit(vectors[has].astype(np.float64), column[has])
            columns.append(np.append(ridge.coef_, ridge.intercept_))
        net = _fit_net(vectors, scores, seed=seed)
        return cls(weights=np.stack(columns, axis=1), vectors=vectors, scores=scores, net=net)

    def predict(self, vectors: NDArray[np.float32]) -> Floats:
        """The score of each model on each text, of shape [n texts, models]."""
        linear = vectors @ self.weights[:-1] + self.weights[-1]
        _, nearest = self._search(vectors, NEIGHBORS)
        near = known_mean(self.scores[nearest], otherwise=np.nanmean(self.scores, axis=0))
        with torch.inference_mode():
            bent = self.net(torch.as_tensor(vectors, dtype=torch.float32)).numpy()
        mean: Floats = (linear + near + bent) / 3
        return mean

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything to keep, by name."""
        net = {f"net.{name}": tensor.numpy() for name, tensor in self.net.state_dict().items()}
        return {"weights": self.weights, "vectors": self.vectors, "scores": self.scores, **net}

    @classmethod
    def from_arrays(cls, arrays: StoredArrays) -> Self:
        """The model from its `arrays`.

        Raises:
            BundleError: One is missing, or another one.
        """
        vectors = arrays.floats("vectors", (None, arrays.width))
        net = _net(arrays.width, arrays.n_classes)
        shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
        kept = arrays.part("net.")
        net.load_state_dict({name: torch.from_numpy(kept.floats(name, shapes[name]).copy()) for name in shapes})
        return cls(
            weights=arrays.floats("weights", (arrays.width + 1, arrays.n_classes)),
            vectors=np.asarray(vectors, dtype=np.float32),
            scores=arrays.floats("scores", (len(vectors), arrays.n_classes), gaps=True),
            net=net.requires_grad_(False).eval(),
        )


def known_mean(scores: Floats, *, otherwise: Floats) -> Floats:
    """The mean score of each row's neighbours, by model. Missing scores are left out.

    Args:
        scores: The neighbours' scores, of shape [n, neighbours, models], NaN where there is none.
        otherwise: What stands in for each model that has no score among them, of shape [models].

    Example:
        >>> near = np.array([[[1.0, np.nan], [0.5, np.nan]]])
        >>> known_mean(near, otherwise=np.array([0.2, 0.3])).tolist()
        [[0.75, 0.3]]
    """
    counts = np.isfinite(scores).sum(axis=1)
    return np.where(counts > 0, np.nansum(scores, axis=1) / np.maximum(counts, 1), otherwise)


def _net(dimensions: int, n_models: int) -> nn.Sequential:
    """The network before it is fitted."""
    return nn.Sequential(nn.Linear(dimensions, HIDDEN), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, n_models))


def _fit_net(vectors: NDArray[np.float32], scores: Floats, *, seed: int) -> nn.Sequential:
    """A network with one hidden layer, fitted by the squared error of the scores that are known."""
    known = torch.as_tensor(np.isfinite(scores))
    x = torch.as_tensor(vectors, dtype=torch.float32)
    y = torch.as_tensor(np.nan_to_num(scores), dtype=torch.float32)
    steps = min(MOST_STEPS, EPOCHS * -(-len(x) // BATCH))
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _net(x.shape[1], y.shape[1])
        one_cycle(
            net,
            lambda rows: ((net(x[rows]) - y[rows]) ** 2)[known[rows]].mean(),
            len(x),
            steps=steps,
            size=BATCH,
            rate=LEARNING_RATE,
        )
    return net.requires_grad_(False).eval()
