#!/usr/bin/env bash
# transformers 5.23.0 saves base and scaling of the rotary positions as `rope_parameters` alone. transformers 4.57.6 opens that
# configuration without an error or a warning, with no scaling and the default base: a Llama 3 that was saved by version 5
# answers with other positions in version 4.
# What helps: write `rope_theta` and `rope_scaling` beside `rope_parameters`; version 5 reads either.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for release in 5.23.0 4.57.6; do
    python3 -m venv "$folder/$release"
    "$folder/$release/bin/pip" install -q "transformers==$release"
done
"$folder/5.23.0/bin/python" - "$folder/model" <<'PY' 2>/dev/null
import sys

from transformers import LlamaConfig, __version__

scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
config = LlamaConfig(rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0, **scaling})
config.save_pretrained(sys.argv[1])
print("saved by transformers", __version__, config.rope_parameters)
PY
"$folder/4.57.6/bin/python" -W error - "$folder/model" <<'PY' 2>"$folder/heard"
import sys

from transformers import AutoConfig, __version__

config = AutoConfig.from_pretrained(sys.argv[1])
print(f"opened by transformers {__version__}: rope_theta {config.rope_theta}, rope_scaling {config.rope_scaling}")
assert config.rope_parameters["rope_type"] == "llama3", "the configuration has no rope_parameters any more"
assert (config.rope_theta, config.rope_scaling) == (10000.0, None), "the behaviour has changed"
PY
echo "said besides: $(grep -ic rope "$folder/heard" || true) lines about rotary positions"
! grep -qi rope "$folder/heard"
