"""Damaged and half checkpoint folders: refused by name, before a library opens them."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emoscope.mistakes import on_purpose, opening
from emoscope.models.checkpoint import INDEX, TOKENIZERS, check_folder, read_header, read_json
from emoscope.models.lookup import look_up
from emoscope.models.registry import load_model
from tests.helpers.tiny_families import write_af3, write_qwen2_5_omni
from tests.helpers.tiny_kimi import write_kimi

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4932307584\n"

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {
        "audioflamingo3": write_af3(root / "af3"),
        "qwen2_5_omni": write_qwen2_5_omni(root / "omni"),
        "kimi_audio": write_kimi(root / "kimi" / "model"),
    }


def shard(folder: Path) -> Path:
    return sorted(folder.glob("model-*.safetensors"))[1]


def emptied(path: Path) -> Path:
    path.unlink()
    return path


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def with_header(change: Callable[[dict[str, Any]], object]) -> Change:
    """Rewrite the header of a shard, so that only what is changed is wrong."""

    def rewrite(folder: Path) -> None:
        file = shard(folder)
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])

    return rewrite


def first(header: dict[str, Any]) -> dict[str, Any]:
    return next(entry for name, entry in header.items() if name != "__metadata__")


def elsewhere(name: object) -> Change:
    def change(folder: Path) -> None:
        edited(folder / INDEX, lambda index: index["weight_map"].update({next(iter(index["weight_map"])): name}))

    return change


def swapped(folder: Path) -> None:
    """The index names a tensor in a shard that does not hold it."""
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    (one, own) = next(iter(index.items()))
    elsewhere(next(other for other in index.values() if other != own))(folder)
    assert json.loads((folder / INDEX).read_text())["weight_map"][one] != own


CASES: dict[str, tuple[Change, str]] = {
    "a shard is missing": (lambda f: shard(f).unlink(), r"lacks model-[-\w.]*, one of \d shards: fetch"),
    "a shard is cut off": (lambda f: os.truncate(shard(f), shard(f).stat().st_size // 2), r"cut off: it has [\d,]+ bytes"),
    "a shard is too long": (lambda f: shard(f).write_bytes(shard(f).read_bytes() + b"xx"), "is too long"),
    "a header is cut off": (lambda f: os.truncate(shard(f), 100), "cut off"),
    "a shard is empty": (lambda f: shard(f).write_bytes(b""), r"empty file \(0 bytes\)"),
    "a shard is of nulls": (lambda f: shard(f).write_bytes(bytes(shard(f).stat().st_size)), "null bytes"),
    "a shard is a pointer": (lambda f: shard(f).write_bytes(POINTER), "Git LFS pointer.*git lfs pull"),
    "a shard is a page": (lambda f: shard(f).write_bytes(b"<!DOCTYPE html>" + b" " * 99), "web page"),
    "a shard is packed": (lambda f: shard(f).write_bytes(gzip.compress(shard(f).read_bytes())), "gzip"),
    "a shard is a folder": (lambda f: emptied(shard(f)).mkdir(), "a folder, not a file"),
    "a shard is a dead link": (lambda f: emptied(shard(f)).symlink_to("/no/blob"), "a link to /no/blob"),
    "a shard is a link to itself": (lambda f: emptied(shard(f)).symlink_to(shard(f).name), "a link to"),
    "a shard is fetched in part": (
        lambda f: shard(f).rename(shard(f).with_name(shard(f).name + ".incomplete")), "download of .*incomplete was not"),
    "an index without an end": (
        lambda f: (f / INDEX).write_text('{"weight_map": {}' + " " * 25_000_000 + "}"), "too many for a list of tensors"),
    "a header of 2 ** 60 bytes": (
        lambda f: shard(f).write_bytes((2**60).to_bytes(8, "little") + shard(f).read_bytes()[8:]), "no safetensors file"),
    "a header that is no JSON": (lambda f: shard(f).write_bytes((40).to_bytes(8, "little") + b"x" * 400), "not JSON"),
    "a header without end": (
        lambda f: shard(f).write_bytes((100_000).to_bytes(8, "little") + b'{"a":' * 20_000 + b"x"), "damaged header"),
    "a negative size": (with_header(lambda h: first(h).update(shape=[-1, 3])), r"damaged header.*\[-1, 3\]"),
    "sizes that do not fit": (with_header(lambda h: first(h).update(shape=[10**12])), "does not lie where it must"),
    "an offset far away": (with_header(lambda h: first(h).update(data_offsets=[0, 10**15])), "damaged header"),
    "an entry of a wrong kind": (with_header(lambda h: h.update(x=5)), "damaged header"),
    "no index": (lambda f: (f / INDEX).unlink(), "holds model-.*but neither model.safetensors nor .*index.json"),
    "an index that is a list": (lambda f: (f / INDEX).write_text("[]"), "a list where a JSON object belongs"),
    "an index that is a folder": (lambda f: emptied(f / INDEX).mkdir(), "index.json is a folder"),
    "an index without a map": (lambda f: (f / INDEX).write_text('{"metadata": {}}'), "weight_map is missing or null"),
    "an index with a list": (lambda f: edited(f / INDEX, lambda i: i.update(weight_map=["a"])), "weight_map is a list"),
    "an index without metadata": (lambda f: edited(f / INDEX, lambda i: i.pop("metadata")), "no metadata"),
    "an index of another version": (swapped, "missing .*which model.safetensors.index.json says are in it"),
    "a shard outside the folder": (elsewhere("../x.safetensors"), r"'\.\./x\.safetensors', which is not the name"),
    "a shard that is any file": (elsewhere("/etc/passwd"), "'/etc/passwd', which is not the name"),
    "a shard that is a number": (elsewhere(5), "in 5, which is not the name"),
    "the same shard twice": (
        lambda f: shutil.copy(sorted(f.glob("model-*"))[0], shard(f)), "stand in both|missing"),
    "weights twice": (lambda f: shutil.copy(shard(f), f / "model.safetensors"), "holds weights twice"),
    "other weights only": (
        lambda f: [p.rename(p.with_suffix(".bin")) for p in f.glob("*.safetensors")], "only model-.*can run code"),
    "config cut off": (lambda f: (f / "config.json").write_text('{"model_type": "audio'), "config.json is not valid JSON"),
    "config a list": (lambda f: (f / "config.json").write_text("[1]"), "a list where a JSON object"),
    "config nested without end": (lambda f: (f / "config.json").write_text('{"a":' * 100_000), "not valid JSON"),
    "config in UTF-16": (lambda f: (f / "config.json").write_text("{}", encoding="utf-16"), "byte-order mark"),
    "config with a mark": (lambda f: (f / "config.json").write_text("{}", encoding="utf-8-sig"), "byte-order mark"),
    "config a pointer": (lambda f: (f / "config.json").write_bytes(POINTER), "config.json is a Git LFS pointer"),
    "config a dead link": (lambda f: emptied(f / "config.json").symlink_to("/no/blob"), "a link to /no/blob"),
    "config a folder": (lambda f: emptied(f / "config.json").mkdir(), "config.json is no file"),
    "config missing": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "code beside it": (
        lambda f: ((f / "config.json").write_text('{"model_type": "x", "auto_map": {"AutoModel": "m.X"}}'),
                   (f / "m.py").write_text("raise SystemExit")), "model_type 'x'.*code that lies beside it is never run"),
    "a family nearly": (lambda f: (f / "config.json").write_text('{"model_type": "qwen2.5_omni"}'), "did you mean 'qwen2_5_omni'"),
    "a family of no kind": (lambda f: (f / "config.json").write_text('{"model_type": ["x"]}'), r"model_type \['x'\]"),
    "tokenizer a pointer": (lambda f: (f / "tokenizer.json").write_bytes(POINTER), "tokenizer.json is a Git LFS pointer"),
    "tokenizer a list": (lambda f: (f / "tokenizer.json").write_text("[]"), "tokenizer.json holds a list"),
    "features of nothing": (lambda f: (f / "preprocessor_config.json").write_text("{}"), "holds an empty object"),
    "no tokenizer": (
        lambda f: [(f / name).unlink(missing_ok=True) for name in TOKENIZERS], "holds no tokenizer .none of tokenizer.json"),
    "sampling a folder": (lambda f: emptied(f / "generation_config.json").mkdir(), "a folder, not a file"),
    "a card without a number": (
        lambda f: (f / "emoscope.json").write_text('{"recommended_budget": "x"}'), "is not a share of neurons"),
    "a card without a list": (lambda f: (f / "emoscope.json").write_text('{"trained_on": "iemocap"}'), "not a list of corpora"),
}  # fmt: skip


@pytest.mark.parametrize(
    "family", ["audioflamingo3", "kimi_audio", pytest.param("qwen2_5_omni", marks=pytest.mark.long)]
)
def test_every_damage_is_found_by_looking(made, tmp_path, family):
    for name, (change, words) in CASES.items():
        folder = shutil.copytree(made[family], tmp_path / name, symlinks=True)
        change(folder)
        with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
            look_up(str(folder))
        assert on_purpose(caught.value), name
        shutil.rmtree(folder)


@pytest.mark.parametrize("family", ["audioflamingo3", "qwen2_5_omni", "kimi_audio"])
@pytest.mark.parametrize("value", [None, "three", 3.0, -3, 0, True, [], 10**9])
def test_a_number_of_layers_that_is_none(made, tmp_path, family, value):
    folder = shutil.copytree(made[family], tmp_path / "copy")

    def change(config: dict[str, Any]) -> None:
        config = config.get("thinker_config", config)
        config.get("text_config", config)["num_hidden_layers"] = value

    edited(folder / "config.json", change)
    with pytest.raises(ValueError, match="num_hidden_layers is"):
        look_up(str(folder))
    edited(
        folder / "config.json", lambda config: [config, config.get("thinker_config", {})][0].pop("text_config", None)
    )


def test_what_is_sound_passes(made, tmp_path):
    for family, folder in made.items():
        assert look_up(str(folder)).family.model_type == family
    plain = made["audioflamingo3"]
    cache = tmp_path / "models--x--y"
    (cache / "snapshots").mkdir(parents=True)
    shutil.copytree(plain, cache / "blobs")
    commit = cache / "snapshots" / ("a" * 40)
    commit.mkdir()
    for file in plain.iterdir():
        (commit / file.name).symlink_to(f"../../blobs/{file.name}")
    assert look_up(str(commit)).layers == look_up(str(plain)).layers
    with pytest.raises(FileNotFoundError, match=f"the hub's cache, .*give .*snapshots/{'a' * 40}"):
        look_up(str(cache))
    with pytest.raises(FileNotFoundError, match="the hub's cache: give owner/name of a model, such as x/y"):
        look_up(str(tmp_path))
    (cache / "blobs" / shard(commit).name).unlink()
    with pytest.raises(FileNotFoundError, match="'emoscope model fetch x/y'"):
        look_up(str(commit))
    other = shutil.copytree(plain, tmp_path / "name é (1)")
    (other / "notes.json").write_text("not JSON, and nobody reads it")
    assert look_up(str(other)).layers == look_up(str(plain)).layers


def test_what_another_folder_is(made, tmp_path):
    (tmp_path / "adapter").mkdir()
    card = {"peft_type": "LORA", "base_model_name_or_path": "owner/base"}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(card))
    with pytest.raises(FileNotFoundError, match=r"adapter \(LORA\) and not a model; its base model is 'owner/base'"):
        look_up(str(tmp_path / "adapter"))
    with pytest.raises(FileNotFoundError, match="is a file: give the folder"):
        look_up(str(made["audioflamingo3"] / "config.json"))
    with pytest.raises(FileNotFoundError, match=r"folders inside it do: give .*af3"):
        look_up(str(made["audioflamingo3"].parent))
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(FileNotFoundError, match="packed weights"):
        look_up(str(tmp_path))


def test_parts_and_sides_are_looked_at_too(made, tmp_path):
    root = shutil.copytree(made["kimi_audio"].parent, tmp_path / "kimi")
    whisper = root / "model" / "whisper-large-v3" / "model.safetensors"
    side = root / "glm-4-voice-tokenizer" / "model.safetensors"
    for file in (whisper, side):
        kept = file.read_bytes()
        os.truncate(file, len(kept) // 2)
        with pytest.raises(ValueError, match=f"{file.parent.name}/model.safetensors is cut off"):
            look_up(str(root / "model"))
        file.write_bytes(kept)
    shutil.rmtree(side.parent)
    assert "also needs zai-org/glm-4-voice-tokenizer" in look_up(str(root / "model")).note


def test_damaged_bytes_never_end_in_anything_but_a_refusal(made, tmp_path):
    chance = random.Random(0)
    folder = shutil.copytree(made["audioflamingo3"], tmp_path / "copy")
    for _ in range(60):
        file = chance.choice([folder / "config.json", folder / INDEX, shard(folder), folder / "tokenizer.json"])
        kept = file.read_bytes()
        data = bytearray(kept)
        for _ in range(chance.choice([1, 3, 30])):
            data[chance.randrange(min(len(data), 2000))] = chance.randrange(256)
        file.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        error = refusal(folder)
        assert error is None or on_purpose(error), repr(error)
        file.write_bytes(kept)
    check_folder(folder)


def refusal(folder: Path) -> Exception | None:
    try:
        look_up(str(folder))
    except (ValueError, FileNotFoundError) as error:
        return error
    return None


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read(made, tmp_path):
    folder = shutil.copytree(made["audioflamingo3"], tmp_path / "copy")
    shard(folder).chmod(0)
    with pytest.raises(PermissionError):
        look_up(str(folder))


def test_a_header_gives_names_and_shapes(made):
    held = read_header(shard(made["audioflamingo3"]))
    assert all(isinstance(size, int) for place in held.values() for size in place.shape)
    assert set(held) < set(read_json(made["audioflamingo3"] / INDEX)["weight_map"])


def test_a_library_s_words_become_one_sentence():
    said = r"x cannot be opened \(OSError: first: second\): fetch the model again"
    with pytest.raises(ValueError, match=said), opening("x cannot be opened"):
        raise_in_library(OSError("first:\nsecond\nthird"))
    with pytest.raises(ValueError, match="install the package that it names"), opening("x cannot be opened"):
        import no_such_package  # noqa: F401
    with pytest.raises(ValueError, match="a smaller dtype"), opening("x cannot be opened"):
        raise_in_library(MemoryError("10 GB"))
    with pytest.raises(KeyboardInterrupt), opening("x cannot be opened"):
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError, match=r"^model 'none' is no folder here"), opening("x cannot be opened"):
        look_up("none")


def raise_in_library(error: Exception) -> None:
    raise error


DAMAGE_ON_LOADING: dict[str, tuple[Change, str]] = {
    "an unknown activation": (
        lambda f: edited(f / "config.json", lambda c: c["text_config"].update(hidden_act="nope")), "KeyError: 'nope'"),
    "a quantisation that is not installed": (
        lambda f: edited(f / "config.json", lambda c: c.update(quantization_config={"quant_method": "awq"})),
        "cannot be opened"),
    "another shape": (
        lambda f: edited(f / "config.json", lambda c: c["text_config"].update(hidden_size=64)), "of another shape lm_head.weight"),
    "an unknown dtype in a header": (with_header(lambda h: first(h).update(dtype="Q9")), "unknown variant `Q9`"),
    "no chat template": (lambda f: (f / "chat_template.jinja").unlink(), "cannot be asked .*chat template"),
    "a broken chat template": (lambda f: (f / "chat_template.jinja").write_text("{% if"), "cannot be asked .*chat template"),
    "a chat template that goes on and on": (
        lambda f: (f / "chat_template.jinja").write_text(
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
        "cannot be asked .*its chat template runs for more than 300,000 lines"),
    "a template without the question": (
        lambda f: (f / "chat_template.jinja").write_text("{% for m in messages %}{% for c in m['content'] %}"
                   "{% if c['type'] == 'audio' %}<sound>{% endif %}{% endfor %}{% endfor %}A"), "leaves the question out"),
    "no processor": (lambda f: (f / "processor_config.json").unlink(), "cannot be opened"),
    "an end that is a word": (
        lambda f: edited(f / "generation_config.json", lambda c: c.update(eos_token_id="x")), "model '.*' cannot be"),
}  # fmt: skip


def test_what_only_a_library_can_see_is_told_when_it_is_loaded(made, tmp_path):
    for name, (change, words) in DAMAGE_ON_LOADING.items():
        folder = shutil.copytree(made["audioflamingo3"], tmp_path / name)
        change(folder)
        with pytest.raises(ValueError, match=words) as caught:
            load_model(folder)
        assert on_purpose(caught.value), name


def test_the_tokenizer_of_another_family(made, tmp_path):
    for to, of in (("audioflamingo3", "qwen2_5_omni"), ("qwen2_5_omni", "audioflamingo3")):
        folder = shutil.copytree(made[to], tmp_path / to)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(made[of] / name, folder / name)
        for name in ("vocab.json", "merges.txt"):
            (folder / name).unlink(missing_ok=True)
        with pytest.raises(ValueError, match=r"cannot be asked .*of another model"):
            load_model(folder)


def test_a_folder_without_generation_config_works(made, tmp_path):
    folder = shutil.copytree(made["audioflamingo3"], tmp_path / "copy")
    (folder / "generation_config.json").unlink()
    assert len(load_model(folder).stop_tokens)


@pytest.mark.journey
def test_a_damaged_folder_is_refused_before_torch_is_imported(made, tmp_path):
    folder = shutil.copytree(made["audioflamingo3"], tmp_path / "copy")
    shard(folder).write_bytes(POINTER)
    code = "import sys\nfrom emoscope.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "model", "check", str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (2, "False"), done.stderr
    assert done.stderr.count("\n") == 1
    assert "git lfs pull" in done.stderr


def test_a_number_that_is_not_of_layers_that_are_built_may_be_large(made, tmp_path):
    folder = Path(shutil.copytree(made["audioflamingo3"], tmp_path / "m"))
    # from which layer on a window slides: above all layers where none does
    edited(folder / "config.json", lambda config: config["text_config"].update(max_window_layers=100_000))
    check_folder(folder)
