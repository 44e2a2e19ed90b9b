"""Every text-generating class of transformers, tiny: is what we write what PEFT and transformers compute?

`python benchmarks/architectures.py [--update NAME...] [--rows=FILE]`, or `make bench-architectures`: two checks of each class, and
a table in docs/architectures.md. Neither is judged by our own reader. Each row is written to FILE as soon as it is known, and a run
that was cut goes on from there; FILE is removed when the table is written.

fuse      an adapter that PEFT trains on every Linear layer and on fused experts, fused and verified by us, against
          PEFT's own model
extract   a change of every matrix, extracted by us and loaded by PEFT on the base, against the changed model
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from tiny import OWN, merged

from adapterops.formats.models.architectures import MAMBA_KERNEL, MAMBA_TYPES

HERE = Path(__file__).parent
TABLE = HERE.parent / "docs" / "architectures.md"
KINDS = {
    "causal": "CAUSAL_LM",
    "masked": "MASKED_LM",
    "sequence to sequence": "SEQ_TO_SEQ_CAUSAL_LM",
    "vision-language": "IMAGE_TEXT_TO_TEXT",
}
CHUNK, SECONDS, TOLERANCE, LARGEST = 24, 240, 2e-4, 3e7

_SIZES = """
320 vocab_size text_vocab_size vocab_size_per_layer_input
32 hidden_size d_model n_embd embed_dim dim embedding_size n_embed emb_dim word_embed_proj_dim model_dim
32 projector_input_dim projector_output_dim vision_output_dim
48 intermediate_size ffn_dim d_ff n_inner encoder_ffn_dim decoder_ffn_dim intermediate_size_mlp ffn_hidden_size dim_ff
24 moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size expert_hidden_size
2 num_hidden_layers num_layers n_layer n_layers depth encoder_layers decoder_layers num_decoder_layers num_blocks
2 num_encoder_layers num_key_value_heads multi_query_group_num num_experts_per_tok moe_top_k moe_k linear_num_key_heads
4 num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads
4 num_experts num_local_experts n_routed_experts moe_num_experts linear_num_value_heads
4 mamba_d_state state_size mamba_dt_rank rotary_dim
8 head_dim d_kv attention_head_size kv_channels qk_rope_head_dim qk_nope_head_dim v_head_dim mamba_n_heads mamba_d_head
8 mamba_num_heads
8 linear_key_head_dim linear_value_head_dim
1 n_group topk_group n_shared_experts num_shared_experts first_k_dense_replace num_nextn_predict_layers
64 max_position_embeddings n_positions n_ctx seq_length max_seq_len max_source_positions max_target_positions
16 kv_lora_rank q_lora_rank
28 image_size
14 patch_size
0 pad_token_id
1 bos_token_id decoder_start_token_id
2 eos_token_id
"""
SIZES = {name: int(line.split()[0]) for line in _SIZES.strip().splitlines() for name in line.split()[1:]}
"""Fields of configs → tiny values. A field that a config lacks is left out."""


def classes() -> list[tuple[str, str, str]]:
    """Kind, model type and class of every model, each class once."""
    from transformers.models.auto import modeling_auto

    found: dict[str, tuple[str, str, str]] = {}
    for kind, name in KINDS.items():
        for model_type, each in getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES").items():
            for cls in [each] if isinstance(each, str) else each:
                own = cls.lower().startswith(model_type.replace("-", "").replace("_", ""))
                if own or cls not in found:
                    found[cls] = (found[cls][0] if cls in found else kind, model_type, cls)
    return list(found.values())


def seeing_and_hearing() -> list[tuple[str, str, str]]:
    """The same of all that makes no words, encoders for images and sound mostly, without a head."""
    from transformers.models.auto import modeling_auto

    known, every = {model_type for _, model_type, _ in classes()}, modeling_auto.MODEL_MAPPING_NAMES
    return [("encoder", each, every[each]) for each in sorted(every.keys() - known) if isinstance(every[each], str)]


def heads() -> list[tuple[str, str, str]]:
    """The same of the classes with a head that have renamings of their own, and of one that has nothing but a backbone."""
    import transformers
    from transformers.conversion_mapping import _build_checkpoint_conversion_mapping

    own = {name for name in _build_checkpoint_conversion_mapping() if re.search(r"\wFor[A-Z]", name)}
    known = {name for _, _, name in classes()}
    names = sorted({*own, "UperNetForSemanticSegmentation"} - known)
    there = [name for name in names if hasattr(transformers, name)]
    return [("head", getattr(transformers, name).config_class.model_type, name) for name in there]


def tiny(config_class: Any, depth: int = 0) -> dict[str, Any]:
    """The fields of a config of this class with the sizes above, in the configs of its parts, too."""
    fields = {name: value for name, value in SIZES.items() if hasattr(config_class, name)}
    lists = {name for name in fields if isinstance(getattr(config_class, name), list | tuple)}
    try:
        has = vars(config_class())
    except Exception:  # of a class whose config needs arguments
        has = {}
    fields |= {
        name: value
        for name, value in SIZES.items()
        if isinstance(has.get(name), int) or (name in has and name.endswith("_heads"))
    }
    if "head_dim" in fields and "num_attention_heads" not in fields:
        del fields["head_dim"]
    lists |= {name for name in fields if isinstance(has.get(name), list | tuple)}
    fields = {name: [value] * len(has.get(name) or [0]) if name in lists else value for name, value in fields.items()}
    for name, part in getattr(config_class, "sub_configs", {}).items():
        if depth < 3 and part.__name__ != "AutoConfig":
            fields[name] = tiny(part, depth + 1)
        elif isinstance(found := has.get(name), object) and hasattr(found, "model_type"):
            fields[name] = {"model_type": found.model_type, **tiny(type(found), depth + 1)}
    return fields


def named(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


def build(name: str) -> Any:
    """A tiny model of a class."""
    import torch

    cls = named(name)
    model, first = None, None
    for dropped in (
        (),
        ("head_dim",),
        ("num_key_value_heads", "head_dim"),
        ("rotary_dim",),
        ("num_attention_heads", "num_heads", "n_head"),
    ):
        torch.manual_seed(0)
        try:
            fields = _without(tiny(cls.config_class), dropped)
            for own in (OWN.get(cls.config_class.model_type, {}), OWN.get(name, {})):
                fields = merged(fields, own)
            config = cls.config_class(**fields)
            with torch.device("meta"):
                if sum(parameter.numel() for parameter in cls(config).parameters()) > LARGEST:
                    raise ValueError("does not become tiny")
            torch.manual_seed(0)
            model = cls(cls.config_class(**fields)).eval()
            break
        except Exception as error:  # whatever a class makes of so small a config; the next is tried
            first = first or error
    if model is None:
        raise first or ValueError(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.isfinite().all() or float(parameter.abs().max()) == 0 or parameter.ndim > 1:
                parameter.normal_(std=0.15)
    return model


def _without(fields: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: _without(value, names) if isinstance(value, dict) else value
        for name, value in fields.items()
        if name not in names
    }


def answer(model: Any) -> Any:
    """The logits for some tokens, or None where the class needs more than tokens."""
    import torch

    tokens = torch.arange(3, 15)[None]
    for fields in ({"input_ids": tokens}, {"input_ids": tokens, "decoder_input_ids": tokens}):
        try:
            with torch.no_grad():
                found = model(**fields)
            return (found.logits if hasattr(found, "logits") else found[0]).double()
        except Exception:  # whatever a class makes of inputs that are not its own; the next are tried
            continue
    return None


def passed(model: Any) -> set[str]:
    """The Linear layers whose weight a model reads without calling them: LoRA on these does nothing until it is merged."""
    import torch

    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    called: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: called.add(name)) for name, module in linear.items()
    ]
    before = answer(model)
    for hook in hooks:
        hook.remove()
    found = set()
    for name in linear.keys() - called if before is not None else ():
        weight = linear[name].weight.data
        linear[name].weight.data = weight + 0.1
        if not torch.equal(answer(model), before):
            found.add(name)
        linear[name].weight.data = weight
    return found


def far(model: Any, other: Any) -> float:
    """The largest difference of two models' logits for some words, and of their parameters: of what sees and hears, too, which words
    do not reach.
    """
    mine, theirs = answer(model), answer(other)
    spoken = mine is not None and theirs is not None and mine.isfinite().all() and theirs.std() > 0
    words = float((mine - theirs).abs().max() / theirs.abs().max()) if spoken else 0.0
    left, right = parameters(model), parameters(other)
    names = [name for name in left if name in right or not spoken]
    return max(
        words,
        *(float((left[name] - right[name]).abs().max() / right[name].abs().max().clamp_min(1e-9)) for name in names),
    )


def parameters(model: Any) -> dict[str, Any]:
    """The parameters of a model, by all their names; of one that PEFT wraps those that it computes with."""
    import peft
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    if not isinstance(model, peft.PeftModel):
        return dict(model.named_parameters(remove_duplicate=False))
    found = {
        name.replace(".base_layer", "").replace(".original_module", ""): parameter.detach()
        for name, parameter in model.get_base_model().named_parameters(remove_duplicate=False)
        if ".lora_" not in name and ".modules_to_save" not in name
    }
    for name, module in model.get_base_model().named_modules():
        own = name.replace(".base_layer", "")
        if isinstance(module, ModulesToSaveWrapper):
            trained = module.modules_to_save["default"].named_parameters()
            found |= {f"{own}.{leaf}": parameter.detach() for leaf, parameter in trained}
        elif isinstance(module, BaseTunerLayer):
            leaf = f"{own}.{getattr(module, 'parameter_name', 'weight')}"
            found[leaf] = found[leaf] + module.get_delta_weight("default").detach().reshape(found[leaf].shape)
    return found


def adapted(model: Any) -> Any:
    """The model with PEFT's LoRA on every Linear layer, and on the parameters of fused experts, trained."""
    import peft
    import torch

    stacked = [
        name
        for name, each in model.named_parameters()
        if each.ndim == 3 and name.endswith(("experts.gate_up_proj", "experts.down_proj", "experts.up_proj"))
    ]
    left, heads = passed(model), {id(model.get_output_embeddings())}
    linear = [
        name
        for name, each in model.named_modules()
        if (isinstance(each, torch.nn.Linear) or type(each).__name__ == "Conv1D")
        and id(each) not in heads
        and name not in left
    ]
    if model.config.model_type in MAMBA_TYPES:
        linear = [name for name in linear if name.rpartition(".")[2] not in MAMBA_KERNEL]
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=linear,
        target_parameters=sorted({name.partition(".layers.")[2].partition(".")[2] or name for name in stacked}) or None,
    )
    wrapped = peft.get_peft_model(model, config).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.15)
    return wrapped


def change(model: Any, embeddings: bool) -> None:
    """Add something of rank 4 to the weight of every Linear layer and fused expert, or of every embedding and one layer."""
    import torch

    generator, linear = torch.Generator().manual_seed(2), False
    seen = (
        {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
        if not embeddings
        else set()
    )
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        plain = isinstance(module, torch.nn.Linear | torch.nn.Embedding) or type(module).__name__ == "Conv1D"
        for leaf, weight in own.items():
            if id(weight) in seen or not (
                (plain and leaf == "weight") or (weight.ndim == 3 and "expert" in name + leaf)
            ):
                continue
            if embeddings and linear and not isinstance(module, torch.nn.Embedding):
                continue
            linear = linear or not isinstance(module, torch.nn.Embedding)
            seen.add(id(weight))
            shape = weight.shape
            left = torch.randn(*shape[:-1], 4, generator=generator)
            right = torch.randn(*shape[:-2], 4, shape[-1], generator=generator)
            update = 0.05 * left @ right
            padding = getattr(module, "padding_idx", None)
            if padding is not None:  # which transformers sets to zero when it loads some of them
                update[padding] = 0
            with torch.no_grad():
                weight.add_(update)


def check_fuse(name: str, folder: Path) -> str:
    cls = named(name)
    model = cls.from_pretrained(folder / "base").eval()
    wrapped = adapted(model)
    wrapped.save_pretrained(folder / "lora")
    return fused(wrapped, cls, folder, "lora")


def check_extract(name: str, folder: Path, embeddings: bool = False) -> str:
    import peft

    import adapterops as ao

    cls = named(name)
    tuned = cls.from_pretrained(folder / "base").eval()
    change(tuned, embeddings)
    shutil.rmtree(folder / "tuned", ignore_errors=True)
    shutil.rmtree(folder / "extracted", ignore_errors=True)
    tuned.save_pretrained(folder / "tuned")
    tuned = cls.from_pretrained(folder / "tuned").eval()
    found = ao.extract(ao.open_checkpoint(folder / "tuned"), ao.open_checkpoint(folder / "base"), rank=8)
    ao.save_adapter(found, folder / "extracted")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = peft.PeftModel.from_pretrained(cls.from_pretrained(folder / "base"), folder / "extracted").eval()
    left = [
        str(each.message)
        for each in caught
        if "missing" in str(each.message) or "unexpected" in str(each.message).lower()
    ]
    if left:
        return f"wrong: PEFT says {left[0][:300]}"
    return verdict(far(tuned, loaded))


def check_head(name: str, folder: Path) -> str:
    """An adapter on the output embedding alone, which the base may share with others."""
    import peft
    import torch

    cls = named(name)
    model = cls.from_pretrained(folder / "base").eval()
    head = next((each for each, module in model.named_modules() if module is model.get_output_embeddings()), None)
    if head is None or answer(model) is None or head in passed(model):
        return "none"
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, target_modules=[head])).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for each, parameter in wrapped.named_parameters():
            if "lora_" in each:
                parameter.normal_(std=0.15)
    wrapped.save_pretrained(folder / "head", save_embedding_layers=False)
    return fused(wrapped, cls, folder, "head")


def check_back(name: str, folder: Path) -> str:
    """The embeddings that were extracted, fused again."""
    cls = named(name)
    return fused(cls.from_pretrained(folder / "tuned").eval(), cls, folder, "extracted")


def fused(expected: Any, cls: Any, folder: Path, adapter: str) -> str:
    """An adapter fused and verified by us, against a model."""
    import adapterops as ao

    base, lora, out = (
        ao.open_checkpoint(folder / "base"),
        ao.open_adapter(folder / adapter),
        folder / f"fused {adapter}",
    )
    ao.save_checkpoint(ao.fuse(base, lora), out)
    found = verdict(far(cls.from_pretrained(out).eval(), expected))
    verified = ao.verify(ao.open_checkpoint(out), base, lora)
    problems = "; ".join(f"{each.place} {each.what}" for each in verified.problems[:2])
    return f"unverified: {problems}" if problems and found == "yes" else found


def verdict(distance: float) -> str:
    return "yes" if distance <= TOLERANCE else f"wrong by {distance:.2g}"


def check(kind: str, model_type: str, name: str) -> dict[str, str]:
    """One row of the table."""
    from adapterops.errors import AdapterOpsError

    row = {"kind": kind, "type": model_type, "class": name}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            build(name).save_pretrained(folder / "base")
            cls = named(name)
            cls.from_pretrained(folder / "base").save_pretrained(
                folder / "base"
            )  # padding is zero in some, once loaded
            if far(*(cls.from_pretrained(folder / "base").eval() for _ in range(2))) > TOLERANCE:
                raise ValueError("is another model each time it is loaded, or answers at random")
        except Exception as error:  # the row says what it was
            return {**row, "built": f"{type(error).__name__}: {error}"[:200]}
        for what, judged in (
            ("fuse", check_fuse),
            ("extract", check_extract),
            ("embeddings", partial(check_extract, embeddings=True)),
            ("back", check_back),
            ("head", check_head),
        ):
            try:
                row[what] = judged(name, folder)
            except AdapterOpsError as error:
                row[what] = f"refused: {error}"[:1500]
            except TimeoutError:
                row[what] = "time"
            except Exception as error:  # the row says what it was
                row[what] = f"error: {type(error).__name__}: {error}"[:1500]
    return row


def work(names: list[str], rows: Path) -> None:
    """The rows of some classes, added to a file one after the other."""
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    for each in [each for each in classes() if each[2] in names]:
        signal.alarm(SECONDS)
        try:
            row = check(*each)
        except TimeoutError:
            row = {"kind": each[0], "type": each[1], "class": each[2], "built": "time"}
        signal.alarm(0)
        add(row, rows)


def add(row: dict[str, str], rows: Path) -> None:
    with rows.open("a") as file:
        file.write("\n" + json.dumps(row) + "\n")  # the line before may have been cut off


def known(rows: Path) -> list[dict[str, str]]:
    """The rows in a file, without lines that a kill cut off."""
    found = []
    for line in rows.read_text().splitlines() if rows.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def chosen() -> list[tuple[str, str, str]]:
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    return [each for each in classes() if not names or each[1] in names or each[2] in names]


MISSING = re.compile(r"Not built at that size, or not the same when loaded twice: (.*)\.\n")
WHAT = ("fuse", "extract", "embeddings", "back", "head")
INTRODUCTION = """# Architectures

Every causal, masked, sequence-to-sequence and vision-language class of transformers {version} that could be built with a
few thousand parameters, judged by PEFT {peft} and transformers themselves. Written by `benchmarks/architectures.py`
(`make bench-architectures`).

- **fuse**: LoRA that PEFT puts on every Linear layer and on fused experts, fused and verified here, against PEFT's own
  model.
- **extract**: a change of every Linear layer and expert, extracted here and loaded by PEFT, against the changed model.
- **embeddings**: the same with every embedding and one Linear layer changed.
- **back**: what was extracted of these, fused and verified here, against the changed model.
- **head**: LoRA that PEFT puts on the output embedding alone, fused and verified here, against PEFT's own model.

Two models are compared by their logits for some words, where they have any, and by all parameters, with what PEFT adds to
them: words do not reach the towers that see and hear.

*refused* is an error that names the tensor. *PEFT* is an error of PEFT's or transformers' own. *none*: the class has no
output embedding, or needs more than tokens. *unverified*: what is fused is right, and `verify`, which does not share the
names that `fuse` knows, does not say so. That and *wrong* are defects.

What a model shares (output and input embedding, mostly) is in its files once. An adapter on one end makes every end a
tensor of its own in the fused model, and config.json says so; `adapterops/formats/models/tables/tied.txt` has the ends of each class.
T5 and its kin have no such config, and an adapter on one of their ends is refused.

Mamba and Falcon-Mamba (`dt_proj`), NeoMME (`unembedding_projection`) and the attention of torch in SigLIP's head (`out_proj`)
read the weight of a Linear layer without calling it. PEFT's LoRA does nothing there until it is merged, so that PEFT
merged and PEFT unmerged are two models: `fuse` gives the merged one, `extract` stores such a weight whole, and the LoRA
of this table leaves it out.

PEFT cannot load its own LoRA on the shared experts of Laguna and on the action layers of PI0, since it renames them twice;
`extract` stores these whole, too, and `--base` refuses LoRA on them.

{totals}

| model type | class | fuse | extract | embeddings | back | head |
|---|---|---|---|---|---|---|
"""


def write(rows: list[dict[str, str]]) -> None:
    """The table of all rows."""
    import peft
    import transformers

    built = sorted((row for row in rows if "built" not in row), key=lambda row: (row["type"], row["class"]))
    totals = []
    for what in WHAT:
        words = [short(row[what]).split(" by")[0] for row in built]
        totals.append(
            f"- {what}: " + ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words), reverse=True))
        )
    missing = ", ".join(sorted({row["type"] for row in rows if "built" in row}))
    head = INTRODUCTION.format(version=transformers.__version__, peft=peft.__version__, totals="\n".join(totals))
    lines = [
        f"| {row['type']} | {row['class']} | " + " | ".join(short(row[what]) for what in WHAT) + " |" for row in built
    ]
    TABLE.write_text(
        head
        + "\n".join(lines)
        + f"\n\nNot built at that size, or not the same when loaded twice: {missing}.\n\n## Why it is refused\n\n"
        + "\n".join(reasons(built))
        + "\n"
    )


REASONS = {
    r"other pieces than the files|in which rows is not known"
    r"|divides it differently from the files": "transformers makes the weight of other tensors when it "
    "loads the files (one matrix for q, k and v, mostly), and which rows are which is not known here. PEFT merges such an "
    "adapter: `merge_and_unload`; instead of `extract`, use the tuned model.",
    r"no weight that LoRA can hold changed": "nothing but embeddings changed, and tensors of the first kind: no LoRA can be made of that.",
    r"several depths": "a layer is used at several depths, and its weights are in the files once. Run the adapter with "
    "PEFT, next to its base: what PEFT merges is another model, too.",
    r"which is not handled|can hold this parameter\n|can hold this parameter$": "a parameter of experts is not "
    "`gate_up_proj`, `up_proj` or `down_proj`, or is one of shared experts. PEFT "
    "merges the adapter; instead of `extract`, use the tuned model.",
    r"is tied to other tensors": "the output embedding is tied to others, and no config can say that it is not. Load the "
    "adapter with PEFT, which unties the model; or train without LoRA on it.",
    r"PEFT renames it to": "PEFT renames the parameter of experts twice when it loads an adapter, and leaves it out. Use the tuned model "
    "instead of `extract`.",
    r"does not exist": "nothing was extracted that could be fused again.",
}
"""What an error says → why that is so, and what goes on."""


def reasons(rows: list[dict[str, str]]) -> list[str]:
    """The refusals by their reason, as lines of a list."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for what in WHAT:
            if row[what].startswith("refused"):
                reason = next((why for said, why in REASONS.items() if re.search(said, row[what])), row[what][9:])
                reason = reason[0].upper() + reason[1:]
                found.setdefault(reason, {}).setdefault(row["type"], []).append(what)
    return [
        f"- {reason} " + ", ".join(f"{each} ({', '.join(dict.fromkeys(whats))})" for each, whats in types.items())
        for reason, types in sorted(found.items(), key=lambda each: -len(each[1]))
    ]


REASON = re.compile(r"^- (.*?) ((?:[\w.-]+ \([a-z, ]+\)(?:, )?)+)$", re.M)
"""A line of `reasons`: the reason, and the types with what was refused of each."""


def standing() -> list[dict[str, str]]:
    """The rows of the table as it is; a refusal says its reason, which is in the list below the table."""
    text = TABLE.read_text()
    why = {
        (model_type, what): reason
        for reason, types in REASON.findall(text)
        for model_type, whats in re.findall(r"([\w.-]+) \(([a-z, ]+)\)", types)
        for what in whats.split(", ")
    }
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    rows = [dict(zip(("type", "class", *WHAT), each, strict=True)) for each in cells]
    for row in rows:
        row |= {what: f"refused: {why[row['type'], what]}" for what in WHAT if row[what] == "refused"}
    return rows


def short(found: str) -> str:
    word = found.partition(":")[0]
    return "PEFT" if word == "error" else word


def main() -> None:
    stated = [word.partition("=")[2] for word in sys.argv if word.startswith("--rows=")]
    rows_file = Path(stated[0] if stated else tempfile.gettempdir() + "/architectures.jsonl")
    every, begin = chosen(), time.time()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    while left := [each for each in every if each[2] not in {row["class"] for row in known(rows_file)}]:
        those = [name for _, _, name in left[:CHUNK]]
        command = [sys.executable, __file__, f"--work={','.join(those)}", f"--rows={rows_file}"]
        before = len(known(rows_file))
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdout=subprocess.DEVNULL, timeout=CHUNK * SECONDS, env=environment, check=False)
        found = known(rows_file)
        if len(found) - before < len(those):  # the process ended in one that it has no row of
            done = {row["class"] for row in found}
            kind, model_type, name = next(each for each in left if each[2] not in done)
            add({"kind": kind, "type": model_type, "class": name, "built": "the process ended"}, rows_file)
        for row in found[before:]:
            print(json.dumps(row), flush=True)
        print(f"{len(known(rows_file))} of {len(every)}, {time.time() - begin:.0f} s", file=sys.stderr)
    rows = [row for row in known(rows_file) if row["class"] in {each[2] for each in every}]
    if "--update" in sys.argv:  # the rows of some classes, in the table that stands
        done, types = {row["class"] for row in rows}, {row["type"] for row in rows}
        rows += [row for row in standing() if row["class"] not in done]
        missing = MISSING.search(TABLE.read_text())[1].split(", ")
        rows += [{"type": each, "built": ""} for each in missing if each not in types]
    if every == classes() or "--update" in sys.argv:
        write(rows)
    rows_file.unlink()


if __name__ == "__main__":
    listed = [word.partition("=")[2].split(",") for word in sys.argv if word.startswith("--work=")]
    if listed:
        work(listed[0], Path(next(word.partition("=")[2] for word in sys.argv if word.startswith("--rows="))))
    else:
        main()
