"""English plurals and past tenses, as far as the vocabulary of the demonstration corpus needs them."""


def plural(noun: str) -> str:
    """The plural of a singular noun or noun phrase.

    >>> plural("fairy tale"), plural("box"), plural("baby"), plural("toy"), plural("salesman")
    ('fairy tales', 'boxes', 'babies', 'toys', 'salesmen')
    """
    head, _, last = noun.rpartition(" ")
    if last in _PLURALS:
        return f"{head} {_PLURALS[last]}".strip()
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith("man"):
        return noun[:-3] + "men"
    return noun + "s"


def past(verb: str) -> str:
    """The past tense of a verb; what follows a space stays as it is.

    >>> past("bake"), past("study"), past("stir"), past("play"), past("log in")
    ('baked', 'studied', 'stirred', 'played', 'logged in')
    """
    first, _, rest = verb.partition(" ")
    if first in _PAST_TENSES:
        first = _PAST_TENSES[first]
    elif first in _DOUBLED:
        first += first[-1] + "ed"
    elif first.endswith("e"):
        first += "d"
    elif first.endswith("y") and first[-2] not in "aeiou":
        first = first[:-1] + "ied"
    else:
        first += "ed"
    return f"{first} {rest}".strip()


def with_article(noun: str) -> str:
    """The noun after `a` or `an`.

    >>> with_article("engine"), with_article("car"), with_article("university")
    ('an engine', 'a car', 'a university')
    """
    spoken = noun.lower()
    sounds_like_vowel = spoken[0] in "aeiou" and not spoken.startswith(("uni", "use", "eur", "one"))
    return f"{'an' if sounds_like_vowel else 'a'} {noun}"


_PLURALS = {
    "woman": "women",
    "wife": "wives",
    "wolf": "wolves",
    "loaf": "loaves",
    "foot": "feet",
    "mouse": "mice",
    "quiz": "quizzes",
    "matrix": "matrices",
    "goldfish": "goldfish",
    "salmon": "salmon",
    "trout": "trout",
    "jeans": "jeans",
    "bacterium": "bacteria",
    "hypothesis": "hypotheses",
    "diagnosis": "diagnoses",
    "shears": "shears",
    "species": "species",
    "innings": "innings",
    "bookshelf": "bookshelves",
}

_PAST_TENSES = {
    "lend": "lent",
    "drive": "drove",
    "teach": "taught",
    "cast": "cast",
    "feed": "fed",
    "grind": "ground",
    "saute": "sauteed",
    "sublet": "sublet",
    "traffic": "trafficked",
    "withdraw": "withdrew",
    "overtake": "overtook",
    "broadcast": "broadcast",
    "forgive": "forgave",
}

_DOUBLED = frozenset(
    [
        "ban",
        "chat",
        "chop",
        "debug",
        "knit",
        "log",
        "mop",
        "pen",
        "pet",
        "plan",
        "program",
        "rev",
        "ship",
        "shop",
        "skid",
        "star",
        "stir",
        "strip",
        "tag",
        "transfer",
        "trim",
        "wag",
    ]
)
