"""Banks: parts, joins and files; damaged files, and ones nobody could write."""

import dataclasses
import hashlib
import json
import struct

import numpy as np
import prompt_fixtures
import pytest
import safetensors.numpy

from mpt_jax.prompts.bank import (
  FORMAT,
  check_backbone,
  concatenate,
  load_bank,
  merge,
  select,
)


@pytest.fixture
def bank():
  return prompt_fixtures.make_bank(None, 1)


@pytest.fixture
def path(bank, tmp_path):
  bank.save(tmp_path / "prompts.safetensors")
  return tmp_path / "prompts.safetensors"


def read_header(data):
  size = struct.unpack("<Q", data[:8])[0]
  return json.loads(data[8 : 8 + size]), data[8 + size :]


def write_as_before(path, bank, **changes):
  """Writes a file as released versions did, without a digest."""
  fields = {**bank.fields, **changes}
  safetensors.numpy.save_file(bank.params, path, {FORMAT: json.dumps(fields)})


def test_the_digest_is_that_of_the_documentation(path, bank):
  header, _ = read_header(path.read_bytes())
  fields = json.loads(header["__metadata__"][FORMAT])
  expected = fields.pop("digest")
  digest = hashlib.sha256()
  for name, array in sorted(safetensors.numpy.load_file(path).items()):
    digest.update(f"{name} {array.shape} ".encode() + array.tobytes())
  text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
  digest.update(text.encode())
  assert digest.hexdigest() == expected


def assert_same(found, bank):
  assert found.fields == bank.fields
  assert found.params.keys() == bank.params.keys()
  for name, array in bank.params.items():
    np.testing.assert_array_equal(found.params[name], array)


def test_no_mutation_loads_as_other_prompts(path, bank):
  """600 damages: flipped bits, other bytes, cuts, gaps and repetitions."""
  data = path.read_bytes()
  rng = np.random.default_rng(0)
  header = 8 + struct.unpack("<Q", data[:8])[0]
  outcomes = {"refused": 0, "equal": 0}
  for number in range(600):
    # Half of them in the header.
    position = int(rng.integers(header if number % 2 else len(data)))
    length = int(rng.integers(1, 9))
    before, after = data[:position], data[position:]
    damaged = {
      0: before + bytes([after[0] ^ (1 << int(rng.integers(8)))]) + after[1:],
      1: before + rng.bytes(length) + after[length:],
      2: before,
      3: before + after[length:],
      4: before + after[:length] + after,
      5: before + rng.bytes(length) + after,
    }[number % 6 if number % 7 else 0]
    path.write_bytes(damaged)
    try:
      found = load_bank(path)
    except ValueError as error:
      assert str(path) in str(error)
      outcomes["refused"] += 1
    else:
      assert_same(found, bank)
      outcomes["equal"] += 1
  assert outcomes["refused"] > 500


def test_a_file_of_an_earlier_version_is_read(tmp_path, bank):
  write_as_before(tmp_path / "old.safetensors", bank)
  assert_same(load_bank(tmp_path / "old.safetensors"), bank)


def test_a_metric_that_was_no_number(tmp_path, bank):
  slots = [
    {**slot, "metrics": {"pearson": float("nan")}} for slot in bank.slots
  ]
  path = tmp_path / "old.safetensors"
  write_as_before(path, bank, slots=slots)
  loaded = load_bank(path)
  assert loaded.slots[0]["metrics"] == {"pearson": None}
  loaded.save(path)
  assert "NaN" not in json.dumps(read_header(path.read_bytes())[0])


SLOT = {"task": "a"}
BAD_FIELDS = [
  ({"names": None}, "names must be different names, got None"),
  ({"names": ["a", "b", "b"]}, "names must be different names"),
  ({"names": ["a", "b", 3]}, "names must be different names"),
  ({"names": ["a", "b"]}, "2 names and 3 slots for 3 prompts"),
  ({"groups": 0}, "groups must be whole numbers, got 0"),
  ({"groups": [0, 0, 1.0]}, "groups must be whole numbers"),
  ({"groups": [0, 0, 1]}, "the shapes should be"),
  ({"groups": [0, 0, -1]}, "PromptConfig.groups"),
  ({"groups": []}, "holds no bank"),
  ({"groups": [0, 0, 10**9]}, "PromptConfig.groups"),
  ({"backbone": None}, "backbone must be the fingerprint of a T5"),
  ({"slots": {}}, "slots must be objects"),
  ({"slots": [SLOT, SLOT, None]}, "slots must be objects"),
  ({"slots": [SLOT, SLOT, {"task": 3}]}, r"slots\[2\]: task must be a name"),
  (
    {"slots": [SLOT, SLOT, {**SLOT, "label_names": "yes"}]},
    r"slots\[2\]: label_names must be texts, or null, got 'yes'",
  ),
  (
    {"slots": [SLOT, SLOT, {**SLOT, "label_names": []}]},
    "label_names must be texts",
  ),
  (
    {"slots": [SLOT, SLOT, {**SLOT, "template": 3}]},
    "template must be a text, or null, got 3",
  ),
  (
    {"slots": [SLOT, SLOT, {**SLOT, "metrics": [1]}]},
    "metrics must be an object",
  ),
  ({"kind": "new"}, "has the field 'kind', which this version does not know"),
]


@pytest.mark.parametrize("changes, message", BAD_FIELDS)
def test_every_field_is_checked(tmp_path, bank, changes, message):
  path = tmp_path / "old.safetensors"
  write_as_before(path, bank, **changes)
  with pytest.raises(ValueError, match=message) as refused:
    load_bank(path)
  assert str(path) in str(refused.value)


@pytest.mark.parametrize("text", ["3", "null", "[]", "{", '"a"', "[" * 9999])
def test_fields_that_are_no_object(tmp_path, bank, text):
  path = tmp_path / "old.safetensors"
  safetensors.numpy.save_file(bank.params, path, {FORMAT: text})
  with pytest.raises(ValueError, match="does not describe|is not JSON"):
    load_bank(path)


def test_arrays_of_fewer_tasks_are_refused(tmp_path, bank):
  """JAX would take the last row in the place of a missing one."""
  for name in ("task_rows", "task_columns"):
    params = {**bank.params, name: bank.params[name][:2]}
    path = tmp_path / "old.safetensors"
    fields = json.dumps(bank.fields)
    safetensors.numpy.save_file(params, path, {FORMAT: fields})
    with pytest.raises(ValueError, match="do not fit each other"):
      load_bank(path)


@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.float64])
def test_arrays_of_other_types_are_refused(tmp_path, bank, dtype):
  params = {**bank.params, "task_rows": bank.params["task_rows"].astype(dtype)}
  path = tmp_path / "old.safetensors"
  safetensors.numpy.save_file(params, path, {FORMAT: json.dumps(bank.fields)})
  with pytest.raises(ValueError, match="task_rows must hold float32"):
    load_bank(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_numbers_that_are_not_finite(tmp_path, bank, value):
  params = {k: v.astype(np.float64) for k, v in bank.params.items()}
  params["task_rows"][2, 0, 5] = value
  spoilt = prompt_fixtures.PromptBank(
    params, bank.names, bank.groups, bank.backbone, bank.slots
  )
  path = tmp_path / "new.safetensors"
  with pytest.raises(ValueError, match=r"task_rows\[2, 0, 5\] is (nan|inf)"):
    spoilt.save(path)
  assert not path.exists()
  with np.errstate(over="ignore"):
    spoilt.params.update(
      {k: v.astype(np.float32) for k, v in spoilt.params.items()}
    )
  write_as_before(path, spoilt)
  with pytest.raises(ValueError, match=r"task_rows\[2, 0, 5\] is (nan|inf)"):
    load_bank(path)


def test_select_and_merge():
  bank = prompt_fixtures.make_bank(None, 2, (0, 1, 0))
  chosen = select(bank, ["c", "b"])
  assert chosen.names == ("c", "b") and chosen.groups == (0, 1)
  np.testing.assert_array_equal(chosen.composed, bank.composed[[2, 1]])
  merged = merge(bank)
  assert merged.config.rank == 0 and merged.slots == bank.slots
  np.testing.assert_array_equal(merged.composed, bank.composed)
  with pytest.raises(ValueError, match="no prompt 'd'; it has a, b, c"):
    select(bank, ["d"])
  with pytest.raises(ValueError, match="named twice"):
    select(bank, ["a", "a"])


def test_slots_are_found_by_name_or_by_the_only_one_of_a_task():
  bank = prompt_fixtures.make_bank(None, 1, names=("qa_k4", "nli_a", "nli_b"))
  slots = tuple({"task": task} for task in ("qa", "nli", "nli"))
  bank = dataclasses.replace(bank, slots=slots)
  assert [bank.index(name) for name in ("nli_b", "qa_k4", "qa")] == [2, 0, 0]
  # Two slots are of this task.
  with pytest.raises(ValueError, match="no prompt 'nli'; it has qa_k4, nli_a"):
    bank.index("nli")
  assert bank.listing == "3 prompts: qa_k4, nli_a, nli_b"
  assert select(bank, ["qa"]).listing == "1 prompt: qa_k4"


def test_the_best_slot_has_the_highest_main_metric():
  bank = prompt_fixtures.make_bank(None, 1, names=("a", "b", "c"))

  def best(*metrics):
    slots = tuple({"task": "t", "metrics": own} for own in metrics)
    made = dataclasses.replace(bank, slots=slots)
    return made.best_of(made.of_task("t"))

  assert best({"f1": 0.5, "step": 9}, {"f1": 0.7}, {"f1": 0.7, "step": 1}) == 1
  # Without a metric in common, the first one.
  assert best({"f1": 0.5}, {"bleu": 30.0}, {"f1": 0.7}) == 0
  assert best({}, {"f1": 0.7}, {"f1": 0.7}) == 0


def test_banks_one_after_the_other():
  first = prompt_fixtures.make_bank(None, 2, (0, 1, 0))
  second = prompt_fixtures.make_bank(None, 2, (0, 0), names=("d", "e"))
  both = concatenate([first, second])
  assert both.names == ("a", "b", "c", "d", "e")
  # Slots of one bank still share; those of two banks do not.
  assert both.groups == (0, 1, 0, 2, 2)
  np.testing.assert_array_equal(
    both.composed, np.concatenate([first.composed, second.composed])
  )
  assert both.slots == first.slots + second.slots


@pytest.mark.parametrize(
  ("rank", "changes", "message"),
  [
    (1, {}, "several prompts are called a, b, c"),
    (2, {"names": ("x", "y", "z")}, "one length, width and rank: 'a' has"),
    (
      1,
      {"names": ("x", "y", "z"), "backbone": "f" * 16},
      "the prompts with 'x' were trained on another T5",
    ),
  ],
)
def test_banks_that_do_not_go_together(bank, rank, changes, message):
  other = prompt_fixtures.make_bank(None, rank)
  other = dataclasses.replace(other, **changes)
  with pytest.raises(ValueError, match=message):
    concatenate([bank, other])


def test_prompts_of_another_t5(bank, path):
  check_backbone(bank, "0" * 16)
  with pytest.raises(ValueError, match="fingerprint 0{16}, this one is feed"):
    check_backbone(bank, "feed")
  assert load_bank(path, "0" * 16).names == bank.names
  with pytest.raises(ValueError, match=r"prompts\.safetensors were trained"):
    load_bank(path, "feed")


def test_a_run_folder_stands_for_its_best_prompts(bank, tmp_path):
  run = tmp_path / "run"
  with pytest.raises(FileNotFoundError, match="no prompt file at"):
    load_bank(run)
  run.mkdir()
  with pytest.raises(FileNotFoundError, match="holds no prompts: a run folder"):
    load_bank(run)
  select(bank, ["a"]).save(run / "prompts" / "last.safetensors")
  assert load_bank(run).names == ("a",)
  select(bank, ["b"]).save(run / "prompts" / "best.safetensors")
  assert load_bank(run).names == ("b",)


@pytest.mark.parametrize("launcher", ["mpt_jax", "t5x"])
def test_a_run_whose_best_prompts_are_missing(bank, tmp_path, launcher):
  """Only t5x's runs may have none; otherwise the copy is incomplete."""
  (tmp_path / "experiment.json").write_text(json.dumps({"launcher": launcher}))
  bank.save(tmp_path / "prompts" / "last.safetensors")
  if launcher == "t5x":
    assert load_bank(tmp_path).names
  else:
    with pytest.raises(FileNotFoundError, match="best.safetensors is missing"):
      load_bank(tmp_path)
