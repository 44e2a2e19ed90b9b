"""A method, a format, a kind of update, a scheme and an engine of another package, which nothing here knows of: entry points are
all it takes. A scheme that is only read is in test_schemes.py.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from corpus import MODULES, write_adapter
from safetensors.torch import load_file, save_file

from adapterops import open_adapter

TOY = '''
from adapterops.methods import Parameter, method


KEPT = Parameter("How much is kept of the sum.", low=0, high=10)


@method("toy", source="an example", acts="updates", part_kept=KEPT)
def toy(updates, weights, *, part_kept=1.0):
    """The weighted sum, times what is kept."""
    total = weights[0] * updates[0]
    for weight, update in zip(weights[1:], updates[1:], strict=True):
        total = total + weight * update
    return part_kept * total
'''

CHECK = "from adapterops.testing import check_method; check_method('toy', range(2))"

FORMAT = '''
import json

from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.scaling import Scaling
from adapterops.formats.peft.parts import Parts
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.storage.tensors import Spec
from adapterops.updates.kinds import KINDS


class Toy:
    """toy.safetensors, in which names end with /up and /down, and every scale is 1."""

    def claims(self, place):
        return place.folder and place.has(place.path / "toy.safetensors")

    def read(self, place, alpha):
        path = place.path / "toy.safetensors"
        file, found = place.open(path), {}
        for name in file.entries:
            module, _, side = name.partition("/")
            found.setdefault(module, {})["lora_B" if side == "up" else "lora_A"] = name
        kind, modules = KINDS["LoRA"], {}
        for module, tensors in found.items():
            found_out = kind.measure({role: file.entries[name].shape for role, name in tensors.items()})
            modules[module] = Parts(kind, tensors, None, found_out.shape, found_out.rank, found_out.bound)
        scalings = {module: Scaling(parts.rank, parts.rank) for module, parts in modules.items()}
        return AdapterFiles(file, (path,), AdapterConfig(), modules, scalings, {})

    def arranged(self, layout, config, full, dtype):
        specs = {}
        for module, each in layout.items():
            specs[f"{module}/up"] = Spec("F32", (each.shape[0], each.rank))
            specs[f"{module}/down"] = Spec("F32", (each.rank, each.shape[1]))

        def joined(module, factors):
            A, B = factors[module]
            return {f"{module}/up": B, f"{module}/down": A}, len(A)

        groups = {module: [module] for module in layout}
        return Arrangement("toy.safetensors", groups, dict.fromkeys(layout, "F32"), specs, {}, joined, lambda ranks: {})


FORMATS.add("toy", Toy())
'''

KIND = """
from adapterops.updates.kinds import KINDS, Kind, Measure
from adapterops.updates.lowrank import LowRank


def measure(shapes):
    return Measure((shapes["toy_u"][0], shapes["toy_v"][0]), 1, 1)


def build(arrays, scale):
    return LowRank(arrays["toy_u"][:, None], arrays["toy_v"][None], scale)


KINDS.add(
    "Outer",
    Kind(
        "Outer",
        {"toy_u": "", "toy_v": ""},
        measure,
        build,
        peft_type="OUTER",
        alpha="strength",
        refused={"inside": "it is the inner product then"},
    ),
)
"""

TURNED = """
from dataclasses import dataclass

import numpy as np

from adapterops.updates.kinds import KINDS, Kind, Measure
from adapterops.updates.protocol import TransposedUpdate, no_factors, unscaled


@dataclass(frozen=True, eq=False)
class Mixed:
    mixed: np.ndarray
    shape: tuple[int, int]

    dtype = property(lambda self: self.mixed.dtype)
    T = property(TransposedUpdate)
    lowrank = no_factors
    __mul__ = __rmul__ = unscaled("a mixture")

    def change(self, part, W, out):
        return np.matmul(W, self.mixed.astype(out.dtype), out=out)


def measure(shapes):
    return Measure((0, shapes["toy_m"][0]), None, 1)


def build(arrays, scale):
    return Mixed(scale * arrays["toy_m"], (0, len(arrays["toy_m"])))


KINDS.add("Mixture", Kind("Mixture", {"toy_m": ""}, measure, build, reads="rows", peft_type="MIXTURE"))
"""

CHECK_TURNED = """
import numpy
from adapterops.testing import check_change
from toy_package import Mixed

numbers = numpy.random.default_rng(0).standard_normal
check_change(Mixed(numbers((4, 4)), (0, 4)), numbers((6, 4)), "rows")
"""

SCHEME = """
import math
from dataclasses import dataclass

from adapterops.quant.grid import changed, to_grid
from adapterops.quant.header import Claim
from adapterops.quant.registry import scheme
from adapterops.quant.scheme import Part, at_once


@scheme("pairs", marks=("pair_scale",), methods=("pairs",))
@dataclass(frozen=True)
class Pairs:
    'Bytes, times a scale that two rows share.'

    dtype: str = "F32"
    name = "pairs"
    bits = 8.0

    @property
    def parameters(self):
        return {"dtype": self.dtype}

    @classmethod
    def make(cls, name, dtype):
        return cls(dtype)

    @classmethod
    def detect(cls, header, tensor, role):
        shape = header.part(tensor, "weight").shape
        return Claim(cls(header.used_as), shape, cls().parts(shape))

    def parts(self, shape):
        return {"weight": Part("I8", shape), "pair_scale": Part("F32", (-(-math.prod(shape[:-1]) // 2),))}

    def granularity(self, shape):
        return 2

    def decode(self, shape, read, begin, end):
        return self.codes(shape, read, begin, end).view(int8()).float() * self.scales(shape, read, begin, end)[0]

    def describe(self, skip):
        return {"quant_method": "pairs"}

    def encoder(self, shape):
        return Nearest()

    def numbers(self):
        import torch

        return torch.arange(256, dtype=torch.uint8).view(torch.int8).float()

    def codes(self, shape, read, begin, end):
        return read("weight", begin * shape[-1], end * shape[-1]).view(end - begin, shape[-1])

    def scales(self, shape, read, begin, end):
        import torch

        scales = read("pair_scale", 4 * (begin // 2), 4 * -(-end // 2)).view(torch.float32)
        return scales.repeat_interleave(2)[: end - begin, None], 0

    def encoded_parts(self, shape, codes, read, begin):
        return {"weight": codes.view(int8())}

    def changed(self, shape, read, begin, parts):
        return changed(self, shape, read, (begin, begin + len(parts["weight"])), {"weight": parts["weight"]})

    on_grid = to_grid


class Nearest:
    written = at_once

    def rows(self, values, begin):
        import torch

        scales = torch.stack([pair.abs().max() / 127 for pair in values.split(2)])
        each = scales.repeat_interleave(2)[: len(values), None]
        codes = (values / each).round().to(torch.int8)
        return {"weight": codes, "pair_scale": scales}, lambda: codes.float() * each

    def rest(self):
        return {}


def int8():
    import torch

    return torch.int8
"""

COMMANDS = [
    "quantize base --to pairs -o base-pairs",
    "dequantize base-pairs -o back",
    "fuse base a --quantize pairs -o fused",
    "verify fused",
    "diagnose fused --base base --adapter a",
    "fuse base-pairs a --rounding stochastic --accept-loss -o kept",
    "verify kept",
    "diagnose base-pairs --base base",
]

CHECK_SCHEME = """
from adapterops.quant.registry import make
from adapterops.testing import check_scheme

check_scheme(make("pairs", "F32"), range(1))
"""

ENGINE = """
from adapterops.engine.registry import ENGINES


def run(function, items, *, memory, address, how):
    for item in reversed(items):
        print(f"{address} has {memory > 0}")
        yield function(item)


ENGINES.add("toy", run)
"""


def written(folder: Path, group: str, code: str) -> Path:
    """A package with one entry point, as pip installs it."""
    info = folder / "packages/toy-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "packages/toy_package.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\ntoy = toy_package\n")
    return folder / "packages"


class Package:
    """Where the package is installed."""

    def __init__(self, folder: Path, group: str, code: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, "PYTHONPATH": str(written(folder, group, code))}

    def __call__(self, *lines: str, check: str = "", code: int = 0) -> str:
        """What commands print, on both streams, each after its line: all in one process, in which Python runs then.

        Args:
            code: of the last command.
        """
        done = subprocess.run(
            [sys.executable, "-c", f"{RUN}{check}", json.dumps([*map(shlex.split, lines)]), str(code)],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


RUN = """
import json
import sys

from adapterops.cli.main import run

lines = json.loads(sys.argv[1])
for index, line in enumerate(lines, 1):
    print("$", *line)
    assert run(line) == (int(sys.argv[2]) if index == len(lines) else 0), line
"""


def test_a_method(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        write_adapter(tmp_path / name)
    shown = Package(tmp_path, "adapterops.methods", TOY)(
        "merge --help",
        "methods",
        "merge a b --toy --part-kept 2 -w 1 -w 1 -o merged",
        "calc 'toy(a, b, part_kept=2, weights=[1, 1])' a=a b=b -o calculated",
        "calc '2*a + 2*b' a=a b=b -o expected",
        check=CHECK,
    )
    helped, _, listed = shown.partition("$ methods")
    assert "--part-kept" in helped
    assert "How much is kept of the sum" in helped
    assert "The weighted sum, times what is kept" in listed
    assert "--part-kept [1.0]" in listed
    merged, calculated, expected = (products(tmp_path / name) for name in ("merged", "calculated", "expected"))
    for module, update in expected.items():
        torch.testing.assert_close(merged[module], update, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(calculated[module], update, rtol=1e-4, atol=1e-5)


def test_a_format(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    shown = Package(tmp_path, "adapterops.formats", FORMAT)(
        "merge --help",
        "merge a -w 0.5 --format toy -o half",
        "merge half half -w 1 -w 1 -o back",  # opened as what it is
        check="from adapterops.testing import check_format; check_format('toy')",
    )
    assert "[comfy|diffusers|gguf|kohya|mlx|peft|toy]" in shown
    stored = load_file(tmp_path / "half/toy.safetensors")
    for module, update in products(tmp_path / "a").items():
        torch.testing.assert_close(stored[f"{module}/up"] @ stored[f"{module}/down"], 0.5 * update)
    for module, update in products(tmp_path / "back").items():
        torch.testing.assert_close(update, products(tmp_path / "a")[module], rtol=1e-5, atol=1e-5)


def test_a_kind_of_update(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "base").mkdir()
    u, v, W = torch.randn(6), torch.randn(4), torch.randn(6, 4)
    prefix = "base_model.model.layers.0.q_proj."
    save_file({f"{prefix}toy_u": u, f"{prefix}toy_v": v}, tmp_path / "a/adapter_model.safetensors")
    config = {"peft_type": "OUTER", "r": 1, "strength": 3.0, "target_modules": ["q_proj"]}
    (tmp_path / "a/adapter_config.json").write_text(json.dumps(config))
    save_file({"layers.0.q_proj.weight": W}, tmp_path / "base/model.safetensors")
    package = Package(tmp_path, "adapterops.updates", KIND)
    shown = package("show a", "fuse base a -o fused", "merge a a --ties -o merged", "check a --for vllm", code=8)
    assert "Outer" in shown.partition("$ fuse")[0]
    assert "a kind that is LoRA in another form (Outer): refused" in shown
    fused = load_file(tmp_path / "fused/model.safetensors")["layers.0.q_proj.weight"]
    torch.testing.assert_close(fused, W + 3 * torch.outer(u, v))
    (update,) = products(tmp_path / "merged").values()
    assert update.shape == (6, 4)
    (tmp_path / "a/adapter_config.json").write_text(json.dumps(config | {"inside": True}))
    assert "inside is set: it is the inner product then" in package("show a", code=4)


def test_a_kind_that_depends_on_its_weight(tmp_path: Path) -> None:
    """Of which the file says the inputs alone."""
    (tmp_path / "a").mkdir()
    (tmp_path / "base").mkdir()
    M, W = torch.randn(4, 4), torch.randn(6, 4)
    save_file({"base_model.model.layers.0.q_proj.toy_m": M}, tmp_path / "a/adapter_model.safetensors")
    config = {"peft_type": "MIXTURE", "r": 2, "lora_alpha": 1, "target_modules": ["q_proj"]}
    (tmp_path / "a/adapter_config.json").write_text(json.dumps(config))
    save_file({"layers.0.q_proj.weight": W}, tmp_path / "base/model.safetensors")
    Package(tmp_path, "adapterops.updates", TURNED)("fuse base a -o fused", check=CHECK_TURNED)
    fused = load_file(tmp_path / "fused/model.safetensors")["layers.0.q_proj.weight"]
    torch.testing.assert_close(fused, W + W @ M / 2)


def test_a_scheme(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", out=11)
    (tmp_path / "base").mkdir()
    generator = torch.Generator().manual_seed(1)
    weights = {f"{module}.weight": torch.randn(11, 8, generator=generator) for module in MODULES}
    save_file(weights, tmp_path / "base/model.safetensors")
    shown = Package(tmp_path, "adapterops.schemes", SCHEME)(*COMMANDS, check=CHECK_SCHEME)
    assert "this is the base and a, complete" in shown
    assert shown.count("  verified\n") == 2
    back = load_file(tmp_path / "back/model.safetensors")
    for name, weight in weights.items():
        torch.testing.assert_close(back[name].float(), weight, atol=0.03, rtol=0)


CLASH = """
from adapterops.methods import Parameter, method


@method("toy", source="an example", acts="updates", NAME=Parameter("What merge has.", low=0, high=10))
def toy(updates, weights, *, NAME=1.0):
    return updates[0]
"""


@pytest.mark.parametrize("taken", ["workers", "ties"])
def test_a_parameter_that_is_called_as_an_option(taken: str, tmp_path: Path) -> None:
    """It would be taken for the number of workers, and for the method. That method is not there; all else works."""
    for name in "ab":
        write_adapter(tmp_path / name, seed=ord(name))
    package = Package(tmp_path, "adapterops.methods", CLASH.replace("NAME", taken))
    shown = package("merge a b --ties --workers 2 -o out")
    assert "warning: the method toy of the package toy is not there" in shown
    assert f"'{taken}'" in shown
    assert "take another name; update that package, or uninstall it" in shown
    assert "there is no method 'toy'" in package("merge a b --method toy -o x", code=2)


def test_an_engine(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    (tmp_path / "base").mkdir()
    save_file({f"{module}.weight": torch.ones(12, 8) for module in MODULES}, tmp_path / "base/model.safetensors")
    fuse = "fuse base a --max-shard-size 0.4kB -o"
    shown = Package(tmp_path, "adapterops.engines", ENGINE)(
        "fuse --help",
        f"{fuse} here",
        f"{fuse} there --engine toy --address home",
        "verify there --engine toy --address home",
        check="from adapterops.testing import check_engine; check_engine('toy')",
    )
    assert "[processes|ray|toy]" in shown
    files = sorted(path.name for path in (tmp_path / "here").glob("*.safetensors"))
    fused, _, verified = shown.partition("$ verify")
    assert fused.count("home has True") == len(files) > 1
    for name in files:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert "home has True" in verified
    assert "verified\n" in verified


def products(folder: Path) -> dict[str, torch.Tensor]:
    """ΔW of each module."""
    adapter = open_adapter(folder)
    return {module: torch.from_numpy(adapter.updates[module].dense()) for module in adapter.layout}
