"""Examples of rows: odd answers, scores and references."""

import numpy as np
import pytest
import seqio

from mpt_jax.data import shots, text_tasks
from mpt_jax.data.in_memory import examples
from mpt_jax.tasks import forms


def features(examples):
  return [(*example, example.features) for example in examples]


def test_labels_by_id_name_and_digit():
  rows = [{"t": "a", "label": 1}, {"t": "b", "label": "no"}]
  labels = forms.Labels(("yes", "no"))
  assert labels.examples(rows, "{t}", False) == [("a", "no"), ("b", "no")]
  digits = forms.Labels(("yes", "no"), digits=True)
  assert digits.label_names == ("0", "1")
  assert digits.examples(rows, "{t}", True) == [("a", "1"), ("b", "1")]
  assert [digits.postprocessor(t) for t in ("1", " 0", "2", "no")] == [
    1,
    0,
    -1,
    -1,
  ]
  for label in (-1, 2, "maybe"):
    with pytest.raises(ValueError, match="none of the classes"):
      labels.examples([{"t": "a", "label": label}], "{t}", False)


def test_grouped_labels_keep_their_group():
  form = forms.Labels(("False", "True"), grouped=True)
  row = {"t": "a", "label": 1, "group": "0-3"}
  (example,) = form.examples([row], "{t}", False)
  assert features([example]) == [("a", "True", {"group": "0-3"})]
  post = form.postprocessor
  assert post("True", example={"group": b"0-3"}, is_target=True) == ("0-3", 1)
  assert post("so", example={"group": b"0-3"}) == ("0-3", -1)
  assert post.label_names == ("False", "True")


# float32 has 0.1 * 5 = 0.5 and 0.3 * 5 = 1.5; halves go to the even side.
@pytest.mark.parametrize(
  "score, text",
  [
    (0, "0.0"),
    (0.1, "0.0"),
    (0.3, "0.4"),
    (1.25, "1.2"),
    (2.6, "2.6"),
    (3.5, "3.6"),
    (4.923, "5.0"),
    (5, "5.0"),
  ],
)
def test_scores_to_the_nearest_fifth(score, text):
  rows = [{"t": "a", "label": score}]
  assert forms.Score().examples(rows, "{t}", True) == [("a", text)]


def test_scores_out_of_range():
  for score in (-1, 5.2, float("nan")):
    with pytest.raises(ValueError, match=r"not in 0\.\.5"):
      forms.Score().examples([{"t": "a", "label": score}], "{t}", False)


def test_answers():
  rows = [
    {"q": "several", "answers": ["b", "a", "b"]},
    {"q": "part", "answers": ["", "c"]},
    {"q": "nothing", "answers": [" "]},
  ]
  form = forms.Answers()
  # The first answer is the target; an empty one never is in training.
  assert form.examples(rows, "{q}", True) == [("several", "b"), ("part", "c")]
  assert features(form.examples(rows, "{q}", False)) == [
    ("several", "b", {"answers": ["b", "a"]}),
    ("part", "c", {"answers": ["", "c"]}),
    ("nothing", "", {"answers": [" "]}),
  ]
  each = forms.Answers(each=True)
  assert each.examples(rows, "{q}", True) == [
    ("several", "b"),
    ("several", "a"),
    ("part", "c"),
  ]
  assert len(each.examples(rows, "{q}", False)) == 3
  with pytest.raises(ValueError, match="has no answers: an unlabelled row"):
    form.examples([{"q": "hidden", "answers": []}], "{q}", False)


def test_references():
  rows = [
    {"d": "x", "target": "one", "references": ["one", "two"]},
    {"d": "y", "target": "", "references": ["three"]},
    {"d": "x", "target": "four", "references": []},
  ]
  form = forms.References(field="references")
  assert form.examples(rows, "{d}", True) == [
    ("x", "one"),
    ("y", "three"),
    ("x", "four"),
  ]
  assert features(form.examples(rows, "{d}", False)) == [
    ("x", "one", {"references": ["one", "two", "four"]}),
    ("y", "three", {"references": ["three"]}),
  ]
  with pytest.raises(ValueError, match="has no text: an unlabelled row"):
    form.examples([{"d": "z", "target": "", "references": []}], "{d}", False)


def test_texts_of_an_answer_postprocessor():
  post = forms.Answers().postprocessor
  example = {"answers": np.array(["Zoë".encode(), b""], object)}
  assert post("Zoë", example=example, is_target=True) == ["Zoë", ""]
  assert post(" Zoë ", example=example, is_target=False) == "Zoë"


def test_features_reach_the_dataset_and_its_few_shot_draw():
  made = [
    examples.Example("a", "b", answers=["b", "ü"], group="g"),
    examples.Example("c", "d", answers=[], group="h"),
  ]
  task = text_tasks.register_text_task(
    "forms_features",
    text_tasks.ExamplesSource(lambda split: made),
    vocabulary=seqio.ByteVocabulary(),
  )
  rows = list(task.get_dataset(None, "test", shuffle=False).as_numpy_iterator())
  assert [[t.decode() for t in row["answers"]] for row in rows] == [
    ["b", "ü"],
    [],
  ]
  assert [row["group"] for row in rows] == [b"g", b"h"]
  (drawn,) = shots.few_shot(task, 1).source.examples("train")
  assert drawn.features in ({**e.features} for e in made)


@pytest.mark.parametrize(
  ("form", "row", "message"),
  [
    (forms.Labels(("a", "b")), {"label": ["a"]}, "field 'label' is a list"),
    (forms.Labels(("a", "b")), {"label": {"a": 1}}, "'label' is an object"),
    (forms.Score(), {"label": [1.0]}, "field 'label' is a list"),
    (forms.Answers(), {"answers": "Paris"}, "must be a list of texts, got 'P"),
    (forms.Answers(), {"answers": {"text": []}}, "must be a list of texts"),
    (forms.Answers(), {"answers": [["x"]]}, r"'answers\[0\]' is a list"),
    (forms.References(), {"target": ["x"]}, "field 'target' is a list"),
    (
      forms.References(field="more"),
      {"target": "x", "more": "y"},
      "field 'more' must be a list of texts",
    ),
    (forms.Labels(("a", "b")), {"label": 0, "x": ["t"]}, "field 'x' is a list"),
  ],
)
def test_lists_and_objects_are_errors_unless_a_form_takes_them(
  form, row, message
):
  with pytest.raises(ValueError, match=message):
    form.examples([{"x": "t", **row}], "{x}", train=False)
