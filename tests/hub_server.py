"""A small Hub for tests: what the real client asks of the real one for models, with faults on demand.

It keeps repositories in memory, and does what the client's source shows that the Hub does. It has no accounts: any
token may write. With `elsewhere`, large files come from another host, as the real one's do; with `xet`, a folder, they
go through hf_xet's local store.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

LFS = (".safetensors", ".bin", "tokenizer.json")
SECRET = "hf_secretsecretsecret"


class Answer(Exception):  # noqa: N818  # an answer, and not an error of ours
    """An answer that is not the usual one."""

    def __init__(self, status: int, code: str | None = None, message: str | None = None, **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.headers |= {name: value for name, value in (("X-Error-Code", code), ("X-Error-Message", message)) if value}


NOT_FOUND = Answer(404, "RepoNotFound", "Repository not found")


@dataclass
class Stored:
    """A file in a commit: small ones hold their bytes, large ones are known by their hash."""

    size: int
    sha256: str
    data: bytes | None = None

    @property
    def lfs(self) -> bool:
        return self.data is None

    @property
    def blob(self) -> str:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()
        data = pointer if self.data is None else self.data
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Commit:
    sha: str
    parent: str | None
    message: str
    files: dict[str, Stored]


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, str] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)
    """What was uploaded to it, or copied from another repository: no other may take it from here."""

    def add(self, ref: str, message: str, files: dict[str, Stored]) -> Commit:
        parent = self.refs.get(ref)
        text = json.dumps([len(self.commits), ref, message, {name: each.sha256 for name, each in files.items()}])
        commit = Commit(hashlib.sha1(text.encode()).hexdigest(), parent, message, files)
        self.commits[commit.sha] = commit
        self.refs[ref] = commit.sha
        return commit

    def at(self, revision: str) -> Commit:
        sha = self.refs.get(revision, revision)
        if sha not in self.commits:
            raise Answer(404, "RevisionNotFound", "Revision not found")
        return self.commits[sha]

    def history(self, ref: str = "main") -> list[Commit]:
        """From the newest to the first, which is empty."""
        found, sha = [], self.refs.get(ref)
        while sha:
            found.append(self.commits[sha])
            sha = found[-1].parent
        return found


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    authorized: bool
    body: bytes


@dataclass
class Fault:
    """What befalls requests of a method and a path that match, `count` times, after `skip` that went well.

    `action`: a status; `lose` (done, but no answer), `drop` (neither), `stall` (no answer, for long), `short` (half of
    the body), `wrong` (other bytes), `whole` (from then on: all where a part was asked for); or a function that is
    called first.
    """

    pattern: str
    action: int | str | Callable[[], None]
    count: int = 1
    skip: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def befalls(self, request: Request) -> bool:
        if not self.count or not re.search(self.pattern, f"{request.method} {request.path}"):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.count -= 1
        return True


ASKING = """
import os
from huggingface_hub import constants
os.environ |= {environment!r}
for name, value in {settings!r}.items():
    assert hasattr(constants, name)
    setattr(constants, name, value)
"""


class Hub:
    """The server. Use `with running() as hub`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[Request] = []
        self.sent = 0
        self.xet: Path | None = None
        self.elsewhere = False
        self.xet_hashes: dict[str, str] = {}
        self.silence = threading.Event()
        self.lock = threading.RLock()
        self.url = ""

    def settings(self, cache: Path) -> dict[str, Any]:
        """What constants of huggingface_hub are where its client asks this server, and keeps files in a folder."""
        return {
            "ENDPOINT": self.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": self.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
        }

    def asking(self, cache: Path) -> str:
        """Code with which a `Command` asks this server, with a token. What the client had read of the environment, it reads
        no more."""
        return ASKING.format(settings=self.settings(cache), environment={"HF_TOKEN": SECRET})

    def put(
        self, repo: str, folder: Path | dict[str, bytes], *, inner: str = "", ref: str = "main", **attributes: Any
    ) -> str:
        """A commit with the files of a folder; the commit's hash."""
        there = self.repos.setdefault(repo, Repo(**attributes))
        if not there.refs:
            there.add("main", "initial commit", {})
        if isinstance(folder, Path):
            folder = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        before = there.commits[there.refs.get(ref, there.refs["main"])]
        added = {f"{inner}/{name}" if inner else name: self.stored(name, data) for name, data in folder.items()}
        there.objects |= {file.sha256 for file in added.values()}
        return there.add(ref, "put", {**before.files, **added}).sha

    def stored(self, name: str, data: bytes) -> Stored:
        sha256 = hashlib.sha256(data).hexdigest()
        if name.endswith(LFS):
            self.objects[sha256] = data
            return Stored(len(data), sha256)
        return Stored(len(data), sha256, data)

    def content(self, file: Stored) -> bytes:
        return file.data if file.data is not None else self.objects[file.sha256]

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """What is in a commit."""
        return {name: self.content(file) for name, file in self.repos[repo].at(revision).files.items()}

    def learn(self, folder: Path) -> None:
        """What came as Xet is in the store of hf_xet, which gives it to who knows its hash there:
        that of the same bytes, put again.
        """
        import hf_xet

        for path in folder.iterdir():
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            with hf_xet.XetSession().new_upload_commit(endpoint=f"local://{self.xet}") as commit:
                handle = commit.start_upload_file(str(path), sha256=hf_xet.COMPUTE_SHA256)
            self.xet_hashes[sha256] = handle.result().xet_info.hash

    def asked(self, pattern: str) -> list[Request]:
        return [each for each in self.log if re.search(pattern, f"{each.method} {each.path}")]


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.silence.set()
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    """An answer is sent at once: its body would wait for the client to confirm its head, 40 ms each time."""

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _serve(self) -> None:
        request = Request(
            self.command, self.path, self.headers.get("Range"), "Authorization" in self.headers, self._body()
        )
        with self.hub.lock:
            self.hub.log.append(request)
            fault = next((each for each in self.hub.faults if each.befalls(request)), None)
        action = fault.action if fault else None
        if callable(action):
            action()
            action = None
        if action == "stall":
            self.hub.silence.wait(20)
        if action in ("drop", "stall"):
            return self._hang_up()
        try:
            if isinstance(action, int):
                raise Answer(action, **(fault.headers if fault else {}))
            with self.hub.lock:
                status, headers, body = self._answer(request)
        except Answer as answer:
            text = {"error": answer.headers.get("X-Error-Message", "a failure")}
            status, headers, body = answer.status, answer.headers, json.dumps(text).encode()
        if action == "lose":
            return self._hang_up()
        if action == "wrong":
            body = bytes(len(body) - 1) + b"!" if body else body
        self.send_response(status)
        self.send_header("Content-Length", headers.pop("Content-Length", str(len(body))))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if action == "short":
            self.wfile.write(body[: len(body) // 2])
            return self._hang_up()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.hub.sent += len(body)
        return None

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    # what is answered: status, headers, body

    def _answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(request.path)
        self.query = parse_qs(parts.query)
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, parts.path)
            if request.method in method.split() and found:
                return answer(
                    self, request, **{name: unquote(value or "") for name, value in found.groupdict().items()}
                )
        raise Answer(404, None, f"the test's Hub knows no {request.method} {request.path}")

    def _repo(self, repo: str) -> Repo:
        found = self.hub.repos.get(repo)
        if found is None:
            raise NOT_FOUND
        if found.private and "Authorization" not in self.headers:
            raise Answer(401, "RepoNotFound", "Repository not found")
        return found

    def create(self, request: Request) -> Any:
        asked = json.loads(request.body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.repos:
            return _json({"url": f"{self.hub.url}/{repo}", "error": "You already created this model repo"}, 409)
        self.hub.repos[repo] = Repo(private=asked.get("visibility") == "private")
        self.hub.repos[repo].add(
            "main", "initial commit", {".gitattributes": self.hub.stored(".gitattributes", b"*.safetensors lfs\n")}
        )
        return _json({"url": f"{self.hub.url}/{repo}"})

    def validate(self, request: Request) -> Any:
        content = json.loads(request.body)["content"]
        if not content.startswith("---\n"):
            return _json({"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]})
        return _json({"errors": [], "warnings": []})

    def info(self, request: Request, repo: str, revision: str = "main") -> Any:
        there = self._repo(repo)
        commit = there.at(revision or "main")
        siblings: list[dict[str, Any]] = []
        for name, file in commit.files.items():
            siblings.append({"rfilename": name})
            if "blobs" in self.query:
                siblings[-1] |= {"size": file.size, "blobId": file.blob}
                if file.lfs:
                    siblings[-1]["lfs"] = {"size": file.size, "sha256": file.sha256, "pointerSize": 134}
        card = _card(self.hub.content(commit.files["README.md"]).decode()) if "README.md" in commit.files else None
        told = {
            "id": repo,
            "sha": commit.sha,
            "private": there.private,
            "gated": there.gated,
            "tags": [],
            "siblings": siblings,
        }
        return _json(told | ({"cardData": card} if card else {}))

    def tree(self, request: Request, repo: str, revision: str, folder: str = "") -> Any:
        files = self._repo(repo).at(revision).files
        inside = {name: file for name, file in files.items() if not folder or name.startswith(folder + "/")}
        return _json([_item(name, file) for name, file in inside.items()])

    def paths_info(self, request: Request, repo: str, revision: str) -> Any:
        files = self._repo(repo).at(revision).files
        return _json(
            [_item(name, files[name]) for name in parse_qs(request.body.decode()).get("paths", []) if name in files]
        )

    def preupload(self, request: Request, repo: str, revision: str) -> Any:
        there = self._repo(repo).at(revision).files
        files = []
        for each in json.loads(request.body)["files"]:
            lfs, known = each["path"].endswith(LFS), there.get(each["path"])
            oid = {"oid": known.sha256 if lfs else known.blob} if known else {}
            files.append(
                {"path": each["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, **oid}
            )
        return _json({"files": files})

    def batch(self, request: Request, repo: str) -> Any:
        objects: list[dict[str, Any]] = []
        there = self._repo(repo)
        for each in json.loads(request.body)["objects"]:
            objects.append(dict(each))
            if each["oid"] not in there.objects & self.hub.objects.keys():
                href = f"{self.hub.url}/lfs/{each['oid']}?X-Amz-Signature={SECRET}&repo={repo}"
                upload = {"href": href, "header": {}}
                objects[-1]["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/lfs/verify"}}
        return _json({"transfer": "basic", "objects": objects})

    def upload(self, request: Request, oid: str) -> Any:
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise Answer(400, None, "the bytes are not those of the oid")
        self.hub.objects[oid] = request.body
        self.hub.repos[self.query["repo"][0]].objects.add(oid)  # a signed URL needs no token
        return 200, {}, b""

    def duplicate(self, request: Request, repo: str) -> Any:
        """Files of this repository for another one."""
        asked, own = json.loads(request.body), self._repo(repo).objects
        wanted = {each["sha256"] for each in asked["files"]}
        self._repo(asked["target"]["name"]).objects |= wanted & own
        failed = [{"sha256": sha256, "error": "is not here"} for sha256 in sorted(wanted - own)]
        return _json({"success": sorted(wanted & own), "failed": failed})

    def verify(self, request: Request) -> Any:
        asked = json.loads(request.body)
        return _json({}, 200 if len(self.hub.objects.get(asked["oid"], b"")) == asked["size"] else 404)

    def xet_token(self, request: Request, repo: str, revision: str) -> Any:
        self._repo(repo)
        expires = str(int(time.time()) + 3600)
        where = f"local://{self.hub.xet}"
        headers = {"X-Xet-Cas-Url": where, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": expires}
        status, kind, body = _json({"casUrl": where, "accessToken": "xet", "exp": int(expires)})
        return status, kind | headers, body

    def commit(self, request: Request, repo: str, revision: str) -> Any:
        there = self._repo(repo)
        head = there.at(revision)
        header, *changes = [json.loads(line) for line in request.body.splitlines()]
        if header["value"].get("parentCommit", head.sha) != head.sha:
            raise Answer(412, None, "The expected parent commit is not the current one")
        files = dict(head.files)
        for change in changes:
            value = change["value"]
            if change["key"] == "file":
                data = base64.b64decode(value["content"])
                files[value["path"]] = Stored(len(data), hashlib.sha256(data).hexdigest(), data)
            elif change["key"] == "lfsFile":
                if self.hub.xet is None and value["oid"] not in there.objects & self.hub.objects.keys():
                    raise Answer(400, None, f"the object {value['oid']} was not uploaded")
                size = value["size"] if "size" in value else len(self.hub.objects[value["oid"]])  # none of a copy
                files[value["path"]] = Stored(size, value["oid"])
            elif change["key"] == "deletedFile":
                del files[value["path"]]
        ref, told = revision, {}
        if "create_pr" in self.query:
            number = len(there.pulls) + 1
            there.pulls[number], ref = header["value"]["summary"], f"refs/pr/{number}"
            there.refs[ref] = head.sha
            told = {"pullRequestUrl": f"{self.hub.url}/{repo}/discussions/{number}"}
        made = there.add(ref, header["value"]["summary"], files)
        return _json(
            {"success": True, "commitOid": made.sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{made.sha}", **told}
        )

    def branch(self, request: Request, repo: str, revision: str) -> Any:
        there = self._repo(repo)
        if request.method == "DELETE":
            if there.refs.pop(revision, None) is None:
                raise Answer(404, "RevisionNotFound", "Revision not found")
            return _json({})
        if revision in there.refs:
            raise Answer(409, None, "the branch is there")
        there.refs[revision] = there.at(json.loads(request.body).get("startingPoint", "main")).sha
        return _json({}, 201)

    def discussions(self, request: Request, repo: str) -> Any:
        there = self._repo(repo)
        found = [
            {"num": number, "title": title, "status": "open", "isPullRequest": True, "author": {"name": "me"},
             "createdAt": "2026-01-01T00:00:00.000Z", "repo": {"name": repo, "type": "model"}}
            for number, title in there.pulls.items()
        ]  # fmt: skip
        return _json({"discussions": found, "count": len(found), "start": 0})

    def resolve(self, request: Request, repo: str, revision: str, file: str) -> Any:
        there = self._repo(repo)
        if there.gated:
            raise Answer(403, "GatedRepo", "Access to this model is restricted")
        commit = there.at(revision)
        stored = commit.files.get(file)
        if stored is None:
            raise Answer(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit.sha)
        headers = {
            "X-Repo-Commit": commit.sha,
            "ETag": f'"{stored.sha256 if stored.lfs else stored.blob}"',
            "Accept-Ranges": "bytes",
        }
        if stored.sha256 in self.hub.xet_hashes:
            headers |= {"X-Xet-Hash": self.hub.xet_hashes[stored.sha256], "X-Linked-Size": str(stored.size)}
            headers |= {"X-Xet-Refresh-Route": f"{self.hub.url}/api/models/{repo}/xet-read-token/{revision}"}
        if self.hub.elsewhere and stored.lfs:
            headers |= {"X-Linked-Size": str(stored.size), "X-Linked-ETag": f'"{stored.sha256}"'}
            where = self.hub.url.replace("127.0.0.1", "localhost")
            return 302, headers | {"Location": f"{where}/cdn/{stored.sha256}?X-Amz-Signature={SECRET}"}, b""
        return self._part(request, stored, headers)

    def stored_elsewhere(self, request: Request, oid: str) -> Any:
        return self._part(request, Stored(len(self.hub.objects[oid]), oid), {})

    def _part(self, request: Request, stored: Stored, headers: dict[str, str]) -> Any:
        if request.method == "HEAD":
            return 200, headers | {"Content-Length": str(stored.size)}, b""
        data = self.hub.content(stored)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.range or "")
        if asked is None or any(each.action == "whole" for each in self.hub.faults):
            return 200, headers, data
        begin, end = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
        if begin >= len(data):
            raise Answer(416, Content_Range=f"bytes */{len(data)}")
        return 206, headers | {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"}, data[begin:end]


def _json(value: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _item(name: str, file: Stored) -> dict[str, Any]:
    large = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
    lfs = {"lfs": large, "xetHash": file.sha256} if file.lfs else {}
    return {"type": "file", "path": name, "size": file.size, "oid": file.blob, **lfs}


def _card(text: str) -> dict[str, Any] | None:
    import yaml

    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    return yaml.safe_load(found[1]) if found else None


ID = r"(?P<repo>[\w.-]+/[\w.-]+)"
REVISION = r"(?P<revision>[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("GET", f"/api/models/{ID}", Handler.info),
    ("GET", f"/api/models/{ID}/revision/{REVISION}", Handler.info),
    ("GET", f"/api/models/{ID}/tree/{REVISION}(?:/(?P<folder>.*))?", Handler.tree),
    ("POST", f"/api/models/{ID}/paths-info/{REVISION}", Handler.paths_info),
    ("POST", f"/api/models/{ID}/preupload/{REVISION}", Handler.preupload),
    ("GET", f"/api/models/{ID}/xet-(?:read|write)-token/{REVISION}", Handler.xet_token),
    ("POST", f"/api/models/{ID}/commit/{REVISION}", Handler.commit),
    ("POST DELETE", f"/api/models/{ID}/branch/{REVISION}", Handler.branch),
    ("GET", f"/api/models/{ID}/discussions", Handler.discussions),
    ("POST", f"/api/models/{ID}/lfs-files/duplicate", Handler.duplicate),
    ("POST", f"/{ID}.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", Handler.upload),
    ("POST", "/lfs/verify", Handler.verify),
    ("GET HEAD", "/cdn/(?P<oid>[0-9a-f]{64})", Handler.stored_elsewhere),
    ("GET HEAD", f"/{ID}/resolve/{REVISION}/(?P<file>.+)", Handler.resolve),
]
