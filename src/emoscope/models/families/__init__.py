"""The families of models, by name and by config.json: emoscope's, those that a program registers, those of packages.

Each module of this folder holds a family, or several that differ little. What must be known of a family before its
module, and torch with it, is imported is read from the text of the module (:class:`Declared`).
docs/add-a-model.md shows how to add one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from emoscope.models.checkpoint import damaged, fetch_again

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM

GROUP = "emoscope.models"  # the entry-point group in which a package names its families, each by its ``model_type``
STATUS = "verified on small random checkpoints; not run on the released weights"  # of every family of emoscope
# sizes that a released config.json may leave out, as they are the defaults of its text decoder's class
LEFT_OUT = {"qwen2": {"num_hidden_layers": 32, "intermediate_size": 22016}}


@dataclass(frozen=True)
class Declared:
    """What the class of a family declares about its checkpoints, in the words of ``Family``."""

    load: Callable[[], type[AudioLM]] = field(repr=False, compare=False)  # imports its module and gives the class
    model_type: str
    further_types: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    side_checkpoints: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    released: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    released_revision: str = ""
    windows: str = ""


NAMES = tuple(entry.name for entry in fields(Declared) if entry.name != "load")

REGISTERED: dict[str, Declared] = {}  # what :func:`register` was called on, by ``model_type``


def register(family: type[AudioLM]) -> type[AudioLM]:
    """Make a family known for the running program, so that ``load_model`` finds it; a decorator."""
    REGISTERED[family.model_type] = of_class(family)
    return family


def of_class(family: type[AudioLM]) -> Declared:
    """What a class declares, itself or by what it is derived from."""
    return Declared(lambda: family, **{name: getattr(family, name) for name in NAMES})


@cache
def built_in() -> dict[str, Declared]:
    """Each ``model_type`` of emoscope's own families -> what the family declares, read without importing it."""
    found: dict[str, Declared] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        classes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
        for node in classes:
            written = _written(node)
            if {"model_type", "model_class"} <= written.keys():
                given = {name: ast.literal_eval(written[name]) for name in NAMES if name in written}
                declared = Declared(partial(resolve_name, f"{__name__}.{path.stem}:{node.name}"), **given)
                found |= dict.fromkeys((declared.model_type, *declared.further_types), declared)
    return found


def _written(node: ast.ClassDef) -> dict[str, ast.expr]:
    """Attribute of a class -> what is written behind it."""
    found = {}
    for line in node.body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
            target = line.targets[0] if isinstance(line, ast.Assign) else line.target
            found[ast.unparse(target)] = line.value
    return found


def find(model_type: str) -> Declared | None:
    """What the family of a ``model_type`` declares; ``None`` where none is known.

    Installed packages are asked last, and only the one that offers it is imported; ``ValueError`` where that fails.

    Example:
        >>> find("qwen2_5_omni_thinker").model_type
        'qwen2_5_omni'
    """
    if found := {**built_in(), **REGISTERED}.get(model_type):
        return found
    entry = _offered().get(model_type)
    return _opened(entry) if entry else None


def known() -> dict[str, Declared]:
    """Each ``model_type`` that is known -> what its family declares; what installed packages offer is imported."""
    here = {**built_in(), **REGISTERED}
    return here | {name: _opened(entry) for name, entry in _offered().items() if name not in here}


def known_family(config: Mapping[str, object], name: str) -> Declared:
    """The family of a config by its ``model_type``, or by its architecture if that is unknown; else ``ValueError``."""
    model_type, architectures = config.get("model_type"), config.get("architectures")
    if isinstance(model_type, str) and (found := find(model_type)):
        return found
    for family in known().values():
        if isinstance(architectures, list) and any(name in architectures for name in family.architectures):
            return family
    near = get_close_matches(str(model_type).lower(), list_models(), n=1, cutoff=0.7)
    raise ValueError(
        f"model {name!r} has model_type {model_type!r}, which is not known here"
        + (f" (did you mean {near[0]!r}?)" if near else "")
        + f": known are {', '.join(list_models())}; "
        + ("the code that lies beside it is never run; " if config.get("auto_map") else "")
        + "docs/add-a-model.md shows how to add a family"
    )


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the text decoder.

    Example:
        >>> text_config({"thinker_config": {"text_config": {"num_hidden_layers": 28}}})
        {'num_hidden_layers': 28}
    """
    for part in ("thinker_config", "text_config"):
        config = config[part] if isinstance(config.get(part), dict) and config[part] else config
    return {**LEFT_OUT.get(str(config.get("model_type")), {}), **config}


def whole_number(config: Mapping[str, object], key: str, path: Path) -> int:
    """A size that a config must name, a whole number of at least 1; of a list, its first.

    Example:
        >>> whole_number({"num_hidden_layers": 28}, "num_hidden_layers", Path("config.json"))
        28
    """
    if key not in config:
        raise damaged(path, f"names no {key} of the text decoder")
    size = config[key]
    size = size[0] if isinstance(size, list) and size else size
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(
            f"{path}: {key} is {config[key]!r}, not a whole number of at least 1: {fetch_again(path.parent)}"
        )
    return size


def releasing(name: str) -> Declared | None:
    """The family that has a model on the hub among its released ones, if any.

    Example:
        >>> releasing("nvidia/audio-flamingo-3-hf").released
        {'nvidia/audio-flamingo-3-hf': (28, 18944)}
    """
    places = (built_in, known)  # packages are imported only for names that are not emoscope's own
    return next((family for place in places for family in place().values() if name in family.released), None)


def list_models() -> tuple[str, ...]:
    """The ``model_type`` of each known family."""
    return tuple(sorted({*built_in(), *REGISTERED, *_offered()}))


def _offered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def _opened(entry: EntryPoint) -> Declared:
    try:
        family: Any = entry.load()
    except Exception as error:  # whatever goes wrong in a module of somebody else's
        raise ValueError(
            f"family {entry.name!r} of {entry.value} cannot be imported ({type(error).__name__}: {error}): update the "
            "package that offers it, or remove it"
        ) from error
    if not all(hasattr(family, name) for name in NAMES):
        raise ValueError(f"family {entry.name!r} of {entry.value} is {family!r}: expected a subclass of AudioLM")
    if family.model_type != entry.name:
        raise ValueError(f"family {entry.name!r} of {entry.value} calls itself {family.model_type!r}: give it one name")
    return of_class(family)
