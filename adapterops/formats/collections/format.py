"""Collections as a format: one of their adapters is read like any other; `compress` writes them, many at once."""

from __future__ import annotations

from adapterops.errors import at
from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.collections.contents import is_a_collection, open_collection
from adapterops.formats.collections.member import A, B, MemberFile
from adapterops.formats.peft.config import read_config
from adapterops.formats.peft.parts import Parts
from adapterops.formats.peft.scaling import Scaling
from adapterops.formats.registry import FORMATS
from adapterops.storage.place import COLLECTION, Place
from adapterops.updates.kinds import KINDS


class Collections:
    """What `adapterops compress` writes."""

    def claims(self, place: Place) -> bool:
        return place.has(place.path / COLLECTION) if place.folder else place.path.name == COLLECTION

    def read(self, place: Place, alpha: float | None) -> AdapterFiles:
        collection = open_collection(place)
        if not place.member:
            raise is_a_collection(collection, place)
        file = MemberFile(collection, place.member)
        with at(path=place):
            config = read_config(collection.members[place.member])
        modules = {module: _parts(file, module) for module in file.shapes}
        ranks = {module: file.entries[module + A].shape[0] for module in modules}
        scalings = {module: Scaling(rank, rank) for module, rank in ranks.items()}
        return AdapterFiles(file, (file.path,), config, modules, scalings, {})


def _parts(file: MemberFile, module: str) -> Parts:
    rank = file.entries[module + A].shape[0]
    tensors = {"lora_A": module + A, "lora_B": module + B}
    return Parts(KINDS["LoRA"], tensors, None, file.shapes[module], rank, rank)


FORMATS.add("collection", Collections())
