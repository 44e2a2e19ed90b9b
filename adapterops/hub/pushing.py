"""To the Hub: all that is new in one commit, or nothing; safe to repeat, whatever became of the last try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops import __version__
from adapterops.errors import AdapterOpsError, NotFoundError, OutputExistsError
from adapterops.hub import client
from adapterops.hub.client import api, ask, explained, offline, passing, pause, say, timeout
from adapterops.hub.package import DELTA, OF_DELTA, STALE, Payload, Waiting
from adapterops.hub.references import Reference
from adapterops.hub.snapshot import Known
from adapterops.storage.outputs import CARD, MARK

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy


@dataclass(frozen=True)
class Pushed:
    """What `push` did, or would do.

    Attributes:
        commit, url: of the new commit, or of the one that has it all already; None for a plan.
        pull_request: its address, where one was asked for.
        files, removed: what is new or other than before, and what is no longer there.
        left_out: what is in the folder and stays here.
        compared: whether the Hub said what it has; a plan does without where there is no answer in three seconds.
        reason: why it did not, where it did not.
    """

    repo: str
    private: bool | None
    commit: str | None
    url: str | None
    pull_request: str | None
    files: tuple[str, ...]
    removed: tuple[str, ...]
    left_out: tuple[str, ...]
    bytes: int
    compared: bool = True
    reason: str | None = None


@dataclass(frozen=True)
class There:
    """A revision of a repository: its commit, and its files."""

    head: str
    private: bool
    files: Mapping[str, Known]


def looked_at(target: Reference, private: bool | None, dry_run: bool) -> tuple[There | None, str | None]:
    """What a repository holds that something is to be pushed to, and why a plan does without.

    Raises:
        NotFoundError, OutputExistsError: as `push` does.
    """
    if not dry_run:
        return ready(target, private), None
    there, reason = _planned(target)
    if there is not None:
        _check_visibility(target, there, private)
    return there, reason


def ready(target: Reference, private: bool | None) -> There:
    """What a repository holds that is there now; it is made if it was not.

    Raises:
        NotFoundError, OutputExistsError: as `push` does.
    """
    check_token(target)
    there = there_now(target)
    if there is None:
        ask(target.repo, lambda: api().create_repo(target.repo, private=private, exist_ok=True))
        there = there_now(target)
        if there is None:
            raise NotFoundError(
                "cannot be seen by this account",
                path=target.repo,
                hint="use a token that may read it",
                code="E-HUB-MISSING",
            )
    _check_visibility(target, there, private)
    return there


def _check_visibility(target: Reference, there: There, private: bool | None) -> None:
    if private is not None and there.private != private:
        wanted, is_ = ("private", "public") if private else ("public", "private")
        hint = f"change it at {api().endpoint}/{target.repo}/settings, or name another"
        raise OutputExistsError(
            f"is {is_}, and {wanted} was asked for: nothing was sent",
            path=target.repo,
            hint=hint,
            code="E-HUB-VISIBILITY",
        )


@dataclass(frozen=True)
class Push:
    """What makes a repository have `contents`, in one commit. `before`: what it held when this began, or None with the `reason` why
    that is not known.
    """

    target: Reference
    contents: Mapping[str, Payload]
    before: There | None
    left_out: tuple[str, ...]
    create_pr: bool
    message: str
    reason: str | None = None

    def new(self, there: There | None) -> list[str]:
        """The files that a revision has not, or not so."""
        known = there.files if there else {}
        return [name for name, content in self.contents.items() if not content.same(known.get(name))]

    def stale(self, there: There | None) -> list[str]:
        """The files of a revision that are to go."""
        known = there.files if there else {}
        whole = DELTA in self.contents or any(STALE.fullmatch(name) for name in self.contents)
        kinds = [STALE] * whole + [OF_DELTA] * (DELTA in known)
        old = [name for name in known if name not in self.contents]
        return [name for name in old if any(kind.fullmatch(name) for kind in kinds)]

    def run(self, dry_run: bool) -> Pushed:
        if self.create_pr and self.before and (pull := self._proposed()):
            say("a pull request with all of it is open")
            return self._done(pull[0], pull[1], [], [])
        new, stale = self.new(self.before), self.stale(self.before)
        if dry_run or self.before is None:
            return self._done(None, None, new, stale)
        if not new and not stale:
            return self._done(self.before.head, None, [], [])
        try:
            commit, pull_request = self._commit(new, stale, self.before)
        except BaseException as error:
            if not isinstance(error, Exception):
                error.add_note("run it again: what is on the Hub already is not sent twice")
            raise
        return self._done(commit, pull_request, new, stale)

    def _commit(self, new: list[str], stale: list[str], before: There) -> tuple[str, str | None]:
        """The commit, which is there once, whatever is lost on the way:
        before another try, the Hub is asked for the last one.
        """
        from huggingface_hub import CommitOperationDelete

        operations = [
            *(_operation(name, self.contents[name].source) for name in new),
            *(CommitOperationDelete(name) for name in stale),
        ]
        for wait in (*client.WAITS, None):
            try:
                made = api().create_commit(
                    self.target.repo,
                    operations,
                    commit_message=self.message,
                    commit_description=f"adapterops {__version__}",
                    revision=self.target.revision,
                    create_pr=self.create_pr,
                    parent_commit=before.head,
                )
                return str(made.oid), made.pr_url
            except Exception as error:  # the client raises errors of five libraries; `explained` distinguishes them
                landed = self._landed(before)
                if landed:
                    say("the answer was lost; the commit is there")
                    return landed
                if wait is None or not passing(error):
                    raise self._refused(error) from error
                pause(error, wait)
        raise AssertionError

    def _landed(self, before: There) -> tuple[str, str | None] | None:
        """The commit that an earlier try made after all."""
        if self.create_pr:
            return self._proposed()
        now = there_now(self.target)
        if now is None or now.head == before.head:
            return None
        if self.new(now) or self.stale(now):
            raise NotFoundError(
                f"was changed by someone else in the meantime: it was at {before.head[:12]}, and is at {now.head[:12]}",
                path=self.target.repo,
                hint="nothing was committed; look at what is there, and run it again",
                code="E-HUB-CHANGED",
            )
        return now.head, None

    def _proposed(self) -> tuple[str, str] | None:
        """An open pull request that has everything."""
        repo = self.target.repo
        found = ask(
            repo,
            lambda: list(api().get_repo_discussions(repo, discussion_type="pull_request", discussion_status="open")),
        )
        for each in found:
            if each.title == self.message:
                proposed = there_now(Reference(repo, f"refs/pr/{each.num}"))
                if proposed and not self.new(proposed) and not self.stale(proposed):
                    return proposed.head, f"{api().endpoint}/{repo}/discussions/{each.num}"
        return None

    def _refused(self, error: Exception) -> AdapterOpsError:
        if f"{CARD}" in str(error) and getattr(error, "response", None) is None:
            reason = " ".join(str(error).split())[:300]
            return NotFoundError(
                f"the Hub rejects {CARD}: {reason}", path=self.target.repo, hint="nothing was sent", code="E-HUB-CARD"
            )
        return explained(error, str(self.target))

    def _done(self, commit: str | None, pull_request: str | None, new: list[str], stale: list[str]) -> Pushed:
        repo = self.target.repo
        url = f"{api().endpoint}/{repo}/commit/{commit}" if commit else None
        private = self.before.private if self.before else None
        size = sum(self.contents[name].size for name in new)
        compared, changes = self.reason is None, (tuple(new), tuple(stale))
        return Pushed(repo, private, commit, url, pull_request, *changes, self.left_out, size, compared, self.reason)


def _operation(name: str, source: Path | bytes | Waiting) -> CommitOperationAdd | CommitOperationCopy:
    """How a file gets into a commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy

    if isinstance(source, Waiting):
        return CommitOperationCopy(name, name, src_revision=source.branch)
    return CommitOperationAdd(name, str(source) if isinstance(source, Path) else source)


def check_token(target: Reference) -> None:
    from huggingface_hub import get_token

    if offline():
        raise NotFoundError(
            "pushing needs the Hub, and HF_HUB_OFFLINE is set", path=target, hint="unset it", code="E-HUB-OFFLINE"
        )
    if get_token() is None:
        raise NotFoundError(
            "pushing needs a token", path=target, hint="set HF_TOKEN, or run `hf auth login`", code="E-HUB-TOKEN"
        )


def _planned(target: Reference) -> tuple[There | None, str | None]:
    """What a repository holds, or why the Hub did not say so; it is asked once, and nobody waits for it."""
    if offline():
        return None, "HF_HUB_OFFLINE is set"
    try:
        return there_now(target, (), client.PLANNING_TIMEOUT), None
    except NotFoundError as error:
        if error.code not in client.UNANSWERED:
            raise
        return None, error.message


def there_now(target: Reference, waits: Sequence[float] | None = None, patience: float | None = None) -> There | None:
    """What a repository holds now; None if it does not exist, or not for this account."""
    try:
        revision, seconds = target.revision or "main", timeout() if patience is None else patience
        info = ask(
            target.repo,
            lambda: api().model_info(target.repo, revision=revision, files_metadata=True, timeout=seconds),
            waits,
        )
    except NotFoundError as error:
        if error.code in ("E-HUB-MISSING", "E-HUB-PRIVATE"):
            return None
        raise
    files = {
        each.rfilename: Known(each.size or 0, each.lfs["sha256"] if each.lfs else None, each.blob_id)
        for each in info.siblings or ()
    }
    return There(str(info.sha), bool(info.private), files)


def may_write_card(target: Reference, there: There | None) -> bool:
    """Whether the card in the repository is one of ours, or none."""
    if there is None or CARD not in there.files:
        return True
    from huggingface_hub import hf_hub_download

    path = ask(target.repo, lambda: hf_hub_download(target.repo, CARD, revision=there.head, endpoint=api().endpoint))
    return MARK in Path(path).read_text(encoding="utf-8", errors="replace")
