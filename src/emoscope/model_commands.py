"""`emoscope model …`: check, fetch and list models (heavy modules are imported where they are used)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

model_app = App(name="model", help="Look at models.")


@model_app.command(name="check")
def model_check(
    model: Annotated[str, Parameter(help="tiny, a hub name or a checkpoint folder")] = "tiny",
    *,
    clip: Annotated[Path | None, Parameter(help="a sound file to check with; an artificial sound by default")] = None,
    dtype: Annotated[str, Parameter(help="auto, float32, bfloat16 or float16")] = "auto",
    device: Annotated[str, Parameter(help="auto, cpu, cuda")] = "auto",
    side: Annotated[
        tuple[str, ...], Parameter(help="a further checkpoint that the model needs, such as audio_tokenizer=FOLDER")
    ] = (),
    revision: Annotated[str | None, Parameter(help="branch, tag or commit on the hub")] = None,
    attention: Annotated[str, Parameter(help="attention implementation of transformers")] = "sdpa",
    device_map: Annotated[
        str | None, Parameter(help="auto spreads the layers over all GPUs (needs accelerate)")
    ] = None,
    quantise: Annotated[str | None, Parameter(help="8bit or 4bit (needs bitsandbytes)")] = None,
) -> int:
    """Prove that a model's neurons are found, hooked and changed as they should be."""
    from rich.console import Console
    from rich.table import Table

    from emoscope.models.lookup import look_up

    look_up(model, _sides(side), revision)  # what a look at its folder shows is said before torch is imported
    from emoscope.models.check import check_model
    from emoscope.models.registry import load_model

    loaded = load_model(
        model, dtype, device, revision, attention, side=_sides(side), device_map=device_map, quantise=quantise
    )
    print(loaded)
    table = Table("proof", "status", "measured", "allowed", "note")
    proofs = check_model(loaded, clip)
    colours = {"passed": "green", "failed": "red", "not run": "yellow"}
    for proof in proofs:
        shown = ["" if value is None else f"{value:.3g}" for value in (proof.measured, proof.tolerance)]
        table.add_row(proof.name, f"[{colours[proof.status]}]{proof.status}[/]", *shown, proof.note or "")
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0 if all(proof.status == "passed" for proof in proofs) else 4


def _sides(given: tuple[str, ...]) -> dict[str, str]:
    """Name -> folder or hub name, from texts such as ``audio_tokenizer=FOLDER``."""
    named = {}
    for text in given:
        name, _, place = text.partition("=")
        if not name or not place:
            raise ValueError(f"--side {text!r} is not understood: give --side audio_tokenizer=FOLDER")
        named[name] = place
    return named


@model_app.command(name="fetch")
def model_fetch(
    model: Annotated[str, Parameter(help="a name on the hub, such as nvidia/audio-flamingo-3-hf")],
    *,
    revision: Annotated[
        str | None, Parameter(help="branch, tag or commit; the main branch as it is now by default")
    ] = None,
    to: Annotated[
        Path | None, Parameter(help="folder that gets a folder for each checkpoint; the hub's cache by default")
    ] = None,
) -> int:
    """Bring a model and all that it needs onto this machine, for machines that have no network."""
    from emoscope.models.lookup import fetch_model

    found = fetch_model(model, revision, to)
    for one in (found, *found.side.values()):
        print(f"{one.name}: {one.folder}\n  commit {one.commit}, {one.bytes / 1e9:.3g} GB")
    print(f"In the study:\n\n{found.study()}\n")
    return 0


@model_app.command(name="list")
def model_list() -> int:
    """List the model families that are known."""
    from emoscope.models.families import STATUS, known

    families = known()
    width = max(map(len, families))
    for family, about in sorted(families.items()):
        revision = f", revision {about.released_revision}" if about.released_revision else ""
        sizes = about.released.items() if family == about.model_type else ()
        released = [f"{name} ({layers} x {neurons}{revision})" for name, (layers, neurons) in sizes]
        print(f"{family:<{width}}  {', '.join(released)}".rstrip())
    print(
        f"All: {STATUS}. In brackets: decoder layers x neurons, as released; nothing was looked up on the hub.\n"
        "Other models: docs/add-a-model.md."
    )
    return 0
