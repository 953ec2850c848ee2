"""Build of the embedded data set: `python -m medmllm.data.prepare --archives DIR --out DIR`.

Every answer and every caption follows from a header field, a slice position, a mask or a physician's label
of the pinned archives; no text is written by a model.
"""
