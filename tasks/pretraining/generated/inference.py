"""Paraphrase and inference by construction from sentences."""

from mpt_jax.tasks.pretraining.generated.source import (
  TRUTH,
  GeneratedSource,
  sentences_of,
)

_NEGATIONS = (
  (" is ", " is not "),
  (" was ", " was not "),
  (" are ", " are not "),
  (" were ", " were not "),
  (" can ", " cannot "),
  (" will ", " will not "),
  (" has ", " has not "),
  (" had ", " had not "),
)


class _Edits:
  """Changes sentences; returns None for one with nothing to change."""

  def __init__(self, synsets):
    self.synonyms, self.parents, self.opposites = {}, {}, {}
    for part, _, words, _, _, relations, pairs in synsets:
      single = [w for w in words if w.isalpha() and w.islower()]
      for word in single:
        if len(single) > 1:
          # All meanings of a word count alike, so rare ones occur.
          others = [w for w in single if w != word]
          self.synonyms.setdefault(word, []).extend(others)
        if part == "noun" and relations.get("kind"):
          parent = synsets[relations["kind"][0]][2][0]
          if parent.isalpha():
            self.parents.setdefault(word, []).append(parent)
      for word, other in pairs:
        self.opposites.setdefault(word, []).append(other)

  def _replace(self, rng, sentence, table, most):
    """Replaces up to `most` words by the table's."""
    parts = sentence.split()
    places = [i for i, w in enumerate(parts) if len(w) > 3 and w in table]
    if not places:
      return None
    for i in rng.sample(places, min(most, len(places))):
      parts[i] = rng.choice(table[parts[i]])
    return " ".join(parts)

  def reword(self, rng, sentence):
    """Replaces up to three words by synonyms."""
    return self._replace(rng, sentence, self.synonyms, 3)

  def shorten(self, rng, sentence):
    """Leaves out what follows a comma, or makes a word more general."""
    head = sentence.split(", ")[0]
    if head != sentence and head.count(" ") > 2:
      return head
    return self._replace(rng, sentence, self.parents, 1)

  def negate(self, rng, sentence):
    fits = [(a, b) for a, b in _NEGATIONS if a in sentence]
    if fits and rng.random() < 0.5:
      return sentence.replace(*rng.choice(fits), 1)
    return self._replace(rng, sentence, self.opposites, 1)


def inference_sources(material):
  """Paraphrase and inference by construction from sentences."""
  sentences = sentences_of(material)
  edits = _Edits(material.synsets)

  def draw_until(rng, make):
    while True:
      sentence = rng.choice(sentences)
      changed = make(rng, sentence)
      if changed is not None and changed != sentence:
        return sentence, changed

  def paraphrase(rng, label):
    first, second = draw_until(rng, edits.reword)
    if label == "no":
      second = (
        draw_until(rng, edits.negate)
        if rng.random() < 0.4
        else (first, rng.choice(sentences))
      )
      first, second = second
    if rng.random() < 0.5:
      first, second = second, first
    return f"sentence1: {first} sentence2: {second}"

  def inference(rng, label):
    if label == "entailment":
      first, second = draw_until(rng, edits.shorten)
    elif label == "contradiction":
      first, second = draw_until(rng, edits.negate)
    else:
      first, second = rng.choice(sentences), rng.choice(sentences)
      second = second.split(", ")[0]
    return f"premise: {first} hypothesis: {second}"

  yield GeneratedSource(
    "paraphrase",
    "paraphrase: ",
    TRUTH,
    ("do both say the same?", "is it a paraphrase?", "same meaning?"),
    0.8,
    paraphrase,
  )
  yield GeneratedSource(
    "inference",
    "inference: ",
    ("entailment", "neutral", "contradiction"),
    ("does the premise imply the hypothesis?", "is it implied?", "inference"),
    0.8,
    inference,
  )
