"""The server of an exported folder."""

import dataclasses
import json

import numpy as np
import pytest
from stablehlo_fixtures import (
  LENGTHS,
  D,
  P,
  export_folder,
  make_bank,
)

from mpt_jax.backbones import backbone as backbones
from mpt_jax.data import templates
from mpt_jax.export import stablehlo_serve
from mpt_jax.inference import predictor as predict
from mpt_jax.model.objective import Model
from mpt_jax.text import vocabularies


def test_vocabulary_has_the_sentinels(exported):
  ours = predict.Tokenizer(vocabularies.default_vocabulary_path())
  server = stablehlo_serve.Server(exported)
  theirs = server._load_vocabulary()
  for text in ("plain", "<extra_id_0> and<extra_id_99>", " a  b", "☃"):
    assert theirs.encode(text) == ours.encode(text)
    assert theirs.decode(theirs.encode(text)) == ours.decode(ours.encode(text))
  assert theirs.decode([8_500, 7]) == ours.decode([8_500, 7])


def test_bytes(backbone, make_params, tmp_path):
  config = backbones.load_backbone(backbone).config
  config = dataclasses.replace(config, vocab_size=384)
  params = make_params(Model(config, trainable="everything"), seed=3)
  folder = tmp_path / "byt5"
  backbones.save_backbone(folder, config, params, vocabularies.BYTES_PATH)
  bank = make_bank(folder)
  out = export_folder(bank, tmp_path / "out", folder, inputs_lengths=[61])
  server = stablehlo_serve.Server(out)
  # UTF-8 of é is C3 A9; three special ids come before the bytes.
  ids = [0xC3 + 3, 0xA9 + 3, ord("!") + 3, 1]
  assert server._input_ids({"task": "free", "text": "é!"}) == ids
  assert server.task("mood")["label_tokens"][1] == [
    ord("n") + 3,
    ord("o") + 3,
    1,
  ]
  ours = predict.Tokenizer(vocabularies.BYTES_PATH)
  theirs = server._load_vocabulary()
  for row in (ids[:-1], [0xC3 + 3], [300, ord("a") + 3]):
    assert theirs.decode(row) == ours.decode(row)


def test_many_labels_are_scored_in_parts(exported):
  server = stablehlo_serve.Server(exported)
  size = server.manifest["labels_length"]
  rng = np.random.default_rng(0)
  # 30 labels of 2 to 9 tokens do not fit and are scored in parts; one label at
  # a time fits.
  labels = [[*map(int, rng.integers(3, 7000, n % 8 + 1)), 1] for n in range(30)]
  assert sum(map(len, labels)) > size
  inputs = [[7, 8, 9, 1], [5, 1]]
  together = server.score(["mood", "free"], inputs, [labels, labels[:3]])
  assert [len(row) for row in together] == [30, 3]
  for number in (0, 12, 29):
    (alone,) = server.score(["mood"], inputs[:1], [[labels[number]]])
    assert together[0][number] == pytest.approx(alone[0], rel=1e-5)
  (alone,) = server.score(["free"], inputs[1:], [labels[:3]])
  np.testing.assert_allclose(together[1], alone, rtol=1e-5)
  with pytest.raises(ValueError, match=f"longer than labels_length={size}"):
    server.score(["mood"], inputs[:1], [[[5] * size + [1]]])


@pytest.mark.parametrize(
  ("names", "inputs", "labels", "message"),
  [
    (["mood"], [[5, 1], [6, 1]], None, r"differ in number: \[2, 1\]"),
    (["mood"] * 2, [[5, 1]], [[[5, 1]]], r"number: \[1, 2, 1\]"),
    (["mood"], [[5, 1]], [[[5, 1]]] * 2, r"number: \[1, 1, 2\]"),
    # A label without tokens would be certain.
    (["mood"], [[5, 1]], [[[5, 1], []]], "at least one, got"),
    (["mood"], [[5, 1]], [[[8000, 1]]], r"in \[0, vocab_size=8000\)"),
    (["mood"], [[5, -1]], [[[5, 1]]], r"in \[0, vocab_size=8000\)"),
  ],
)
def test_arguments_that_do_not_fit(exported, names, inputs, labels, message):
  server = stablehlo_serve.Server(exported, check=False)
  arguments = (names, inputs) if labels is None else (names, inputs, labels)
  method = server.generate if labels is None else server.score
  with pytest.raises(ValueError, match=message):
    method(*arguments)


def test_a_cut_input_is_counted_once(exported):
  server = stablehlo_serve.Server(exported, check=False)
  # Labels of 20 tokens are scored in several parts.
  labels = [[*range(10 + n, 29 + n), 1] for n in range(9)]
  assert sum(map(len, labels)) > 2 * server.manifest["labels_length"]
  long, short = list(range(10, 100)), [5, 6, 1]
  (cut, _) = server.score(["mood"] * 2, [[*long, 1], short], [labels, labels])
  assert server.num_truncated == 1
  fitting = [*long[: LENGTHS[-1] - 1], 1]
  (expected,) = server.score(["mood"], [fitting], [labels])
  np.testing.assert_allclose(cut, expected, rtol=1e-5)
  assert server.num_truncated == 1


def test_labels_or_text_by_task(exported):
  server = stablehlo_serve.Server(exported, check=False)
  rows = [
    {"task": "free", "text": "tree"},
    {"task": "mood", "text": "good"},
    {"task": "free", "ids": [5, 1]},
  ]
  made = server.predict(rows)
  assert [row.keys() - {"prediction"} for row in made] == [
    {"task", "text", "prediction_ids"},
    {"task", "text", "scores"},
    {"task", "ids", "prediction_ids"},
  ]
  scores = made[1]["scores"]
  assert list(scores) == ["yes", "no"]
  assert made[1]["prediction"] == max(scores, key=scores.get)
  # The rows that were handed in stay as they were.
  assert rows[0].keys() == {"task", "text"}
  assert server.predict([]) == []


def test_templates_by_hand():
  fill = stablehlo_serve._fill
  assert fill("{text}", {"text": "a {b}"}) == "a {b}"
  assert fill("is {x}? {{}}", {"x": 1}) == "is 1? {}"
  # "text" is the one field of a template, whatever its name is there.
  assert fill("is {x}?", {"text": "a"}) == "is a?"
  with pytest.raises(ValueError, match="field 'y' for .*has x, text"):
    fill("{x} {y}", {"x": 1, "text": "a"})


def test_fields_within_objects():
  """By hand, and beside the templates of prediction within the library."""
  row = {
    "meta": {"title": "T", "by": {"name": "N"}, "tags": ["x"]},
    "a.b": "dotted",
    "a": {"b": "inner"},
    "": {"": "empty"},
  }
  for template, expected in (
    ("{meta.title}", "T"),
    ("{meta.by.name}: {meta.title}", "N: T"),
    ("{a.b} {{x}}", "dotted {x}"),  # A field of this name goes first.
    ("{.}", "empty"),
  ):
    assert stablehlo_serve._fill(template, row) == expected
    assert templates.fill(template, row) == expected
  for template in ("{meta.none}", "{meta.title.x}", "{meta.tags}", "{meta.by}"):
    with pytest.raises(ValueError, match="no text or number in field 'meta"):
      stablehlo_serve._fill(template, row)
    with pytest.raises((ValueError, KeyError)):
      templates.fill(template, row)


def test_tensors_are_those_of_safetensors(tmp_path):
  import ml_dtypes
  import safetensors.numpy

  arrays = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    "empty": np.zeros((0, 3), np.float32),
  }
  path = tmp_path / "x.safetensors"
  safetensors.numpy.save_file(arrays, path, metadata={"k": "v"})
  found = dict(stablehlo_serve.read_tensors(path))
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)


def test_ids_text_and_cut_inputs(exported):
  server = stablehlo_serve.Server(exported, batch_size=2)
  (text,) = server.predict([{"task": "free", "text": "tree house"}])
  ids = [*server._load_vocabulary().encode("tree house"), 1]
  (row,) = server.predict([{"task": "free", "ids": ids}])
  assert row["prediction_ids"] == text["prediction_ids"]
  assert row["prediction"] == text["prediction"]
  assert server.num_truncated == 0
  long = list(range(10, 100))
  cut = server.generate(["free"], [[*long, 1]])
  assert server.num_truncated == 1
  np.testing.assert_array_equal(
    cut, server.generate(["free"], [[*long[: LENGTHS[-1] - 1], 1]])
  )


def test_a_replaced_prompt_is_reloaded(copy, bank):
  server = stablehlo_serve.Server(copy)
  first = server.generate(["free"], [[5, 6, 7, 1]])
  (program,) = server._programs.values()
  other = -np.load(copy / "prompts" / "mood.npy")
  np.save(copy / "prompts" / "free.npy", other)
  np.testing.assert_array_equal(
    server.generate(["free"], [[5, 6, 7, 1]]), first
  )
  server.reload()
  with pytest.raises(ValueError, match="free.npy is damaged"):
    server.generate(["free"], [[5, 6, 7, 1]])
  (copy / "prompts" / "free.json").unlink()
  assert (server.generate(["free"], [[5, 6, 7, 1]]) != first).any()
  assert list(server._programs.values()) == [program]
  assert program._cache_size() == 1


@pytest.mark.parametrize(
  "array, message",
  [
    (np.zeros((P + 1, D), np.float32), r"float32 prompt.*\[3, 32\].*\[4, 32\]"),
    (np.zeros((P, D)), r"one float32 prompt.*got float64"),
    (np.zeros((1, P, D), np.float32), r"got float32 \[1, 3, 32\]"),
    (np.full((P, D), np.nan, np.float32), "bad.npy holds NaN or infinite"),
    (None, "bad.npy is not a .npy file"),
  ],
)
def test_prompts_that_do_not_fit(copy, array, message):
  path = copy / "prompts" / "bad.npy"
  if array is None:
    path.write_bytes(b"\x93NUMPY no")
  else:
    np.save(path, array)
  with pytest.raises(ValueError, match=message):
    stablehlo_serve.Server(copy).generate(["bad"], [[5, 1]])


@pytest.mark.parametrize(
  "row, message",
  [
    ({"task": "colour", "text": "a"}, "no task 'colour'.*colour/2, free, mood"),
    ({"task": "../weights", "text": "a"}, "no task '../weights'"),
    ({"text": "a"}, "a row must be like"),
    ({"task": "colour/2", "text": "a"}, "field 'label' for the template"),
    ({"task": ["free"], "text": "a"}, r"a row must be like .*\['free'\]"),
    ({"task": "free", "text": "\ud800"}, "surrogates not allowed"),
    ({"task": "free", "ids": []}, "at least one, got"),
    ({"task": "free", "ids": [5, 8000]}, r"in \[0, vocab_size=8000\)"),
    ({"task": "free", "ids": "5 1"}, "ids must be a list of integers"),
  ],
)
def test_rows_that_do_not_fit(exported, row, message):
  with pytest.raises(ValueError, match=message):
    stablehlo_serve.Server(exported).predict([row])


def test_changed_files(copy):
  for name in ("weights.safetensors", "programs/score_61.stablehlo"):
    path = copy / name
    data = path.read_bytes()
    path.write_bytes(data[:-9] + b"x" + data[-8:])
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
      stablehlo_serve.Server(copy)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
      stablehlo_serve.Server(copy)
    path.write_bytes(data)
  stablehlo_serve.Server(copy)
  manifest = (copy / "manifest.json").read_text()
  longer = manifest.replace('"targets_length": ', '"targets_length": 1')
  (copy / "manifest.json").write_text(longer)
  with pytest.raises(ValueError, match="manifest.json is damaged"):
    stablehlo_serve.Server(copy)
  (copy / "manifest.json").write_text(manifest[:-20])
  with pytest.raises(ValueError, match="manifest.json is not JSON"):
    stablehlo_serve.Server(copy)
  (copy / "manifest.json").write_text('{"format": "onnx"}')
  with pytest.raises(ValueError, match="was not written by `mpt export"):
    stablehlo_serve.Server(copy)
  (copy / "manifest.json").write_text("[]")
  with pytest.raises(ValueError, match="must hold a JSON object, got"):
    stablehlo_serve.Server(copy)
  (copy / "manifest.json").unlink()
  with pytest.raises(FileNotFoundError, match="manifest.json"):
    stablehlo_serve.Server(copy)


def test_a_prompt_that_was_exported_for_another_t5(copy):
  path = copy / "prompts" / "free.json"
  fields = json.loads(path.read_text())
  assert len(fields.pop("backbone")) == 16
  del fields["digest"]
  path.write_text(json.dumps({**fields, "backbone": "0" * 16}))
  server = stablehlo_serve.Server(copy)
  with pytest.raises(ValueError, match="free.npy was exported for another T5"):
    server.generate(["free"], [[5, 1]])
