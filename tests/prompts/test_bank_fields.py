"""What a prompt file says about its prompts is checked, field by field."""

import pytest

from mpt_jax.prompts import bank_fields

SLOT = {
  "task": "a",
  "label_names": ["yes", "no"],
  "template": "{text}",
  "metrics": {"f1": 0.5},
}
FIELDS = {
  "names": ["a", "b"],
  "groups": [0, 1],
  "backbone": "0" * 16,
  "slots": [SLOT, {"task": "b"}],
}


def test_sound_fields_are_returned():
  assert bank_fields.checked(FIELDS, "x.st") is FIELDS
  plain = {**SLOT, "label_names": None, "template": None, "metrics": None}
  fields = {**FIELDS, "slots": [plain, plain]}
  assert bank_fields.checked(fields, "x.st") is fields


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ([FIELDS], "x.st does not describe prompts: expected a JSON object"),
    ({"names": ["a"]}, "describe prompts: no groups, backbone, slots"),
    ({**FIELDS, "format": 3}, "has the field 'format', which this version"),
    ({**FIELDS, "names": "ab"}, "x.st: names must be different names"),
    ({**FIELDS, "names": ["a", 2]}, "x.st: names must be different names"),
    ({**FIELDS, "names": ["a", ""]}, "x.st: names must be different names"),
    ({**FIELDS, "names": ["a", "a"]}, r"different names, got \['a', 'a'\]"),
    ({**FIELDS, "groups": [0, 1.0]}, "x.st: groups must be whole numbers"),
    ({**FIELDS, "groups": [0, True]}, "x.st: groups must be whole numbers"),
    ({**FIELDS, "groups": 0}, "x.st: groups must be whole numbers, got 0"),
    ({**FIELDS, "backbone": None}, "x.st: backbone must be the fingerprint"),
    ({**FIELDS, "slots": {"a": SLOT}}, "x.st: slots must be objects"),
    ({**FIELDS, "slots": [SLOT, "b"]}, "x.st: slots must be objects"),
  ],
)
def test_other_fields_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    bank_fields.checked(fields, "x.st")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"task": None}, "task must be a name, got None"),
    ({"label_names": []}, r"label_names must be texts, or null, got \[\]"),
    ({"label_names": "yes"}, "label_names must be texts, or null"),
    ({"label_names": ["yes", 1]}, "label_names must be texts, or null"),
    ({"template": ["{text}"]}, "template must be a text, or null"),
    ({"metrics": [0.5]}, "metrics must be an object"),
  ],
)
def test_the_field_of_a_slot_is_named_with_the_slot(changes, message):
  fields = {**FIELDS, "slots": [SLOT, {**SLOT, **changes}]}
  with pytest.raises(ValueError, match=r"x\.st: slots\[1\]: " + message):
    bank_fields.checked(fields, "x.st")
