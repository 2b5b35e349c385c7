"""A stub forge and stub registries: git over HTTPS by git's own server, GitHub's API, and whatever a publish needs.

A request without credentials is asked for them, as the real ones ask.
"""

import asyncio
import os
import subprocess
from pathlib import Path

from harness import vendors
from harness.inspection import Seen
from harness.vendors_asked import Writer

PATH = "/acme/tool.git"


def repository(folder: Path) -> Path:
    """Make a bare repository with one commit, that may be pushed to; return the folder that it lies in."""
    bare, work = folder / f"forge{PATH}", folder / "seed"
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main")
    for words in (
        ("init", "-q", "--bare", str(bare)),
        ("-C", str(bare), "config", "http.receivepack", "true"),
        ("init", "-q", str(work)),
        ("-C", str(work), "commit", "-q", "--allow-empty", "-m", "first"),
        ("-C", str(work), "push", "-q", str(bare), "HEAD:refs/heads/main"),
    ):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return folder / "forge"


class Forge:
    """Answers for a forge.

    Attributes:
        root: the folder with repositories.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    async def answer(self, seen: Seen, _reader: asyncio.StreamReader, writer: Writer) -> None:
        """Answer a request."""
        target = seen.line.split(" ")[1]
        if not seen.all("authorization"):
            head = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="forge"\r\nContent-Length: 0\r\n\r\n'
            writer.write(head)
        elif target.startswith(PATH):
            await self._git(seen, target, writer)
        else:
            await vendors.reply(writer, 200, {"login": "me", "data": {"viewer": {"login": "me"}}, "ok": True})

    async def _git(self, seen: Seen, target: str, writer: Writer) -> None:
        path, _, query = target.partition("?")
        about = {
            "GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
            "REQUEST_METHOD": seen.line.split(" ")[0], "REMOTE_USER": "me", "CONTENT_LENGTH": str(len(seen.body)),
            "CONTENT_TYPE": "".join(seen.all("content-type")),
            "HTTP_CONTENT_ENCODING": "".join(seen.all("content-encoding")),
            "GIT_PROTOCOL": "".join(seen.all("git-protocol")),
        }  # fmt: skip
        done = await asyncio.to_thread(
            subprocess.run, ["git", "http-backend"], input=seen.body, env={**os.environ, **about}, capture_output=True,
            check=False,
        )  # fmt: skip
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"status:")]
        status = next(
            (line[7:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"status:")), b"200 OK"
        )
        fields.append(b"Content-Length: %d" % len(body))
        writer.write(b"HTTP/1.1 %s\r\n%s\r\n\r\n%s" % (status, b"\r\n".join(fields), body))
