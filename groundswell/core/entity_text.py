"""How tickers, hashtags, mentions and links look in running text, and the one spelling that each is kept under.

The `find_*` functions scan; the `normalise_*` functions answer None for what is no such thing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache

from groundswell.core.text.folding import fold_case, without_invisible

MAX_TICKER_LETTERS = 10
MAX_NAME_CHARS = 253
"""No domain is longer; nothing longer gets into a cache."""

# A pattern that starts with its own sign and looks behind it is found several times faster than one that looks
# behind first: the search can then skip to the sign.

# ------------------------------------------------------------------ tickers
# Letters, then at most three digits ($SPX500), then a class or exchange ($brk.b, $VOD.L, $ES_F, $BTC.X).
_EXCHANGES = "TO|AX|PA|DE|HK|SW|AS|MI|MC|BR|LS|OL|ST|HE|CO|NE|CN|NZ|SI|KS|KQ|NS|BO|SA|MX|WS"
_TICKER = (
    rf"([A-Za-z]{{1,{MAX_TICKER_LETTERS}}}\d{{0,3}})(?:\.([A-HJ-Za-hj-z]|{_EXCHANGES}|{_EXCHANGES.lower()})|(_F|_f))?"
)
_CASHTAG = re.compile(
    # Not in US$5, $$$, {$php}; not before what makes it code: $path/bin, $this->that, $list[0], $f(), $env:X, ${X}.
    rf"\$(?<![\w$@{{]\$){_TICKER}(?![\w$]|->|[\[({{}}\\]|::?\w|/[a-z])"
)
_BARE_TICKER = re.compile(_TICKER)
_ASSIGNMENT = re.compile(r"\s?[-+*.]?=(?!=)")
_SHELL_WORDS = ("echo ", "export ", "unset ", "printf ", "test ", '"', "=")
_SHELL_VARIABLES = frozenset({"PATH", "HOME", "PWD", "SHELL", "TERM", "EDITOR", "TMPDIR", "DISPLAY", "LOGNAME", "ENV"})


def find_cashtags(text: str) -> Iterator[str]:
    """Tickers written as `$BTC`: no prices, no currency amounts, no variables of a program."""
    for match in _CASHTAG.finditer(text):
        letters = match[1]
        if letters in _SHELL_VARIABLES:
            continue
        if not letters.isupper():
            # Stocks are written in lower case too, and so are variables.
            before = text[max(0, match.start() - 7) : match.start()]
            if len(letters) == 1 or before.endswith(_SHELL_WORDS) or _ASSIGNMENT.match(text, match.end()):
                continue
        ticker = normalise_ticker(match[0])
        if ticker is not None:
            yield ticker


def normalise_ticker(text: str) -> str | None:
    """Return the ticker in upper case, without `$` and without StockTwits' `.X` for coins. None for what is none."""
    match = _BARE_TICKER.fullmatch(text.removeprefix("$"))
    if match is None or (len(match[1]) > 6 and not match[1].isupper()):
        return None
    ticker = match[0].upper()
    return ticker.removesuffix(".X")


def cashtag(text: str) -> str | None:
    """Return the ticker of a tag that is written with a `$`, as Bluesky's client does. None where it is none.

    A tag is a statement of its author: its letters count in whatever case they are.
    """
    tag = fold_case(text).strip().lstrip("#")
    return normalise_ticker(tag.upper()) if tag.startswith("$") else None


# ------------------------------------------------------------------ hashtags
@cache
def word_class() -> str:
    r"""The inside of a character class for word characters of every script.

    Python's `\w` leaves combining marks out, without which Hindi, Thai or Arabic words fall to pieces.
    """
    marks: list[tuple[int, int]] = []
    for code in range(0x300, 0x10000):
        if unicodedata.category(chr(code)) not in {"Mn", "Mc"} or 0xFE00 <= code <= 0xFE0F:
            continue
        if marks and marks[-1][1] == code - 1:
            marks[-1] = (marks[-1][0], code)
        else:
            marks.append((code, code))
    return r"\w" + "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in marks)


@cache
def _hashtags() -> re.Pattern[str]:
    word = f"[{word_class()}]"
    # Joiners hold Persian and Indic words together, middle dots Japanese and Catalan ones; #love#music is two tags.
    tag = rf"\w{word}*(?:[\u200c\u200d\u30fb\u00b7]{word}+)*"
    return re.compile(rf"[#＃](?<![\w&#＃][#＃]){tag}(?:[#＃]{tag})*")


def find_hashtags(text: str) -> Iterator[str]:
    """Hashtags in any script, normalised; `#1` is a rank, not a tag."""
    for match in _hashtags().finditer(text):
        for part in match[0].replace("＃", "#")[1:].split("#"):
            tag = normalise_tag(part)
            if tag is not None:
                yield tag


def normalise_tag(text: str) -> str | None:
    """Return a hashtag in its one writing: folded, without `#`, and without punctuation or pictures at its ends.

    None for digits only, for anything with white space or a bar in it (exports put one between keys), and for what
    starts with a `$`: that is a ticker or nothing.
    """
    if len(text) > MAX_NAME_CHARS:
        return None
    tag = _fold_tag(text)
    if (
        not tag
        or tag[0] == "$"
        or tag.replace("_", "").isdecimal()
        or not tag.strip("_")
        or not _is_one_printable_word(tag)
    ):
        return None
    return tag


@lru_cache(maxsize=4096)
def _fold_tag(text: str) -> str:
    tag = fold_case(text).strip().lstrip("#")
    if tag.isalnum():
        return tag
    return _without_ends(tag, "PS") or _without_ends(tag, "P")


def _without_ends(tag: str, classes: str) -> str:
    """Return the tag without what ends it and is no part of a word; `P` is punctuation, `S` pictures as well.

    Clients end a tag before its punctuation, and a scan before a picture: `#kcon!` and `#kcon🎉` are both `kcon`.
    Signs such as + stay: `c++` is another tag than `c`.
    """
    start, end = 0, len(tag)
    while end > start and _is_trimmed(tag[end - 1], classes):
        end -= 1
    while start < end and tag[start] != "_" and _is_trimmed(tag[start], classes):
        start += 1
    return tag[start:end]


def _is_trimmed(character: str, classes: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "P" or ("S" in classes and (category in {"So", "Sk"} or character == "\u200d"))


def _is_one_printable_word(text: str) -> bool:
    # Joiners are "not printable" and yet part of words.
    return text.replace("\u200c", "").replace("\u200d", "").isprintable() and " " not in text and "|" not in text


# ------------------------------------------------------------------ mentions
_MENTION = re.compile(r"[@＠](?<![\w@＠/+=-][@＠])(\w[\w.-]{0,253})(@\w[\w.-]{0,253})?")
_HANDLE = re.compile(r"[a-z0-9_][a-z0-9_.-]*(@[a-z0-9-]+(\.[a-z0-9-]+)+)?")
_DID = re.compile(r"did:[a-z]+:[a-z0-9._:%-]+")


def find_mentions(text: str) -> Iterator[str]:
    """`@name.bsky.social`, `@name`, `@name@server.social`; no e-mail addresses."""
    for match in _MENTION.finditer(text):
        handle = normalise_handle(match[0])
        if handle is not None:
            yield handle


def normalise_handle(text: str) -> str | None:
    """A handle or a DID in lower case, without the leading `@`."""
    handle = without_invisible(text).strip().lstrip("@＠").rstrip(".-").lower()
    if handle.startswith("did:"):
        return handle if _DID.fullmatch(handle) else None
    return handle if _HANDLE.fullmatch(handle) and ".." not in handle else None


# ------------------------------------------------------------------ links
_URL = re.compile(
    r"""(?ix) (?: (?<![a-z]) https?:// (?:[^\s/?\#@<>"]{1,64}@)? | (?<![\w@./-]) (?=www\.) )
        ([\w-]+(?:\.[\w-]+)+) (?::\d{1,5})? (?:[/?\#][!\#-;=?-~]*)?"""
)
_HOST_OF_URL = re.compile(r"(?i)https?://(?:[^\s/?#@]*@)?([^\s/?#:]+)")
_DOT_IN_WORD = re.compile(r"\.[A-Za-z]")
_BARE_DOMAIN = re.compile(
    r"(?<![\w@./$#＃-])((?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,5}([A-Za-z]{2,12}))(?![\w@-]|\.\w)(/[!#-;=?-~]*)?"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?")

# Endings that mean a link wherever they stand. Others (.is, .so, .it, .me …) are also words after a full stop,
# and .md, .rs, .py, .sh are also files: those need a path behind them.
_LINK_ENDINGS = (
    "com org net edu gov mil int info biz io dev app ai xyz tv gg blog news online site shop store tech cloud page "
    "social live media fm uk de fr jp cn ru br ca au nl se ch es cz kr mx ar eu gr pt dk fi ie nz za tr ua hu ro "
    "sk sg hk tw vn ph th pk bd lk ng ke cl pe ve ec uy il ae sa ir cat wiki club fun games bsky"
)
_FILE_ENDINGS = "md rs py sh pl ps cc ml mm zip mov js ts go"
_PLAIN = frozenset(_LINK_ENDINGS.split())
_FILES = frozenset(_FILE_ENDINGS.split())


def find_urls(text: str) -> Iterator[str]:
    """Domains of URLs with a scheme or a leading `www.`."""
    for match in _URL.finditer(text):
        domain = normalise_domain(match[1])
        if domain is not None:
            yield domain


def without_urls(text: str) -> str:
    """The text with its URLs blanked, so that their fragments and paths are not taken for tags or names."""
    return _URL.sub(" ", text)


def find_bare_domains(text: str) -> list[str]:
    """Domains of links without a scheme, such as `example.com/page`; no file names, no full stop without a space."""
    if not _DOT_IN_WORD.search(text):
        return []
    return [domain for match in _BARE_DOMAIN.finditer(text) if (domain := _bare_domain(match)) is not None]


def without_bare_domains(text: str) -> str:
    return _BARE_DOMAIN.sub(lambda match: match[0] if _bare_domain(match) is None else " ", text)


def _bare_domain(match: re.Match[str]) -> str | None:
    ending, path = match[2].lower(), match[3]
    if ending in _PLAIN:
        looks_like_link = match[1].islower() or match[1].isupper() or path is not None
    else:
        looks_like_link = path is not None and len(path) > 1 and ending not in _FILES
    return normalise_domain(match[1]) if looks_like_link else None


def url_domain(url: str) -> str | None:
    """The normalised domain of an http or https URL; a URL without a scheme is taken as https."""
    url = without_invisible(url)
    match = _HOST_OF_URL.match(url if "://" in url else f"https://{url}")
    return None if match is None else normalise_domain(match[1])


def normalise_domain(host: str) -> str | None:
    """Lower case, ASCII (IDNA), without `www.`. None for IP addresses and for names without a dot."""
    return _normalise_domain(host) if len(host) <= MAX_NAME_CHARS else None


@lru_cache(maxsize=4096)
def _normalise_domain(host: str) -> str | None:
    domain = host.strip().strip(".").lower()
    if not domain.isascii():
        domain = _ascii_domain(domain)
        if domain is None:
            return None
    domain = domain.removeprefix("www.")
    labels = domain.split(".")
    if len(labels) < 2 or len(domain) > MAX_NAME_CHARS or labels[-1].isdecimal():
        return None
    return domain if all(_LABEL.fullmatch(label) for label in labels) else None


def _ascii_domain(domain: str) -> str | None:
    rest, _, ending = domain.rpartition(".")
    if ending and ending[0].isascii():
        # No ending mixes scripts: what follows without a space is the sentence going on, as in example.comを.
        ending = re.split(r"[^\x00-\x7f]", ending, maxsplit=1)[0]
    try:
        return f"{rest}.{ending}".encode("idna").decode("ascii")
    except UnicodeError:
        return None
