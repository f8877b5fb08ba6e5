"""Train the embedded model: ``python -m recipes.tiny``; README.md beside this file shows the commands."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .encoder import State, embedded_state, whisper_state
from .features import SPEEDS, Cache, encode, polish_files, prepare
from .shipping import write_folder
from .tokenizer import Prompts, build_processor
from .train import HINTS_NEEDED, HINTS_STEP, Settings, Training, bound, run

SEEDS = range(6)
"""Weight seeds that are screened; fixed before the first was trained. The lowest that binds is shipped."""

PACKAGE_DATA = Path(__file__).parents[2] / "src" / "emoscope" / "data"
SMOKE_STEPS = 20


def main() -> None:
    """Read the command line and train."""
    given = _arguments()
    torch.set_num_threads(1)  # sums in a fixed order: the same numbers again on the same machine
    console = Console()
    if given.smoke:
        _smoke(given.out, console)
        return
    state = whisper_state(given.whisper)
    cache = prepare(given.emogator, given.polish, state, given.out / "features")
    prompts = Prompts(build_processor())
    settings = Settings(steps=given.steps, match_loss_off_after=given.match_loss_off_after)
    if not given.screen:
        _train(replace(settings, seed=given.seed), prompts, state, cache, given.out, console)
        return
    runs = [
        _train(replace(settings, seed=seed), prompts, state, cache, given.out, console, stop_unbound=True)
        for seed in SEEDS
    ]
    _show_screening(runs, given.out, console)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m recipes.tiny", description="Train the embedded model.")
    parser.add_argument("--out", type=Path, required=True, help="folder for features, checkpoints and models")
    parser.add_argument("--emogator", type=Path, help="folder with EmoGator's mp3 files")
    parser.add_argument("--polish", type=Path, default=PACKAGE_DATA / "polish", help="folder with POLISH's flac files")
    parser.add_argument("--whisper", type=Path, help="model.bin of Whisper tiny.en in CTranslate2's format")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="training steps (%(default)s)")
    parser.add_argument(
        "--match-loss-off-after",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="switch the option-match loss off after this share of the steps (%(default)s: never)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, default=0, help="weight seed (%(default)s)")
    which.add_argument("--screen", action="store_true", help="try weight seeds 0 to 5, stop those that do not bind")
    which.add_argument("--smoke", action="store_true", help="20 steps on the package's own data, to test the recipe")
    given = parser.parse_args()
    if not given.smoke and not (given.emogator and given.whisper):
        parser.error("--emogator and --whisper are needed (or --smoke)")
    return given


def _train(
    settings: Settings,
    prompts: Prompts,
    state: State,
    cache: Cache,
    out: Path,
    console: Console,
    stop_unbound: bool = False,
) -> Training:
    folder = out / f"seed{settings.seed}"
    training = Training(settings, prompts, state, cache.polish, cache.emogator)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"weight seed {settings.seed}", total=settings.steps)
        run(
            training,
            folder,
            report=lambda line: progress.console.print(line, highlight=False),
            advance=lambda done: progress.update(task, completed=done),
            stop_unbound=stop_unbound,
        )
    write_folder(training, folder / "model")
    console.print(f"weight seed {settings.seed}: written to {folder / 'model'}")
    return training


def _show_screening(runs: list[Training], out: Path, console: Console) -> None:
    table = Table("weight seed", f"text hints at step {HINTS_STEP}", "at the end", "binds the letters")
    rows = []
    for training in runs:
        hints = training.hints
        at_step = hints[max(step for step in hints if step <= HINTS_STEP)]
        rows.append(
            {"seed": training.settings.seed, "hints": at_step, "last": hints[max(hints)], "binds": bound(training)}
        )
        shown = rows[-1]
        table.add_row(str(shown["seed"]), f"{at_step:.3f}", f"{shown['last']:.3f}", "yes" if shown["binds"] else "no")
    (out / "screening.json").write_text(json.dumps({"needed": HINTS_NEEDED, "seeds": rows}, indent=2) + "\n")
    console.print(table)
    binding = [row["seed"] for row in rows if row["binds"]]
    console.print(f"to ship: weight seed {binding[0]}" if binding else "no weight seed binds: the recipe has to change")


def _smoke(out: Path, console: Console) -> None:
    state = embedded_state(PACKAGE_DATA / "tiny")
    polish = encode(polish_files(PACKAGE_DATA / "polish", (1,))[::3], SPEEDS[1:2], state)
    settings = Settings(steps=SMOKE_STEPS, warm_up=5)
    settings = replace(settings, mixture=replace(settings.mixture, items=16, hints_first=8, one_word=4, word_steps=10))
    _train(settings, Prompts(build_processor()), state, Cache(None, polish, None), out, console)


if __name__ == "__main__":
    main()
