"""The verdicts: which names say that what they name is a secret, and which values hide nothing whatever their name."""
# ruff: noqa: SIM905 - lists of words read and compare best as text

from __future__ import annotations

from runcontext.redaction.masking import MARK, compiled

# A name is judged by its words, the last of which says what the value is: a token_count is a count.
_ABOUT = frozenset(
    """
    age alg algorithm attempts backend bits budget callback change changed check class cls column cost count counts
    dim dir directory disabled domain dropout embedding embeddings enabled encoder endpoint env error exp expiration
    expires expiry factory field fields file files filename fn folder format func handler hasher helper help hint host
    id ids idx index label len length level lifetime limit manager mask max method min mode name names path paths
    pattern plugin policy port prefix prompt provider rate ratio realm ref refs regex required requirements retries
    rotation scheme scope scopes server size sizes state status stdin store strategy suffix timeout title ttl type types
    uri url usage user username validation validator validators var variable version
    """.split()
)
_NEGATIONS = frozenset(
    """
    allow ask check disable enable forget has hide ignore is needs no not print prompt require requires reset rotate
    show skip validate verify with without
    """.split()
)
# What may follow the word that matters without changing what the value is: GITHUB_TOKEN_PROD, TOKEN_GITLAB.
_VENDORS = frozenset(
    """
    ado anthropic aws azure bitbucket cohere comet dagshub databricks devops docker ext gcp gemini gh git gitea github
    gitlab google groq hf hub hugging huggingface kaggle mistral mlflow neptune ngc npm nvidia openai pypi replicate
    sentry slack wandb
    """.split()
)
_NEUTRAL = _VENDORS | frozenset(
    "b64 base64 dev encoded header new old plain prod production raw staging str string test value".split()
)
_ALWAYS = frozenset(
    """
    accesskey accesstoken apikey apitoken authkey authtoken bearertoken clientsecret credential credentials passphrase
    privatekey secret secretkey secrets sessionkey
    """.split()
)
_ALWAYS_PARTS = ("password", "passwd", "passphrase", "passwort")
_PASS_WORDS = frozenset("dbpass keypass pass passcode sshpass storepass userpass".split())
_NOT_SECRET_PASS = frozenset(
    """
    all backward band by each eval extra final first forward full high last low max min multi n next num one per render
    second single third train two
    """.split()
)
_SECRET_KEYS = frozenset(
    """
    access account admin aes api app application auth consumer deploy encryption hmac jwt license master private root
    rsa secret service session shared signing ssh storage subscription
    """.split()
) | (_VENDORS - {"ext", "hub"})
# Words before "token" that make it one of a model's vocabulary (Transformers' tokenizer arguments, fairseq, Megatron).
_VOCABULARY = frozenset(
    """
    added additional audio avg beginning bod boa boi bos blank boundary by byte char class cls column concept
    context current decoder delimiter det dist distill drop dummy each empty encoder end eoa eod eoi eop eos eot every
    extra first forced fill generated header image images img initializer instance keep label lang language last latent
    layout learnable mask masked max mean memory middle min mod modifier multi n newline next no noise non null num
    number one pad padding patch per phoneme placeholder point pos pre prefix prev previous prompt query random
    reasoning register response row seg sentinel sep separator single skip soft sot source space speaker special speech
    split start stop sub suffix suppress target tgt think thinking timestamp total transcribe translate two unk
    unknown video virtual vision visual vocab word
    """.split()
)
_TOKENS = frozenset(
    "access api auth authorization bearer csrf github gitlab hf id oauth refresh secret session".split()
)
_NOT_SECRET_SIGNATURE = frozenset("call fn func function input method model output serving task type".split())
_LAST_WORDS = frozenset(
    """
    auth authorization bearer cookie cookies jsessionid jwt oauth phpsessid pwd sas sessionid signature xsrf csrf
    """.split()
)
QUERY_NAMES = frozenset({"key", "pat", "sig"})
"""Names that are secret only where they are a query parameter's."""

STEMS = tuple(
    """
    auth bearer cookie credential csrf jwt key oauth pass pat pwd sas secret sessid
    sessionid signature token xsrf
    """.split()
)
"""Every secret name has one of these in it, whatever its spelling: what a text is first asked for."""

_LITERALS = frozenset("0 1 false inherit nil none null off on read true undefined write".split())
_AUTH_LITERALS = frozenset("basic bearer digest kerberos ldap oauth oauth2 oidc".split())
_TYPES = frozenset(
    "any bool bytes callable dict float int list object optional secretstr self str string tuple".split()
)
_HOLDERS = frozenset(
    """
    app args cfg cls conf config context credentials ctx data each env environ event flags git github hparams hydra jax
    json kwargs local model module np numpy options opts os params process request resp response secrets self session
    settings state t tf this tokenizer torch typing var vars
    """.split()
)
_PATH_ENDINGS = tuple(".cfg .conf .crt .env .ini .json .key .p12 .pem .pub .toml .txt .yaml .yml".split())
_CODE = r"(?:(?:await|not|new|lambda)[ \t]+)?[A-Za-z_][\w.]{0,100}[(\[](?=[^\n]*[)\]]|[ \t]*\r?(?:\n|$))"
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?![^\s,;:)\]}])"


def is_secret_name(name: str) -> bool:
    """Say whether what is called ``name`` is a secret: an option, a variable, a key, in any spelling.

    ``hub_token``, ``--hub-token``, ``HUB_TOKEN`` and ``hubToken`` are one name. A model's vocabulary
    (``pad_token``), counts (``max_tokens``) and what is merely about a secret (``token_file``, ``no-auth``) are none.
    An option may set a property: ``-Dsecret``.
    """
    lowered = name.lower()
    return any(stem in lowered for stem in STEMS) and _words_are_secret(words_of(name.removeprefix("-D")))


def _words_are_secret(words: list[str]) -> bool:
    if not words or words[0] in _NEGATIONS:
        return False
    if words[-2:] == ["secret", "id"]:
        return True  # HashiCorp Vault, AppRole: the secret id is the secret, the role id is not
    if words[-1] in _ABOUT:
        return False
    return any(map(_always_secret, ["", *words], words)) or _last_is_secret(words)


def _always_secret(before: str, word: str) -> bool:
    if word in _ALWAYS or any(part in word for part in _ALWAYS_PARTS):
        return True
    return word in {"key", "keys"} and before in _SECRET_KEYS


def _last_is_secret(words: list[str]) -> bool:
    end = len(words)
    while end > 1 and (words[end - 1] in _NEUTRAL or words[end - 1].isdigit()):
        end -= 1
    last, before = words[end - 1], words[end - 2] if end > 1 else ""
    if last.endswith("token"):
        before = last[: -len("token")] or before
        return before not in _VOCABULARY
    if last == "tokens":
        return before in _TOKENS
    if last in _PASS_WORDS:
        return before not in _NOT_SECRET_PASS
    if last == "signature":
        return before not in _NOT_SECRET_SIGNATURE
    return last in _LAST_WORDS or (last == "pat" and before in _VENDORS)


_known: dict[str, list[str]] = {}  # the few names of one text are asked for again and again


def words_of(name: str) -> list[str]:
    """Give the words of a name in lower case: of ``hubToken`` they are ``hub`` and ``token``."""
    words = _known.get(name)
    if words is None:
        if len(_known) >= 1024:  # noqa: PLR2004 - far more than one text's names; hostile ones must not pile up
            _known.clear()
        words = _known[name] = _split(name)
    return words


def _split(name: str) -> list[str]:
    """Split a name at what is no letter or digit and at camelCase's humps; trailing digits of a word do not count."""
    if name in {"PWD", "OLDPWD"}:
        return []  # POSIX, 8.3 Other Environment Variables: the working directory
    if len(name) > 256:  # noqa: PLR2004 - far longer than any name; only hostile input is cut
        name = name[:128] + " " + name[-128:]
    spaced: list[str] = []
    before = after = ""
    for at, character in enumerate(name):
        after = name[at + 1 : at + 2]
        if character.isupper() and (before.islower() or before.isdigit() or (before.isupper() and after.islower())):
            spaced.append(" ")
        spaced.append(character.lower() if character.isalnum() else " ")
        before = character
    return [word.rstrip("0123456789") or word for word in "".join(spaced).split()]


def is_literal(value: str, name: str) -> bool:
    """Know the values that hide nothing: nothing at all, a switch, a placeholder, a path, a word of a vocabulary."""
    lowered = value.lower()
    if not value.strip("*.-_? []{}()") or value == MARK or lowered in _LITERALS:
        return True
    if value[0] + value[-1] in {"<>", "[]"} and (value[0] == "<" or value[1:-1].isupper()):
        return True
    words = words_of(name)
    if words[-1:] == ["auth"] and lowered in _AUTH_LITERALS:
        return True
    if (words[-1:] == ["pwd"] and value[0] in "/~") or (words == ["secret"] and value.startswith("id=")):
        return True  # --pwd of Apptainer: a folder; --secret of docker build: which one
    if words[-1:] == ["token"] and len(words) > 1 and len(value) < 5 and value.isdigit():  # noqa: PLR2004 - a count
        return True
    return lowered.endswith(_PATH_ENDINGS) and (
        "/" in value or "\\" in value or words[-1:] in (["key"], ["credentials"])
    )


def is_variable(value: str) -> bool:
    """Know a value that is filled in elsewhere: ``$TOKEN``, ``${{ secrets.TOKEN }}``, ``%(token)s``, ``{token}``."""
    if value == "%s":
        return True
    if value.startswith("$"):
        return (value[1:].replace("_", "A").isalnum() and value == value.upper()) or value[1:2] in {"{", "("}
    if value.startswith("{") and value.endswith("}"):
        return value.strip("{} ").replace("_", "a").replace(".", "a").isalnum()
    return value.startswith("%(") and value.endswith((")s", ")"))


def is_code(value: str, ahead: str, *, is_after_colon: bool) -> bool:
    """Know an expression that is no literal: a call, an attribute, an argument handed on, a type.

    ``ahead`` is the text from the value on, as far as it takes to know; after a colon a type may stand.
    """
    if not (value[0].isalpha() or value[0] == "_"):
        return False
    if compiled(_CODE).match(ahead):
        return True
    identifier = value.strip(":")
    if identifier.lower() in _TYPES:
        return True
    parts = identifier.split(".")
    if len(parts) > 1 and compiled(_DOTTED).match(ahead):
        return parts[0].lower() in _HOLDERS or is_secret_name(parts[-1])
    is_type = is_after_colon and identifier[:1].isupper() and not identifier.isupper()
    is_handed_on = ahead[len(value) : len(value) + 1] in {",", ")"}
    return (is_type or is_handed_on) and identifier.isidentifier() and is_secret_name(identifier)
