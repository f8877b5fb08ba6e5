"""The result of a pilot in a terminal."""

from __future__ import annotations

from typing import Any

from emoscope.runs import RunFolder


def print_pilot(run: RunFolder) -> None:
    """Print what a pilot found, what the full study will take, and the verdict in words."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    manifest = run.read_json("manifest.json")
    if "parts" in manifest:
        for part in manifest["parts"]:
            if part["role"] == "main" and not part["failed"]:
                console.print(f"\nPilot of {part['name']}", style="bold")
                print_pilot(RunFolder(run / part["folder"]))
        return
    found: dict[str, Any] = manifest["pilot"]
    p = found["p"]
    console.print(
        f"\nUAR {found['uar']:.1f} %: the mean share of clips answered rightly, where chance gives {found['chance']:.1f} % "
        f"(chance alone does as well in {_percent(p)} of cases)."
    )
    if found["letter_mass"] is not None:
        agreement = (
            "" if found["agreement"] is None else f" Text and most probable letter agree on {found['agreement']:.0f} %."
        )
        console.print(f"Probability on the letters of the options: {found['letter_mass']:.2f} of 1.{agreement}")
    names = list(found["confusion"])
    table = Table(
        "clips of", *(name[:5] for name in names), "right", "others", "p", "items", "needed",
        title="Answers: rows are the clips' emotions", title_justify="left", box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for row in found["emotions"]:
        counts = found["confusion"][row["emotion"]]
        shares = ["" if row[name] is None else f"{row[name]:.0f} %" for name in ("recall", "named_on_others")]
        table.add_row(row["emotion"], *(str(counts[name]) for name in names), *shares, "<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}",
                      f"{row['expected']:.0f}", str(row["minimum"]))  # fmt: skip
    console.print(table)
    console.print(
        "others: how often the emotion is named on other clips. p: how often namings spread at random favour its own clips "
        "so much (Fisher's exact test). items: correct ones to be expected in the full study, in the fold that has fewest.",
        style="dim",
    )
    rates = [
        f"{found[name]:.1f} {what}" for name, what in
        (("clips_per_second", "clips heard"), ("answers_per_second", "answers"), ("generated_per_second", "generated answers"))
        if found[name]
    ]  # fmt: skip
    console.print(f"Per second: {', '.join(rates)}." if rates else "No rate was measured.")
    if found["projected_hours"] is not None and found["projected_gb"] is not None:
        console.print(
            f"The full study: {_time(found['projected_hours'])}, {found['projected_gb']:.2f} GB; {found['basis']}."
        )
    console.print("\nVerdict:")
    for sentence in found["verdict"]:
        console.print(f"* {sentence}")
    if any(sentence.startswith("ready") for sentence in found["verdict"]):
        console.print("Next: the same command without --pilot runs the full study.")
    console.print(f"Report: {(run / 'report.html').resolve()}", soft_wrap=True)


def _percent(p: float) -> str:
    return "under 0.1 %" if p < 0.001 else f"{100 * p:.1f} %"


def _time(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
