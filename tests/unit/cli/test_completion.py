"""Shell completion of the verbs."""

import os
import subprocess

from harness.process import OUTWARD, environment


def completed(*words: str) -> list[str]:
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_OUTWARD_COMPLETE": "bash_complete"}
    done = subprocess.run([OUTWARD], env={**environment(), **asked}, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_shell_completes_verbs_and_options():
    assert completed("outward", "le") == ["plain,learn"]
    assert "plain,--no-parent" in completed("outward", "run", "--no-p")


def test_the_script_for_a_shell_names_the_command():
    done = subprocess.run(
        [OUTWARD], env={**os.environ, "_OUTWARD_COMPLETE": "zsh_source"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("#compdef outward")
