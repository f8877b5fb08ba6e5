"""What the answers of a selection owe to each neuron, by the attribution of its items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emoscope.neurons.activity import Activity, scope_parts
from emoscope.neurons.samples import Selection


class Owed:
    """What the log-odds of each emotion's option owe to the neurons of a layer, for many selections.

    ``ValueError`` where the store's run was not attributed, or over another scope.
    """

    def __init__(self, activity: Activity, selections: Sequence[Selection], scope: str | Sequence[str]) -> None:
        stored = activity.attributed
        if stored is None:
            raise ValueError(
                f"{activity.path} has no attribution beside it: name the selector in identify.selectors and run the study"
            )
        wanted = "+".join(part for part in scope_parts(scope) if part != "answer")
        if stored.scope != wanted:
            raise ValueError(f"scope {wanted!r}: attribution was summed over {stored.scope!r}; run the study anew")
        self.stored, self.selections, self.emotions = stored, selections, selections[0].emotions
        self.items = np.unique(np.concatenate([selection.items for selection in selections]))
        self.places = [np.searchsorted(self.items, selection.items) for selection in selections]
        self._kept: tuple[int, np.ndarray] | None = None

    def attributed(self, layer: int) -> np.ndarray:
        """Mean over each emotion's items, of its own option; (selection, emotion, width)."""
        return self._means(layer)[:, range(len(self.emotions)), range(len(self.emotions))]

    def attributed_elsewhere(self, layer: int) -> np.ndarray:
        """Mean over the other emotions of the mean over their items, of the emotion's option."""
        means, own = self._means(layer), range(len(self.emotions))
        return (means.sum(axis=2) - means[:, own, own]) / (len(self.emotions) - 1)

    def attributed_between(self, layer: int) -> np.ndarray:
        """Mean over each emotion's items of sum g (a - mean of a on items of other emotions by the same speaker).

        Items whose speaker has none of another emotion in the selection are left out; where none is left, no neuron is
        eligible for the emotion (-inf).
        """
        products = self.stored.read("product", layer, self.items)
        found = np.full((len(self.selections), len(self.emotions), products.shape[1]), -np.inf)
        for option, emotion in enumerate(self.emotions):
            owed, slopes = (self.stored.read(kind, layer, self.items, emotion) for kind in ("attributed", "gradient"))
            for number, (selection, places) in enumerate(zip(self.selections, self.places, strict=True)):
                own, weights = partners(selection, option)
                if len(own):
                    there = weights @ products[places]
                    found[number, option] = (owed[places[own]] - slopes[places[own]] * there).mean(axis=0)
        return found

    def _means(self, layer: int) -> np.ndarray:
        """Of each option on the items of each emotion; (selection, option, emotion, width)."""
        if self._kept and self._kept[0] == layer:
            return self._kept[1]
        made = []
        for emotion in self.emotions:
            owed = self.stored.read("attributed", layer, self.items, emotion)
            for selection, places in zip(self.selections, self.places, strict=True):
                of = [selection.labels == label for label in range(len(self.emotions))]
                made.append(np.stack([mask @ owed[places] / mask.sum() for mask in of]))
        means = np.stack(made).reshape(len(self.emotions), len(self.selections), *made[0].shape).swapaxes(0, 1)
        self._kept = layer, means
        return means


def partners(selection: Selection, label: int) -> tuple[np.ndarray, np.ndarray]:
    """The items of an emotion whose speakers have items of others, by place, and the weights of these, (own, item).

    Example:
        >>> given = Selection("all", np.arange(4), np.array([0, 1, 1, 0]), ("anger", "fear"), np.array([0, 0, 0, 1]))
        >>> partners(given, 0)
        (array([0]), array([[0. , 0.5, 0.5, 0. ]]))
    """
    if selection.speakers is None:
        return np.empty(0, "int64"), np.empty((0, len(selection.items)))
    own, speakers = np.flatnonzero((selection.labels == label) & (selection.speakers >= 0)), selection.speakers
    weights = ((speakers[own][:, None] == speakers) & (selection.labels != label)).astype("float64")
    total = weights.sum(axis=1)
    return own[total > 0], weights[total > 0] / total[total > 0][:, None]
