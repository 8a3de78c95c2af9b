"""Entries of WordNet, GCIDE and FOLDOC, as they stand in their files."""

import package_files

from mpt_jax.tasks.public import dictionaries
from mpt_jax.tasks.public.dictionaries import Synset

# The format of wndb(5WN): offset, file, type, words (a hexadecimal count),
# pointers (symbol, offset, part, source and target word), gloss.
HOT = (
  "00001000 00 a 02 hot 0 very_hot(p) 1 003 ! 00002000 a 0102"
  " & 00003000 s 0000 ;c 00004000 n 0000"
  ' | of a high "heat"; "a hot stove"; "hot water"\n'
)
COLD = (
  "00002000 00 a 02 chilly 0 cold 0 001 ! 00001000 a 0201 | having little heat"
  "\n"
)
WARM = "00003000 00 s 01 warm 0 000 | fairly hot\n"
PHYSICS = (
  "00004000 09 n 01 physics 0 002 @ 00005000 n 0000 #p 00005000 n 0000"
  " | the science of matter\n"
)
SCIENCE = "00005000 09 n 0a " + "".join(f"w{i} 0 " for i in range(10))
SCIENCE += "001 %p 00004000 n 0000 | a branch of study\n"


def test_a_synset_by_hand():
  offset, synset = dictionaries.parse_synset(HOT, "adj")
  assert offset == 1000
  assert synset == Synset(
    part="adj",
    category=0,
    words=["hot", "very hot"],
    gloss="of a high",
    examples=["heat", "a hot stove", "hot water"],
    relations={
      "opposite": [("adj", 2000)],
      "similar": [("adj", 3000)],
      "topic": [("noun", 4000)],
    },
    # Word 1 here is the opposite of word 2 there, counted from 0.
    opposites=[("hot", ("adj", 2000), 1)],
  )
  # Other symbols, such as #p, are no relations.
  _, synset = dictionaries.parse_synset(PHYSICS, "noun")
  assert synset.relations == {"kind": [("noun", 5000)]}
  assert (synset.category, synset.gloss) == (9, "the science of matter")
  # The number of words is hexadecimal.
  assert len(dictionaries.parse_synset(SCIENCE, "noun")[1].words) == 10


def test_the_graph_has_every_key_that_a_relation_names(monkeypatch, tmp_path):
  licence = "  1 This software\n"
  parts = {"noun": PHYSICS + SCIENCE, "adj": HOT + COLD + WARM}
  members = {
    f"usr/share/wordnet/data.{part}": (licence + parts.get(part, "")).encode()
    for part in ("noun", "verb", "adj", "adv")
  }
  package_files.provide(monkeypatch, tmp_path, {"wordnet-base": members})
  graph = dictionaries.read_wordnet_graph()
  assert [*graph] == [
    *(("noun", 4000), ("noun", 5000)),
    *(("adj", 1000), ("adj", 2000), ("adj", 3000)),
  ]
  for synset in graph.values():
    for keys in synset.relations.values():
      assert graph.keys() >= {*keys}
  ((word, key, number),) = graph["adj", 1000].opposites
  assert (word, graph[key].words[number]) == ("hot", "cold")


def test_a_gloss_without_examples():
  assert dictionaries.split_gloss("a thing; a stone;\n") == (
    "a thing; a stone",
    [],
  )


GCIDE = r"""Preface of the dictionary.

Bark \Bark\, n. [Akin to
   Dan. bark.]
   1. The exterior covering of a {tree}. [1913 Webster]

            No bark is left.            --Shak.

   2. (Med.) Dried bark of certain trees.
   3. (Naut.) A ship with three masts, the foremast of which and the mainmast
      are square-rigged, whereas the mizzenmast is fore-and-aft rigged, and
      so on for many more words.
   4. A fourth sense of it.

Barker \Bark"er\, n.
   An animal that barks; -- a word of reproach.

Baa \Baa\, n.
   A bleat.

Bag \Bag\, n.
   (Nonesuch) A sack or pouch.
"""


def test_gcide_by_hand():
  assert dictionaries.parse_gcide(GCIDE) == [
    ("bark", "", "The exterior covering of a tree."),
    ("bark", "medicine", "Dried bark of certain trees."),
    # The third sense is too long, and only three are read.
    ("barker", "", "An animal that barks;"),
    # "A bleat." is too short. An unknown field is no field.
    ("bag", "", "A sack or pouch."),
  ]


FOLDOC = """\
actor

   <programming, language> In {C}, an
   object that {acts}.

   A second paragraph. (1994-11-08)

nothing here

   This entry names no field.

ADA

   1. <language> A language
   of the DoD.

   2. <person> Lady Lovelace herself.

tiny

   <tool> A tool.
"""


def test_foldoc_by_hand():
  assert dictionaries.parse_foldoc(FOLDOC) == [
    ("actor", "programming", "In C, an object that acts."),
    ("ADA", "language", "A language of the DoD."),
  ]


def test_dictionaries_are_unpacked(monkeypatch, tmp_path):
  contents = {
    "dict-gcide": {
      "usr/share/dictd/gcide.dict.dz": package_files.gzip_text(GCIDE)
    },
    "dict-foldoc": {
      "usr/share/dictd/foldoc.dict.dz": package_files.gzip_text(FOLDOC)
    },
  }
  package_files.provide(monkeypatch, tmp_path, contents)
  assert dictionaries.read_gcide() == dictionaries.parse_gcide(GCIDE)
  assert dictionaries.read_foldoc() == dictionaries.parse_foldoc(FOLDOC)
