"""To the Hub while it is made: finished files wait on a branch, of which one commit takes them all. What the Hub has in a
repository that the model is made of is copied there, and not sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops.errors import NotFoundError, OptionError
from adapterops.hub.card import render
from adapterops.hub.client import api, ask, say
from adapterops.hub.package import Payload, Waiting, made, small_files
from adapterops.hub.pushing import Push, Pushed, There, may_write_card, ready, there_now
from adapterops.hub.references import Reference, referred
from adapterops.hub.snapshot import Known
from adapterops.provenance.history import Source
from adapterops.storage.checksums import SHA256, file_digests
from adapterops.storage.outputs import CARD

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy

BRANCH = "adapterops-"
"""How the branch is called on which files wait, before the hash of their plan."""


@dataclass(frozen=True)
class Publication:
    """A model on its way to a repository.

    Attributes:
        before: what that held when this began.
        origins: sha256 → where the Hub has a file of it, of those that the model is made of.
    """

    target: Reference
    branch: str
    before: There
    origins: Mapping[str, Reference]

    @classmethod
    def begin(
        cls, repo: Reference | str, plan: str, private: bool | None = None, inputs: Sequence[Source] = ()
    ) -> Publication:
        """
        Args:
            plan: the hash of what is made: another run of it finds what is there.
            inputs: what it is made of.
            private: whether the repository has to be private; None: as it is, or as the Hub makes new ones.

        Raises:
            OptionError: it is no repository, or a folder inside of one.
            NotFoundError, OutputExistsError: as `push` does.
        """
        target = referred(repo)
        if target.inner:
            raise OptionError("names a folder inside", path=target, hint="name the repository: owner/name")
        before, branch = ready(target, private), f"{BRANCH}{plan[:12]}"
        ask(target.repo, lambda: api().create_branch(target.repo, branch=branch, revision=before.head, exist_ok=True))
        return cls(target, branch, before, _origins(inputs))

    def waiting(self, finished: Mapping[str, Known]) -> set[str]:
        """Those of finished files that were sent, and are there."""
        there = there_now(Reference(self.target.repo, self.branch))
        found = there.files if there else {}
        return {name for name, file in finished.items() if replace(found.get(name, Known(0)), blob=None) == file}

    def send(self, name: str, path: Path) -> str:
        """Have a finished file on the branch; it needs not stay here: its sha256.

        Cost: its bytes over the wire, or none where the Hub copies it.
        """
        from huggingface_hub import CommitOperationAdd

        sha256 = file_digests(path, SHA256)[SHA256]
        if not (sha256 in self.origins and self._copied(name, self.origins[sha256])):
            ask(self.target.repo, lambda: self._commit(CommitOperationAdd(name, str(path))))
        return sha256

    def _copied(self, name: str, origin: Reference) -> bool:
        """Whether the Hub copies a file: it does so within a repository, and between two of the same storage region."""
        from huggingface_hub import CommitOperationCopy

        other = {} if origin.repo == self.target.repo else {"src_repo_id": origin.repo, "src_repo_type": "model"}
        copy = CommitOperationCopy(origin.inner, name, src_revision=origin.revision, **other)
        try:
            ask(self.target.repo, lambda: self._commit(copy), waits=())
        except NotFoundError as error:
            say(f"the Hub does not copy {name} from {origin.repo}, and it is sent: {error.message}")
            return False
        return True

    def _commit(self, operation: CommitOperationAdd | CommitOperationCopy) -> None:
        api().create_commit(self.target.repo, [operation], commit_message=operation.path_in_repo, revision=self.branch)

    def finish(self, folder: Path, sent: Mapping[str, Mapping[str, str | int]]) -> Pushed:
        """One commit of what was sent and of the small files of a folder, with a card; then the branch goes.

        Args:
            sent: size, sha256 and BLAKE3 of each file that waits.

        Raises:
            NotFoundError: the Hub refuses, or somebody changed the repository meanwhile.
        """
        weights = {
            name: Payload(Waiting(self.branch), int(each["size"]), str(each["sha256"]), str(each["blake3"]))
            for name, each in sent.items()
        }
        contents = weights | small_files(folder)
        about = made(folder, self.target.repo, contents)
        if may_write_card(self.target, self.before):
            contents[CARD] = Payload.of(render(about).encode())
        left_out = tuple(sorted(path.name for path in folder.iterdir() if path.name not in contents))
        message = f"Upload {self.target.repo.partition('/')[2]} with adapterops"
        pushed = Push(self.target, contents, self.before, left_out, False, message).run(dry_run=False)
        self.end()
        return pushed

    def end(self) -> None:
        """Remove the branch: nothing waits there any more."""
        try:
            ask(self.target.repo, lambda: api().delete_branch(self.target.repo, branch=self.branch))
        except NotFoundError as error:
            if error.code != "E-HUB-REVISION":
                raise


def _origins(inputs: Sequence[Source]) -> dict[str, Reference]:
    """Where the Hub has the files of tensors of inputs, by the sha256 that it states."""
    found = {}
    for source in inputs:
        if source.remote is not None:
            repo = referred(source.remote.reference).repo
            for file in source.tensors:
                if sha256 := source.remote.sha256(file.path):
                    found[sha256] = Reference(repo, source.remote.revision, source.remote.name(file.path))
    return found
