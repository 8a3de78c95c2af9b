"""The forms of `pretraining.forms`, and more of them, in other shares."""

from mpt_jax.tasks.pretraining import forms


class PackedExampleMaker(forms.ExampleMaker):
  """An `ExampleMaker` that also asks plain questions and for letters."""

  weights_of_forms = {
    "native": 0.34,
    "question": 0.08,
    "options": 0.13,
    "choice": 0.06,
    "yes_no": 0.05,
    "tag": 0.20,
    "lexical": 0.14,
  }
  tags_per_source = 12
  longest_tag = 14

  def _question(self, rng, source):
    """The question alone: the model has to know the label words."""
    text, label = self._draw(rng, source)
    question = rng.choice(source.questions)
    return rng.choice(
      (f"{question} {text}", f"{text} {question}", f"text: {text} {question}")
    ), label

  def _choice(self, rng, source):
    """Options with a letter or digit each, which is the answer."""
    names = self._some_labels(rng, source)
    text, label = self._draw(rng, source, rng.choice(names))
    letters = forms.LETTERS
    marks = rng.choice((letters, letters.lower(), "12345678", "01234567"))
    mark = rng.choice(("{}) {}", "{}: {}", "{} = {}", "({}) {}"))
    words = {name: forms.rename(rng, name, 0.3) for name in names}
    shown = " ".join(
      mark.format(m, words[name]) for m, name in zip(marks, names, strict=False)
    )
    question = rng.choice(source.questions)
    inputs = rng.choice(
      (
        f"{question} {shown} text: {text}",
        f"{shown} {text}",
        f"{question} {text} {shown}",
      )
    )
    return inputs, marks[names.index(label)]
