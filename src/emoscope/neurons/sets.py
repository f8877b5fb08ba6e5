"""Sets of neurons: values with an algebra, saved as safetensors with their card in its header."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save

from emoscope.emotions import UnknownEmotion, canonical


@dataclass(frozen=True, eq=False)
class NeuronSet:
    """Neurons of one emotion in one model.

    Two sets are equal when emotion, neurons and decoder size are. A ``ValueError`` says what numbers cannot be.

    Example:
        >>> anger, fear = NeuronSet("anger", [1, 6], 2, 4), NeuronSet("fear", [6, 7], 2, 4)
        >>> anger.layer, anger.index
        (array([0, 1]), array([1, 2]))
        >>> anger | fear
        NeuronSet(anger | fear: 3 of 8 neurons, 2 of 2 layers)
        >>> len(anger & fear), 6 in anger
        (1, True)
    """

    emotion: str
    neurons: np.ndarray  # flat numbers ``layer * width + index``, ascending and different; int64 (neuron,)
    layers: int  # of the decoder
    width: int
    meta: Mapping[str, object] = field(default_factory=dict)  # where the set comes from (selector, budget, scope …)
    # mean gated product of each neuron over all prompt positions of the heard items, whatever their emotion, for
    # ``deactivate(set, to="mean")``; float32 (neuron,), or ``None`` where it is unknown
    mean_product: np.ndarray | None = None

    def __post_init__(self) -> None:
        given = np.asarray(self.neurons)
        if given.size and not np.issubdtype(given.dtype, np.integer):
            raise ValueError(
                f"the neurons of {self.emotion} are of type {given.dtype}: give whole numbers, layer * width + index"
            )
        neurons = given.astype("int64")
        object.__setattr__(self, "neurons", neurons)
        if neurons.ndim != 1 or (np.diff(neurons) <= 0).any():
            raise ValueError(f"the neurons of {self.emotion} are not ascending and different: pass np.unique(neurons)")
        if len(outside := neurons[(neurons < 0) | (neurons >= self.layers * self.width)]):
            raise ValueError(
                f"neuron {outside[-1] if outside[-1] > 0 else outside[0]} of {self.emotion} does not fit {self.layers} "
                f"layers x {self.width}: the set belongs to another model"
            )
        if self.mean_product is not None:
            means = np.asarray(self.mean_product, "float32")
            object.__setattr__(self, "mean_product", means)
            if means.shape != neurons.shape:
                raise ValueError(
                    f"{means.size} means for the {len(neurons)} neurons of {self.emotion}: give one for each"
                )

    @property
    def layer(self) -> np.ndarray:
        """The layer of each neuron; int64 (neuron,)."""
        return self.neurons // self.width

    @property
    def index(self) -> np.ndarray:
        """The index within its layer of each neuron; int64 (neuron,)."""
        return self.neurons % self.width

    @property
    def per_layer(self) -> np.ndarray:
        """How many neurons each layer holds; int64 (layer,)."""
        return np.bincount(self.layer, minlength=self.layers)

    def jaccard(self, other: NeuronSet) -> float:
        """Size of the intersection over size of the union; 0 when both are empty."""
        return len(self & other) / (len(self | other) or 1)

    def save(self, path: str | Path) -> None:
        """Write ``path`` (safetensors), with what is known of the set in its header."""
        save_group(path, {self.emotion: self})

    @classmethod
    def load(cls, path: str | Path) -> NeuronSet:
        """Read the set that :meth:`save` wrote; a ``ValueError`` says that the file holds several emotions."""
        group = load_group(path)
        if len(group) != 1:
            raise ValueError(f"{path} holds the sets of {', '.join(group)}: read it with load_group")
        return next(iter(group.values()))

    def __or__(self, other: NeuronSet) -> NeuronSet:
        return self._with(other, "|", np.union1d(self.neurons, self._fitting(other)))

    def __and__(self, other: NeuronSet) -> NeuronSet:
        return self._with(other, "&", np.intersect1d(self.neurons, self._fitting(other)))

    def __len__(self) -> int:
        return len(self.neurons)

    def __iter__(self) -> Iterator[int]:
        return iter(self.neurons.tolist())

    def __contains__(self, neuron: object) -> bool:
        return isinstance(neuron, int | np.integer) and bool((self.neurons == neuron).any())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NeuronSet):
            return NotImplemented
        same = (self.emotion, self.layers, self.width) == (other.emotion, other.layers, other.width)
        return same and np.array_equal(self.neurons, other.neurons)

    def __hash__(self) -> int:
        return hash((self.emotion, self.layers, self.width, self.neurons.tobytes()))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.neurons, dtype=dtype, copy=copy)

    def _fitting(self, other: NeuronSet) -> np.ndarray:
        if (self.layers, self.width) != (other.layers, other.width):
            raise ValueError(
                f"{self.emotion} is a set of {self.layers} layers x {self.width} and {other.emotion} one of "
                f"{other.layers} x {other.width}: sets of different models cannot be combined"
            )
        return other.neurons

    def _with(self, other: NeuronSet, sign: str, neurons: np.ndarray) -> NeuronSet:
        name = self.emotion if self.emotion == other.emotion else f"{self.emotion} {sign} {other.emotion}"
        shared = {key: value for key, value in self.meta.items() if other.meta.get(key) == value}
        return NeuronSet(name, neurons, self.layers, self.width, shared, self._shared_means(other, neurons))

    def _shared_means(self, other: NeuronSet, neurons: np.ndarray) -> np.ndarray | None:
        """The means of neurons of either set; ``None`` where a set has none, or where the two disagree."""
        if self.mean_product is None or other.mean_product is None:
            return None
        means = np.zeros(self.layers * self.width, "float32")
        means[self.neurons] = self.mean_product
        both = np.isin(other.neurons, self.neurons, assume_unique=True)
        if not np.array_equal(means[other.neurons[both]], other.mean_product[both]):
            return None
        means[other.neurons] = other.mean_product
        return means[neurons]

    def __repr__(self) -> str:
        held = f"{np.count_nonzero(self.per_layer)} of {self.layers} layers"
        return f"NeuronSet({self.emotion}: {len(self)} of {self.layers * self.width} neurons, {held})"

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{layer}</th>" for layer in range(self.layers))
        cells = "".join(f"<td>{count}</td>" for count in self.per_layer.tolist())
        return f"<p>{self!r}</p><table><tr><th>layer</th>{heads}</tr><tr><th>neurons</th>{cells}</tr></table>"


class NeuronSets(Mapping[str, NeuronSet]):
    """The sets of all emotions, found on everything, and beside them those of each fold.

    ``folds`` are fold -> emotion -> set, found on the items outside the fold; ``lacking`` is emotion -> why it has no set.

    Example:
        >>> one, two = NeuronSet("anger", [1, 6], 2, 4), NeuronSet("anger", [1, 7], 2, 4)
        >>> sets = NeuronSets({"anger": one}, {"a": {"anger": one}, "b": {"anger": two}})
        >>> sets.stability
        {'anger': 0.3333333333333333}
    """

    def __init__(
        self,
        sets: Mapping[str, NeuronSet],
        folds: Mapping[str, Mapping[str, NeuronSet]] | None = None,
        lacking: Mapping[str, str] | None = None,
    ) -> None:
        self._sets, self.lacking = dict(sets), dict(lacking or {})
        self.folds = {fold: dict(group) for fold, group in (folds or {}).items()}

    @property
    def stability(self) -> dict[str, float]:
        """Mean Jaccard index over pairs of folds for each emotion: 1 = the same in all; NaN without two folds."""
        pairs = list(combinations(self.folds.values(), 2))
        return {
            emotion: float(np.mean([first[emotion].jaccard(second[emotion]) for first, second in pairs] or [np.nan]))
            for emotion in self
        }

    def save(self, folder: str | Path, card: Mapping[str, object] | None = None) -> None:
        """Write the sets of all folds to ``all.safetensors``, whose header also holds ``card``."""
        save_group(Path(folder) / FILE, self._sets, self.folds, card)

    @classmethod
    def load(cls, folder: str | Path) -> NeuronSets:
        """Read the folder that :meth:`save` wrote; a ``FileNotFoundError`` says that it holds no ``all.safetensors``."""
        path, found = Path(folder) / FILE, dict[str, dict[str, NeuronSet]]()
        if path.is_file():
            # in earlier versions each fold had a file of its own
            for file in [path] if _read(path, "")[0] is not None else sorted(path.parent.glob("*.safetensors")):
                found |= _load(file)
        if "all" not in found:
            raise FileNotFoundError(f"{folder} holds no {FILE}: give the folder of one set, such as sets/<set>")
        return cls(found.pop("all"), found)

    def __getitem__(self, emotion: str) -> NeuronSet:
        if emotion not in self._sets:
            if emotion in self.lacking:
                raise KeyError(f"no set for {emotion}: {self.lacking[emotion]}")
            near = self._nearest(str(emotion))
            hint = f"did you mean {near!r}?" if near else f"there are sets for {', '.join(self._sets)}"
            raise KeyError(f"no neurons of {emotion}: {hint}")
        return self._sets[emotion]

    def _nearest(self, name: str) -> str | None:
        """The emotion of these that a word means or resembles, if there is one."""
        try:
            meant = canonical(name)
        except UnknownEmotion as unknown:
            meant = unknown.nearest or name
        return meant if meant in self._sets else next(iter(get_close_matches(name, self._sets, n=1)), None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sets)

    def __len__(self) -> int:
        return len(self._sets)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{emotion} {len(neurons)}" for emotion, neurons in self.items())
        lacking = "".join(f"; no set for {emotion}" for emotion in self.lacking)
        return f"NeuronSets({sizes}; {len(self.folds)} folds{lacking})"

    def _repr_html_(self) -> str:
        stability = self.stability
        cells = [(emotion, str(len(neurons)), f"{stability[emotion]:.2f}") for emotion, neurons in self.items()]
        rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
        heads = "<tr><th>emotion</th><th>neurons</th><th>Jaccard index between folds</th></tr>"
        lacking = "".join(f"<p>No set for {emotion}: {why}</p>" for emotion, why in self.lacking.items())
        return f"<table>{heads}{rows}</table>{lacking}"


SET_ID = re.compile(r"[a-z][a-z0-9-]*@[0-9.e-]+:[a-z+]+(~[a-z]+[0-9]+)*")
"""A set id, such as ``cas@0.05:audio+answer~matched3``; see ``SetSpec.name_of``."""

MEANS = "mean_product/"  # before an emotion: the name of the tensor with its neurons' means

FILE = "all.safetensors"
"""The file of a set in its folder: the set that was found on everything, and those of all folds."""

CARD = "neuron_sets"  # the only entry of the header's metadata, as the order of several is not fixed: a JSON object

AGAIN = "copy the folder of the set again, or select again"

MOST = {"layers": 10_000, "width": 10_000_000}
"""Sizes of a decoder beyond which a card is damaged; the largest models have about 130 layers of 60,000 neurons."""


def safe_name(name: str) -> str:
    """A set id or fold as a file name that every file system takes; different names stay different.

    Where characters had to be replaced, a short hash of the name follows; set ids, where only the colon is, need none.

    Example:
        >>> safe_name("cas@0.05:audio+answer~matched3"), safe_name("s01")
        ('cas@0.05_audio+answer~matched3', 's01')
        >>> safe_name("李"), safe_name("王")
        ('_-c16667ca', '_-3399a0e6')
    """
    safe = re.sub(r"[^A-Za-z0-9@.+~=_-]", "_", name)
    if safe == name or SET_ID.fullmatch(name):
        return safe
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def set_folder(folder: str | Path, name: str) -> Path:
    """The folder of one set among those of a run (``<run>/sets``)."""
    return Path(folder) / safe_name(name)


def load_set(folder: str | Path, name: str, fold: str = "all") -> dict[str, np.ndarray]:
    """Read one set id and fold: emotion -> flat neuron numbers, int64 (neuron,); a ``FileNotFoundError`` without."""
    path = set_folder(folder, name) / FILE
    if _read(path, "")[0] is None:  # of an earlier version: each fold has a file of its own
        path = path.with_name(f"{safe_name(fold)}.safetensors")
    return {emotion: one_set.neurons for emotion, one_set in load_group(path, fold).items()}


def save_group(
    path: str | Path,
    sets: Mapping[str, NeuronSet],
    folds: Mapping[str, Mapping[str, NeuronSet]] | None = None,
    card: Mapping[str, object] | None = None,
) -> None:
    """Write the sets of several emotions to one safetensors file, and beside them those of folds.

    The file holds one int64 tensor (neuron,) for each fold and emotion, ``<fold>/<emotion>``, where the fold is ``all`` for
    ``sets``, and beside it, where they are known, the mean gated products, ``<fold>/mean_product/<emotion>``; float32
    (neuron,). The entry ``neuron_sets`` of its header is a JSON object: ``card``, the size of the decoder, and what is
    known of each set.
    """
    path, groups = Path(path), {"all": sets, **(folds or {})}
    if not sets:
        raise ValueError(f"no set to save to {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(iter(sets.values()))
    content = {**(card or {}), "layers": first.layers, "width": first.width, "neuron": "layer * width + index"}
    tensors, known = {}, {}
    for fold, group in groups.items():
        known[fold] = {emotion: {"size": len(one_set), **one_set.meta} for emotion, one_set in group.items()}
        for emotion, one_set in group.items():
            tensors[f"{safe_name(fold)}/{emotion}"] = np.ascontiguousarray(one_set.neurons)
            if one_set.mean_product is not None:
                tensors[f"{safe_name(fold)}/{MEANS}{emotion}"] = np.ascontiguousarray(one_set.mean_product)
                content["mean_product"] = f"tensors <fold>/{MEANS}<emotion>: over all prompt positions heard"
    content["folds"] = known
    # beside its final name and then renamed, so that a killed run leaves no half file
    partial = path.with_name(f".{path.name}.partial{os.getpid()}")
    try:
        partial.write_bytes(save(tensors, {CARD: json.dumps(content)}))  # save_file would leave it to its owner alone
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_group(path: str | Path, fold: str = "all") -> dict[str, NeuronSet]:
    """Read the sets of one fold that :func:`save_group` wrote, in their order.

    A file of an earlier version has a JSON card beside it and holds one fold, which is read whatever fold is asked.
    A ``FileNotFoundError`` says that the file, its card or the fold is missing, an ``IsADirectoryError`` that a folder is
    given, a ``ValueError`` that either is damaged.
    """
    found = _load(path, fold)
    if fold not in found:
        raise FileNotFoundError(f"{path} holds no sets of fold {fold}: check the set's name and fold")
    return found[fold]


def _load(path: str | Path, fold: str | None = None) -> dict[str, dict[str, NeuronSet]]:
    """The sets of a file, fold -> emotion -> set; of one fold where it is given, nothing where there is no such fold."""
    path = Path(path)
    text, tensors = _read(path, fold)
    card = _read_card(path, text, fold)
    found: dict[str, dict[str, NeuronSet]] = {}
    for name, emotions in card["folds"].items():
        if fold not in (name, None):
            continue
        # in a file of an earlier version the names of tensors tell no folds apart
        start, group = "" if text is None else f"{safe_name(name)}/", found.setdefault(name, {})
        for emotion, given in emotions.items():
            neurons, means = tensors.get(start + emotion), tensors.get(start + MEANS + emotion)
            if neurons is None or neurons.dtype != np.int64:
                raise ValueError(f"{path} holds no neurons of {emotion}, which its card names: {AGAIN}")
            meta = {key: value for key, value in given.items() if key != "size"}
            try:
                group[emotion] = NeuronSet(emotion, neurons, card["layers"], card["width"], meta, means)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
    return found


def _read(path: Path, fold: str | None) -> tuple[str | None, dict[str, np.ndarray]]:
    """The card in a file's header, ``None`` in one of an earlier version, and its tensors, of one fold if it is given."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give a file of sets in it, as sets/mad@0.05_all/{FILE} of a run")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: select neurons first, or check the set's name and fold")
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(CARD)
            start = "" if text is None or fold is None else f"{safe_name(fold)}/"
            return text, {name: file.get_tensor(name) for name in list(file.keys()) if name.startswith(start)}
    except Exception as error:  # of the package's own kind, or of numpy's where it has no such type
        raise ValueError(f"{path} cannot be read as safetensors ({error}): {AGAIN}") from error


def _read_card(path: Path, text: str | None, fold: str | None) -> dict[str, Any]:
    """The card of a file of sets, in its header or, of an earlier version, beside it; raises as :func:`load_group`."""
    place = path if text is not None else path.with_suffix(".json")
    if not place.is_file():
        raise FileNotFoundError(f"{place} does not exist: select neurons first, or check the set's name and fold")
    try:
        card = json.loads(place.read_text(encoding="utf-8") if text is None else text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the card in {place} is not valid JSON ({error}): {AGAIN}") from error
    if not isinstance(card, dict):
        raise ValueError(f"the card in {place} must hold a JSON object: {AGAIN}")
    if text is None:
        card["folds"] = {fold or str(card.get("fold", path.stem)): card.get("emotions")}
    known = all(isinstance(card.get(name), int) and 0 < card[name] <= most for name, most in MOST.items())
    groups = list(card["folds"].values()) if isinstance(card.get("folds"), dict) else [None]
    parts = [part for group in groups for part in (group, *(group.values() if isinstance(group, dict) else ()))]
    if not known or not all(isinstance(part, dict) for part in parts):
        raise ValueError(f"{place} is no card of neuron sets: {AGAIN}")
    return card
