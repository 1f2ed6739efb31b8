"""The data sets that have names: what each is, who made it, where its files are and what they must be."""

from __future__ import annotations

from dataclasses import dataclass

from sonde.data.fetch import Pinned


@dataclass(frozen=True)
class Named:
    """One named data set, for a list of them."""

    name: str
    description: str
    source: str
    licence: str
    files: tuple[Pinned, ...] = ()
    sensitive: tuple[str, ...] = ()  # columns that can be named in sensitive=


_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/"
_COMPAS = "https://raw.githubusercontent.com/propublica/compas-analysis/master/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_TRAIN_X, _TRAIN_Y = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
_TEST_X, _TEST_Y = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"

SETS = (
    Named("digits", "1,797 handwritten digits, 8 x 8 gray, 10 classes", "UCI, through scikit-learn", "CC BY 4.0"),
    Named(
        "breast-cancer", "569 tumours, 30 measurements, malignant or benign", "UCI, through scikit-learn", "CC BY 4.0"
    ),
    Named(
        "diabetes",
        "442 patients, 10 measurements, progression after a year",
        "Efron et al. 2004, through scikit-learn",
        "none stated",
        sensitive=("sex", "age"),
    ),
    Named("wine", "178 wines, 13 measurements, 3 cultivars", "UCI, through scikit-learn", "CC BY 4.0"),
    Named("iris", "150 irises, 4 measurements, 3 species", "Fisher 1936, through scikit-learn", "CC BY 4.0"),
    Named(
        "mnist",
        "60,000 + 10,000 handwritten digits, 28 x 28 gray, 10 classes",
        "LeCun, Cortes and Burges 1998",
        "CC BY-SA 3.0 (as its redistributors state)",
        (
            Pinned(
                _TRAIN_X, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9912422, _MNIST + _TRAIN_X
            ),
            Pinned(
                _TRAIN_Y, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28881, _MNIST + _TRAIN_Y
            ),
            Pinned(
                _TEST_X, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1648877, _MNIST + _TEST_X
            ),
            Pinned(_TEST_Y, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4542, _MNIST + _TEST_Y),
        ),
    ),
    Named(
        "fashion-mnist",
        "60,000 + 10,000 pictures of clothing, 28 x 28 gray, 10 classes",
        "Xiao, Rasul and Vollgraf 2017",
        "MIT",
        (
            Pinned(
                _TRAIN_X,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                26421880,
                _FASHION + _TRAIN_X,
            ),
            Pinned(
                _TRAIN_Y, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29515, _FASHION + _TRAIN_Y
            ),
            Pinned(
                _TEST_X, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4422102, _FASHION + _TEST_X
            ),
            Pinned(
                _TEST_Y, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5148, _FASHION + _TEST_Y
            ),
        ),
    ),
    Named(
        "cifar10",
        "50,000 + 10,000 small photographs, 32 x 32 RGB, 10 classes",
        "Krizhevsky 2009",
        "none stated",
        (
            # The archive of plain bytes; the better known one holds pickles, which are never read here.
            Pinned(
                "cifar-10-binary.tar.gz",
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                170052171,
                _CIFAR + "cifar-10-binary.tar.gz",
            ),
        ),
    ),
    Named(
        "adult",
        "32,561 + 16,281 people of the 1994 census, 14 columns, income above 50K or not",
        "Becker and Kohavi 1996, UCI",
        "CC BY 4.0",
        (
            Pinned(
                "adult.data",
                "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
                3974305,
                _UCI + "adult.data",
            ),
            Pinned(
                "adult.test",
                "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
                2003153,
                _UCI + "adult.test",
            ),
        ),
        ("sex", "race", "age", "native-country", "marital-status", "relationship"),
    ),
    Named(
        "compas",
        "6,172 defendants, 8 columns, arrested again within two years or not",
        "ProPublica 2016",
        "none stated (public court records)",
        (
            Pinned(
                "compas-scores-two-years.csv",
                "c451db85908b2f7fef1d83203bedf6b71ecda0d5af468d82ae62178f91d0cc7d",
                2546489,
                _COMPAS + "compas-scores-two-years.csv",
            ),
        ),
        ("sex", "race", "age"),
    ),
)


def names() -> tuple[Named, ...]:
    """Every named set: its name, one line on what it is, its source and licence."""
    return SETS
