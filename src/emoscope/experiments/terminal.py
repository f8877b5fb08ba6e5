"""What a terminal shows: the result of a run or of a pilot, and what is told of the sound of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoscope.corpora.check import SoundFacts, far_longer_clips, length_notices, remembered_facts, sound_notices
from emoscope.corpora.clip import LISTED
from emoscope.runs import RunFolder
from emoscope.vocabulary import acting, with_roles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl
    from rich.console import Console

    from emoscope.analysis.blind import Blind
    from emoscope.experiments.schema import Row


def print_result(run: RunFolder) -> None:
    """Print whether the model hears emotion, what its neurons do, and where the report is."""
    import polars as pl
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from emoscope.analysis.standing import stored_words

    console = Console()
    manifest = run.read_json("manifest.json")
    if "parts" in manifest:
        _print_whole(run, manifest, console)
        return
    head = manifest["headline"]
    uar = run.read_table("tables/uar")
    base = uar.filter((pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood"))
    effects = with_roles(run.read_table("tables/effects"), head)
    items = run.read_table("items")
    _say_first(stored_words(uar, items), console)
    if base.height:
        console.print(f"\nUAR {base['uar'][0]:.1f} % without intervention (chance {base['chance'][0]:.1f} %).")
    table = Table(
        "set",
        "self",
        "cross",
        "gap [95 %]",
        "excess gap [95 %]",
        title="Deactivated, in points of accuracy",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    rows = acting(effects, "deactivate", "headline", "other selector")
    for selector in rows["selector"].unique(maintain_order=True).sort():
        mine = rows.filter((pl.col("selector") == selector) & (pl.col("budget") == head["budget"]))
        for control, group in _families(mine):
            name = f"{selector} *" if (selector, control) == (head["selector"], "target") else f"{selector}"
            table.add_row(name if control == "target" else f"  {control}",
                          *(_shown(group, measure) for measure in ("self", "cross", "gap", "excess_gap")))  # fmt: skip
    console.print(table)
    blind = _blind(acting(effects, "deactivate").filter(pl.col("control") == "target"), items)
    if blind is not None:
        console.print(blind.sentence(), highlight=False)
    steer = acting(effects, "steer", "headline", "dose").filter(pl.col("control") == "target")
    if steer.height:
        table = Table(
            "alpha",
            "pull [95 %]",
            "beyond matched [95 %]",
            "UAR",
            title=f"Steered ({head['selector']}): change of the share of answers naming the emotion, in points",
            title_justify="left",
            box=box.SIMPLE_HEAD,
        )
        for alpha in steer["alpha"].unique().sort():
            mine = steer.filter(pl.col("alpha") == alpha)
            star = " *" if alpha == head["alpha"] else ""
            table.add_row(
                f"{alpha:g}{star}", *(_shown(mine, m) for m in ("pull_overall", "excess_pull_overall", "uar_change"))
            )
        console.print(table)
    console.print("* the headline, fixed before. Indented: controls of the headline set, mean over draws.", style="dim")
    if items.filter(pl.col("evaluated"))["speaker"].null_count():
        console.print(
            'Name the speakers, for a folder with pattern = "{emotion}/{speaker}_{}.wav" in the study.',
            style="yellow",
            highlight=False,
        )
    timing = manifest.get("timing", {})
    if timing:
        console.print(f"{timing['total_s']:.0f} s, {timing['peak_memory_gb']:.2f} GB.")
    console.print(f"Report: {(run / 'report.html').resolve()}", highlight=False, soft_wrap=True)


def _print_whole(run: RunFolder, manifest: Row, console: Console) -> None:
    """Print what each corpus shows, and what the sets of each do on the others."""
    import polars as pl
    from rich import box
    from rich.table import Table

    from emoscope.analysis.blind import BLIND_PART
    from emoscope.analysis.standing import stored_words

    table = Table("part", "UAR", "excess gap [95 %]", "excess pull [95 %]", box=box.SIMPLE_HEAD,
                  title="Headline sets on their own corpus, in points", title_justify="left")  # fmt: skip
    parted = False
    for part in manifest["parts"]:
        folder = RunFolder(run / part["folder"])
        head = folder.read_json("manifest.json")["headline"]
        uar = folder.read_table("tables/uar").filter(
            (pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood")
        )
        items = folder.read_table("items")
        _say_first(stored_words(folder.read_table("tables/uar"), items), console, part["name"])
        effects = with_roles(folder.read_table("tables/effects"), head).filter(pl.col("control") == "target")
        off, up = acting(effects, "deactivate"), acting(effects, "steer")
        level = f"{uar['uar'][0]:.1f} % (chance {uar['chance'][0]:.1f})" if uar.height else ""
        gap, blind = _shown(off, "excess_gap"), _blind(off, items)
        if gap and blind is not None:
            gap, parted = f"{gap}, {blind.brief()}", True
        table.add_row(part["name"], level, gap, _shown(up, "excess_pull_overall"))
        if part["failed"]:
            console.print(f"{part['name']}: {part['failed']}", style="yellow", highlight=False)
    console.print(table)
    if parted:
        console.print(BLIND_PART, highlight=False)
    timing = manifest["timing"]
    console.print(f"{timing['total_s']:.0f} s, {timing['peak_memory_gb']:.2f} GB.")
    console.print(f"Report: {(run / 'report.html').resolve()}", highlight=False, soft_wrap=True)


def _say_first(words: Sequence[str], console: Console, part: str | None = None) -> None:
    """What comes before any number, of a run or of a part of one."""
    for one in words:
        console.print(f"{part}: {one}" if part else one, style="yellow", highlight=False)


def _blind(rows: pl.DataFrame, items: pl.DataFrame) -> Blind | None:
    """What of a gap knows nothing of the clip, from the effects of one family of sets."""
    from emoscope.analysis.blind import blind_part, count_options

    by = {row["measure"]: row for row in rows.iter_rows(named=True)}
    return blind_part(by.get, count_options(items))


def _families(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    import polars as pl

    found = []
    for control in ("target", "matched", "random", "shuffled"):
        group = rows.filter(
            (pl.col("control") == control) & pl.col("draw").is_null()
            if control != "target"
            else pl.col("control") == control
        )
        if group.height:
            found.append((control, group))
    return found


def _shown(rows: pl.DataFrame, measure: str) -> str:
    mine: list[dict[str, Any]] = rows.filter(rows["measure"] == measure).to_dicts()
    if not mine:
        return ""
    row = mine[0]
    if row["estimate"] is None:
        return ""
    text = f"{row['estimate']:+.1f}"
    if row.get("low") is not None and measure not in ("self", "cross", "uar_change"):
        text += f" [{row['low']:+.1f} {row['high']:+.1f}]"
    return text


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


def told_as_heard(run: RunFolder, items: pl.DataFrame, units: Sequence[str]) -> list[str]:
    """What listening found, of the clips in use.

    Args:
        run: the run folder.
        items: the settled items table.
        units: ids of the units that heard them.
    """
    used = items.filter(items["fate"] == "used").unique("clip", keep="first", maintain_order=True)
    noted: dict[str, list[str]] = {}
    for unit in units:
        # units of an earlier version noted nothing
        noted |= run.read_json(f"units/{unit}.json")["notes"].get("told", {})
    told = {clip: noted.get(str(item), []) for clip, item in used.select("clip", "item").iter_rows()}
    return _told(used, told, dict(used.select("clip", "duration_s").iter_rows()))


def told_as_remembered(items: pl.DataFrame, loudness: str) -> list[str]:
    """What an earlier check of the corpus found, of the clips that may be asked; nothing is decoded.

    Args:
        items: the candidate items.
        loudness: of the study. A check hears clips with their level normalised; of others the lengths are known alone.
    """
    asked = items.filter(items["fate"].is_null()).unique("clip", keep="first", maintain_order=True)
    remembered = remembered_facts()
    found = {clip: remembered.known(Path(path)) for clip, path in asked.select("clip", "path").iter_rows()}
    facts = {clip: SoundFacts.of(known) for clip, known in found.items() if known is not None}
    told = {clip: one.told for clip, one in facts.items()} if loudness == "normalised" else {}
    return _told(asked, told, {clip: one.duration_s for clip, one in facts.items()})


def _told(items: pl.DataFrame, told: Mapping[str, Sequence[str]], seconds: Mapping[str, float | None]) -> list[str]:
    listed = dict(items.select("clip", LISTED).iter_rows()) if LISTED in items.columns else {}
    longer = far_longer_clips((clip, seconds.get(clip), said) for clip, said in listed.items())
    return [*sound_notices(told), *length_notices(longer)]
