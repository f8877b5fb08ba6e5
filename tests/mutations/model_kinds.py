"""The kinds of files of a model, of which each is damaged in a folder that is whole otherwise."""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from emoscope.models.audio_lm import Request
from emoscope.models.lookup import look_up
from emoscope.models.registry import load_model
from emoscope.neurons.sets import NeuronSet, NeuronSets
from tests.helpers.tiny_families import write_af3
from tests.helpers.tiny_kimi import write_kimi
from tests.mutations.kinds import Edit, Kind, other_json

TEXT = "Which emotion does the speaker express? (A) anger (B) fear (C) neutral"
SHARD = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"


@cache
def _written(family: str) -> Path:
    """A whole checkpoint, written once."""
    folder = Path(tempfile.mkdtemp(prefix="mutations-models-"))
    (write_af3 if family == "af3" else write_kimi)(folder / "model")
    if family == "af3":
        (folder / "model" / "emoscope.json").write_text(
            json.dumps({"recommended_budget": 0.05, "trained_on": [{"corpus": "polish"}]})
        )
    return folder


def _write(family: str, folder: Path) -> None:
    shutil.copytree(_written(family), folder, dirs_exist_ok=True)


def _ask(folder: Path) -> Any:
    card = look_up(str(folder / "model"))
    model = load_model(folder / "model", device="cpu")
    sound = np.random.default_rng(0).normal(0, 0.05, 8_000).astype("float32")
    prepared = model.prepare([Request(sound, TEXT, ("A", "B", "C"))])
    score = model.score(prepared)[0]
    return (card.layers, card.width, card.recommended_budget, card.trained_on, model.info.layers, model.info.width,
            score.logp.tobytes(), score.letter, model.generate(prepared, max_new_tokens=3))  # fmt: skip


def header_parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_header(header: Any, tensors: bytes, spaces: int = 0) -> bytes:
    """A safetensors file of a header and tensors."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + 8 * spaces)
    return struct.pack("<Q", len(text)) + text + tensors


def _header_mixed(data: bytes, random: Random) -> bytes:
    header, tensors = header_parts(data)
    return with_header(
        {name: header[name] for name in random.sample(list(header), len(header))}, tensors, random.randrange(9)
    )


def _header_notes(data: bytes, random: Random) -> bytes:
    header, tensors = header_parts(data)
    return with_header(
        {
            "__metadata__": {"format": "pt", "title": "é" * random.randrange(900)},
            **{k: v for k, v in header.items() if k != "__metadata__"},
        },
        tensors,
    )


def _noted(data: bytes, random: Random) -> bytes:
    """JSON with a key that nobody knows."""
    return other_json(json.dumps({**json.loads(data), "_noted_by": "me"}).encode(), random)


def _index_notes(data: bytes, random: Random) -> bytes:
    content = json.loads(data)
    content["metadata"] = random.choice(({}, {"total_size": 1}, {"total_size": 10**15, "note": "é"}))
    return other_json(json.dumps(content).encode(), random)


def _remark(data: bytes, random: Random) -> bytes:
    return b"{# as it was released #}" * random.randrange(1, 3) + data


def split_otherwise(place: Path, random: Random) -> None:
    """Put the tensors of a folder's shards into other shards."""
    folder = place / "model"
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    tensors = {}
    for shard in set(index.values()):
        with safe_open(folder / shard, framework="pt") as opened:
            tensors |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        (folder / shard).unlink()
    parts = random.randrange(1, 5)
    where = {name: f"model-{random.randrange(parts)}.safetensors" for name in tensors}
    for shard in set(where.values()):
        save_file(
            {name: tensor for name, tensor in tensors.items() if where[name] == shard},
            folder / shard,
            metadata={"format": "pt"},
        )
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))


JSON = (b"null", b"true", b"-1", b"0", b"1000000000", b"[]", b"{}", b'""', b"1e999", b"NaN", b'"\\ud800"', b'"../outside/config.json"', b'"../outside/model.safetensors"',
        b'"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.C", "AutoTokenizer": ["evil.T", null], "AutoProcessor": "evil.P"},',
        b'"quantization_config": {"quant_method": "gptq", "bits": 4},', b'"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true},',
        b'"tie_word_embeddings": true,', b'"num_hidden_layers": 1000000000,', b'"vocab_size": 1000000000,', b'"hidden_size": 0,', b'"attn_implementation": "x/y",',
        b'"chat_template": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",', b'"chat_template": "{{ \'\'.__class__.__mro__ }}",',
        b'"tokenizer_class": "Missing",', b'"processor_class": "Missing",', b'"model_type": "qwen2_audio",', b'"architectures": ["X"],', b'"dtype": "float8",')  # fmt: skip
TENSORS = (b'"dtype":"F64"', b'"dtype":"I4"', b'"shape":[-1]', b'"shape":[1000000000,1000000000]', b'"data_offsets":[0,0]', b'"data_offsets":[8,4]', b"\x80\x02cos\nsystem\n", b"PK\3\4", b"version https://git-lfs.github.com/spec/v1\n")  # fmt: skip


def _model(
    name: str,
    file: str,
    harmless: tuple[Edit, ...],
    tokens: tuple[bytes, ...] = JSON,
    family: str = "af3",
    around: tuple[Any, ...] = (),
) -> Kind:
    return Kind(f"{name} ({family})", f"model/{file}", partial(_write, family), _ask, harmless, tokens, around)


def _write_sets(folder: Path) -> None:
    one = NeuronSet("anger", [1, 6, 9], 2, 8, {"selector": "mad"}, np.array([0.5, 1, 2], "f4"))
    NeuronSets({"anger": one}, {"a": {"anger": one}}).save(folder)


def _write_earlier_sets(folder: Path) -> None:
    """As earlier versions wrote them: a file for each fold, with a card beside it."""
    about = {"layers": 2, "width": 8, "emotions": {"anger": {"size": 3, "selector": "mad"}}}
    for fold in ("all", "a"):
        save_arrays({"anger": np.array([1, 6, 9])}, folder / f"{fold}.safetensors")
        (folder / f"{fold}.json").write_text(json.dumps({"fold": fold, **about}, indent=1))


def _set_notes(data: bytes, random: Random) -> bytes:
    header, tensors = header_parts(data)
    header["__metadata__"] |= {"title": "é" * random.randrange(900)}
    return with_header(header, tensors)


def _sets(folder: Path) -> Any:
    sets = NeuronSets.load(folder)
    return {fold: {emotion: (list(one), one.layers, one.width, repr(one.meta), None if one.mean_product is None else one.mean_product.tolist()) for emotion, one in group.items()}
            for fold, group in {"all": dict(sets), **sets.folds}.items()}  # fmt: skip


JSONS = (other_json, _noted)
MODELS = (
    _model("config/config", "config.json", JSONS),
    _model("config/generation", "generation_config.json", JSONS),
    _model("config/tokenizer settings", "tokenizer_config.json", JSONS),
    _model("config/tokenizer", "tokenizer.json", (other_json,)),
    _model("config/processor", "processor_config.json", JSONS),
    _model("config/card", "emoscope.json", JSONS),
    _model("config/template", "chat_template.jinja", (_remark,), (b"{% for i in range(9) %}", b"{{ ''.__class__ }}", b"{% include '../outside/config.json' %}", b"{{ raise_exception('x') }}", b"{%", b"}}", b"{{ messages[9] }}")),
    _model("config/config", "config.json", JSONS, family="kimi"),
    _model("config/adapted encoder", "whisper-large-v3/config.json", JSONS, family="kimi"),
    Kind("config/speech tokenizer (kimi)", "glm-4-voice-tokenizer/config.json", partial(_write, "kimi"), _ask, JSONS, JSON),
    _model("index/index", INDEX, (other_json, _index_notes), around=(split_otherwise,)),
    _model("index/index", INDEX, (other_json, _index_notes), family="kimi", around=(split_otherwise,)),
    _model("header/shard", SHARD, (_header_mixed, _header_notes), TENSORS),
    _model("header/shard", "model-3-of-6.safetensors", (_header_mixed, _header_notes), TENSORS, family="kimi"),
    Kind("header/set", "all.safetensors", _write_sets, _sets, (_header_mixed, _set_notes), TENSORS),
    Kind("header/set card", "all.json", _write_earlier_sets, _sets, JSONS, JSON),
)  # fmt: skip
