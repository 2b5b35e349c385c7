"""Answers of package managers are remembered exactly as long as what decided them is the same."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from outward.config.machine.memory import MAX_AGE, Memory
from outward.config.machine.npm import npm_hosts
from outward.config.machine.pip import pip_hosts

NPM = """
import json, pathlib, os
home = pathlib.Path(os.environ["HOME"])
with (home / "asked").open("a") as file:
    file.write("x")
said = home / ".npmrc"
registry = os.environ.get("npm_config_registry") or (said.read_text().split("=")[1].strip() if said.exists() else "https://one.example/")
print(json.dumps({"registry": registry, "userconfig": str(said), "globalconfig": str(home / "etc/npmrc")}))
"""


def write(path: Path, text: str) -> Path:
    """Write a file that is old enough to have been read as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - 60,) * 2)
    return path


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An npm laid out like the real one, in a home of its own."""
    script = write(tmp_path / "lib/npm/bin/npm-cli.js", f"#!{sys.executable}\n{NPM}")
    script.chmod(0o755)
    write(tmp_path / "bin/node", "").chmod(0o755)
    (tmp_path / "bin/npm").symlink_to(script)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}


def ask(env: dict[str, str]) -> tuple[str, ...]:
    return npm_hosts(env, Memory.of(env)).entries


def asked(env: dict[str, str]) -> int:
    return len((Path(env["HOME"]) / "asked").read_text())


def kept(env: dict[str, str], name: str = "npm") -> Path:
    return Path(env["HOME"]) / f".cache/outward/{name}.json"


def test_the_second_time_nothing_is_asked(env: dict[str, str]):
    assert ask(env) == ask(env) == ("one.example",)
    assert asked(env) == 1
    assert kept(env).stat().st_mode & 0o777 == 0o600
    assert kept(env).parent.stat().st_mode & 0o777 == 0o700


def user_file(env: dict[str, str]) -> None:
    write(Path(env["HOME"]) / ".npmrc", "registry=https://two.example/")


def variable(env: dict[str, str]) -> None:
    env["npm_config_registry"] = "https://two.example/"


@pytest.mark.parametrize("change", [user_file, variable])
def test_a_changed_configuration_is_seen_at_once(env: dict[str, str], change: Callable[[dict[str, str]], None]):
    assert ask(env) == ("one.example",)
    change(env)
    assert ask(env) == ask(env) == ("two.example",)
    assert asked(env) == 2


def tool_itself(env: dict[str, str]) -> None:
    script = Path(env["HOME"]) / "lib/npm/bin/npm-cli.js"
    script.write_text(script.read_text())


def system_file(env: dict[str, str]) -> None:
    write(Path(env["HOME"]) / "etc/npmrc", "")


def project_file(env: dict[str, str]) -> None:
    write(Path(env["HOME"]) / "work/.npmrc", "")


def a_day(env: dict[str, str]) -> None:
    found = json.loads(kept(env).read_text())
    kept(env).write_text(json.dumps(found | {"time": found["time"] - MAX_AGE}))


def wider(env: dict[str, str]) -> None:
    found = json.loads(kept(env).read_text())
    kept(env).write_text(json.dumps(found | {"hosts": ["*"]}))


def damaged(env: dict[str, str]) -> None:
    kept(env).write_text('{"facts":')


def another_shape(env: dict[str, str]) -> None:
    kept(env).write_text("[]")


def bottomless(env: dict[str, str]) -> None:
    kept(env).write_text("[" * 200_000)


def a_pipe(env: dict[str, str]) -> None:
    """Nobody will ever write into it."""
    kept(env).unlink()
    os.mkfifo(kept(env), 0o600)


def writable_by_others(env: dict[str, str]) -> None:
    kept(env).chmod(0o666)


@pytest.mark.parametrize(
    "change",
    [
        tool_itself,
        system_file,
        project_file,
        a_day,
        wider,
        damaged,
        another_shape,
        bottomless,
        a_pipe,
        writable_by_others,
    ],
)
def test_whatever_could_matter_makes_it_ask_again(env: dict[str, str], change: Callable[[dict[str, str]], None]):
    ask(env)
    change(env)
    assert ask(env) == ("one.example",)
    assert asked(env) == 2


def test_a_file_that_takes_values_from_variables_is_not_remembered(env: dict[str, str]):
    write(Path(env["HOME"]) / ".npmrc", "//x/:_authToken=${TOKEN}\nregistry=https://one.example/".partition("\n")[2])
    write(Path(env["HOME"]) / "etc/npmrc", "//x/:_authToken=${TOKEN}")
    assert ask(env) == ask(env) == ("one.example",)
    assert asked(env) == 2


def test_a_file_that_may_have_changed_meanwhile_is_not_remembered(env: dict[str, str]):
    (Path(env["HOME"]) / ".npmrc").write_text("registry=https://one.example/")
    ask(env)
    assert not kept(env).exists()


def test_no_credential_is_written(env: dict[str, str]):
    write(Path(env["HOME"]) / ".npmrc", "registry=https://user:s3cret@one.example/")
    assert ask(env) == ("one.example",)
    assert "s3cret" not in kept(env).read_text()


def python_with_pip() -> str | None:
    """An interpreter that has pip and is no script."""
    for name in ("python3", "python"):
        for folder in os.get_exec_path():
            found = shutil.which(name, path=folder)
            if found and Path(found).resolve().open("rb").read(2) != b"#!":
                done = subprocess.run([found, "-c", "import pip"], capture_output=True, check=False)
                if done.returncode == 0:
                    return found
    return None


def test_pip_is_asked_again_once_its_file_changes(tmp_path: Path):
    python = python_with_pip()
    if python is None:
        pytest.skip("no interpreter with pip on the path")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(python)
    env = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    write(tmp_path / "pip.conf", "[global]\nno-index = true\nfind-links = https://one.example/x\n")
    first = pip_hosts(env, Memory.of(env))
    assert not kept(env, "pip").exists()  # a page that was read may change unseen
    write(tmp_path / "pip.conf", "[global]\nno-index = true\n")
    assert pip_hosts(env, Memory.of(env)).entries == ()
    before = kept(env, "pip").stat().st_mtime_ns
    assert pip_hosts(env, Memory.of(env)).entries == ()
    assert kept(env, "pip").stat().st_mtime_ns == before
    write(tmp_path / "pip.conf", "[global]\nno-index = true\nfind-links = https://one.example/x\n")
    assert pip_hosts(env, Memory.of(env)) == first


def test_code_in_the_working_folder_is_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Somebody's `json.py` beside the work is not run by asking pip."""
    python = python_with_pip()
    if python is None:
        pytest.skip("no interpreter with pip on the path")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(python)
    (tmp_path / "json.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert pip_hosts({"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}, Memory(None)).entries
