"""The user's own files: formats, templates, labels and every bad input."""

import itertools
import json

import pytest
import seqio

from mpt_jax import tasks
from mpt_jax.tasks import files

_names = (f"file_task_{i}" for i in itertools.count())


def register(path, **kwargs):
  kwargs = {
    "template": "review: {text}",
    "label_names": ("bad", "good"),
    "vocabulary": seqio.ByteVocabulary(),
    **kwargs,
  }
  return files.register_file_task(next(_names), {"train": path}, **kwargs)


def write(tmp_path, text, name="rows.jsonl"):
  path = tmp_path / name
  path.write_text(text, encoding="utf-8")
  return path


ROWS = [{"text": "fine", "label": "good"}, {"text": "awful", "label": "bad"}]
EXPECTED = [("review: fine", "good"), ("review: awful", "bad")]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_formats_give_the_same_examples(tmp_path, suffix):
  if suffix == "jsonl":
    text = "\n".join(map(json.dumps, ROWS)) + "\n\n"
  else:
    mark = {"csv": ",", "tsv": "\t"}[suffix]
    text = "".join(
      f"{mark.join(row)}\n" for row in (ROWS[0], *map(dict.values, ROWS))
    )
  task = register(write(tmp_path, text, f"rows.{suffix}"))
  assert task.source.examples("train") == EXPECTED
  (first, _) = task.get_dataset(
    None, "train", shuffle=False
  ).as_numpy_iterator()
  assert first["targets_pretokenized"] == b"good"
  # EOS, id 1, ends both features.
  assert first["inputs"][-1] == 1 and first["targets"][-1] == 1


@pytest.mark.parametrize(
  "label_names",
  [("bad", "good"), {0: "bad", 1: "good"}, {"0": "bad", "1": "good"}],
)
@pytest.mark.parametrize("value", [1, "1", True])
def test_labels_as_ids(tmp_path, label_names, value):
  path = write(tmp_path, json.dumps({"text": "x", "label": value}))
  task = register(path, label_names=label_names)
  assert task.source.examples("train") == [("review: x", "good")]
  assert task.postprocessor.label_names == ("bad", "good")


@pytest.mark.parametrize(
  ("label_names", "expected"),
  [
    # Values that are words too, as in datasets that count their labels from 1.
    ({1: "0", 2: "1"}, "01"),
    ({1: "2", 2: "1"}, "21"),
    (("1", "2"), "12"),
    # A value that the mapping does not name is a word.
    ({3: "3", 4: "1", 2: "2"}, "12"),
  ],
)
def test_values_that_are_words_too(tmp_path, label_names, expected):
  path = write(tmp_path, "text,label\na,1\nb,2\n", "rows.csv")
  made = register(path, label_names=label_names).source.examples("train")
  assert "".join(target for _, target in made) == expected


@pytest.mark.parametrize(
  "label_names",
  [
    {True: "good", False: "bad"},
    {"true": "good", "false": "bad"},
    {1: "good", 0: "bad"},
    ("bad", "good"),
  ],
)
def test_booleans_as_labels(tmp_path, label_names):
  rows = [{"text": "x", "label": True}, {"text": "y", "label": False}]
  path = write(tmp_path, "\n".join(map(json.dumps, rows)))
  made = register(path, label_names=label_names).source.examples("train")
  assert made == [("review: x", "good"), ("review: y", "bad")]


def test_generation_target_template(tmp_path):
  path = write(tmp_path, '{"text": "long", "summary": "short"}')
  task = register(path, target="so: {summary}", label_names=None)
  assert task.source.examples("train") == [("review: long", "so: short")]
  assert task.postprocess_fn(" a ") == "a"
  assert task.metric_fns[0].__name__ == "exact_match"


@pytest.mark.parametrize(
  "text, message",
  [
    ('{"text": "a", "label": "bad"}\n{"text": "b",', "line 2: not valid JSON"),
    ('{"text": "a", "label": "bad"}\n[1]', "line 2: expected a JSON object"),
    ('{"txt": "a", "label": "bad"}', "line 1: no field 'text'.*mean txt"),
    ('{"text": "a"}', "line 1: no field 'label'"),
    ('{"text": null, "label": "bad"}', "line 1: field 'text' is null"),
    (
      '{"text": "a", "label": "goood"}',
      "'goood' is not one of bad, good.*mean",
    ),
    ('{"text": "a", "label": 2}', "label '2' is not one of"),
    ('{"text": "\\ud83d", "label": "bad"}', "line 1: half of a surrogate"),
    ('{"text": %s, "label": 0}' % ("1" * 5000), "line 1: Exceeds the limit"),
    ("\n", "is empty"),
    ('{"text": ["a"], "label": "bad"}', "line 1: field 'text' is a list, not"),
    ('{"text": {"a": 1}, "label": "bad"}', "line 1: field 'text' is an object"),
    ('{"text": true, "label": "bad"}', "line 1: field 'text' is true, not"),
    ('{"text": NaN, "label": "bad"}', "line 1: field 'text' is NaN, not"),
    ('{"text": 1e999, "label": "bad"}', "line 1: field 'text' is infinite"),
    ('{"text": "a", "label": ["bad"]}', "line 1: field 'label' is a list"),
    ('{"text": "a", "text": "b", "label": 0}', "line 1: the field 'text' occ"),
  ],
)
def test_bad_jsonl_names_file_and_line(tmp_path, text, message):
  task = register(write(tmp_path, text))
  with pytest.raises(ValueError, match=message) as error:
    task.source.examples("train")
  assert "rows.jsonl" in str(error.value)
  assert "\n" not in str(error.value)


def test_bad_table_rows(tmp_path):
  task = register(write(tmp_path, "text,label\na,bad\nb\n", "rows.csv"))
  with pytest.raises(ValueError, match="rows.csv, line 3: expected 2 columns"):
    task.source.examples("train")
  task = register(write(tmp_path, "a\tbad\nb\tgood\n", "headless.tsv"))
  with pytest.raises(ValueError, match="first line, which names the columns"):
    task.source.examples("train")
  task = register(write(tmp_path, "\na,bad\n", "blank.csv"))
  with pytest.raises(ValueError, match="names the columns, is empty"):
    task.source.examples("train")
  # The row that is broken, not the one before.
  text = "text,label\n" + "a,bad\n" * 5 + '"b" c,bad\n'
  task = register(write(tmp_path, text, "quote.csv"))
  with pytest.raises(ValueError, match="quote.csv, line 7: "):
    task.source.examples("train")
  path = tmp_path / "latin.csv"
  path.write_bytes("text,label\né,bad\n".encode("latin-1"))
  with pytest.raises(ValueError, match="not UTF-8"):
    register(path).source.examples("train")


@pytest.mark.parametrize(
  ("targets", "message"),
  [
    ([], "field 'label' is a list without an answer"),
    (["a", None], r"field 'label\[1\]' is null"),
    (["a", ["b"]], r"field 'label\[1\]' is a list"),
    ([" "], "the target text is empty"),
    ({"text": ["a"]}, "field 'label' is an object"),
    (True, "field 'label' is true"),
  ],
)
def test_targets_that_are_no_answers(tmp_path, targets, message):
  path = write(tmp_path, json.dumps({"text": "a", "label": targets}))
  with pytest.raises(ValueError, match="line 1: " + message):
    register(path, label_names=None).source.examples("train")


def test_a_list_is_several_right_answers(tmp_path):
  rows = [
    {"text": "who", "label": ["ann", "Ann Lee", "ann"]},
    {"text": "what", "label": "tea"},
    {"text": "year", "label": [1990.0, "90"]},
  ]
  path = write(tmp_path, "\n".join(map(json.dumps, rows)))
  task = register(path, label_names=None, metric_fns=("exact_match", "squad"))
  # The first answer is the target; a number is as the file has it.
  assert [y for _, y in task.source.examples("train")] == [
    "ann",
    "tea",
    "1990.0",
  ]
  examples = task.get_dataset(None, "train", shuffle=False).as_numpy_iterator()
  targets = [
    task.postprocess_fn("", example=x, is_target=True) for x in examples
  ]
  assert targets == [["ann", "Ann Lee"], ["tea"], ["1990.0", "90"]]
  exact, squad = task.metric_fns
  # Right by the second answer, right, wrong: 2 of 3.
  predictions = ["Ann Lee", "tea", "1991"]
  assert exact(targets, predictions)["exact_match"] == pytest.approx(2 / 3)
  assert squad(targets, predictions)["em"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
  "header",
  ["#1 String", "First name", "a:b", "naïve 名", "a {x}", "a.b", "x[0]"],
)
def test_ordinary_headers(tmp_path, header):
  escaped = header.replace("{", "{{").replace("}", "}}")
  path = write(tmp_path, f"{header},label\nfine,good\n", "rows.csv")
  task = register(path, template="review: {" + escaped + "}")
  assert task.source.examples("train") == [("review: fine", "good")]


def test_nothing_is_formatted(tmp_path):
  path = write(tmp_path, "text,label\nfine,good\n", "rows.csv")
  for field in ("text:300000000", "text!r", "text.upper", "text[0]"):
    with pytest.raises(
      ValueError, match="no field 'text.*nothing is formatted"
    ):
      register(path, template="{" + field + "}").source.examples("train")


def test_empty_target_is_an_error(tmp_path):
  path = write(tmp_path, '{"text": "a", "label": " "}')
  with pytest.raises(ValueError, match="line 1: the target text is empty"):
    register(path, label_names=None).source.examples("train")


def test_missing_file_is_reported_when_checked(tmp_path):
  path = tmp_path / "none.jsonl"
  register(path)  # Files are read lazily.
  with pytest.raises(FileNotFoundError, match="none.jsonl"):
    register(path, check=True)


def test_bad_arguments(tmp_path):
  path = write(tmp_path, json.dumps(ROWS[0]))
  with pytest.raises(ValueError, match="unknown extension '.txt'"):
    register(tmp_path / "rows.txt")
  with pytest.raises(ValueError, match="malformed"):
    register(path, template="review: {text")
  with pytest.raises(ValueError, match="at least one field"):
    register(path, template="review")
  with pytest.raises(ValueError, match="unknown metric.*accuracy"):
    register(path, metric_fns=("acuracy",))
  with pytest.raises(ValueError, match="different words"):
    register(path, label_names=("good", "good"))
  with pytest.raises(ValueError, match="at least one split"):
    files.register_file_task("nothing", {}, template="{text}")


def test_name_can_be_used_once(tmp_path):
  path = write(tmp_path, json.dumps(ROWS[0]))
  task = register(path)
  assert seqio.TaskRegistry.get(task.name) is task
  with pytest.raises(ValueError, match="registered already"):
    tasks.register_file_task(task.name, {"train": path}, template="{text}")


@pytest.mark.parametrize(
  ("labels", "values", "expected"),
  [
    # Words that say what true is come before indices.
    (("true", "false"), [True, False], ["true", "false"]),
    (("False", "True"), [True, False], ["True", "False"]),
    # Two spellings of one Unicode text.
    (("caf\u00e9", "no"), ["cafe\u0301"], ["caf\u00e9"]),
    (("yes", "no"), ["YES", "No"], ["yes", "no"]),
    (("US", "us"), ["US", "us"], ["US", "us"]),
    # A list that counts from 1 has words alone.
    (("1", "2", "3"), [1, 2, 3], ["1", "2", "3"]),
  ],
)
def test_what_a_label_stands_for(tmp_path, labels, values, expected):
  rows = [json.dumps({"text": "x", "label": value}) for value in values]
  task = register(write(tmp_path, "\n".join(rows)), label_names=labels)
  assert [made for _, made in task.source.examples("train")] == expected


@pytest.mark.parametrize(
  ("labels", "value", "message"),
  [
    # As an index it would be "no".
    (("yes", "no"), True, "label true is not one of yes, no; say which"),
    (("a", "b", "c"), False, "label false is not one of a, b, c; say which"),
    # As an index it would be "1", which the word 1 is too.
    (("1", "2"), 0, "label '0' is not one of 1, 2"),
    # A file of words, for a mapping whose values look like other words.
    ({0: "1", 1: "2"}, "2", r"label '2' is not one of 1 \(or 0\)\.$"),
    (("US", "us"), "Us", "label 'Us' is not one of US, us"),
  ],
)
def test_labels_of_two_meanings_are_refused(tmp_path, labels, value, message):
  path = write(tmp_path, json.dumps({"text": "x", "label": value}))
  with pytest.raises(ValueError, match=message):
    register(path, label_names=labels).source.examples("train")


@pytest.mark.parametrize(
  ("labels", "message"),
  [
    ("yes", "list of words.*got 'yes'"),
    ({"yes", "no"}, "list of words"),
    ((None, "yes"), "must be words, got None"),
    ((" yes", " no"), "without spaces at their ends, got ' yes'"),
    ({0: "no ", 1: "yes"}, "without spaces at their ends, got 'no '"),
    (("", "yes"), "without spaces at their ends, got ''"),
  ],
)
def test_label_names_that_are_no_words(tmp_path, labels, message):
  with pytest.raises(ValueError, match=message):
    register(tmp_path / "none.jsonl", label_names=labels)


def test_a_template_that_shows_the_label_is_named(tmp_path):
  path = write(tmp_path, json.dumps(ROWS[0]))
  with pytest.warns(UserWarning, match="shows the T5 the label"):
    register(path, template="{text}: {label}")


def test_files_that_are_none(tmp_path):
  with pytest.raises(ValueError, match=r"files\['train'\].*download it first"):
    register("https://example.org/rows.jsonl")
  with pytest.raises(TypeError, match=r"files\['train'\] must be the path"):
    register(None)
