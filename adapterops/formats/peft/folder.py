"""PEFT's format: a folder with adapter_model.safetensors and adapter_config.json, or a file of such tensors."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adapterops.errors import AdapterOpsError, AdapterWarning, IncompatibleError, UnsupportedError, count, listed
from adapterops.formats.adapter_files import CONFIG, WEIGHTS, AdapterFiles
from adapterops.formats.diffusion.flat import inner_names
from adapterops.formats.diffusion.layers import check_wrapped
from adapterops.formats.diffusion.spellings import LANGUAGE, check_dotted, is_own
from adapterops.formats.diffusion.written import of_no_layer
from adapterops.formats.kernels import Shape, as_kernels, entries, kernel_shapes
from adapterops.formats.magnitudes import of_outputs
from adapterops.formats.models.naming import last
from adapterops.formats.models.vocabulary import TOKEN_ROWS
from adapterops.formats.models.wrappers import held, holder
from adapterops.formats.peft.attentions import check_written
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.files import has_config, read_files
from adapterops.formats.peft.keys import BIAS, PREFIX, Key, render, updates
from adapterops.formats.peft.loaded import misnamed, taken_for_experts
from adapterops.formats.peft.written import write_config
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.formats.spelling import CODE
from adapterops.formats.stacks import is_single_expert, keys, padded, shapes, stacked_factors, stacks
from adapterops.storage.place import Place
from adapterops.storage.tensors import Spec, Stored
from adapterops.updates.layout import BY_OUTPUTS, Layout, widest

if TYPE_CHECKING:
    from adapterops.formats.registry import Factors
    from adapterops.updates.protocol import Array


class Peft:
    """What PEFT saves and loads."""

    file = WEIGHTS

    def claims(self, place: Place) -> bool:
        if place.folder:
            return place.has(place.path / WEIGHTS) or any(place.has(inner / WEIGHTS) for inner in place.entries())
        try:
            file = place.open(place.path)
            own = is_own(file.entries, file.metadata, has_config(place, place.path))
            return any(map(updates().fullmatch, file.entries)) and not own
        except AdapterOpsError:
            return False  # whoever reads it says what is wrong

    def read(self, place: Place, alpha: float | None) -> AdapterFiles:
        return read_files(place, alpha)

    def arranged(
        self, layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored], dtype: str | None
    ) -> Arrangement:
        """The experts of one parameter are one group: PEFT has one rank for all. Those in `config.reversed` have factors of
        the transposed update.

        Experts that are modules of their own all get one rank, too: transformers 5 has them in one parameter, and PEFT
        stacks what it loads.
        """
        for module in layout:
            check_dotted(module)
        check_written(layout)
        check_wrapped(layout, "PEFT")
        names = _lone(layout, config)
        if any(module != name for module, name in names.items()):
            if full:
                raise UnsupportedError(
                    "is a full tensor of one model of a pipeline, for which only updates are written by the names of that model alone",
                    tensor=next(iter(full)),
                    hint="leave --base out; or fuse it: adapterops fuse BASE ADAPTER",
                )
            renamed = {name: layout[module] for module, name in names.items()}
            return _under(names, self.arranged(renamed, config, full, dtype))
        _check_inside(layout, config)
        stacked = _stacked(layout, config)
        dtypes = {
            stack: dtype or widest([each.dtype for each in layouts]) for stack, layouts in stacked.layouts.items()
        }
        copied = {_full_name(tensor, layout, full): stored for tensor, stored in full.items()}

        def joined(stack: str, factors: Mapping[str, Factors]) -> tuple[dict[str, Array], int]:
            return stacked.joined(dtypes[stack], stack, factors)

        def documents(ranks: Mapping[str, int]) -> dict[str, Any]:
            kept = replace(config, experts=stacked.experts)
            if len(ranks) < len(stacked.groups):
                kept = replace(kept, targets=None, target_parameters=None)
            factors = {stack: each for stack, each in ranks.items() if stack not in stacked.vectors}
            fields = write_config(kept, factors, full, stacked.rank if stacked.single else None)
            return {CONFIG: dict(sorted({**fields, **({"use_dora": True} if stacked.vectors else {})}.items()))}

        specs = stacked.specs(dtypes) | {name: stored.spec for name, stored in copied.items()}
        return Arrangement(WEIGHTS, stacked.groups, dtypes, specs, copied, joined, documents)


@dataclass(frozen=True)
class _Stacked:
    """The modules of an adapter by what PEFT stores as one.

    Attributes:
        groups: stack → its modules; `layouts` are theirs, as they are stored.
        transposed: the stacks that have factors of the transposed update.
        experts: the stacks of experts of one parameter → how many there are.
        single: those of experts that are modules, all of which have `rank`.
        biases: those that are biases of LoRA.
        vectors: those that are magnitude vectors of DoRA → their key, and the shape that they have there.
        embeddings: those that have A of the transposed weight as their B, and B as their A.
    """

    groups: Mapping[str, Sequence[str]]
    layouts: Mapping[str, Sequence[Layout]]
    transposed: frozenset[str]
    experts: Mapping[str, int]
    single: Collection[str]
    rank: int
    biases: Collection[str]
    vectors: Mapping[str, tuple[str, tuple[int, ...]]]
    embeddings: Collection[str]

    def specs(self, dtypes: Mapping[str, str]) -> dict[str, Spec]:
        """The tensors, and the largest that each can get."""
        found = {
            key: Spec(dtypes[stack], shape[::-1] if stack in self.embeddings else shape)
            for stack in self.groups
            if stack not in self.biases and stack not in self.vectors
            for key, shape in zip(self._keys(stack), self._shapes(stack), strict=True)
        }
        found |= {key: Spec(dtypes[name], shape) for name, (key, shape) in self.vectors.items()}
        adapted = self.layouts.keys() - self.biases - self.vectors.keys()
        heights = {stack: each[0].shape[0] for stack, each in self.layouts.items() if stack in adapted}
        of_biases = {stack: dtypes.get(f"{stack}.bias", dtypes[stack]) for stack in heights if self.biases}
        return found | {_bias(stack): Spec(dtype, (heights[stack],)) for stack, dtype in of_biases.items()}

    def joined(self, dtype: str, stack: str, factors: Mapping[str, Factors]) -> tuple[dict[str, Array], int]:
        """The tensors of a stack, which are stored in `dtype`, and its rank."""
        import numpy as np

        if stack in self.transposed:
            factors = {module: (B.T, A.T) for module, (A, B) in factors.items()}
        A, B, own = stacked_factors(stack, factors, self.experts)
        if stack in self.biases:
            return {_bias(stack.removesuffix(".bias")): entries(A, B, dtype)[0]}, 1
        if stack in self.vectors:
            key, shape = self.vectors[stack]
            return {key: entries(A, B, dtype).reshape(shape)}, 1
        if self.biases and not own:
            A, B, own = *padded(A, B, 1), 1  # what its bias belongs to
        if stack in self.single:
            A, B, own = *padded(A, B, self.rank), self.rank
        elif stack not in self.experts:
            A, B = as_kernels(A, B, self.layouts[stack][0])
        if stack in self.embeddings:
            A, B = A.T, B.T
        without = self.biases and f"{stack}.bias" not in self.groups
        zeros = {_bias(stack): np.zeros(len(B), B.dtype)} if without else {}
        return {**dict(zip(self._keys(stack), (A, B), strict=True)), **zeros}, own

    def _shapes(self, stack: str) -> tuple[Shape, Shape]:
        layouts = self.layouts[stack]
        return shapes(stack, layouts, self.experts) if stack in self.experts else kernel_shapes(layouts[0])

    def _keys(self, stack: str) -> tuple[str, str]:
        """The names of A and B."""
        if stack not in self.embeddings:
            return keys(stack, self.experts)
        return render(Key(stack, "lora_embedding_B", end="")), render(Key(stack, "lora_embedding_A", end=""))


def _stacked(layout: Mapping[str, Layout], config: AdapterConfig) -> _Stacked:
    """What PEFT stores as one, and which of that is stored otherwise than its modules are."""
    groups = stacks(layout, config.experts)
    layouts = {stack: [layout[module] for module in group] for stack, group in groups.items()}
    transposed = config.reversed & layouts.keys()
    layouts |= {stack: [replace(each, shape=each.shape[::-1]) for each in layouts[stack]] for stack in transposed}
    experts = {
        stack: count for stack, count in config.experts.items() if any(each.rank for each in layouts.get(stack, ()))
    }
    single = {stack for stack in groups if stack not in experts and is_single_expert(stack)}
    rank = max((each.rank for stack in single for each in layouts[stack]), default=0)
    layouts |= {stack: [replace(each, rank=rank) for each in layouts[stack]] for stack in single}
    vectors = {
        name: (render(Key(module, BY_OUTPUTS, end="")), shape)
        for name, (module, shape) in of_outputs(layout, config.embeddings).items()
    }
    biases = _biases(layout)
    if without := biases and sorted(groups.keys() & {*experts, *config.embeddings}):
        what = "a parameter (target_parameters)" if without[0] in experts else "an embedding"
        raise UnsupportedError(
            f"is {what}, other layers have biases (lora_bias), and PEFT has the two in no one adapter",
            tensor=without[0],
            hint="fuse the adapters into their base, one call for all: adapterops fuse BASE A B",
        )
    return _Stacked(groups, layouts, transposed, experts, single, rank, biases, vectors, config.embeddings)


def _lone(layout: Collection[str], config: AdapterConfig) -> dict[str, str]:
    """What each module is called in the one model that PEFT wraps, where that has another name for it.

    Raises:
        UnsupportedError: they are in several models of a pipeline.
    """
    if config.components:
        start = f"{config.components[0]}."
        if len(config.components) == 1 and all(module.startswith(start) for module in layout):
            return {module: module.removeprefix(start) for module in layout}
    return inner_names(layout) if config.components or config.prefixed else {}


def _under(names: Mapping[str, str], arranged: Arrangement) -> Arrangement:
    """The same for modules that the adapter calls otherwise: `names` has the name in PEFT of each."""
    own = {name: module for module, name in names.items()}

    def joined(stack: str, factors: Mapping[str, Factors]) -> tuple[dict[str, Array], int]:
        return arranged.joined(stack, {names[module]: each for module, each in factors.items()})

    groups = {stack: [own[name] for name in group] for stack, group in arranged.groups.items()}
    return replace(arranged, groups=groups, joined=joined)


def _biases(layout: Mapping[str, Layout]) -> set[str]:
    """The modules that are biases of LoRA: PEFT has one for each module, or none at all.

    Raises:
        UnsupportedError: one is the bias of a module without LoRA, which PEFT cannot hold, or a difference of another vector.
    """
    found = {module for module, each in layout.items() if module.endswith(".bias") and each.shape[0] == 1}
    others = of_no_layer(layout)
    lone = {module for module in found if module.removesuffix(".bias") not in layout.keys() - others.keys()}
    for module in sorted((others.keys() - found) | lone):
        what = f"a difference of {'a bias without LoRA on its layer' if module in found else others[module]}"
        raise UnsupportedError(
            f"is {what}, which PEFT cannot hold", tensor=module, hint="fuse the adapter into its base"
        )
    return found


def _bias(stack: str) -> str:
    return render(Key(stack, BIAS, end=".bias"))


def _check_inside(layout: Collection[str], config: AdapterConfig) -> None:
    """Raise IncompatibleError for names of a bare model where the config tells of one that makes words, around it, and for
    those of what a trainer held such a model in. Warn of what such a model may be held in, and of modules that PEFT takes for
    experts.

    PEFT loads none of them then, and only warns.
    """
    if taken := taken_for_experts(layout, config):
        warnings.warn(
            f"{taken[0]}: PEFT takes {listed(sorted(set(map(last, taken))), 3)} of a {config.base_class} for experts when it loads "
            f"LoRA on them, and leaves out {count(len(taken), 'module')}; name the model with --base, whose parameters are "
            "written then",
            AdapterWarning,
            stacklevel=4,
        )
    stated, task = config.base_class, config.fields.get("task_type")
    wrong = misnamed(layout, config)
    if wrong and len(wrong) == len(layout):
        first = next(iter(layout))
        begins = ".".join(first.split(".")[: 2 if held(first) else 1])
        raise IncompatibleError(
            f"begins with {begins!r}, and the adapter is of {stated or f'a model for {task}'}, which calls its layers "
            "otherwise: PEFT would load nothing of it",
            tensor=first,
            hint="name the model that it is for with --base, whose names are taken then; in Python with named_as",
            code=CODE,
        )
    if task in LANGUAGE and (outer := holder(layout)):
        warnings.warn(
            f"every module begins with {outer!r}, as those of no model of transformers for {task} do: PEFT loads them only "
            "in a model that has them under this name; name the model with --base, whose names are taken then",
            AdapterWarning,
            stacklevel=4,
        )


def _full_name(tensor: str, layout: Mapping[str, Layout], full: Collection[str]) -> str:
    """PEFT's name of a full tensor: those of an adapted module, and what is below replaced rows, are inside what wraps
    it.
    """
    module, _, role = tensor.rpartition(".")
    inside = (
        "token_adapter.base_layer." if f"{module}{TOKEN_ROWS}" in full else "base_layer." if module in layout else ""
    )
    return f"{PREFIX}{module}.{inside}{role}"


FORMATS.add("peft", Peft())
