"""The division of public datasets into splits."""

from mpt_jax.tasks.public import sources


def test_split_rows_repeats_no_text():
  rows = [{"text": f"Text  {i % 5000}", "label": "a"} for i in range(9000)]
  splits = sources.split_rows(rows)
  kept = [row["text"] for split in splits.values() for row in split]
  assert len(kept) == len(set(kept)) == 5000
  # A tenth of 5,000 for test, then a tenth of the 4,500 left.
  assert len(splits["test"]) == 500 and len(splits["validation"]) == 450
  assert splits == sources.split_rows(rows[::-1])


def test_split_rows_keeps_official_test_rows():
  rows = [
    {"text": "same", "label": "a", "split": "train"},
    {"text": "SAME", "label": "a", "split": "test"},
    *({"text": f"t{i}", "label": "a", "split": "train"} for i in range(20)),
  ]
  splits = sources.split_rows(rows)
  assert splits["test"] == [{"text": "SAME", "label": "a"}]
  assert len(splits["train"]) == 18 and len(splits["validation"]) == 2


def test_label_words_of_targets_are_those_of_no_source():
  """So that what helps a target is a skill, and not its label words."""
  known = {
    word
    for source in sources.SOURCES.values()
    if not source.held_out
    for word in source.label_names
  }
  targets = {k: s for k, s in sources.SOURCES.items() if s.held_out}
  assert len(targets) >= 8
  for name, source in targets.items():
    words = sources.label_words(name, "words")
    assert len(words) == len(set(words)) == len(source.label_names)
    assert not known & set(words)
    digits = sources.label_words(name, "digits")
    assert digits == tuple(map(str, range(len(words))))


def test_half_of_the_targets_have_relatives_among_the_sources():
  targets = {k: s for k, s in sources.SOURCES.items() if s.held_out}
  related = {k for k, s in targets.items() if s.relatives}
  assert abs(len(related) - len(targets) / 2) < 1
  for name in related:
    for source in targets[name].relatives:
      assert not sources.SOURCES[source].held_out
  assert not any(
    s.relatives or s.words for s in sources.SOURCES.values() if not s.held_out
  )
  tasks = sources.related_tasks()
  assert {f"{name}_words" for name in related} < set(tasks)
  assert {f"{name}_digits" for name in related} < set(tasks)
  assert len(tasks) == 2 * len(related)


def test_relabelled_rows_differ_in_their_labels_alone(monkeypatch):
  rows = [{"text": "a", "label": "ham"}, {"text": "b", "label": "spam"}]
  monkeypatch.setattr(sources, "load_splits", lambda name: {"train": rows})
  made = {
    labels: sources.load_relabelled("spam", labels)["train"]
    for labels in sources.LABELS
  }
  assert [row["label"] for row in made["words"]] == ["normal", "spam"]
  assert [row["label"] for row in made["digits"]] == ["0", "1"]
  assert all([r["text"] for r in v] == ["a", "b"] for v in made.values())
  assert rows[0]["label"] == "ham"


def test_held_out_tasks_are_all_tasks_over_held_out_texts():
  import seqio

  from mpt_jax.tasks import registry  # noqa: F401

  held_out = {k for k, s in sources.SOURCES.items() if s.held_out}
  registered = {
    task
    for task in seqio.TaskRegistry.names()
    if any(task == n or task.startswith(f"{n}_") for n in held_out)
  }
  assert registered == set(sources.held_out_tasks())
