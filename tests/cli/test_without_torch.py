"""Commands that only read data and answers load no torch, which takes longer than what they do."""

import json
import os
import subprocess
import sys

import pytest

RUN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("this command was not to load torch")
sys.meta_path.insert(0, Blocked())
from exgra.main import run
if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
"""

COMMANDS = {
    "validate": "data validate {folder}/data.json",
    "validate the embedded data": "data validate",
    "stats": "data stats {folder}/data.json",
    "describe": "data describe {folder}/data.json",
    "split": "data split {folder}/data.json {out}/split --allow-outside",
    "subset": "data subset {folder}/data.json {out}/half.json --fraction 0.5 --allow-outside",
    "answers of another system": "eval --references {out}/right.jsonl --predictions {out}/said.jsonl",
    "two systems": "eval --references {out}/right.jsonl --predictions {out}/said.jsonl --baseline {out}/said.jsonl",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_torch_is_loaded(tiny, tmp_path, command):
    (tmp_path / "run.py").write_text(RUN)
    rows = [{"id": str(n), "question": "Is it dark?", "answer": "yes", "image": f"{n}.png"} for n in range(12)]
    for name, said in (("right", {}), ("said", {"prediction": "yes"})):
        lines = [json.dumps({"id": row["id"], **said} if said else row) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    words = command.format(folder=tiny.parent, out=tmp_path).split()
    done = subprocess.run(
        [sys.executable, tmp_path / "run.py", *words], capture_output=True, text=True, env=os.environ, timeout=240
    )
    assert done.returncode == 0, done.stderr
