"""mergekit's methods as formulas of task vectors: what each of its parameters is here.

What is random there is random here from other numbers; DARE and DELLA are divided by the fraction kept, where mergekit gives
every tensor its former L1 norm. All else is the same formula, in float32 where mergekit works in its `dtype`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapterops.errors import OptionError

TURNS, NEAR = 10, 1e-5
"""Turns of mergekit's iteration for karcher, and the step after which it ends: ours ends where no step is left."""


@dataclass(frozen=True)
class TensorGroup:
    """Tensors that share all parameters.

    Attributes:
        own: of the method.
        models: the name of each model → its parameters.
        called: the name of each model → what the recipe calls it.
    """

    own: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    called: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str) -> float:
        """A parameter of the method, as a number."""
        return _number(name, self.own[name])

    def truth(self, name: str) -> bool:
        """A parameter of the method that is true or false."""
        if not isinstance(value := self.own[name], bool):
            raise OptionError(f"{name} is {value!r}, expected true or false")
        return value

    def numbers(self, name: str) -> list[float]:
        """A parameter of every model."""
        return [
            _number(f"{name} of {self.called.get(model, model)}", each.get(name)) for model, each in self.models.items()
        ]


@dataclass(frozen=True)
class MergekitMethod:
    """A method of mergekit.

    Attributes:
        term: the formula of some tensors, of the models by the names that it is given for them; None where nothing is added.
        own, models: parameters of the method and of each model, with their defaults; None for one that has to be given.
        base: whether the models are compared with a base_model; otherwise the first of them is taken for it.
    """

    term: Callable[[TensorGroup, Sequence[str]], str | None]
    own: Mapping[str, Any]
    models: Mapping[str, Any]
    base: bool = True


def _number(name: str, value: Any) -> float:
    if value is None:
        raise OptionError(
            f"{name} is missing, and has no default in mergekit",
            hint=f"give it: parameters: {{{name.partition(' ')[0]}: NUMBER}}",
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"{name} is {value!r}, expected a number")
    return float(value)


def _call(function: str, adapters: Sequence[str], **parameters: Any) -> str:
    given = [f"{name}={_text(value)}" for name, value in parameters.items() if value is not None]
    return f"{function}({', '.join([*adapters, *given])})"


def _text(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def linear(group: TensorGroup, models: Sequence[str]) -> str | None:
    """The (weighted) mean of models: with the first as base that of the differences from it."""
    weights = group.numbers("weight")
    total = sum(weights)
    if not group.truth("normalize"):
        if abs(total - 1) > 1e-6:
            raise OptionError(
                f"normalize is false, and the weights add up to {total:g}: the model itself would be scaled",
                hint="give weights that add up to 1, or leave normalize out",
            )
        total = 1.0
    if not total:
        raise OptionError("the weights add up to 0, and are divided by their sum", hint="give other weights")
    return _call("linear", models[1:], weights=[weight / total for weight in weights[1:]], scale="sum")


def slerp(group: TensorGroup, models: Sequence[str]) -> str | None:
    """Between the base and the one other model."""
    if len(models) != 1:
        raise OptionError(f"slerp is between base_model and one other model, and there are {len(models)} others")
    t = group.number("t")
    if not 0 <= t <= 1:
        raise OptionError(f"t is {t:g}, expected a number from 0 to 1")
    return _call("slerp", models, weights=[t], space="weights", convention="mergekit") if t else None


def karcher(group: TensorGroup, models: Sequence[str]) -> str | None:
    """The mean on the sphere of all models, of which the first is the base."""
    if group.number("max_iter") < TURNS or group.number("tol") > NEAR:
        raise OptionError(
            f"max_iter below {TURNS} or tol above {NEAR:g} ends before the mean is found, which is not done here",
            hint="leave max_iter and tol out",
        )
    return _call("karcher", models[1:], weights=[1 / len(models)] * (len(models) - 1), space="weights")


def model_stock(group: TensorGroup, models: Sequence[str]) -> str | None:
    """The mean of the differences, as much of it as their cosines are for."""
    if len(models) < 2:
        raise OptionError("model_stock needs two models besides base_model at least, and there is one")
    if group.truth("filter_wise"):
        raise OptionError("filter_wise is true: each row gets a factor of its own, which is not done here")
    return _call("model_stock", models, convention="mergekit")


def sce(group: TensorGroup, models: Sequence[str]) -> str | None:
    return _call("sce", models, density=min(1.0, group.number("select_topk")), convention="mergekit", scale="sum")


def arithmetic(prune: str | None, elect: bool) -> Callable[[TensorGroup, Sequence[str]], str | None]:
    """Every difference pruned, then the signs elected, and what is left added."""

    def term(group: TensorGroup, models: Sequence[str]) -> str | None:
        weights, factor = group.numbers("weight"), group.number("lambda")
        if not factor or not any(weights):
            return None
        densities = [min(1.0, each) for each in group.numbers("density")]
        rescale, normalize = group.truth("rescale"), group.truth("normalize")
        if rescale and prune not in ("dare_linear", "della_linear"):
            raise OptionError(
                "rescale is true: what is left keeps its L1 norm, which is not done here", hint="leave it out"
            )
        if elect and prune == "ties" and len(set(densities)) == 1:
            parts, density = list(models), densities[0]
        else:
            rest = [{name: each.get(name) for name in ("gamma", "epsilon")} for each in group.models.values()]
            parts = [_pruned(prune, *each, rescale) for each in zip(models, densities, rest, strict=True)]
            density = 1.0
        if elect:
            disjoint = None if normalize else "sum"
            scale = {"convention": "mergekit", "disjoint": disjoint, "scale": factor}
            return _call("ties", parts, weights=weights, density=density, **scale)
        total = sum(weights) if normalize and abs(sum(weights)) >= 1e-8 else 1.0
        return _call("linear", parts, weights=[factor * weight / total for weight in weights], scale="sum")

    return term


def _pruned(prune: str | None, model: str, density: float, rest: Mapping[str, Any], rescale: bool) -> str:
    if prune is None or density >= 1:
        return model
    if prune == "ties":
        return _call("ties", [model], density=density, convention="mergekit", scale="sum")
    own = {"breadcrumbs": ("gamma",), "della_linear": ("epsilon",)}.get(prune, ())
    kept = _call(prune, [model], density=density, **{name: rest[name] for name in own}, scale="sum")
    return kept if rescale or prune == "breadcrumbs" else f"{density}*{kept}"


def _arithmetic(
    prune: str | None, elect: bool, normalize: bool = False, rescale: bool = False, **models: Any
) -> MergekitMethod:
    own = {"normalize": normalize, "rescale": rescale, "lambda": 1.0, "int8_mask": False}
    return MergekitMethod(arithmetic(prune, elect), own, {"weight": None, "density": 1.0, **models})


METHODS = {
    "linear": MergekitMethod(linear, {"normalize": True}, {"weight": None}, base=False),
    "slerp": MergekitMethod(slerp, {"t": None}, {}),
    "karcher": MergekitMethod(karcher, {"max_iter": TURNS, "tol": NEAR}, {}, base=False),
    "model_stock": MergekitMethod(model_stock, {"filter_wise": False}, {}),
    "sce": MergekitMethod(sce, {"select_topk": 1.0, "int8_mask": False}, {}),
    "task_arithmetic": _arithmetic(None, False),
    "ties": _arithmetic("ties", True, True),
    "dare_linear": _arithmetic("dare_linear", False, rescale=True),
    "dare_ties": _arithmetic("dare_linear", True, rescale=True),
    "breadcrumbs": _arithmetic("breadcrumbs", False, gamma=0.01),
    "breadcrumbs_ties": _arithmetic("breadcrumbs", True, gamma=0.01),
    "della": _arithmetic("della_linear", True, True, True, epsilon=0.15),
    "della_linear": _arithmetic("della_linear", False, rescale=True, epsilon=0.15),
}
"""mergekit's methods that are read, with the defaults of its version 0.1.4; karcher and model_stock, with those of 0.1.5."""
