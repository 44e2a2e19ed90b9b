"""Mistakes of a first hour: each ends in one message, which names the next step."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import zipfile
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from corpus import write_adapter
from safetensors.torch import save_file
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    for name in ("a", "b", "runs/ten", "runs/twenty", "all/runs/ten"):
        write_adapter(place / name)
    write_base(place / "base")
    write_base(place / "other", seed=1)
    write_tuned(place / "tuned")
    write_tuned(place / "other-tuned", seed=1)
    write_tuned(place / "wide", out=20, into=16)
    write_base(place / "wide-model", out=20, into=16)
    for step in ("500", "1000"):
        write_tuned(place / f"steps/checkpoint-{step}")
    (place / "pickled").mkdir()
    shutil.copy(place / "a/adapter_config.json", place / "pickled")
    torch.save({"x": torch.ones(2)}, place / "pickled/adapter_model.bin")
    with chdir(place):
        assert run(["fuse", "base", "tuned", "-o", "fused"]) == 0
    shutil.copy(place / "a/adapter_model.safetensors", place / "lone.safetensors")
    (place / "recipe.yaml").write_text("models:\n  - model: base\nmerge_method: linear\n")
    (place / "kohya").mkdir()
    names = {"lora_down.weight": (2, 8), "lora_up.weight": (8, 2), "alpha": ()}
    save_file(
        {f"lora_te_q.{name}": torch.ones(shape) for name, shape in names.items()}, place / "kohya/style.safetensors"
    )
    (place / "unfinished").mkdir()
    shutil.copy(place / "a/adapter_config.json", place / "unfinished")
    (place / "renamed").mkdir()
    shutil.copy(place / "pickled/adapter_model.bin", place / "renamed/adapter_model.safetensors")
    shutil.copy(place / "a/adapter_config.json", place / "renamed")
    factors = {
        "base_model.model.x.lora_A.weight": torch.ones(2, 3),
        "base_model.model.x.lora_B.weight": torch.ones(4, 2),
    }
    torch.save(factors, place / "saved.pt")
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        archive.write(place / "a/adapter_model.safetensors", "adapter_model.safetensors")
    (place / "empty").mkdir()
    (place / "taken").mkdir()
    (place / "taken/notes.txt").write_text("mine")
    return place


@pytest.fixture
def place(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(corpus, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


@pytest.mark.parametrize(
    ("command", "code", "fact", "step"),
    [
        ("mrege a b", 2, "there is no command 'mrege'", "did you mean adapterops merge?"),
        ("mergekit recipe.yaml", 2, "there is no command 'mergekit'", "did you mean adapterops run?"),
        ("merge recipe.yaml a", 3, "is not a safetensors file: this is text", "adapterops run"),
        ("info a", 2, "there is no command 'info'", "did you mean adapterops show?"),
        ("requantize a", 2, "there is no command 'requantize'", "did you mean adapterops quantize?"),
        ("help merge", 2, "there is no command 'help'", "did you mean adapterops --help?"),
        ("merge a b --tise", 2, "there is no option --tise", "did you mean --ties?"),
        ('calc "-2*a + b" a=a b=b', 2, "there is no option -2", "begins with a minus goes in parentheses"),
        ("merge a b --output-dir x", 2, "there is no option --output-dir", "did you mean --output?"),
        ("merge a b --method tise", 2, "there is no method 'tise'", "did you mean ties?"),
        ("merge a b 0.5 0.5", 2, "0.5 stands where an adapter is expected", "-w 0.7,0.3"),
        (
            "merge 'a b'",
            2,
            "a b is 2 adapters as one argument",
            "put spaces between them, and no quotes around all: a b",
        ),
        ("merge a b --ties=0.2", 2, "--ties takes no value", "see adapterops merge --help"),
        ("merge a b -o=given -w=0.5,0.5", 0, "", ""),
        ("fuse tuned -o x", 2, "the model is missing: tuned is an adapter", "usage: adapterops fuse"),
        ("verify empty", 3, "it has nothing", "name a folder that a model was saved to"),
        ("verify taken", 3, "it has notes.txt", "name a folder that a model was saved to"),
        ("show a.zip", 3, "is not a safetensors file: this is a zip archive", "unpack it"),
        ("show renamed", 3, "this is a PyTorch pickle", "rename it to adapter_model.bin"),
        ("show saved.pt", 3, "is a Python pickle", "--allow-pickle takes its tensors"),
        ("show saved.pt --allow-pickle", 0, "", ""),
        ("show saved.pt --allow-pickle --spectrum", 3, "does not state its scale", "--alpha 16"),
        ("merge a,b", 2, "a,b is 2 adapters with commas between them", "put spaces between them: a b"),
        ("merge a b --rank", 2, "--rank needs a value", "see adapterops merge --help"),
        ("merge a b -q -v", 2, "--quiet and --verbose exclude each other", "see adapterops merge --help"),
        ("merge a b -w 0.5", 2, "1 weight for 2 adapters", "give one -w for each adapter"),
        ("merge a", 0, "", ""),
        ("merge a b --scale rms", 2, "scale must be auto, sum, mean or a number", ""),
        (
            "quantize base --to fp8 -o x",
            2,
            "fp8 can be read, and not made from a model in 16 bits",
            "that can are nf4, fp4, int8",
        ),
        ("fuse base tuned -w layers.9=0.3 -o x", 2, "'layers.9' matches none of 6 modules\n", "there are layers.0-2"),
        ("fuse --base base --adapter tuned", 2, "there is no option --adapter", "adapters are named without an option"),
        ("fuse base --lora tuned", 2, "there is no option --lora", "adapters are named without an option"),
        ("fuse base tuned --merge-and-unload", 2, "there is no option --merge-and-unload", "fuse does that"),
        ("fuse base tuned --load-in-8bit", 2, "there is no option --load-in-8bit", "did you mean --quantize?"),
        ("extract --base base --tuned fused --rank 2", 2, "no option --tuned", "named without an option"),
        ("merge a b --tuned fused", 2, "no option --tuned", "fuse BASE --tuned MODEL merges whole models"),
        ("extract fused --base base", 2, "exactly one of rank, energy and budget", "--rank 8"),
        ("merge https://huggingface.co/me/x a", 2, "an address of the web is not opened", "write hf://me/x"),
        ("merge https://huggingface.co/me/x/tree/main a", 2, "is not opened", "write hf://me/x"),
        ("show https://huggingface.co/me/x/tree/v2/sub", 2, "an address of the web", "write hf://me/x@v2/sub"),
        ("show https://hf.co/me/x/blob/main/y.safetensors?a=1", 2, "is not opened", "write hf://me/x/y.safetensors"),
        ("pull https://huggingface.co/me/x", 2, "an address of the web is not opened", "write hf://me/x"),
        ("show https://a.b/x.safetensors", 2, "an address of the web is not opened", "download it, and name the file"),
        (
            "merge a/adapter_config.json b",
            3,
            "this is JSON text: a config, or an error",
            "name the folder that it is in",
        ),
        ("show taken/notes.txt", 3, "is not a safetensors file: this is text", "name a folder or a .safetensors file"),
        ("merge a b --method average", 2, "there is no method 'average'", "did you mean linear?"),
        ("merge a b --method task_arithmetic", 2, "there is no method 'task_arithmetic'", "did you mean linear?"),
        ("merge a b --method svd", 2, "there is no method 'svd'", "did you mean linear?"),
        ("merge a b --method dare", 2, "there is no method 'dare'", "did you mean dare_ties?"),
        ("merge a b --slerp --t 0.3", 2, "there is no option --t", "-w 0.7,0.3 says how near"),
        ("merge a b --normalize", 2, "there is no option --normalize", "--scale says what the result is multiplied by"),
        ("merge a b -w 50%,50%", 2, "is not a number", "such as 0.7,0.3"),
        ("merge a b -w 50%", 2, "is not a number", "50 % is 0.5"),
        ("merge a b --rank 0", 2, "--rank: 0 is less than 1", "adapterops merge --help"),
        ("quantize base --to int4", 2, "there is no scheme 'int4'", "did you mean nf4?"),
        ("quantize base --to 8bit", 2, "there is no scheme '8bit'", "did you mean int8?"),
        ("quantize base --bits 4", 2, "there is no option --bits", "did you mean --to?"),
        ("quantize base nf4", 2, "too many arguments: nf4", "usage: adapterops quantize [OPTIONS] [SOURCE];"),
        ("fuse base tuned --dtype half", 2, "'half' is not one of", "did you mean float16?"),
        ("quantize base --device gpu", 2, "'gpu' is not one of", "did you mean cuda?"),
        ("fuse tuned", 2, "the model is missing", "usage: adapterops fuse [OPTIONS] BASE SOURCES...;"),
        ("verify base fused", 2, "too many arguments: fused", "usage: adapterops verify [OPTIONS] [MODEL];"),
        ("truncate a 8", 2, "too many arguments: 8", "usage: adapterops truncate [OPTIONS] [SOURCE];"),
        ("truncate a --energy 90%", 2, "'90%' is not a number", "90 % is 0.9"),
        ("diagnose fused base", 2, "--base is missing", "usage: adapterops diagnose [OPTIONS] MODEL --base"),
        ("run a/adapter_config.json", 2, "the recipe has no adapterops", "is it the right file?"),
        ("convert a --to transformers", 2, "there is no format 'transformers'", "did you mean peft?"),
        ("convert a mlx", 2, "--to is missing", "one of comfy"),
        ("check a --for llamacpp", 2, "'llamacpp' is not one of", "did you mean llama.cpp?"),
        ("dequantize base -o x", 4, "has no quantized weight", "it is in 16 or 32 bits already"),
        ("merge runs:ten a", 5, "runs:ten: does not exist", "did you mean runs/ten?"),
        ("split base", 3, "has no adapter in it", "it is a base as it is, or an adapter was merged into it"),
        ("merge a b --seed 1", 2, "linear has no parameter seed", "seed is a parameter of dare_linear"),
        ("calc a+b a=a", 2, "there is no adapter named 'b'", "known: a"),
        ("calc a*b a=a b=b", 2, "adapters can be added, and not multiplied", "0.5*a"),
        ("--verison", 2, "there is no option --verison", "did you mean --version? see adapterops --help"),
        ("merge a missing", 5, "missing: does not exist", "A repository on the Hub is hf://owner/name"),
        ("merge a runs/y", 5, "runs/y: does not exist", "A repository on the Hub is hf://runs/y"),
        ("merge a runs/my+y", 5, "runs/my+y: does not exist", "A repository on the Hub is hf://owner/name"),
        ("show runs/ten/x\\\\y", 5, "does not exist", "write it with slashes: runs/ten/x/y"),
        ("show pickle", 5, "pickle: does not exist", "did you mean pickled?"),
        ("show lone", 5, "lone: does not exist", "did you mean lone.safetensors?"),
        ("show other.safetensors", 5, "other.safetensors: does not exist", "did you mean other or other-tuned?"),
        ("card nothing", 5, "nothing: does not exist", "name the folder that holds"),
        ("show runs", 3, "holds several adapters: ten, twenty", "name one, such as runs/ten"),
        ("show all", 3, "has no adapter_model.safetensors", "name one, such as all/runs/ten"),
        ("show a b", 2, "too many arguments: b", "adapterops compare takes several; usage: adapterops show"),
        ("run runs", 3, "runs: is a folder, not a file", "a recipe is a file of YAML"),
        ("calc 0.7*a + 0.3*b a=a b=b", 2, "'+' gives no name to an adapter", "put the whole expression in quotes"),
        ("calc a+b 'a = a' b=b", 2, "'a = a' gives no name to an adapter", "there is no space before or after ="),
        ("calc a+b a= a b=b", 2, "'a=' gives no name to an adapter", "there is no space before or after ="),
        ("calc 0,7*a a=a", 2, "expected an operator or the end, found ','", "decimals have a point: 0.7"),
        ("fuse base tuned --quantize 4", 2, "there is no scheme '4'", "did you mean nf4?"),
        (
            "extract other --base wide-model --rank 2 -o x",
            4,
            "the models have different sizes",
            "the base that the model was tuned from",
        ),
        ("run fused/adapterops.json", 2, "is a manifest, not a recipe", "calc writes one, as recipe.yaml"),
        ("fuse tuned base -o x", 3, "is an adapter, where a model is expected", "fuse has it before the adapters"),
        ("merge base tuned", 3, "is a model, where an adapter is expected", "a model comes first for fuse"),
        ("merge steps tuned", 3, "holds several adapters: checkpoint-1000, checkpoint-500", "steps/checkpoint-1000"),
        (
            "fuse wide-model tuned -o x",
            4,
            "do not fit: model.layers.0.q_proj",
            "the base that the adapter was trained on",
        ),
        ("merge a b -o ''", 2, "-o / --output: the value is empty", "see adapterops merge --help"),
        ("merge '' b -o x", 2, "SOURCES...: the value is empty", "see adapterops merge --help"),
        ("run ''", 2, "RECIPE: the value is empty", "see adapterops run --help"),
        ("merge '*.bin' b -o x", 5, "*.bin: does not exist", "nothing matches this pattern"),
        ("merge 'lone*' b -o x", 5, "lone*: does not exist", "a shell puts lone.safetensors for it, without quotes"),
        ("calc merge(a,b) a=a b=b", 2, "there is no function 'merge'", "a merge has the name of its method"),
        ("merge a b --ties --density 0", 2, "--density must be above 0 and at most 1, got 0", ""),
        ("merge a empty", 3, "empty", "adapter"),
        ("merge a b -o taken", 6, "taken", "another"),
        ("merge a b -o a", 2, "a: the output is an input, too", "name another place with -o"),
        ("merge a b -o nowhere/out", 5, "nowhere: the folder to write into does not exist", "create it first"),
        ("merge a pickled", 3, "is a Python pickle, which can run code", "--allow-pickle takes its tensors"),
        ("merge a b --density 0.5", 2, "linear has no parameter density", "density is a parameter of"),
        ("merge a b --ties --density 20", 2, "density must be above 0 and at most 1, got 20", "20 % is 0.2"),
        ("truncate a --energy 99", 2, "above 0 and at most 1, got 99", "99 % is 0.99"),
        (
            "fuse base wide -o x",
            4,
            "and model.layers.0.q_proj.weight of the base is [12, 8]",
            "the adapter was trained on",
        ),
        (
            "fuse base tuned --base-view original --original base -o x",
            2,
            "for a base that is quantized",
            "--quantize nf4 writes",
        ),
        ("unfuse base tuned -o x", 0, "base: no manifest says what was fused into it", "adapterops diagnose shows"),
        ("extract base base --rank 2", 2, "base: is compared with itself", "adapterops extract base --base BASE"),
        ("check a --runtime vllm", 2, "there is no option --runtime", "did you mean --for?"),
        ("fuse base tuned -o x.safetensors", 0, "x.safetensors is a folder", "in x.safetensors/model"),
        ("merge a b --ties --density 1.5", 2, "density must be above 0 and at most 1, got 1.5\n", ""),
        ("unfuse fused other-tuned -o x", 0, "the manifest names the adapter tuned, and other-tuned was given", ""),
        ("verify fused --adapter other-tuned", 8, "the manifest names the adapter tuned", "leave --adapter out"),
        ("quantize base --to nf5 -o x", 2, "there is no scheme 'nf5'", "did you mean nf4?"),
        ("truncate a", 2, "rank, energy", "--rank 8"),
        ("truncate a --rank zero", 2, "zero", "adapterops truncate --help"),
        ("compare a", 2, "nothing to compare it with", "adapterops report"),
        ("fuse a base", 3, "a: is an adapter, where a model is expected", "fuse has it before the adapters"),
        ("fuse base", 2, "an adapter is missing: base stands where the model is expected", "adapterops fuse --help"),
        (
            "merge base a",
            3,
            "base: is a model, where an adapter is expected",
            "after --base elsewhere; fuse BASE --tuned",
        ),
        (
            "extract base",
            2,
            "base: the base that it is compared with is missing",
            "adapterops extract base --base BASE",
        ),
        (
            "extract base fused",
            2,
            "base is the base of fused, which was fused from it",
            "adapterops extract fused --base base",
        ),
        ("extract base other", 2, "no manifest says", "if it is other: adapterops extract base --base other"),
        ("diagnose base", 2, "--base is missing", "usage: adapterops diagnose [OPTIONS] MODEL"),
        (
            "diagnose fused --base base --adapter other-tuned",
            8,
            "these adapters",
            "adapterops diagnose fused --base base",
        ),
        ("diagnose base --base base", 8, "this is the base", "if another model is its base, name that one"),
        ("diagnose a --base base", 3, "a: is an adapter, where a model is expected", "name the folder of the model"),
        (
            "diagnose fused --base base --adapter tuned --adapter tuned",
            2,
            "an adapter is given twice",
            "give each once",
        ),
        ("verify fused --made-by peft", 2, "does not read the manifest", "name both"),
        ("verify fused --base base --adapter tuned --made-by peft --ties", 2, "weight 1", "diagnose finds weights"),
        ("verify fused --base base --adapter tuned --made-by peft --rounding nearest", 2, "of that program", "leave"),
        ("merge a:0.5 b:0.5", 2, "a:0.5 is an adapter with a weight", "weights are options: a -w 0.5 -w"),
        ("merge 0.5*a b", 2, "0.5*a is an adapter with a weight", "a -w 0.5"),
        ("merge a=0.5 b", 2, "a=0.5 is an adapter with a weight", "a -w 0.5"),
        ("merge a + b", 2, "+ stands where an adapter is expected", 'adapterops calc "a + b"'),
        ("merge a b out", 5, "out: does not exist", "if it is the output: -o out"),
        ("merge a b --scale avg", 2, "scale must be auto, sum, mean or a number", "sum is 1 times"),
        ("merge a b --format safetensors", 2, "there is no format 'safetensors'", "did you mean peft?"),
        ("merge a b --to mlx", 2, "there is no option --to", "did you mean --format?"),
        ("merge a b --method ties-merging", 2, "there is no method 'ties-merging'", "did you mean ties?"),
        ("convert a --format gguf", 2, "there is no option --format", "did you mean --to?"),
        ("convert a --to ollama", 2, "there is no format 'ollama'", "did you mean gguf?"),
        ("check a --for lm-studio", 2, "'lm-studio' is not one of", "did you mean llama.cpp?"),
        (
            "quantize base --to Q4_K_M",
            2,
            "there is no scheme 'Q4_K_M'",
            "convert_hf_to_gguf.py MODEL, then llama-quantize",
        ),
        ("fuse base tuned --quantize gguf", 2, "there is no scheme 'gguf'", "then llama-quantize"),
        ("card a --push", 2, "there is no option --push", "adapterops push FOLDER OWNER/NAME"),
        ("push me/x a", 2, "'a' is a folder here: name it first", "see adapterops push --help"),
        ("login", 2, "there is no command 'login'", "hf auth login"),
        ("format", 2, "there is no command 'format'", "did you mean adapterops formats?"),
        ("completion", 2, "there is no command 'completion'", "adapterops --install-completion?"),
        ("-V", 2, "there is no option -V", "did you mean --version?"),
        ('calc "a + b" a b', 2, "'a' gives no name to an adapter", "such as a=a"),
        ('calc "ties(a, b, density=20%)" a=a b=b', 2, "'%' has no meaning here", "20 % is 0.2"),
        ("verify a", 3, "a: is an adapter, where a model", "adapterops verify MODEL --base BASE --adapter ADAPTER"),
        ("finalize base", 5, "base: has no parts that could be finalized", "--part 1/8 makes the first of eight"),
        ("finalize fused", 0, "", ""),
        ("fuse base tuned -o x --part 0/2", 2, "part 0/2 is not one of 2 parts", "1/8 is the first of eight"),
        ("fuse base tuned -o x --part half", 2, "--part is 'half', expected K/N", "--part 3/8 is the third of eight"),
        ("fuse base tuned --engine rya", 2, "--engine: there is no engine 'rya'", "did you mean ray?"),
        ("fuse base tuned --address auto", 2, "--address is that of a cluster", "add --engine ray"),
        ("fuse base tuned -o x --push o/r", 2, "--push keeps nothing here", "leave one of them out"),
        ("fuse base tuned --push here", 2, "'here' is not a repository", "write owner/name"),
        ("fuse base tuned --push o/r --part 1/2", 2, "--push makes the model here", "or push later"),
        ("fuse base tuned --push o/r --dry-run", 0, "", ""),
        ("fuse base tuned --private", 2, "--private and --public go with --push", "add --push OWNER/NAME"),
        ("fuse base tuned --double-quant", 2, "go with --quantize", "add --quantize nf4"),
        ("push missing o/r", 5, "missing: does not exist", "name the folder that holds"),
        ("push base/model-00001-of-00004.safetensors o/r", 3, "is a file of a model", "name the folder that holds the"),
        ("push https://huggingface.co/o/r o/r", 2, "an address of the web is not opened", "write hf://o/r"),
        ("card hf://o/r", 2, "hf://o/r: is on the Hub, and this takes what is", "adapterops pull hf://o/r first"),
        ("finalize missing", 5, "missing: does not exist, nor do parts of it", "--part 1/8 makes the first of eight"),
        (
            "merge a b --ties -o hf://o/r",
            2,
            "-o hf://o/r: an output is written on this machine",
            "adapterops push FOLDER",
        ),
        (
            "extract base empty --rank 2",
            3,
            "empty: has no model.safetensors",
            "name a folder that a model was saved to",
        ),
        ("merge a b --tsv --ties", 2, "--ties and --tsv exclude each other", "leave the others out"),
        ("merge a b --tsv --space factors", 2, "tsv does not act in space 'factors'", "one of core, delta"),
        ("merge a b --method iso", 2, "there is no method 'iso'", "did you mean iso_c?"),
        ("merge a b a --slerp", 2, "slerp is between two adapters", "--karcher"),
        ("fuse base tuned -o x -w layers.1-0=0.3", 2, "the pattern 'layers.1-0' matches none", "write layers.0-1"),
        ("fuse base tuned -w layers.0=x", 2, "'layers.0=x' is not a number", "such as 0.7,0.3"),
        ("convert a", 2, "--to is missing", "one of "),
        ("convert a --to ggfu", 2, "there is no format 'ggfu'", "did you mean gguf?"),
        ("convert a --to gguf", 4, "a GGUF file depends on the model", "name the model with --base"),
        ("convert base --to gguf", 3, "base: is a model, where an adapter is", "python convert_hf_to_gguf.py MODEL"),
        ("convert base --to mlx", 3, "base: is a model, where an adapter is", "mlx_lm.convert --hf-path MODEL"),
        ("convert base --to kohya", 3, "base: is a model, where an adapter is", "name the folder of an adapter"),
        ("merge base/model-00001-of-00004.safetensors a", 3, "all tensors have names of weights", "after --base"),
        ("quantize kohya --to nf4 -o x", 3, "kohya: is an adapter, where a model is expected", "name the folder of"),
        ("fuse kohya a", 3, "kohya: is an adapter, where a model is expected", "fuse has it before the adapters"),
        ("show kohya", 3, "kohya: has no adapter_model.safetensors", "such as kohya/style.safetensors"),
        ("merge unfinished a", 3, "unfinished: has no adapter_model.safetensors", "its weights are missing: download"),
        ("extract base tuned --rank 2", 3, "tuned: is an adapter, where a model", "adapterops extract TUNED --base"),
        ("fuse base tuned --rank 8", 2, "there is no option --rank", "it is an option of merge, truncate, convert and"),
        ("merge a b --quantize nf4", 2, "there is no option --quantize", "it is an option of fuse, unfuse; see"),
        ("truncate a --rank 8 --energy 0.9", 2, "says how much is kept, and rank and energy are given", "--rank 8"),
        ("fuse base tuned -o fused", 6, "fused: already exists", "or replace it with --force"),
        ("fuse base tuned -o base", 2, "base: the output is an input, too", "name another place with -o"),
        ("merge a b -o base", 6, "base: already exists", "name another place with -o\n"),
        ("merge a b -o taken --force", 6, "taken: was not written by adapterops", "remove it yourself"),
        ("check base", 3, "base: is a model, where an adapter is expected", "name the folder of an adapter"),
        ("check a --for vlm", 2, "'vlm' is not one of", "did you mean vllm?"),
        ("fuse base tuned -o x --rounding stochastic --dtype float32", 2, "for codes and for 16 bits", "leave it out"),
        ("merge", 2, "SOURCES is missing", "usage: adapterops merge [OPTIONS] SOURCES...; see adapterops merge --help"),
    ],
)
def test_one_message(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, code: int, fact: str, step: str
) -> None:
    assert run(shlex.split(command)) == code
    shown = capsys.readouterr().err
    assert fact in shown
    assert step in shown
    assert "Traceback" not in shown
    assert "Usage:" not in shown
    assert (place / "taken/notes.txt").read_text() == "mine"


def test_what_states_no_scale_is_shown_without_one(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "saved.pt", "--allow-pickle"]) == 0
    shown = capsys.readouterr().out
    assert "nothing states its scale" in shown
    assert "--alpha 16" in shown
    assert " ? " in shown


def test_a_model_that_lost_its_weights_is_not_verified_and_an_empty_folder_is_no_model(place: Path) -> None:
    for file in (place / "fused").glob("*.safetensors*"):
        file.unlink()
    assert run(["verify", "fused"]) == 8
    (place / "fused/adapterops.json").unlink()
    (place / "fused/config.json").unlink()
    assert run(["verify", "fused"]) == 3


def test_errors_of_usage_are_those_of_all_other_kinds(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "a", "--tise", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "E-OPTION"
    assert error["hint"] == "did you mean --ties? see adapterops merge --help"


def test_weights_in_one_option_are_those_in_several(place: Path) -> None:
    assert run(shlex.split("merge a b --method ties -w 0.7,-0.3 -o one")) == 0
    assert run(shlex.split("merge a b --ties -w 0.7 -w -0.3 -o several")) == 0
    name = "adapter_model.safetensors"
    assert (place / "one" / name).read_bytes() == (place / "several" / name).read_bytes()


def test_a_method_by_name_and_by_flag(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shlex.split("merge a b --method dare-ties --dare-ties --dry-run")) == 0
    assert run(shlex.split("merge a b --method ties --linear")) == 2
    assert "--linear and --ties exclude each other" in capsys.readouterr().err


def test_a_terminal_without_utf8_has_bars_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr("sys.stdout", screen)
    assert run(["show", "tuned", "--spectrum"]) == 0
    screen.flush()
    shown = screen.buffer.getvalue().decode("ascii")
    assert "\\u" not in shown
    assert "@" in shown


def test_colours_are_for_terminals(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for forced, colour in (("0", False), ("1", True)):
        monkeypatch.setenv("FORCE_COLOR", forced)
        assert run(["merge", "a", "missing"]) == 5
        assert run(["verify", "fused"]) == 0
        printed = capsys.readouterr()
        assert ("\x1b[31m" in printed.err) == ("\x1b[32mverified" in printed.out) == colour


def test_with_nothing_to_do_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: adapterops" in capsys.readouterr().out
