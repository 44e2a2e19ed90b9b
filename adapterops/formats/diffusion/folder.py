"""The format of image and video adapters: one safetensors file, whose names and header say all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops.arrays.dtypes import FLOATS
from adapterops.errors import AdapterOpsError, AdapterWarning, InputError, UnsupportedError, at
from adapterops.formats.adapter_files import CONFIG, AdapterFiles
from adapterops.formats.adapter_files import WEIGHTS as PEFT_WEIGHTS
from adapterops.formats.diffusion import headers
from adapterops.formats.diffusion.convolutions import with_kernels
from adapterops.formats.diffusion.flat import flat
from adapterops.formats.diffusion.layers import check_wrapped
from adapterops.formats.diffusion.scales import scaling_of_each
from adapterops.formats.diffusion.spellings import (
    LANGUAGE,
    OF_IMAGES,
    SET,
    check_handled,
    check_one_adapter,
    is_of_images,
    is_own,
    is_underscored,
    parse,
)
from adapterops.formats.diffusion.trained import warn_of_training
from adapterops.formats.diffusion.written import (
    COMPONENT,
    component_of,
    dotted,
    halves,
    in_pipeline,
    of_no_layer,
    single,
    underscored,
)
from adapterops.formats.further import further_weights
from adapterops.formats.kernels import as_kernels, entries, kernel_shapes
from adapterops.formats.kinds import are_of_adapter
from adapterops.formats.magnitudes import of_outputs
from adapterops.formats.models.wrappers import unwrapped
from adapterops.formats.others import TUNED, check_no_other
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.files import has_config
from adapterops.formats.peft.header import EMBEDDED
from adapterops.formats.peft.parts import Parts, parts_of
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.regex import Regex
from adapterops.storage.fp8 import in_floats
from adapterops.storage.place import Place
from adapterops.storage.tensors import Entry, Spec, Stored, TensorFile, no_numbers
from adapterops.updates.layout import BY_INPUTS, BY_OUTPUTS, DIFFERENCE, LORA_BIAS, Layout, magnitudes_of

if TYPE_CHECKING:
    from adapterops.formats.registry import Factors
    from adapterops.storage.writer import Tensors
    from adapterops.updates.protocol import Array

WRITTEN = "lora.safetensors"
"""What is written."""

DIFFUSERS = "pytorch_lora_weights.safetensors"
"""What diffusers calls the file in a folder."""

DOTTED = Regex(r"lora_(unet|transformer|te\d?)\.")
"""kohya's prefixes before names that have kept their dots (ai-toolkit's text encoders), which ComfyUI does not know."""


@dataclass(frozen=True)
class Diffusion:
    """What kohya, LyCORIS, diffusers, ai-toolkit, musubi, SimpleTuner and others save for image and video models.

    Attributes:
        name: `kohya` has underscores for dots; `diffusers` the component of a pipeline first, and no alpha, in the
            factors that it calls `lora_A` and `lora_B`; all else is `comfy`.
        summary: whose files these are, for people.
    """

    name: str
    summary: str

    @property
    def file(self) -> str:
        return DIFFUSERS if self.name == "diffusers" else WRITTEN

    def claims(self, place: Place) -> bool:
        try:
            weights = _weights(place)
            file = place.open(weights) if weights else None
            names = file.entries if file else {}
            own = file is not None and is_own(names, file.metadata, has_config(place, file.path))
        except AdapterOpsError:
            return False  # whoever reads it says what is wrong
        own = own or (weights is not None and (weights.name == DIFFUSERS or (place.folder and weights.name == WRITTEN)))
        return own and _spelled(names) == self.name

    def stands(self, files: AdapterFiles) -> bool:
        """Whether the program applies a file as it is read here: of plain entries of a header diffusers takes no scale."""
        if self.name != "diffusers":
            return True
        metadata = files.file.metadata
        scaled = any(each.scale != 1 for each in files.scalings.values())
        return not headers.untargeted(metadata, files.file.entries) and (EMBEDDED in metadata or not scaled)

    def read(self, place: Place, alpha: float | None) -> AdapterFiles:
        weights = _weights(place)
        assert weights is not None
        file = in_floats(place.open(weights))
        with at(path=weights):
            _check_updates(file.entries)
            modules = _modules(file.entries)
            for parts in modules.values():
                for name in parts.tensors.values():
                    if file.entries[name].dtype not in FLOATS:
                        raise no_numbers(file.entries[name].dtype, weights, name)
            known = scaling_of_each(file, modules, alpha)
            warn_of_training(file, modules)
            _warn_of_no_scale(file, modules, alpha)
        config = AdapterConfig(format=self.name, metadata=headers.kept(file.metadata), prefixed=True)
        further = further_weights(place, weights)
        return AdapterFiles(file, (weights,), config, modules, known, {}, alpha, further=further)

    def arranged(
        self, layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored], dtype: str | None
    ) -> Arrangement:
        """Factors, and an alpha that is the rank, so that the scale is 1; diffusers has none, and takes that for 1, too. What
        has no factors, a difference of a whole tensor, a bias of LoRA or a magnitude vector of DoRA, is one tensor.
        """
        _check_held(layout, config, full, self.name)
        if config.component is None:  # no base has said which kernels there are
            layout = with_kernels(layout, needed=self.name != "comfy")
        component = component_of(layout) if config.component is None else config.component
        named = partial(NAMED[self.name], component=component)
        own = {module: self._stored(module, each, named) for module, each in layout.items()}
        if self.name == "diffusers":
            own |= {
                name: {f"{named(module)}.{BY_OUTPUTS}": shape} for name, (module, shape) in of_outputs(layout).items()
            }
        _check_distinct(own)
        dtypes = {module: dtype or each.dtype for module, each in layout.items()}
        tensors = {name: Spec(dtypes[module], shape) for module, each in own.items() for name, shape in each.items()}
        called = {module: named(module) for module, each in layout.items() if not self._single(each)}
        alphas = {} if self.name == "diffusers" else {module: f"{start}.alpha" for module, start in called.items()}

        def joined(module: str, factors: Mapping[str, Factors]) -> tuple[dict[str, Array], int]:
            import numpy as np

            A, B = factors[module]
            if module not in called:
                ((name, shape),) = own[module].items()
                return {name: entries(A, B, dtypes[module]).reshape(shape)}, len(A)
            found = dict(zip(own[module], as_kernels(A, B, layout[module]), strict=True))
            return found | ({alphas[module]: np.full(1, len(A), "float32")} if alphas else {}), len(A)

        def metadata(ranks: Mapping[str, int], stored: Tensors) -> dict[str, str]:
            known = {called[module]: rank for module, rank in ranks.items() if module in called}
            return headers.WRITTEN[self.name](config.metadata, known, stored)

        return Arrangement(
            self.file,
            {module: [module] for module in layout},
            dtypes,
            tensors | dict.fromkeys(alphas.values(), Spec("F32", (1,))),
            {},
            joined,
            lambda ranks: {},
            metadata=metadata,
            room=headers.room(config.metadata, {called[module]: layout[module].rank for module in called}),
        )

    def _stored(self, module: str, layout: Layout, named: Callable[[str], str]) -> dict[str, tuple[int, ...]]:
        """The tensors that a module is, and the largest that they can be: A and B, or one."""
        if layout.kind == LORA_BIAS and self.name == "diffusers":
            return {f"{named(module.removesuffix('.bias'))}.lora_B.bias": (layout.shape[1],)}
        if self._single(layout):
            name, shape = single(module, layout, named, parameters=self.name == "comfy")
            return {name: shape}
        start = named(module)
        ends = ("lora_down", "lora_up") if self.name == "kohya" else ("lora_A", "lora_B")
        names = halves(start) if self.name == "comfy" else [f"{start}.{end}.weight" for end in ends]
        return dict(zip(names, kernel_shapes(layout), strict=True))

    def _single(self, layout: Layout) -> bool:
        """Whether a module is stored as one tensor; diffusers has matrices as factors, one of which is the identity."""
        return layout.dense and (layout.shape[0] == 1 or (layout.kind == DIFFERENCE and self.name != "diffusers"))


NAMED = {"kohya": underscored, "comfy": dotted, "diffusers": in_pipeline}
"""What a module is called in a format."""


def _spelled(names: Collection[str]) -> str:
    """The format that has such names."""
    if any(map(is_underscored, names)):
        return "kohya"
    own = all(COMPONENT.match(name) and not name.endswith((".alpha", f".{SET}")) for name in names)
    return "diffusers" if own else "comfy"


def _check_held(layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored], name: str) -> None:
    """Raise UnsupportedError for what these files cannot hold, or what is not written to them."""
    task = config.fields.get("task_type")
    if task in LANGUAGE:
        raise UnsupportedError(
            f"the adapter is of a language model (task_type {task}), and this format is of image and video models",
            hint="--to peft, mlx and gguf are for language models",
        )
    model = config.model or {}
    if "transformers_version" in model and "auto_map" not in model and not any(map(is_of_images, layout)):
        raise UnsupportedError(
            f"the modules are those of a {model.get('model_type')} by itself, and this format is of image and video models",
            hint="write PEFT's format; of a text encoder convert that, with its pipeline as --base and as its --component",
        )
    if name == "diffusers":
        check_wrapped(layout, "diffusers")
    single = {module for module, each in layout.items() if each.dense and each.shape[0] == 1}
    lone = {each for each in layout if layout[each].kind == LORA_BIAS and each.removesuffix(".bias") not in layout}
    vectors = sorted(each for each in single - magnitudes_of(layout).keys() if layout[each].kind != LORA_BIAS)
    differences = {**dict.fromkeys(vectors, "a vector"), **of_no_layer(layout)} if name == "diffusers" else {}
    cannot = {
        **(dict.fromkeys(lone, "a bias of LoRA without its module") if name == "diffusers" else {}),
        **{module: f"a difference of {what}" for module, what in differences.items()},
        **dict.fromkeys(config.experts, "a parameter of experts"),
    }
    for tensor in full:
        raise UnsupportedError(
            f"is a full tensor, which the format {name} does not have",
            tensor=tensor,
            hint="name the model with --base: what is written then is its difference; or fuse the adapter into its base",
        )
    for tensor, what in cannot.items():
        raise UnsupportedError(
            f"is {what}, which the format {name} does not have", tensor=tensor, hint="fuse the adapter into its base"
        )


def _check_distinct(own: Mapping[str, Collection[str]]) -> None:
    """Raise UnsupportedError where two modules would be written under one name."""
    first: dict[str, str] = {}
    for module, names in own.items():
        for name in names:
            if (other := first.setdefault(name, module)) != module:
                raise UnsupportedError(
                    f"and {other} would both be {name}",
                    tensor=module,
                    hint="write each model of the pipeline by itself",
                )


def _weights(place: Place) -> Path | None:
    if not place.folder:
        return place.path
    if any(place.has(place.path / name) for name in (CONFIG, PEFT_WEIGHTS)):
        return None
    return next((place.path / name for name in (DIFFUSERS, WRITTEN) if place.has(place.path / name)), None)


def _check_updates(entries: Collection[str]) -> None:
    """Raise InputError or UnsupportedError for what are no tensors of an adapter."""
    check_no_other(entries)
    if not are_of_adapter(entries):
        raise InputError(
            "is a model, where an adapter is expected",
            hint=TUNED,
            code="E-MODEL",
        )


def _modules(entries: Mapping[str, Entry]) -> dict[str, Parts]:
    """The arrays of every module, by its name without what trainers put around a model."""
    check_handled({name: len(entry.shape) for name, entry in sorted(entries.items())})
    check_one_adapter(entries)
    found: dict[str, dict[str, str]] = {}
    for name in sorted(entries):
        module, role = parse(name, entries[name].shape)
        roles = found.setdefault(_plain(module), {})
        if role in roles:
            raise InputError(
                f"is the same module's {role} as {roles[role]}",
                tensor=name,
                hint="keep one of the two, the one that was trained",
                code="E-KEY",
            )
        roles[role] = name
    return {module: parts_of(module, roles, entries) for module, roles in sorted(_gathered(found).items())}


SCALES = {"alpha", BY_OUTPUTS, BY_INPUTS}
"""What a module has next to its factors."""


def _gathered(found: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Modules whose alpha or magnitudes are spelled in another way than their factors (`attn1_to_q`, `attn1.to_q.alpha`)."""
    own = {flat(module): roles for module, roles in found.items() if not roles.keys() <= SCALES}
    for module in [module for module, roles in found.items() if roles.keys() <= SCALES]:
        if (roles := own.get(flat(module))) and roles.keys().isdisjoint(found[module]):
            roles |= found.pop(module)
    return found


def _plain(module: str) -> str:
    """
    >>> _plain("base_model.model.blocks.0.attn.wq"), _plain("unet.base_model.model.mid_block.conv")
    ('blocks.0.attn.wq', 'unet.mid_block.conv')
    >>> _plain("lora_te2.text_model.fc1"), _plain("lora_unet.blocks.0.attn.wq"), _plain("lora_unet.mid_block.conv")
    ('text_encoder_2.text_model.fc1', 'diffusion_model.blocks.0.attn.wq', 'unet.mid_block.conv')
    """
    if found := DOTTED.match(module):
        part, inner = found[1], module[found.end() :]
        number = part.removeprefix("te").replace("1", "")
        named = {"transformer": part, "unet": component_of([inner]) or "diffusion_model"}
        module = f"{named.get(part) or '_'.join(filter(None, ('text_encoder', number)))}.{inner}"
    component, _, inner = module.partition(".")
    return f"{component}.{unwrapped(inner)}" if inner.startswith("base_model.") else unwrapped(module)


def _warn_of_no_scale(file: TensorFile, modules: Mapping[str, Parts], alpha: float | None) -> None:
    """Warn where PEFT would have a config that says the scale, and nothing here does."""
    stated = alpha is not None or any(parts.alpha for parts in modules.values()) or "alpha" in str(file.metadata)
    if not stated and any(name.startswith("base_model.model.") for name in file.entries):
        warnings.warn(
            f"{file.path.name}: has PEFT's names and no config that states a scale: 1 is taken, as ComfyUI and diffusers do;"
            f" --alpha gives another",
            AdapterWarning,
            stacklevel=2,
        )


SUMMARIES = {
    "kohya": "What kohya, LyCORIS, musubi-tuner and OneTrainer save for image and video models: names with underscores for dots.",
    "comfy": "What ai-toolkit, diffusion-pipe and DiffSynth save for image and video models, and ComfyUI loads: names with dots.",
    "diffusers": "What diffusers, SimpleTuner and OneTrainer save for image and video models: a part of a pipeline, and names with dots.",
}

for name in OF_IMAGES:
    FORMATS.add(name, Diffusion(name, SUMMARIES[name]))
