"""Files as their owners write them: each oddity, with the rows by hand."""

import json

import pytest

from mpt_jax.tasks import readers
from mpt_jax.tasks.benchmarks import datasets


def rows_of(name, split, folder):
  """The rows of a split of a dataset whose files are in a folder."""
  files = datasets.DATASETS[name].files
  for file_name in files.names_of(split):
    path = folder / file_name
    if path.exists():
      return list(files.read(path, split))
  raise AssertionError(f"none of {files.names_of(split)}")


def test_quotes_are_literal_in_glue(tmp_path):
  (tmp_path / "train.tsv").write_text(
    'sentence\tlabel\n"half a quote \t0\nin "the" middle\t1\n'
  )
  assert rows_of("glue_sst2", "train", tmp_path) == [
    {"sentence": '"half a quote ', "label": 0},
    {"sentence": 'in "the" middle', "label": 1},
  ]


def test_cola_has_no_header(tmp_path):
  (tmp_path / "dev.tsv").write_text("gj04\t1\t\tIt ran.\ncj99\t0\t*\tRan it.\n")
  assert rows_of("glue_cola", "validation", tmp_path) == [
    {"sentence": "It ran.", "label": 1},
    {"sentence": "Ran it.", "label": 0},
  ]


def test_rows_that_lack_a_column_are_left_out_if_they_are_few(tmp_path):
  line = "1\t2\t3\tWho?\tWhich?\t1\n"
  header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
  path = tmp_path / "train.tsv"
  path.write_text(header + line * 999 + "1\t2\t3\tWho?\n")
  assert len(rows_of("glue_qqp", "train", tmp_path)) == 999
  path.write_text(header + line * 900 + "1\t2\t3\tWho?\n")
  with pytest.raises(ValueError, match="line 902: no column 'question2'"):
    rows_of("glue_qqp", "train", tmp_path)


MRPC = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


def test_mrpc_without_the_ids_says_so(tmp_path):
  train = tmp_path / "msr_paraphrase_train.txt"
  train.write_text(MRPC + '1\t10\t11\tA "b.\tC.\n0\t12\t13\tD.\tE.\n')
  test = tmp_path / "msr_paraphrase_test.txt"
  test.write_text(MRPC + "1\t20\t21\tF.\tG.\n")
  pair = {"sentence1": "F.", "sentence2": "G.", "label": 1}
  with pytest.warns(UserWarning, match="has no mrpc_dev_ids.tsv"):
    assert rows_of("glue_mrpc", "validation", tmp_path) == [pair]
  with pytest.warns(UserWarning, match="has no mrpc_dev_ids.tsv"):
    assert len(rows_of("glue_mrpc", "train", tmp_path)) == 2
  (tmp_path / "mrpc_dev_ids.tsv").write_text("12\t13\n11\t10\n")
  (made,) = rows_of("glue_mrpc", "train", tmp_path)
  assert made == {"sentence1": 'A "b.', "sentence2": "C.", "label": 1}
  (made,) = rows_of("glue_mrpc", "validation", tmp_path)
  assert made == {"sentence1": "D.", "sentence2": "E.", "label": 0}
  # GLUE's own script has divided the file already.
  (tmp_path / "dev.tsv").write_text(MRPC + "0\t1\t2\tH.\tI.\n")
  (made,) = rows_of("glue_mrpc", "validation", tmp_path)
  assert made["sentence1"] == "H."


def test_stsb_and_mnli_have_columns_that_nobody_reads(tmp_path):
  (tmp_path / "dev_matched.tsv").write_text(
    "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label\n"
    "0\tfiction\tP.\tH.\tneutral\tcontradiction\n"
  )
  assert rows_of("glue_mnli", "validation_matched", tmp_path) == [
    {"premise": "P.", "hypothesis": "H.", "label": "contradiction"}
  ]
  (tmp_path / "train.tsv").write_text(
    "index\tgenre\tsentence1\tsentence2\tscore\n0\tg\tA\tB\t3.800\n"
  )
  assert rows_of("glue_stsb", "train", tmp_path) == [
    {"sentence1": "A", "sentence2": "B", "label": 3.8}
  ]


def test_record_reads_spans_by_their_last_character(tmp_path):
  text = "Ana met Bo.\n@highlight\nBo ran"
  line = {
    "source": "CNN",
    "passage": {
      "text": text,
      # Bo stands twice.
      "entities": [
        {"start": 8, "end": 9},
        {"start": 0, "end": 2},
        {"start": 23, "end": 24},
      ],
    },
    "qas": [
      {
        "query": "@placeholder ran",
        "answers": [{"start": 8, "end": 9, "text": "Bo"}] * 2,
        "idx": 4,
      },
      {
        "query": "q",
        "answers": [{"start": 0, "end": 2, "text": "Ana"}],
        "idx": 5,
      },
    ],
    "idx": 1,
  }
  (tmp_path / "val.jsonl").write_text(json.dumps(line) + "\n")
  first, second = rows_of("super_glue_record", "validation", tmp_path)
  assert first == {
    "passage": text,
    "query": "@placeholder ran",
    "entities": ["Ana", "Bo"],
    "answers": ["Bo"],
    "idx": {"passage": 1, "query": 4},
  }
  assert (second["answers"], second["idx"]["query"]) == (["Ana"], 5)


def test_squads_answers_may_stand_apart(tmp_path):
  def question(id_, *texts):
    answers = [{"text": text, "answer_start": 0} for text in texts]
    return {"id": id_, "question": "Q?", "answers": answers}

  paragraph = {
    "context": " C.",
    "qas": [question("a", "x"), question("b", "y")],
  }
  again = {"context": " C.", "qas": [question("a", "z")]}
  text = json.dumps({"data": [{"paragraphs": [paragraph, again]}]})
  (tmp_path / "dev-v1.1.json").write_text(text)
  made = rows_of("squad", "validation", tmp_path)
  assert [row["answers"]["text"] for row in made] == [["x", "z"], ["y"]]
  # TFDS leaves the spaces of the context where they are.
  assert made[0]["context"] == " C."


def test_yelp_keeps_its_escapes(tmp_path):
  (tmp_path / "test.csv").write_text(
    '"1","He said ""no"", I left.\\nBad. "\n"2","Good"\n'
  )
  assert rows_of("yelp_polarity", "test", tmp_path) == [
    {"text": 'He said ""no"", I left.\\nBad.', "label": 0},
    {"text": "Good", "label": 1},
  ]
  (tmp_path / "test.csv").write_text("1,Good\n")
  with pytest.raises(ValueError, match='line 1: expected "1" or "2"'):
    rows_of("yelp_polarity", "test", tmp_path)


def test_paws_has_quotes_of_csv(tmp_path):
  (tmp_path / "dev.tsv").write_text(
    'id\tsentence1\tsentence2\tlabel\n1\t"a ""b"" c"\td "e" f\t0\n'
  )
  assert rows_of("paws_wiki", "validation", tmp_path) == [
    {"sentence1": 'a "b" c', "sentence2": 'd "e" f', "label": 0}
  ]


XML = """<?xml version="1.0" encoding="utf-8"?>
<benchmark><entries>
<entry category="Airport" eid="Id1" size="1">
<originaltripleset><otriple>X | y | Z@en</otriple></originaltripleset>
<modifiedtripleset><mtriple>X | y | "Z, é"</mtriple>
<mtriple>X | in | W</mtriple></modifiedtripleset>
<lex comment="good" lid="Id1" lang="en">X is &amp; was.</lex>
<lex comment="good" lid="Id2" lang="en">Was X?</lex>
<lex comment="good" lid="Id3" lang="ru">Da.</lex>
</entry>
</entries></benchmark>
"""


@pytest.mark.parametrize("place", ["dev/1triples/a.xml", "dev/b.xml"])
def test_web_nlg_in_folders_of_xml(tmp_path, place):
  path = tmp_path / place
  path.parent.mkdir(parents=True)
  path.write_text(XML, encoding="utf-8")
  triples = ['X | y | "Z, é"', "X | in | W"]
  assert rows_of("web_nlg", "validation", tmp_path) == [
    {
      "input": triples,
      "target": "X is & was.",
      "references": ["X is & was.", "Was X?"],
    }
  ]
  (tmp_path / "dev").rename(tmp_path / "train")
  assert [
    (row["input"], row["target"], row["references"])
    for row in rows_of("web_nlg", "train", tmp_path)
  ] == [(triples, "X is & was.", []), (triples, "Was X?", [])]


def test_web_nlg_that_is_no_xml(tmp_path):
  name = "rdf-to-text-generation-test-data-with-refs-en.xml"
  (tmp_path / name).write_text("<a><b></a>")
  with pytest.raises(ValueError, match=f"{name} is not XML"):
    rows_of("web_nlg", "test", tmp_path)


def test_a_bad_line_is_named(tmp_path):
  path = tmp_path / "val.jsonl"
  path.write_text('{"text": "a", "label": true}\n')
  with pytest.raises(ValueError, match="line 1: KeyError: 'target'"):
    rows_of("super_glue_wsc", "validation", tmp_path)
  path = tmp_path / "dev.tsv"
  path.write_text("id\tsentence1\tsentence2\tlabel\n1\ta\tb\n")
  with pytest.raises(ValueError, match="line 2: no column 'label'"):
    rows_of("glue_rte", "validation", tmp_path)
  table = readers.Table({"label": "n"}, convert={"label": float})
  path.write_text("n\nx\n")
  with pytest.raises(ValueError, match="line 2: n: could not convert"):
    list(table(path, "train"))
