r"""The only judge of what is a secret: which names hold one, which values are one, and what replaces it.

Three questions are asked of any text, in this order:

1. Is it a value in an issuer's published format (``ghp_...``, a JSON web token, a private key block)?
2. Does an address carry a credential (``https://user:token@host``)?
3. Does a name say that what follows is secret (``--hub-token X``, ``DB_PASSWORD=X``, ``"api_key": "X"``)?

Only the secret part is replaced by ``MARK``; line breaks are never removed, so a redacted patch still applies. Where
a value and a name leave doubt, the value goes: a fact lost is better than a secret kept. Every function takes any
``str``, never raises, takes time linear in its length, and gives its own result back unchanged.

A private key's lines can only be known as such together: hand over contiguous lines of a file in one text.
"""
# ruff: noqa: SIM905 - lists of words read and compare best as text
# This module is imported inside start_run(), in the caller: `import re` costs 5 ms there, dataclasses, enum and typing
# more. So nothing is imported at the top, every rule names literal needles, and a rule's pattern is compiled only when
# one of its needles is in the text. Patterns avoid what cannot be matched in linear time: a start that may lie anywhere
# in a run of characters that the rest of the pattern also takes; where that cannot be avoided a run has a limit.

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    _Redacted = TypeVar("_Redacted", str, "list[str]")

MARK = "[redacted]"

# --- names -----------------------------------------------------------------------------------------------------------

# A name is judged by its words, the last of which says what the value is: a token_count is a count.
_ABOUT = frozenset(
    """
    age alg algorithm attempts backend bits budget callback change changed check class cls column cost count counts
    dim dir directory disabled domain dropout embedding embeddings enabled encoder endpoint env error exp expiration
    expires expiry factory field fields file files filename fn folder format func handler hasher helper help hint host
    id ids idx index label len length level lifetime limit manager mask max method min mode name names path paths
    pattern plugin policy port prefix prompt provider rate ratio realm ref refs regex required requirements retries
    rotation scheme scope scopes server size sizes state status store strategy suffix timeout title ttl type types uri
    url usage user username validation validator validators var variable version
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
_QUERY_NAMES = frozenset({"key", "pat", "sig"})
_STEMS = (
    "auth",
    "bearer",
    "cookie",
    "credential",
    "csrf",
    "jwt",
    "key",
    "oauth",
    "pass",
    "pat",
    "pwd",
    "sas",
    "secret",
    "sessid",
    "sessionid",
    "signature",
    "token",
    "xsrf",
)  # fmt: skip - a list of words reads best as one


def is_secret_name(name: str) -> bool:
    """Say whether what is called ``name`` is a secret: an option, a variable, a key, in any spelling.

    ``hub_token``, ``--hub-token``, ``HUB_TOKEN`` and ``hubToken`` are one name. A model's vocabulary
    (``pad_token``), counts (``max_tokens``) and what is merely about a secret (``token_file``, ``no-auth``) are none.
    """
    lowered = name.lower()
    return any(stem in lowered for stem in _STEMS) and _words_are_secret(_words(name))


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


_words_of: dict[str, list[str]] = {}  # the few names of one text are asked for again and again


def _words(name: str) -> list[str]:
    words = _words_of.get(name)
    if words is None:
        if len(_words_of) >= 1024:  # noqa: PLR2004 - far more than one text's names; hostile ones must not pile up
            _words_of.clear()
        words = _words_of[name] = _split(name)
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


# --- values in a published format -----------------------------------------------------------------------------------

# A word that starts here: after nothing of its own kind, or after an escape such as the \n of a JSON string.
_START = r"(?:(?<![A-Za-z0-9_\-])|(?<=\\[nrt]))"
_WORD_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"

# (source of the format, needles in lower case, pattern; its first group is the secret, or else the whole match).
# Lengths are minima at or below the published ones: issuers lengthen their tokens, and a longer one goes whole.
_FORMATS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "GitHub Docs, About authentication, token formats; gitleaks github-pat, github-oauth, github-app-token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        r"gh[pousr]_[A-Za-z0-9_]{16,}",
    ),
    ("GitHub Docs, token formats; gitleaks github-fine-grained-pat", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{20,}"),
    (
        "GitLab Docs, Token overview, token prefixes; gitleaks gitlab-pat, gitlab-deploy-token, ...",
        (
            "glpat-",
            "gloas-",
            "gldt-",
            "glrt-",
            "glrtr-",
            "glcbt-",
            "glptt-",
            "glft-",
            "glimt-",
            "glagent-",
            "glsoat-",
            "glffct-",
        ),
        r"gl(?:pat|oas|dt|rtr?|cbt|ptt|ft|imt|agent|soat|ffct)-[A-Za-z0-9_.=\-]{16,}",
    ),
    (
        "AWS IAM User Guide, IAM identifiers, unique ID prefixes; gitleaks aws-access-token",
        ("akia", "asia", "abia", "acca", "a3t"),
        r"(?<![A-Z0-9])(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])",
    ),
    ("gitleaks aws-amazon-bedrock-api-key-long-lived", ("absk",), _WORD_START + r"ABSK[A-Za-z0-9+/]{60,}={0,2}"),
    (
        "gitleaks aws-amazon-bedrock-api-key-short-lived",
        ("bedrock-api-key-",),
        r"bedrock-api-key-[A-Za-z0-9+/=_\-]{20,}",
    ),
    ("Google Cloud, API keys; gitleaks gcp-api-key", ("aiza",), _WORD_START + r"AIza[A-Za-z0-9_\-]{35,}"),
    (
        "detect-secrets and Google Identity, OAuth 2.0 access tokens",
        ("ya29.",),
        _WORD_START + r"ya29\.[A-Za-z0-9_.\-]{20,}",
    ),
    ("Google Identity, OAuth 2.0 client secrets", ("gocspx-",), r"GOCSPX-[A-Za-z0-9_\-]{20,}"),
    ("gitleaks azure-ad-client-secret", ("q~",), r"(?<![A-Za-z0-9_~.\-])[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.\-]{31,34}"),
    (
        "Hugging Face Hub, User access tokens; gitleaks huggingface-access-token",
        ("hf_",),
        _WORD_START + r"hf_[A-Za-z0-9]{20,}",
    ),
    ("gitleaks huggingface-organization-api-token", ("api_org_",), _WORD_START + r"api_org_[A-Za-z0-9]{20,}"),
    # A class name of a style sheet may start alike (sk-fading-circle); a key has digits and capitals.
    (
        "OpenAI and Anthropic API references, authentication; gitleaks openai-api-key, anthropic-api-key",
        ("sk-",),
        _WORD_START + r"sk-(?:(?:ant|proj|svcacct|admin|or)-|(?=[A-Za-z_\-]{0,60}[0-9]))[A-Za-z0-9_\-]{16,}",
    ),
    (
        "Slack API, token types; gitleaks slack-bot-token, slack-user-token, slack-app-token",
        ("xox", "xapp-"),
        _WORD_START + r"(?:xox[a-z](?:\.xox[a-z])?|xapp)-[A-Za-z0-9\-]{10,}",
    ),
    (
        "Slack API, incoming webhooks; gitleaks slack-webhook-url",
        ("hooks.slack.com/",),
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9+/_\-]{20,})",
    ),
    (
        "Discord Developer Portal, Webhook resource",
        ("/api/webhooks/",),
        r"/api/webhooks/[0-9]{5,20}/([A-Za-z0-9_\-]{20,})",
    ),
    (
        "Telegram Bot API, authorizing your bot; gitleaks telegram-bot-api-token",
        (":aa",),
        r"(?<![0-9])[0-9]{6,16}:(AA[A-Za-z0-9_\-]{32,})",
    ),
    ("npm Docs, About access tokens; gitleaks npm-access-token", ("npm_",), _WORD_START + r"npm_[A-Za-z0-9]{30,}"),
    ("PyPI Docs, API tokens; gitleaks pypi-upload-token", ("pypi-",), _WORD_START + r"pypi-Ag[A-Za-z0-9_\-]{30,}"),
    (
        "Stripe Docs, API keys; gitleaks stripe-access-token",
        ("sk_", "rk_", "whsec_"),
        _WORD_START + r"(?:(?:sk|rk)_(?:test|live|prod)|whsec)_[A-Za-z0-9]{10,}",
    ),
    (
        "RFC 7519, section 3, compact serialization (JWS, and JWE of RFC 7516); gitleaks jwt",
        ("eyj",),
        _START + r"ey[A-Za-z0-9_\-]{8,}\.(?:[A-Za-z0-9_\-]*\.){1,3}[A-Za-z0-9_\-]*",
    ),
    (
        'Neptune Docs, API token: base64 of {"api_address": ...',
        ("eyjhcgl",),
        _START + r"eyJhcGl[A-Za-z0-9+/_\-]{20,}={0,2}",
    ),
    (
        "Databricks Docs, personal access tokens; gitleaks databricks-api-token",
        ("dapi",),
        _WORD_START + r"dapi[a-f0-9]{32}(?:-[0-9])?",
    ),
    (
        "Weights & Biases, API keys: 40 hexadecimal digits, told apart from a commit only by what stands before",
        ("wandb",),
        r"(?i:wandb)[^\n]{0,60}?(?<![A-Za-z0-9])([a-f0-9]{40})(?![A-Za-z0-9])",
    ),
    ("Weights & Biases SDK 0.22.3 and later, long API keys", ("wandb_v1_",), r"wandb_v1_[A-Za-z0-9_]{40,}"),
    (
        "gitleaks digitalocean-pat, digitalocean-access-token",
        ("dop_v1_", "doo_v1_", "dor_v1_"),
        r"do[opr]_v1_[a-f0-9]{64}",
    ),
    (
        "gitleaks grafana-service-account-token, grafana-cloud-api-token",
        ("glsa_", "glc_"),
        _WORD_START + r"(?:glsa|glc)_[A-Za-z0-9+/_]{32,}={0,3}",
    ),
    (
        "HashiCorp Vault, tokens; gitleaks vault-service-token, vault-batch-token",
        ("hvs.", "hvb."),
        _WORD_START + r"hv[sb]\.[A-Za-z0-9_\-]{24,}",
    ),
    ("gitleaks hashicorp-tf-api-token", (".atlasv1.",), r"\.atlasv1\.([A-Za-z0-9_=\-]{40,})"),
    ("gitleaks sendgrid-api-token", ("sg.",), _WORD_START + r"SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{32,}"),
    (
        "gitleaks shopify-access-token and its siblings",
        ("shpat_", "shpca_", "shppa_", "shpss_"),
        r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    ),
    ("gitleaks atlassian-api-token", ("atatt3",), r"ATATT3[A-Za-z0-9_=\-]{60,}"),
    ("gitleaks heroku-api-key-v2", ("hrku-",), r"HRKU-[A-Za-z0-9_\-]{30,}"),
    ("gitleaks doppler-api-token", ("dp.pt.",), r"dp\.pt\.[A-Za-z0-9]{30,}"),
    (
        "gitleaks linear-api-key, notion-api-token",
        ("lin_api_", "ntn_"),
        _WORD_START + r"(?:lin_api|ntn)_[A-Za-z0-9]{40,}",
    ),
    (
        "gitleaks perplexity-api-key, postman-api-token, pulumi-api-token",
        ("pplx-", "pmak-", "pul-"),
        _WORD_START + r"(?:pplx-[A-Za-z0-9]{40,}|PMAK-[a-fA-F0-9]{24}-[a-fA-F0-9]{34}|pul-[a-f0-9]{40})",
    ),
    (
        "gitleaks rubygems-api-token, clojars-api-token",
        ("rubygems_", "clojars_"),
        r"(?:rubygems_[a-f0-9]{48}|CLOJARS_[A-Za-z0-9]{60})",
    ),
    ("gitleaks age-secret-key", ("age-secret-key-1",), r"AGE-SECRET-KEY-1[A-Za-z0-9]{58}"),
    ("gitleaks 1password-service-account-token", ("ops_eyj",), r"ops_eyJ[A-Za-z0-9+/]{100,}={0,3}"),
    (
        "Replicate, Groq, NVIDIA NGC and Docker Hub documentation, API keys and access tokens",
        ("r8_", "gsk_", "nvapi-", "dckr_pat_"),
        _WORD_START
        + r"(?:r8_[A-Za-z0-9]{37}|gsk_[A-Za-z0-9]{40,}|nvapi-[A-Za-z0-9_\-]{20,}|dckr_pat_[A-Za-z0-9_\-]{20,})",
    ),
    (
        "RFC 6750, section 2.1, bearer token in a header: 16 characters or more, since prose has the word too",
        ("bearer",),
        r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))(?i:bearer)[ \t]{1,8}([A-Za-z0-9._~+/\-]{16,}={0,8})",
    ),
    (
        "GNU inetutils, The .netrc file",
        ("password",),
        r"(?<!\S)login[ \t]{1,8}[^\s]{1,256}[ \t]{1,8}password[ \t]{1,8}(?!\[redacted\])([^\s]+)",
    ),
    (
        "curl manual, --user; gitleaks curl-auth-user",
        ("curl",),
        (
            r"(?<!\S)(?:-u|--user|--proxy-user)[ =]?[\"']?[^\s:\"'/]{1,64}:"
            r"(?!//|\[redacted\]|[0-9]+(?![^\s\"']))([^\s\"']+)"
        ),
    ),
    (
        "Requests, Basic authentication: HTTPBasicAuth('user', 'password')",
        ("basicauth(",),
        r"(?i:basicauth)\([ \t]{0,8}[\"'][^\"'\n]{0,256}[\"'][ \t]{0,8},[ \t]{0,8}[\"'](?!\[redacted\])([^\"'\n]+)",
    ),
)  # fmt: skip - one rule a row

_compiled: dict[str, re.Pattern[str]] = {}


def _pattern(pattern: str) -> re.Pattern[str]:
    found = _compiled.get(pattern)
    if found is None:
        import re  # noqa: PLC0415 - see the head of this module

        found = _compiled[pattern] = re.compile(pattern)
    return found


def _redact_formats(text: str, lowered: str) -> str:
    if not _has_needle(lowered):
        return text
    for _source, needles, pattern in _FORMATS:
        if any(needle in lowered for needle in needles) and _may_start(needles, lowered):
            text = _pattern(pattern).sub(_mask, text)
    return text


_NEEDLES = tuple(needle for _source, needles, _pattern_text in _FORMATS for needle in needles)


def _has_needle(lowered: str) -> bool:
    """Say whether any format may occur: a plain loop, since nearly no text has one and start_run() asks for several."""
    for needle in _NEEDLES:  # noqa: SIM110 - a generator takes three times as long
        if needle in lowered:
            return True
    return False


def _may_start(needles: tuple[str, ...], lowered: str) -> bool:
    """Keep `--mask-ratio` and `--task-name` from compiling the rule whose needle is `sk-`."""
    if needles != ("sk-",):
        return True
    at = lowered.find("sk-")
    while at > 0 and lowered[at - 1].isalpha() and lowered[at - 2 : at - 1] != "\\":
        at = lowered.find("sk-", at + 3)
    return at >= 0


def _mask(match: re.Match[str]) -> str:
    whole = match.group()
    if not match.re.groups:
        return MARK
    start, end = match.span(1)
    return whole[: start - match.start()] + MARK + whole[end - match.start() :]


# --- private keys ---------------------------------------------------------------------------------------------------

_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_LINE_WIDTHS = (64, 70)
_MARGIN = "\r \t+-#>|*,\"'"  # indentation, a patch's column, a comment, the quotes of a source file


def _redact_private_keys(text: str) -> str:
    """Empty the blocks of RFC 7468 and OpenSSH, keeping their first and last line and the number of lines.

    A block may stand on one line with escaped line breaks, as in a service account's JSON, or lack its end.
    """
    if "PRIVATE KEY" not in text:
        return text
    pieces: list[str] = []
    done = 0
    for begin in _pattern(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----").finditer(text):
        end = _end_of_private_key(text, begin.end())
        pieces += (text[done : begin.end()], _emptied(text[begin.end() : end]))
        done = end
    return "".join((*pieces, text[done:]))


def _end_of_private_key(text: str, start: int) -> int:
    """Give where the key that begins at ``start`` ends: ``start`` where code only names the marker."""
    at = start
    is_long = False
    while at < len(text):
        line_end = text.find("\n", at)
        line_end = len(text) if line_end < 0 else line_end
        end = text.find("-----", at, line_end)
        words = text[at : end if end >= 0 else line_end].replace("\\r", " ").replace("\\n", " ").split()
        is_long_line = any(len(word) >= 16 for word in words)  # noqa: PLR2004 - no word of code or prose
        if (len(words) > 1 and not is_long_line) or not all(map(_is_base64, words)):
            return at if is_long else start
        is_long = is_long or is_long_line
        if end >= 0:
            return end
        at = line_end + 1
    return len(text) if is_long else start


def _is_base64(word: str) -> bool:
    return _BASE64.issuperset(word.strip(_MARGIN + "=").replace(MARK, ""))


def _emptied(body: str) -> str:
    """Leave of a value over several lines its first, as a mark, and of the others the margin and the break."""
    lines = body.split("\n")
    for at, line in enumerate(lines):
        if line.strip(_MARGIN):
            escape = "\\n" if line.startswith("\\n") else ""
            after = "\\n" if escape and line.endswith("\\n") else ""
            lines[at:] = [(escape or _margin(line)) + MARK + after + "\r" * line.endswith("\r")]
            lines += [_margin(rest) + "\r" * rest.endswith("\r") for rest in body.split("\n")[at + 1 :]]
            break
    return "\n".join(lines)


def _margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip(_MARGIN.replace("\r", "")))]


def _is_private_key_line(text: str) -> bool:
    """Know a line of a key's block that stands alone, as in a patch (RFC 7468, section 2: 64 columns; OpenSSH: 70)."""
    line = text.strip().lstrip("+-> ")
    if len(line) not in _LINE_WIDTHS:
        line = text.strip()
    if len(line) not in _LINE_WIDTHS or not _BASE64.issuperset(line):
        return False
    digits = sum(map(str.isdigit, line))
    return digits >= 3 and line.lower() != line and line.upper() != line  # noqa: PLR2004 - a word has fewer


# --- addresses ------------------------------------------------------------------------------------------------------

# RFC 3986, section 3.2.1. The second form is a password whose /, ? or # somebody left unescaped: where a port would
# stand there is something that is no number.
_USERINFO = (
    r"\\?/\\?/(?:([^\s/?#\"'<>`\\]+)@"
    r"|([^\s/?#@:\"'<>`\[\\]{1,64}:(?![0-9]{0,5}[/?#])[^\s@\"'<>`]{1,64})@(?=[A-Za-z0-9\[]))"
)
# git-clone(1), GIT URLS, the scp-like syntax, with a password in it; an image's digest (name:tag@sha256:...) is none.
_SCP_LIKE = r"(?<![^\s\"'=(,])[A-Za-z0-9_.+\-]{1,64}:([^\s/@\"'=(,]+)@(?!sha[0-9]{3}:)[A-Za-z0-9_.\-]{1,255}:(?=[^\s])"


def redact_url(url: str) -> str:
    """Take the credentials out of one address: a remote, a tracking URI, an index.

    Of http(s) and of an address with no scheme all that stands before the ``@`` is a credential
    (``https://[redacted]@host/x``); elsewhere the user is part of the address and only the password goes
    (``ssh://git:[redacted]@host``, ``user:[redacted]@host:path``). Secret query parameters and values in a known
    format go too.
    """
    return _settled(lambda address: redact_text(_without_password(address)), url)


def _without_password(url: str) -> str:
    scheme, slashes, rest = url.partition("//")
    if not slashes:
        user, at, host = url.rpartition("@")
        name, _, password = user.partition(":")
        is_scp_like = at and password and not set("/\\?#") & set(user) and not host.startswith(("sha256:", "sha512:"))
        return f"{name}:{MARK}@{host}" if is_scp_like else url
    authority = rest[: _first_of(rest, "/?#")]
    if "@" not in authority:
        return url
    userinfo, _, host = authority.rpartition("@")
    return f"{scheme}//{_without_credential(scheme, userinfo)}@{host}{rest[len(authority) :]}"


def _first_of(text: str, characters: str) -> int:
    found = [at for at in map(text.find, characters) if at >= 0]
    return min(found, default=len(text))


def _without_credential(scheme: str, userinfo: str) -> str:
    """Give what may stay of ``userinfo`` in an address of this scheme, ending in ``:`` or empty."""
    name, colon, password = userinfo.partition(":")
    if not scheme or scheme.lower().endswith(("http:", "https:", "ws:", "wss:")):
        return MARK if userinfo else ""
    return f"{name}:{MARK}" if colon and password else userinfo


def _redact_addresses(text: str) -> str:
    if "@" not in text:
        return text
    if "//" in text or "/\\/" in text:
        text = _pattern(_USERINFO).sub(_redact_userinfo, text)
    return _pattern(_SCP_LIKE).sub(_mask_scp_like, text) if ":" in text else text


def _redact_userinfo(match: re.Match[str]) -> str:
    userinfo = match.group(1) or match.group(2)
    start = match.start()
    scheme = _scheme_before(match.string, start)
    name, colon, password = userinfo.partition(":")
    is_plain_text = not scheme and not colon
    if is_plain_text or scheme == "github:" or (_is_variable(password) if colon else _is_variable(name)):
        return match.group()  # github: fsspec's github://organisation:repository@commit has no credential
    slashes = match.group()[: match.start(1 if match.group(1) else 2) - start]
    return f"{slashes}{_without_credential(scheme, userinfo)}@"


def _scheme_before(text: str, at: int) -> str:
    before = text[max(0, at - 32) : at]
    if not before.endswith(":"):
        return ""
    start = len(before) - 1
    while start and (before[start - 1].isalnum() or before[start - 1] in "+.-"):
        start -= 1
    return before[start:]


def _mask_scp_like(match: re.Match[str]) -> str:
    return match.group() if match.group(1) == MARK else _mask(match)


# --- what a name says is secret -------------------------------------------------------------------------------------

_NAME_START = r"(?:(?<![A-Za-z0-9_.\-\\])|(?<=\\[nrt]))"
_NAMED = (
    _NAME_START
    + r"(?P<name>-*[A-Za-z0-9_][A-Za-z0-9_.\-]*)(?P<close>\\{0,7}[\"'`])?\]?"
    + r"(?P<separator>[ \t]*(?:=>|:=|[=!]?=+|:(?!:))|[ \t]*,(?=[ \t]*\\{0,7}[\"'])|[ \t]+(?:\\\r?\n)?)"
    + r"(?P<space>[ \t]*)"
)
_ANNOTATION = (
    r"(?:&?(?:'[a-z]+ )?[A-Za-z_][\w.]{0,60}(?:\[[^\]\n]{0,80}\]{1,4})?(?:[ \t]?\|[ \t]?\w{1,60}){0,4}"
    r"[ \t]{1,8}=[ \t]{1,8}"
    r"|(?:str|string|bytes|Optional\[str\])=)"
)
_UNQUOTED = (
    r"(?:[^\s\"'`,;&\\]+|[,;&](?![A-Za-z0-9_.\-]+=)|\\[nrt](?![A-Za-z_][A-Za-z0-9_.\-]*[=:])|\\(?![\t\r\n\"'`nrt]) ?"
    r"|\\?[\"'`]+(?=[A-Za-z0-9]))+"
)
_PARAMETER = r"[^\s\"'`&#;,<>]+"
_HEADER_VALUE = r"[^\r\n\"'`\\]+"
# IANA's registry of HTTP authentication schemes, and those that GitHub, AWS and Discord made up.
_SCHEME = r"(?i:apikey|aws4-hmac-sha256|basic|bearer|bot|digest|dpop|hawk|key|negotiate|ntlm|oauth|token)[ \t]+"
_OPEN_QUOTE = r"[fFrRbBuU$]{0,2}(\\{0,7})(\"\"\"|'''|[\"'`])"
_LITERALS = frozenset("0 1 false nil none null off on true undefined".split())
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
_PATH_ENDINGS = (
    ".cfg",
    ".conf",
    ".crt",
    ".env",
    ".ini",
    ".json",
    ".key",
    ".p12",
    ".pem",
    ".pub",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
)  # fmt: skip - a list of words reads best as one


def redact_text(text: str) -> str:
    """Replace every secret in ``text`` by ``MARK``: source code, a patch's added lines, a log, a configuration.

    Code that only refers to a secret stays as it is (``token=args.token``, ``password: str``, ``${TOKEN}``): nothing
    is to be read from it, and a patch with it redacted would give back another program.
    """
    return _settled(_redact_once, text)


def _settled(redact: Callable[[_Redacted], _Redacted], value: _Redacted) -> _Redacted:
    """Redact until nothing changes: what stands beside a mark can look different. Two rounds are the rule."""
    for _round in range(_MOST_ROUNDS):
        redacted = redact(value)
        if redacted == value:
            break
        value = redacted
    return value


_MOST_ROUNDS = 6  # bounds what hostile input can cost


def _redact_once(text: str) -> str:
    if len(text) < 128 and _is_private_key_line(text):  # noqa: PLR2004 - one line with its prefix and break
        core = text.strip()
        return text.replace(core, core[: len(core) - len(core.lstrip("+-> "))] + MARK)
    lowered = text.lower()
    text = _redact_formats(_redact_private_keys(text), lowered)
    text = _redact_addresses(text)
    if any(stem in lowered for stem in (*_STEMS, "sig=")) and any(sign in text for sign in "=: ,\t"):
        text = _redact_named(text)
    return text


def _redact_named(text: str) -> str:
    pieces: list[str] = []
    done = 0
    judged: dict[str, bool] = {}
    for match in _pattern(_NAMED).finditer(text):
        if match.start() < done or not _is_announced(match, judged):
            continue
        for start, end in _secret_spans(text, match):
            pieces += (text[done:start], _emptied(text[start:end]) if "\n" in text[start:end] else MARK)
            done = end
    return "".join((*pieces, text[done:]))


def _is_announced(match: re.Match[str], judged: dict[str, bool]) -> bool:
    """Say whether this name, so separated from what follows, announces a secret."""
    name = match["name"]
    secret = judged.get(name)
    if secret is None:
        secret = judged[name] = is_secret_name(name)
    before = match.string[max(0, match.start() - 2) : match.start()]
    if not secret and before[-1:] in {"?", "&", "#"}:
        secret = name.lower() in _QUERY_NAMES
    if not secret and before[:1] == "\\" and len(before) == 2:  # noqa: PLR2004 - \t may be an escape or a t
        secret = is_secret_name(before[1] + name)
    return secret and _separates(name, match["separator"].strip(), is_quoted=match["close"] is not None)


def _separates(name: str, separator: str, *, is_quoted: bool) -> bool:
    """Say whether a value may follow: after a blank an option's, after a comma also `getenv("DB_PASSWORD", "x")`."""
    if separator in {"", "\\"}:
        return name.startswith("-")
    if separator == ",":
        return is_quoted and (name.startswith("-") or name.isupper() or len(_words(name)) > 1)
    return True


def _secret_spans(text: str, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    start = match.end()
    separator = match["separator"].strip()
    if match["close"] and separator == ":" and text[start : start + 1] in {"\n", "\r"}:
        start += len(text[start : start + 200]) - len(text[start : start + 200].lstrip())
    if separator == ":":
        annotation = _pattern(_ANNOTATION).match(text, start)
        start = annotation.end() if annotation else start
    marked = start + (text[start : start + 1] in {"'", '"'})
    if text.startswith(MARK, marked) and text[marked + len(MARK) : marked + len(MARK) + 1] in _AFTER_A_VALUE:
        return
    if separator in {"", "\\"} and text[start : start + 1] in set("-|&;>"):
        return  # a switch: what follows is another option, or the shell's
    if text[start : start + 1] in {"(", "["} and text[start + 1 : start + 2] in {"'", '"'}:
        yield from _listed_spans(text, start + 1)
        return
    quoted = _quoted_span(text, start)
    span = quoted or _unquoted_span(text, start, match)
    if span is None:
        return
    start, end = span
    scheme = _pattern(_SCHEME).match(text, start, end) if _is_header(match["name"]) else None
    start = scheme.end() if scheme else start
    if start < end and not _is_harmless(text, start, end, match, is_quoted=quoted is not None):
        yield start, end


_AFTER_A_VALUE = frozenset(("", *" \t\r\n\"'`,;&)]}"))
_HEADERS = frozenset({"auth", "authorization", "cookie"})


def _is_header(name: str) -> bool:
    words = _words(name)
    return bool(words) and words[-1] in _HEADERS


def _listed_spans(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Give the quoted strings of a list or tuple: ``auth=("user", "password")``."""
    while True:
        span = _quoted_span(text, at)
        if span is None:
            return
        if span[0] < span[1] and text[span[0] : span[1]] != MARK:
            yield span
        comma = _pattern(r"[\"'`\\]{0,9}[ \t]{0,40},[ \t]{0,40}").match(text, span[1])
        if comma is None:
            return
        at = comma.end()


def _quoted_span(text: str, at: int) -> tuple[int, int] | None:
    """Give where the quoted string at ``at`` begins and ends, without its quotes; None where there is none."""
    opening = _pattern(_OPEN_QUOTE).match(text, at)
    if opening is None:
        return None
    escapes, quote = len(opening[1]), opening[2]
    end = text.find(quote, opening.end())
    while end >= 0:
        run = _backslashes_before(text, end, opening.end())
        if run == escapes or (escapes == 0 and run % 2 == 0):
            break
        end = text.find(quote, end + 1)
    end -= escapes
    if end < opening.end() or (len(quote) == 1 and text.find("\n", opening.end(), end) >= 0):
        return None
    return opening.end(), end


def _backslashes_before(text: str, at: int, start: int) -> int:
    end = at
    while at > start and text[at - 1] == "\\":
        at -= 1
    return end - at


def _unquoted_span(text: str, start: int, match: re.Match[str]) -> tuple[int, int] | None:
    opening = _pattern(_OPEN_QUOTE).match(text, start)
    start = opening.end() if opening else start
    before = text[match.start() - 1 : match.start()]
    if before and before in "?&#":
        pattern = _PARAMETER
    elif match["separator"].strip() == ":" and _words(match["name"])[-1:] in (["authorization"], ["cookie"]):
        pattern = _HEADER_VALUE
    else:
        pattern = _UNQUOTED
    value = _pattern(pattern).match(text, start)
    if value is None:
        return None
    return start, start + len(_without_closers(value.group()))


def _without_closers(value: str) -> str:
    """Leave to the surrounding text the brackets and commas that close it, not the value."""
    if value[-1] not in ",;&)]}>":
        return value
    surplus = {")": value.count(")") - value.count("("), "]": value.count("]") - value.count("["),
               "}": value.count("}") - value.count("{"), ">": value.count(">") - value.count("<")}  # fmt: skip
    end = len(value)
    while end and (value[end - 1] in ",;&" or surplus.get(value[end - 1], 0) > 0):
        if value[end - 1] in surplus:
            surplus[value[end - 1]] -= 1
        end -= 1
    return value[:end]


def _is_harmless(text: str, start: int, end: int, match: re.Match[str], *, is_quoted: bool) -> bool:
    if end - start > 256:  # noqa: PLR2004 - longer than any reference or literal
        return False
    value = text[start:end]
    if _is_literal(value, match["name"]) or _is_variable(value):
        return True
    if is_quoted:
        return match["separator"].strip() == "," and (value.startswith("-") or is_secret_name(value))
    is_shell = match["name"].isupper() and not match["separator"].startswith(" ") and not match["space"]
    return not is_shell and not match["name"].startswith("-") and _is_code(value, text[start : end + 200], match)


def _is_literal(value: str, name: str) -> bool:
    """Know the values that hide nothing: nothing at all, a switch, a placeholder, a path, a word of a vocabulary."""
    lowered = value.lower()
    if not value.strip("*.-_ []{}()") or value == MARK or lowered in _LITERALS:
        return True
    if value[0] + value[-1] in {"<>", "[]"} and (value[0] == "<" or value[1:-1].isupper()):
        return True
    words = _words(name)
    if words[-1:] == ["auth"] and lowered in _AUTH_LITERALS:
        return True
    if words[-1:] == ["pwd"] and value[0] in "/~":
        return True  # --pwd of Apptainer: a folder
    if words[-1:] == ["token"] and len(words) > 1 and len(value) < 5 and value.isdigit():  # noqa: PLR2004 - a count
        return True
    return lowered.endswith(_PATH_ENDINGS) and (
        "/" in value or "\\" in value or words[-1:] in (["key"], ["credentials"])
    )


def _is_variable(value: str) -> bool:
    """Know a value that is filled in elsewhere: ``$TOKEN``, ``${{ secrets.TOKEN }}``, ``%(token)s``, ``{token}``."""
    if value.startswith("$"):
        return (value[1:].replace("_", "A").isalnum() and value == value.upper()) or value[1:2] in {"{", "("}
    if value.startswith("{") and value.endswith("}"):
        return value.strip("{} ").replace("_", "a").replace(".", "a").isalnum()
    return value.startswith("%(") and value.endswith((")s", ")"))


_CODE = r"(?:(?:await|not|new|lambda)[ \t]+)?[A-Za-z_][\w.]{0,100}[(\[](?=[^\n]*[)\]]|[ \t]*\r?(?:\n|$))"
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?![^\s,;:)\]}])"


def _is_code(value: str, ahead: str, match: re.Match[str]) -> bool:
    """Know an expression that is no literal: a call, an attribute, an argument handed on, a type."""
    if not (value[0].isalpha() or value[0] == "_"):
        return False
    if _pattern(_CODE).match(ahead):
        return True
    identifier = value.strip(":")
    if identifier.lower() in _TYPES:
        return True
    parts = identifier.split(".")
    if len(parts) > 1 and _pattern(_DOTTED).match(ahead):
        return parts[0].lower() in _HOLDERS or is_secret_name(parts[-1])
    is_type = match["separator"].strip() == ":" and identifier[:1].isupper() and not identifier.isupper()
    is_handed_on = ahead[len(value) : len(value) + 1] in {",", ")"}
    return (is_type or is_handed_on) and identifier.isidentifier() and is_secret_name(identifier)


# --- arguments ------------------------------------------------------------------------------------------------------

_USER_OPTIONS = frozenset({"-u", "--user", "--proxy-user"})


def redact_args(args: Sequence[str]) -> list[str]:
    """Replace the secrets in a command's words, as many as were given, before they are joined or quoted.

    Knows what a text cannot tell: where a value ends, and that it may be the next word (``--token X``). A switch with
    another option after it hides nothing. Each other word is redacted as ``redact_text`` does it.
    """
    return _settled(_redact_words, list(args))


def _redact_words(args: list[str]) -> list[str]:
    redacted: list[str] = []
    before = ""
    is_wandb_login = "login" in args and any("wandb" in arg for arg in args)
    for arg in args:
        if _takes_secret(before) and not _is_option(arg):
            redacted.append(_redact_value(arg, before))
        elif before in _USER_OPTIONS:
            redacted.append(_redact_user(arg))
        elif is_wandb_login and len(arg) == 40 and set(arg) <= set("0123456789abcdef"):  # noqa: PLR2004 - W&B's
            redacted.append(MARK)
        else:
            redacted.append(_redact_word(arg))
        before = arg
    return redacted


def _takes_secret(arg: str) -> bool:
    """Say whether the word after this one is secret: after an option, or `aws configure set aws_secret_access_key`."""
    if not _is_name(arg):
        return False
    is_name_of_several_words = len(_words(arg)) > 1 and "." not in arg
    return (arg.startswith("-") or is_name_of_several_words) and is_secret_name(arg)


def _is_option(arg: str) -> bool:
    return arg.startswith("--") or (arg.startswith("-") and len(arg) > 1 and _is_name(arg.partition("=")[0]))


def _is_name(word: str) -> bool:
    bare = word.lstrip("-+~").replace("_", "a").replace("-", "a").replace(".", "a").replace("/", "a").replace("@", "a")
    return bare.isalnum() and bare.isascii()


def _redact_value(value: str, name: str) -> str:
    return value if not value or (len(value) <= 256 and _is_literal(value, name)) else MARK  # noqa: PLR2004


def _redact_user(value: str) -> str:
    name, colon, password = value.partition(":")
    is_credential = colon and password and not password.isdigit() and not password.startswith("//")
    return f"{name}:{MARK}" if is_credential else _redact_word(value)


def _redact_word(arg: str, depth: int = 0) -> str:
    end = _first_of(arg, "=:") if depth < 3 else 0  # noqa: PLR2004 - a word of a word's value: Hydra, lm-eval
    name, separator, value = arg[:end], arg[end : end + 1], arg[end + 1 :]
    if not separator or not _is_name(name):
        return redact_text(arg)
    if not is_secret_name(name):
        # The name is judged; the value may still be an address, a format or hold names of its own.
        return redact_text(arg) if separator == ":" else name + separator + _redact_word(value, depth + 1)
    space = value[: len(value) - len(value.lstrip())]
    return name + separator + space + _redact_header(value[len(space) :], name)


def _redact_header(value: str, name: str) -> str:
    if not _is_header(name) or " " not in value:
        return _redact_value(value, name)
    scheme = _pattern(_SCHEME).match(value)
    kept = scheme.group() if scheme else ""
    return kept + _redact_value(value[len(kept) :], name)
