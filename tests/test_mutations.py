"""Changed inputs of every kind: harmless changes give the same value, damage is refused in a sentence, and nothing else.

No traceback, no process that ends or hangs, no more than 1 GB, no code that is run, no file outside. ``python -m
tests.mutations`` tries as many as one likes and prints a table.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import soundfile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("skipped: memory and opened files are watched by means of Linux alone", allow_module_level=True)

import tests.mutations.judge as judging
from tests.mutations.__main__ import cases, table, verdicts
from tests.mutations.damage import damage
from tests.mutations.judge import Watch, good_value, judge, place, read
from tests.mutations.kinds import KINDS, Kind
from tests.mutations.model_kinds import MODELS, header_parts, with_header

ALL = {kind.name: kind for kind in (*KINDS, *MODELS)}
SHORT, LONG = 60, 2_000
"""Inputs that are tried for every change, and by ``make test-long``."""

good = cache(lambda name: good_value(ALL[name]))


def test_every_fifth_change_is_harmless_and_every_kind_is_tried() -> None:
    wanted = cases(LONG, seed=0)
    assert sum(harmless for *_, harmless in wanted) == LONG / 5
    assert (
        {name for name, *_, harmless in wanted if harmless}
        == {name for name, *_, harmless in wanted if not harmless}
        == set(ALL)
    )


def test_the_same_seed_damages_in_the_same_way() -> None:
    data = bytes(range(256)) * 4
    changed = [damage(data, data[::-1], [b"token"], Random(seed)) for seed in range(200)]
    assert changed == [damage(data, data[::-1], [b"token"], Random(seed)) for seed in range(200)]
    assert sum(one != data for one in changed) > 190


@pytest.mark.parametrize("name", ALL)
def test_changed_inputs(name: str) -> None:
    """A few of each kind, in this process."""
    tried = [case for case in cases(SHORT, seed=1) if case[0] == name]
    found = {case[1]: judge(ALL[name], case[1], case[2], good(name) if case[3] else None) for case in tried}
    assert {number: verdict.why for number, verdict in found.items() if verdict.outcome == "failed"} == {}


@pytest.mark.long
def test_many_changed_inputs() -> None:
    wanted = cases(LONG, seed=2)
    found = list(verdicts(wanted))
    print(table(wanted, found))
    assert {case: why for case, (outcome, why) in zip(wanted, found, strict=True) if outcome == "failed"} == {}
    # refusing everything would pass otherwise, and so would reading nothing
    assert 0.2 * LONG < sum(outcome == "refused" for outcome, _ in found) < 0.8 * LONG


# Values that a text may hold in place of another.

ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from((0, -1, 2**31, 2**63, 10**9, 10**30)), st.floats(), st.text(max_size=8),
    st.sampled_from(("../outside/config.json", "/etc/passwd", "{{ 1 }}", "a\0b")),
    st.recursive(st.none() | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)),
)  # fmt: skip
TEXTS = [kind for kind in ALL.values() if re.search(r"\.(json|jsonl|toml|safetensors)$", kind.file)]


def _changed(tree: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    """A tree of JSON in which one value, somewhere, is another, is missing, or stands under another name."""
    if not isinstance(tree, dict | list) or not tree or draw(st.integers(0, 5)) == 0:
        return draw(ODD)
    tree = dict(tree) if isinstance(tree, dict) else list(tree)
    key = draw(st.sampled_from(sorted(tree)) if isinstance(tree, dict) else st.integers(0, len(tree) - 1))
    what = draw(st.integers(0, 9))
    if what == 0:
        del tree[key]
    elif what == 1 and isinstance(tree, dict):
        tree[draw(st.text(max_size=8))] = tree.pop(key)
    else:
        tree[key] = _changed(tree[key], draw)
    return tree


def _text(file: Path, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """The content of a file with another value."""
    data = file.read_bytes()
    if file.suffix == ".safetensors":
        header, tensors = header_parts(data)
        changed = _changed(header, draw)
        return with_header(changed, tensors)
    if file.suffix == ".json":
        return json.dumps(_changed(json.loads(data), draw)).encode()
    lines = data.decode().splitlines()
    if file.suffix == ".jsonl":
        one = draw(st.integers(0, len(lines) - 1))
        lines[one] = json.dumps(_changed(json.loads(lines[one]), draw))
    else:
        settings = [number for number, line in enumerate(lines) if re.match(r"\w+ = ", line)]
        one = draw(st.sampled_from(settings))
        # most values of JSON are values of TOML
        lines[one] = f"{lines[one].split(' = ')[0]} = {json.dumps(draw(ODD))}"
    return "\n".join(lines).encode()


def _with_another_value(kind: Kind, data: st.DataObject) -> None:
    with place(kind) as (folder, outside):
        file = folder / kind.file
        file.write_bytes(_text(file, data.draw))
        verdict, _ = read(kind, folder, outside)
    assert verdict.outcome != "failed", verdict.why


# a smaller example is not worth minutes: every one is a model that is loaded
VALUES = settings(
    derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow]
)


@settings(VALUES, max_examples=12)
@given(kind=st.sampled_from(TEXTS), data=st.data())
def test_other_values(kind: Kind, data: st.DataObject) -> None:
    _with_another_value(kind, data)


@pytest.mark.long
@settings(VALUES, max_examples=500)
@given(kind=st.sampled_from(TEXTS), data=st.data())
def test_many_other_values(kind: Kind, data: st.DataObject) -> None:
    _with_another_value(kind, data)


def test_the_watch_sees_what_no_input_may_bring_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, outside = tmp_path / "in", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    for place_ in (folder, outside):
        (place_ / "a.wav").write_bytes(b"RIFF")
    (folder / "code.py").write_text("ran = 1")

    monkeypatch.setattr(judging, "MEMORY", 50 << 20)

    def seen(act: Callable[[], Any]) -> str:
        with Watch(folder, outside) as watch:
            act()
        return "; ".join(watch.faults)

    def open_in_c() -> None:
        with suppress(soundfile.LibsndfileError):
            soundfile.SoundFile(outside / "a.wav")

    assert seen((folder / "a.wav").read_bytes) == ""
    assert "outside of the input's folder" in seen((outside / "a.wav").read_bytes)
    # a library in C, of which Python hears nothing
    assert "opened a.wav outside" in seen(open_in_c)
    assert "exec" in seen(lambda: exec(compile("ran = 1", str(folder / "code.py"), "exec")))
    assert "pickle.find_class" in seen(lambda: pickle.loads(pickle.dumps(Path)))
    assert "wrote" in seen(lambda: (folder / "new").write_bytes(b""))
    assert "took 0.1 GB" in seen(lambda: bytearray(b"x") * (90 << 20))
