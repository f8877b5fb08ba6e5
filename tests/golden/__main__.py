"""Check that stored runs still give the outputs that they gave, or that two versions of the program do.

python -m tests.golden                      every output of the stored runs, against what was frozen (2 minutes)
python -m tests.golden --freeze             freeze the outputs anew; the commit says which changed, and why
python -m tests.golden --against COMMIT     run and report a small study with that commit and with this tree: every
                                            item, set, answer, table, picture and page, byte for byte (10 minutes)
python -m tests.golden --store              run the model anew for what is stored (needed where its format changes)
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from emoscope.neurons.activity import Activity
from emoscope.neurons.sets import NeuronSets
from emoscope.runs import RunFolder
from tests.golden.outputs import HERE, RUNS, Outputs, collect, pack, unpack
from tests.helpers.packs import unpacked

ROOT = HERE.parents[1]
STUDY = HERE / "three-corpora.toml"
MEASURED = ("started", "ended", "seconds", "timing", "environment", "peak_memory_gb", "versions", "rates")
"""Keys of a manifest, at any depth, that no two runs share."""


def emoscope(*arguments: str | Path, tree: Path = ROOT) -> None:
    """Run the program of a source tree."""
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-c", "from emoscope.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"emoscope {' '.join(map(str, arguments))} of {tree} ended with {done.returncode}:\n{done.stderr}"
        )


def built(run: str, folder: Path, tree: Path = ROOT) -> Path:
    """Unpack a stored run into a folder and write its tables, pictures and pages."""
    unpack(run, folder)
    for part in ("polish", "polish.word"):
        if (folder / "parts" / part).is_dir():
            # pages of parts are written where there were some
            (folder / "parts" / part / "report.html").touch()
    emoscope("report", folder, tree=tree)
    return folder


def check(runs: list[str], freeze: bool) -> int:
    """Compare outputs of stored runs with the frozen ones, or freeze them."""
    failed = 0
    for run in runs:
        with tempfile.TemporaryDirectory() as place:
            found = collect(built(run, Path(place)))
        frozen = HERE / f"{run}.frozen.zip"
        wanted = Outputs.read(frozen) if frozen.is_file() else Outputs()
        wrong = found.differences(wanted)
        if not found.compares_pictures(wanted):
            print(f"{run}: pictures are not compared, since this machine has other fonts than the one that froze them")
        if freeze:
            found.write(frozen)
        print(f"{run}: {len(found.tables)} tables and {len(found.texts)} texts, {len(wrong)} not as frozen")
        print("".join(f"  {line}\n" for line in wrong), end="")
        failed += bool(wrong)
    return int(failed > 0 and not freeze)


def store() -> int:
    """Run the demo and the small study of three corpora, and keep what a report is built from."""
    with tempfile.TemporaryDirectory() as place:
        for run, arguments in (("demo", ["demo"]), ("three-corpora", ["run", STUDY])):
            emoscope(*arguments, "--out", Path(place) / run)
            emoscope("export", Path(place) / run, Path(place) / f"{run}-export")
            pack(Path(place) / f"{run}-export", RUNS[run])
    return 0


def compare(commit: str) -> int:
    """Run the same with another commit and with this tree, and compare every byte that is not a time."""
    with tempfile.TemporaryDirectory() as place:
        one, other, tree = (Path(place) / name for name in ("one", "other", "tree"))
        for side, source in ((one, _sources(commit, Path(place) / "before")), (other, ROOT / "src")):
            # recordings that come with the package are named by where they lie, so both lie in one place
            shutil.rmtree(tree, ignore_errors=True)
            shutil.copytree(source, tree / "src")
            emoscope("run", STUDY, "--out", side / "run", tree=tree)
            for folder in side.glob("run/parts/*"):
                _laid_open(RunFolder(folder))
            for run in RUNS:
                built(run, side / run, tree)
        names = sorted({path.relative_to(side) for side in (one, other) for path in side.rglob("*") if _kept(path)})
        wrong = [name for name in names if _content(one / name) != _content(other / name)]
    print(f"{len(names)} files, {len(wrong)} not the same")
    print("".join(f"  {name}\n" for name in wrong), end="")
    return int(bool(wrong) or not names)


def _laid_open(run: RunFolder) -> None:
    """Give answers, activity and sets a file for each unit, array and set: how they are packed differs between versions."""
    unpacked(run)
    for name, array in Activity.open(run / "activity.zarr").to_xarray().variables.items():
        (run / f"activity-{name}").write_bytes(array.to_numpy().tobytes())
    shutil.rmtree(run / "activity.zarr", ignore_errors=True)
    for place in [path for path in (run / "sets").iterdir() if path.is_dir()]:
        sets = NeuronSets.load(place)
        groups = {"all": dict(sets), **dict(sorted(sets.folds.items()))}
        told = [
            (
                fold,
                emotion,
                one.neurons.tolist(),
                one.mean_product.tobytes().hex(),
                sorted(one.meta.items()),
                one.layers,
                one.width,
            )
            for fold, group in groups.items()
            for emotion, one in group.items()
        ]
        shutil.rmtree(place)
        (run / "sets" / f"{place.name}.txt").write_text("\n".join(map(repr, told)))


def _sources(commit: str, to: Path) -> Path:
    """The source of a commit, in a folder."""
    packed = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(to, filter="data")
    return to / "src"


def _kept(path: Path) -> bool:
    """Whether a file is compared: not logs, nor the page of a run that was just made, which tells how long it took."""
    fresh = "run" in path.parts and path.name == "report.html"
    return path.is_file() and "cache" not in path.parts and not path.name.startswith(("log", "lock")) and not fresh


def _content(path: Path) -> bytes:
    if not path.is_file():
        return b""
    if path.name == "manifest.json":
        return json.dumps(_without_times(json.loads(path.read_text(encoding="utf-8")))).encode()
    return path.read_bytes()


def _without_times(entry: object) -> object:
    if isinstance(entry, dict):
        return {name: _without_times(value) for name, value in entry.items() if name not in MEASURED}
    return [_without_times(one) for one in entry] if isinstance(entry, list) else entry


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="*", default=list(RUNS), help="stored runs, all by default")
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--against", metavar="COMMIT")
    given = parser.parse_args()
    if given.store:
        return store()
    return compare(given.against) if given.against else check(given.runs, given.freeze)


if __name__ == "__main__":
    sys.exit(main())
