"""Prediction: equal to evaluation, in any mix and order, without seqio."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from train_fixtures import save_tiny_backbone, write_rows

from mpt_jax import tasks
from mpt_jax.backbones import backbone as backbones
from mpt_jax.data import batches, packing
from mpt_jax.inference import predictor as predict
from mpt_jax.inference.engine import decoding, programs
from mpt_jax.inference.evaluator import EvalConfig, evaluate
from mpt_jax.model.network import T5
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import PromptBank, select
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.text import vocabularies

LABELS = (("yes", "no"), ("red", "dark green", "blue"), None)
TEMPLATES = ("text: {text}", "{text} and {label}?", None)
NAMES = ("predict_a", "predict_b", "predict_c")
LENGTH = 3


@pytest.fixture(scope="session")
def backbone(tmp_path_factory, make_params):
  """A T5 of large random weights, so that its answers differ."""
  from mpt_jax.model.objective import Model

  folder = tmp_path_factory.mktemp("predict") / "t5"
  save_tiny_backbone(folder)
  config = backbones.load_backbone(folder).config
  params = make_params(Model(config, trainable="everything"), seed=3)
  backbones.save_backbone(
    folder, config, params, vocabularies.default_vocabulary_path()
  )
  return str(folder)


@pytest.fixture(scope="session")
def bank(backbone):
  """Three prompts: two to rank labels, of one P*, and one to decode."""
  rng = np.random.default_rng(0)

  def draw(*shape):
    return rng.normal(0.0, 1.0, shape).astype(np.float32)

  return PromptBank(
    {
      "shared_prompt": draw(2, LENGTH, 32),
      "task_columns": draw(3, LENGTH, 1),
      "task_rows": draw(3, 1, 32),
    },
    NAMES,
    (0, 0, 1),
    backbones.load_backbone(backbone).fingerprint,
    tuple(
      {"task": task, "label_names": labels, "template": template}
      for task, labels, template in zip(NAMES, LABELS, TEMPLATES, strict=True)
    ),
  )


@pytest.fixture(scope="session")
def prompts(bank, tmp_path_factory):
  path = tmp_path_factory.mktemp("bank") / "prompts.safetensors"
  bank.save(path)
  return str(path)


@pytest.fixture(scope="session")
def predictor(prompts, backbone):
  return predict.Predictor(prompts, backbone, batch_size=4, targets_length=5)


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
  """Thirty rows, the tasks in turn, of 3 to 40 words."""
  path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
  made = [json.loads(x) for x in write_rows(path, 30).read_text().splitlines()]
  for i, row in enumerate(made):
    row["task"] = NAMES[i % 3]
    row["text"] = " ".join([row["text"]] * (1 + i % 5))
  return made


@pytest.fixture(scope="session")
def predictions(predictor, rows):
  return predictor.predict(rows)


def test_a_t5_split_over_devices(prompts, backbone, predictions, rows):
  split = predict.Predictor(
    *(prompts, backbone),
    batch_size=4,
    targets_length=5,
    num_model_partitions=2,
  )
  embedding = split.engine.params["token_embedder"]["embedding"]
  assert embedding.addressable_data(0).shape[0] == embedding.shape[0] // 2
  for made, expected in zip(split.predict(rows), predictions, strict=True):
    assert made["prediction"] == expected["prediction"]
    for label, score in made.get("scores", {}).items():
      np.testing.assert_allclose(score, expected["scores"][label], rtol=1e-4)
  with pytest.raises(ValueError, match="num_model_partitions=3 does not"):
    predict.Predictor(prompts, backbone, num_model_partitions=3)


def test_dtype_is_the_runs_or_as_asked(prompts, backbone, tmp_path, rows):
  run = tmp_path / "run"
  (run / "prompts").mkdir(parents=True)
  path = run / "prompts" / "best.safetensors"
  path.write_bytes(pathlib.Path(prompts).read_bytes())
  settings = {"backbone": backbone, "dtype": "bfloat16", "batch": {}}
  (run / "experiment.json").write_text(json.dumps(settings))
  of_run = predict.Predictor(run, batch_size=4, targets_length=2)
  assert of_run.fingerprint()["dtype"] == "bfloat16"
  leaves = jax.tree.leaves(of_run.engine.params)
  assert {x.dtype.name for x in leaves} == {"bfloat16"}
  # The prompts stay as they are.
  assert of_run.engine._prompts.dtype == np.float32
  exact = predict.Predictor(run, dtype="float32", targets_length=2)
  assert exact.fingerprint() != of_run.fingerprint()
  ranked = [row for row in rows if row["task"] == "predict_a"]
  for low, high in zip(
    of_run.predict(ranked), exact.predict(ranked), strict=True
  ):
    for label, score in high["scores"].items():
      np.testing.assert_allclose(low["scores"][label], score, rtol=0.1)
  with pytest.raises(ValueError, match="dtype must be one of"):
    predict.Predictor(run, dtype="float64")


TEXTS = [
  "",
  " ",
  "plain words, and 123 ünïcode ☃",
  "two  spaces\tand\na line",
  "<extra_id_0> first <extra_id_1>ly glued<extra_id_99>",
  "▁ literal </s> <pad> <unk>",
]


@pytest.mark.parametrize("text", TEXTS)
def test_tokenizer_is_seqios(text):
  pytest.importorskip("seqio", reason="requirements/light.txt has no seqio")
  path = vocabularies.default_vocabulary_path()
  ours, theirs = predict.Tokenizer(path), vocabularies.default_vocabulary()
  ids = list(theirs.encode(text))
  assert ours.encode(text) == ids
  for tokens in (ids, [*ids, 1, 7, 8], [0, *ids, 0], [*ids, 8_500]):
    assert ours.decode(tokens) == theirs.decode(tokens)


def test_tokenizer_sentinels():
  path = vocabularies.default_vocabulary_path()
  # 7,900 pieces, then the sentinels from the hundredth down to the first.
  assert predict.Tokenizer(path).encode("<extra_id_0>") == [7999]
  assert predict.Tokenizer(path).encode("<extra_id_99>") == [7900]


def test_rows_come_back_in_order(predictions, rows):
  assert len(predictions) == len(rows)
  for row, result in zip(rows, predictions, strict=True):
    assert {k: result[k] for k in row} == row
    labels = LABELS[NAMES.index(row["task"])]
    if labels is None:
      assert "scores" not in result
    else:
      assert tuple(result["scores"]) == labels
      assert result["prediction"] == max(labels, key=result["scores"].get)
  # The outputs of the random T5 differ; otherwise equality shows nothing.
  for task in NAMES:
    assert len({r["prediction"] for r in predictions if r["task"] == task}) > 1


@pytest.mark.parametrize("task", NAMES)
def test_mixed_batch_is_single_tasks(predictor, predictions, rows, task):
  chosen = [i for i, row in enumerate(rows) if row["task"] == task]
  alone = predictor.predict([rows[i] for i in chosen])
  for i, result in zip(chosen, alone, strict=True):
    assert result["prediction"] == predictions[i]["prediction"]
    for label, score in result.get("scores", {}).items():
      np.testing.assert_allclose(
        score, predictions[i]["scores"][label], rtol=1e-4
      )


def test_reversed_rows(predictor, predictions, rows):
  made = predictor.predict(rows[::-1])[::-1]
  assert [r["prediction"] for r in made] == [
    r["prediction"] for r in predictions
  ]


def test_equals_evaluation(tmp_path, predictions, rows, prompts, backbone):
  pytest.importorskip("seqio", reason="requirements/light.txt has no seqio")
  seen = {}

  def metric(name):
    def record(targets, predictions):
      seen[name] = predictions
      return {"count": len(targets)}

    return record

  for name, labels, template in zip(NAMES, LABELS, TEMPLATES, strict=True):
    path = tmp_path / f"{name}.jsonl"
    own = [row for row in rows if row["task"] == name]
    # The target does not matter here; the template takes "label" too.
    own = [{**row, "target": (labels or ["x"])[0]} for row in own]
    path.write_text("".join(json.dumps(row) + "\n" for row in own))
    tasks.register_file_task(
      name,
      {"test": path},
      template=template or "{text}",
      target="target",
      label_names=labels,
      metric_fns=[metric(name)],
    )
  config = EvalConfig(split="test", num_rows=8)
  made = evaluate(
    prompts, None, config, backbone=backbone, num_model_partitions=2
  )
  assert [(r["prompt"], r["value"]) for r in made] == [(n, 10) for n in NAMES]
  for name, labels in zip(NAMES, LABELS, strict=True):
    mine = [p["prediction"] for p in predictions if p["task"] == name]
    if labels is None:
      # Evaluation decodes further than these five tokens.
      assert all(
        long.startswith(short)
        for long, short in zip(seen[name], mine, strict=True)
      )
    else:
      assert [labels[i] for i in seen[name]] == mine


@pytest.mark.parametrize("task", ["predict_a", "predict_c"])
def test_few_shapes_are_compiled(prompts, backbone, task):
  programs.make_programs.cache_clear()
  programs.make_table_programs.cache_clear()
  fresh = predict.Predictor(prompts, backbone, batch_size=4, targets_length=2)
  rows = [{"text": "tree " * n, "task": task} for n in range(1, 200, 3)]
  fresh.predict(rows)
  program = fresh.engine.table_programs().run
  if task == "predict_a":
    program = fresh.engine.programs().score
  count = program._cache_size()
  # One for each of four row lengths.
  assert 1 <= count <= 4
  # Other lengths, none longer than those, compile nothing, even in another
  # predictor.
  other = predict.Predictor(prompts, backbone, batch_size=4, targets_length=2)
  other.predict([{"text": "tree " * n, "task": task} for n in range(2, 190, 3)])
  assert program._cache_size() == count


def test_few_shapes_for_calls_of_any_size(prompts, backbone):
  programs.make_programs.cache_clear()
  programs.make_table_programs.cache_clear()
  fresh = predict.Predictor(prompts, backbone, batch_size=8, targets_length=2)
  rng = np.random.default_rng(0)
  for count in rng.integers(1, 20, 60):
    rows = [{"text": "tree " * n} for n in rng.integers(1, 60, count)]
    fresh.predict([{**row, "task": "predict_c"} for row in rows])
  # Four row lengths, and two numbers of rows of the encoder.
  assert 1 <= fresh.engine.programs().encode._cache_size() <= 8
  assert 1 <= fresh.engine.table_programs().run._cache_size() <= 4


@pytest.fixture(scope="session")
def free_rows(rows):
  """The rows that are generated for."""
  return [row for row in rows if row["task"] == "predict_c"]


def _texts(predictor, rows):
  return [r["prediction"] for r in predictor.predict(rows)]


def test_a_field_called_task_is_text_where_there_is_one_prompt(bank, backbone):
  one = PromptBank(
    {"shared_prompt": bank.composed[:1]},
    ("only",),
    (0,),
    bank.backbone,
    ({"task": "x", "label_names": None, "template": "{task}: {text}"},),
  )
  made = predict.Predictor(one, backbone, targets_length=2)
  prepared = made.prepare({"task": "sentiment", "text": "fine"})
  assert prepared.slot == 0
  text = made._tokenizer.decode(prepared.ids)
  assert text == "sentiment: fine"


def test_sampling(prompts, backbone, predictor, free_rows):
  def make(**settings):
    return predict.Predictor(
      prompts, backbone, **{"batch_size": 4, "targets_length": 5, **settings}
    )

  greedy = _texts(predictor, free_rows)
  drawn = _texts(make(temperature=1.5), free_rows)
  assert drawn != greedy
  # A row's number and seed give the same sample in any batch.
  assert (
    _texts(make(temperature=1.5, batch_size=16, seed=0), free_rows) == drawn
  )
  assert _texts(make(temperature=1.5, seed=1), free_rows) != drawn
  assert _texts(make(temperature=1.5, top_k=1), free_rows) == greedy
  one = make(temperature=1.5)
  alone = one.run([one.prepare(free_rows[7])], first_row=7)
  assert alone[0]["prediction"] == drawn[7]
  twice = _texts(one, [free_rows[0]] * 8)
  assert len(set(twice)) > 1


def test_beams(prompts, bank, backbone, free_rows, predictor):
  settings = {"batch_size": 4, "targets_length": 5, "num_beams": 3}
  beams = predict.Predictor(prompts, backbone, **settings)
  loaded = backbones.load_backbone(backbone)
  examples = [
    {"inputs": beams.prepare(row).ids, "targets": np.array([2]), "slot_id": 2}
    for row in free_rows
  ]
  config = packing.BatchLayout(
    inputs_length=64,
    targets_length=5,
    prompt_length=LENGTH,
    num_slots=3,
    pack=False,
  )
  tokens, _ = decoding.beam_decode(
    T5(loaded.config, PromptConfig(num_slots=3, prompt_length=LENGTH, rank=0)),
    {**loaded.params, "prompt": {"shared_prompt": bank.composed}},
    batches.make_batch(examples, config)[0],
    5,
    num_beams=3,
  )
  tokenizer = vocabularies.Tokenizer(loaded.vocabulary_path)
  found = _texts(beams, free_rows)
  assert found == [tokenizer.decode(row) for row in np.asarray(tokens)]
  assert found != _texts(predictor, free_rows)


def test_ranking_does_not_sample(bank, backbone):
  for settings in ({"num_beams": 2}, {"temperature": 1.0}):
    for method in ("rank", "rank_per_token"):
      with pytest.raises(ValueError, match=f"'{method}' generates nothing"):
        predict.Predictor(bank, backbone, method=method, **settings)


def test_scores_per_token_are_the_sums_over_the_lengths(bank, backbone):
  prompts, rows = select(bank, [NAMES[1]]), [{"text": "so", "label": "it"}]
  (by_sum,) = predict.Predictor(prompts, backbone).predict(rows)
  predictor = predict.Predictor(prompts, backbone, method="rank_per_token")
  (by_mean,) = predictor.predict(rows)
  tokenizer = vocabularies.Tokenizer(vocabularies.default_vocabulary_path())
  for label in LABELS[1]:
    # The end of sequence counts as a token.
    length = len(tokenizer.encode(label)) + 1
    expected = by_sum["scores"][label] / length
    assert by_mean["scores"][label] == pytest.approx(expected)
  scores = by_mean["scores"]
  assert by_mean["prediction"] == max(scores, key=scores.get)


def test_fingerprint_distinguishes_predictors(bank, prompts, backbone):
  found = predict.Predictor(bank, backbone).fingerprint()
  assert json.loads(json.dumps(found)) == found
  assert predict.Predictor(prompts, backbone).fingerprint() == found
  moved = {k: v + 1 for k, v in bank.params.items()}
  other = PromptBank(moved, NAMES, (0, 0, 1), bank.backbone, bank.slots)
  assert predict.Predictor(other, backbone).fingerprint() != found


def test_tokens_are_counted(prompts, backbone):
  fresh = predict.Predictor(prompts, backbone, targets_length=5)
  row = {"text": "a tree", "task": "predict_a"}
  fresh.predict([row, row])
  assert fresh.num_tokens == 2 * len(fresh.prepare(row).ids)


def test_decoding_labels(predictor, prompts, backbone, rows):
  free = predict.Predictor(prompts, backbone, method="decode", targets_length=5)
  assert "scores" not in free.predict(rows[:1])[0]


def test_template_and_raw(bank, backbone):
  def ids(p, row):
    return list(p.prepare(row).ids)

  filled = predict.Predictor(bank, backbone)
  raw = predict.Predictor(bank, backbone, raw=True)
  a = {"text": "text: fine", "task": "predict_a"}
  assert ids(filled, {**a, "text": "fine"}) == ids(raw, a)
  b = {"task": "predict_b", "text": "fine", "label": 1}
  assert ids(filled, b) == ids(raw, {**b, "text": "fine and 1?"})
  assert ids(raw, a)[-1] == batches.EOS_ID


def test_a_label_is_not_shown_unless_the_template_names_it(bank, backbone):
  predictor = predict.Predictor(bank, backbone)

  def ids(row):
    return list(predictor.prepare(row).ids)

  row = {"text": "fine", "task": "predict_a"}
  assert ids({**row, "label": "yes", "id": 3}) == ids(row)
  named = {"text": "fine", "task": "predict_b", "label": "yes"}
  assert ids(named) != ids({**named, "label": "no"})


def test_long_inputs_are_counted(bank, backbone):
  short = predict.Predictor(bank, backbone, inputs_length=4)
  short.predict([{"text": "a b c d e f g h", "task": "predict_a"}])
  assert short.num_truncated == 1
  assert short.notes() == ["1 input was longer than 4 tokens and cut"]


def test_texts_without_an_end_are_counted(bank, backbone):
  short = predict.Predictor(bank, backbone, targets_length=1, method="decode")
  rows = [
    {"text": "a", "task": "predict_c"},
    {"text": "b", "task": "predict_c"},
  ]
  made = short.predict(rows)
  # One token is an end or the beginning of a text, and texts are not empty.
  open_ends = sum(bool(row["prediction"]) for row in made)
  assert short.num_unfinished == open_ends > 0
  (note,) = short.notes()
  assert "reached 1 tokens without an end; --max-target-length" in note


@pytest.mark.parametrize(
  ("slot", "message"),
  [
    ({"label_names": ["猫", "犬"]}, "'猫' and '犬' have the same token ids"),
    ({"label_names": ["a", ""]}, "label '' has no tokens"),
    ({"label_names": "yes"}, "label_names must be texts, got 'yes'"),
    ({"label_names": [1, 2]}, "label_names must be texts"),
    ({"template": "{text"}, "template '{text' is malformed"),
    ({"template": ["{text}"]}, "must be a text"),
  ],
)
def test_prompts_that_cannot_be_used(bank, backbone, slot, message):
  slots = ({**bank.slots[0], **slot}, *bank.slots[1:])
  damaged = dataclasses.replace(bank, slots=slots)
  with pytest.raises(ValueError, match="prompt 'predict_a': .*" + message):
    predict.Predictor(damaged, backbone)


def test_a_template_is_never_formatted(bank, backbone):
  slots = ({**bank.slots[0], "template": "{text:300000000}"}, *bank.slots[1:])
  made = predict.Predictor(dataclasses.replace(bank, slots=slots), backbone)
  row = {"title": "a", "task": "predict_a"}
  with pytest.raises(ValueError, match="no field 'text:300000000'.*nothing is"):
    made.prepare(row)


@pytest.mark.parametrize(
  "row, message",
  [
    ({"text": "a", "task": "predict"}, "no prompt 'predict'; it has predict_a"),
    ({"text": "a"}, "row 0: no 'task' is given.*predict_a, predict_b"),
    ({"txt": "a", "task": "predict_a"}, "no field 'text' for the template"),
    ({"text": "a", "task": "predict_b"}, "no field 'label' for the template"),
    ({"txt": "a", "task": "predict_c"}, "no field 'text'; the row has txt"),
  ],
)
def test_rows_that_do_not_fit(predictor, row, message):
  with pytest.raises(ValueError, match=message):
    predictor.predict([row])


def test_rows_must_be_dicts(predictor):
  with pytest.raises(TypeError, match="row 1: a row must be an object"):
    predictor.predict([{"text": "a", "task": "predict_a"}, 2])


def test_a_text_is_a_row(bank, backbone):
  predictor = predict.Predictor(select(bank, bank.names[:1]), backbone)
  (made,) = predictor.predict(["red house"])
  assert made == predictor.predict([{"text": "red house"}])[0]
  shares = np.array(list(made["probabilities"].values()))
  scores = np.array(list(made["scores"].values()))
  assert shares.sum() == pytest.approx(1)
  np.testing.assert_allclose(shares, np.exp(scores) / np.exp(scores).sum())


def test_other_t5(prompts, bank, tmp_path):
  other = save_tiny_backbone(tmp_path / "other", seed=1)
  for given in (prompts, bank):
    with pytest.raises(ValueError, match="trained on another T5"):
      predict.Predictor(given, other)


def test_ranking_needs_labels(bank, backbone):
  ranking = predict.Predictor(bank, backbone, method="rank")
  with pytest.raises(ValueError, match="'predict_c' has no label names"):
    ranking.predict([{"text": "a", "task": "predict_c"}])
  with pytest.raises(ValueError, match="method must be one of"):
    predict.Predictor(bank, backbone, method="guess")
  for name in ("batch_size", "num_beams", "inputs_length", "targets_length"):
    for value in (0, -3, 1.5, "2"):
      with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        predict.Predictor(bank, backbone, **{name: value})
  with pytest.raises(ValueError, match="seed must be a whole number"):
    predict.Predictor(bank, backbone, temperature=1.0, seed=10**20)


def test_run_settings(tmp_path):
  batch = {"inputs_length": 96, "targets_length": 8}
  settings = {"backbone": "some/t5", "batch": batch}
  (tmp_path / "prompts").mkdir()
  (tmp_path / "experiment.json").write_text(json.dumps(settings))
  for path in (tmp_path, tmp_path / "prompts" / "best.safetensors"):
    found = run_settings.read(path)
    assert run_settings.backbone(found) == "some/t5"
    assert run_settings.lengths(found) == (96, 8)
  assert run_settings.read(tmp_path / "a" / "b" / "c") == {}
  assert run_settings.backbone({"backbone": {"emb_dim": 8}}) == "default"


def test_needs_no_tensorflow(prompts, backbone):
  code = (
    "import sys; from mpt_jax.inference import predictor;"
    f"p = predictor.Predictor({prompts!r}, {backbone!r}, targets_length=2);"
    "rows = [{'text': 'a', 'task': t} for t in ('predict_a', 'predict_c')];"
    "print([r['prediction'] for r in p.predict(rows)]);"
    "bad = {'tensorflow', 'seqio', 'tensorflow_text'} & set(sys.modules);"
    "sys.exit(f'imported {bad}' if bad else 0)"
  )
  result = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False
  )
  assert result.returncode == 0, result.stderr


def test_composed_prompts_are_the_banks(predictor, bank):
  # P_k = P* ∘ (u_k v_kᵀ), of the group of the task.
  prompt = jax.device_get(predictor.engine._prompts)
  for k, group in enumerate((0, 0, 1)):
    expected = (
      bank.params["shared_prompt"][group]
      * bank.params["task_columns"][k]
      * bank.params["task_rows"][k]
    )
    np.testing.assert_allclose(prompt[k], expected, rtol=1e-6)


def test_scores_that_are_not_finite_are_no_prediction(bank, backbone):
  """The arrays are finite, but the prompts that they make are not."""
  large = {k: np.full_like(v, 1e25) for k, v in bank.params.items()}
  spoilt = dataclasses.replace(bank, params=large)
  predictor = predict.Predictor(spoilt, backbone, batch_size=2)
  rows = [{"text": "red", "task": NAMES[0]}]
  with pytest.raises(ValueError, match="row 1: the scores are not finite"):
    predictor.predict(rows)


def test_fields_that_the_answer_replaces_are_named(bank, backbone):
  predictor = predict.Predictor(bank, backbone)
  row = {"text": "a", "task": "predict_a", "scores": 1, "prediction": "old"}
  predictor.predict([{**row, "text": "b"}])
  (note,) = predictor.notes()
  assert note.startswith("rows had fields 'prediction' and 'scores' already")
