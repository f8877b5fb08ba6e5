"""emoscope: find the neurons that carry emotion inside large audio-language models, and test what they do.

Example:
    >>> import emoscope as es
    >>> es.deactivate([3, 5]) + es.steer([8], 0.5)
    Intervention(2 neurons x 0, 1 neurons x 1.5)
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# what the libraries below load warns in notebooks that progress bars need ipywidgets; none of theirs is shown
warnings.filterwarnings("ignore", message="IProgress not found")

# Names are loaded when they are first used: `import emoscope` and `emoscope --help` load no torch.
_WHERE = {
    "load_model": "emoscope.models.registry",
    "wrap": "emoscope.models.registry",
    "open_corpus": "emoscope.corpora",
    "listen": "emoscope.experiments.api",
    "select": "emoscope.experiments.api",
    "intervene": "emoscope.experiments.api",
    "ask": "emoscope.experiments.ask",
    "activations": "emoscope.experiments.ask",
    "deactivate": "emoscope.interventions.kinds",
    "steer": "emoscope.interventions.kinds",
    "run": "emoscope.experiments.api",
    "judge": "emoscope.analysis.judging",
    "Question": "emoscope.questions",
    "NeuronSet": "emoscope.neurons.sets",
    "Activity": "emoscope.neurons.activity",
}

if TYPE_CHECKING:
    from emoscope.analysis.judging import judge as judge
    from emoscope.corpora import open_corpus as open_corpus
    from emoscope.experiments.api import intervene as intervene
    from emoscope.experiments.api import listen as listen
    from emoscope.experiments.api import run as run
    from emoscope.experiments.api import select as select
    from emoscope.experiments.ask import activations as activations
    from emoscope.experiments.ask import ask as ask
    from emoscope.interventions.kinds import deactivate as deactivate
    from emoscope.interventions.kinds import steer as steer
    from emoscope.models.registry import load_model as load_model
    from emoscope.models.registry import wrap as wrap
    from emoscope.neurons.activity import Activity as Activity
    from emoscope.neurons.sets import NeuronSet as NeuronSet
    from emoscope.questions import Question as Question

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'emoscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
