"""Whether a run kept to what was registered before it: what differs, and a sentence that says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emoscope.wording import listed

AFTER = "registered after the run had begun"
SHOWN = 40  # characters of a value in a sentence


def differences(registered: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """What a run declares otherwise than it was registered, field by field; empty where nothing differs.

    Example:
        >>> differences({"budget": 0.01, "dose": {"alpha": 0.5}}, {"budget": 0.05, "dose": {"alpha": 0.5}})
        ['budget: 0.01 registered, 0.05 run']
    """
    before, now = dict(_flat(registered)), dict(_flat(run))
    return [
        f"{name}: {_shown(before, name)} registered, {_shown(now, name)} run"
        for name in dict.fromkeys((*before, *now))
        if name not in before or name not in now or before[name] != now[name]
    ]


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _shown(values: Mapping[str, Any], name: str) -> str:
    text = str(values.get(name, "nothing"))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def registration_sentence(manifest: Mapping[str, Any]) -> str | None:
    """Whether a run kept to its registration, for its page; ``None`` where nothing was registered.

    Example:
        >>> about = {"time": "2026-11-30T18:26:22Z", "hash": "1a2b3c4d5e", "kept": True, "differs": []}
        >>> registration_sentence({"registration": about})
        'The run kept to what was registered on 2026-11-30 at 18:26 UTC (hash 1a2b3c4d), before its first answer.'
    """
    about = manifest.get("registration")
    if not about:
        return None
    day, _, clock = str(about["time"]).partition("T")
    named = f"on {day} at {clock[:5]} UTC (hash {about['hash'][:8]})"
    if about["kept"]:
        return f"The run kept to what was registered {named}, before its first answer."
    return f"The run did not keep to what was registered {named}: {listed(about['differs'])}."
