#!/usr/bin/env bash
# NLTK 3.10.4: meteor_score does not choose the alignment with the fewest crossings, as its documentation and the METEOR paper
# say. Each word takes the last equal word of the reference, so that a sentence copied from the start of a report is broken into
# two chunks if one of its words ("the", "no", "is") comes again later. A copy of the first sentence gets a lower score than
# it would if the two sentences of the reference changed places, which moves no word out of its sentence.
# Reports repeat such words in every line, and METEOR is one of the figures by which report generators are ranked.
# No WordNet is needed: no word here has a synonym among the others, so an empty one is passed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q nltk==3.10.4
"$folder/env/bin/python" -W error - <<'PY'
from itertools import permutations

import nltk
from nltk.translate.meteor_score import align_words, meteor_score


class Empty:
    def synsets(self, word):
        return []


def chunks(places):
    return 1 + sum(after != before + 1 for before, after in zip(places, places[1:]))


print("NLTK", nltk.__version__)
heart, lungs = "the heart is normal .".split(), "the lungs are clear .".split()
scores = {}
for name, reference in (("heart first", heart + lungs), ("lungs first", lungs + heart)):
    pairs, _, _ = align_words(heart, reference, wordnet=Empty())
    taken = [place for _, place in sorted(pairs)]
    fewest = min(
        (places for places in permutations(range(len(reference)), len(heart))
         if all(reference[place] == word for place, word in zip(places, heart))),
        key=chunks,
    )
    scores[name] = meteor_score([reference], heart, wordnet=Empty())
    print(f"reference '{' '.join(reference)}': NLTK aligns '{' '.join(heart)}' with words {taken}, chunks: {chunks(taken)}; "
          f"possible are {list(fewest)}, chunks: {chunks(fewest)}; METEOR {scores[name]:.3f}")
    assert chunks(fewest) == 1
    assert chunks(taken) == (3 if name == "heart first" else 1), "the behaviour has changed"
assert scores["heart first"] < scores["lungs first"] - 0.02, "the behaviour has changed"
PY
