"""Which values are a secret by their form: those in a format that their issuer published, and private keys."""

from __future__ import annotations

from runcontext.redaction.masking import MARGIN, MARK, compiled, emptied, lowercase, masked, positions

# A word that starts here: after nothing of its own kind, or after an escape such as the \n of a JSON string.
_START = r"(?:(?<![A-Za-z0-9_\-])|(?<=\\[nrt]))"
_WORD_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"

# (source of the format, needles in lower case, pattern; its first group is the secret, or else the whole match).
# A match begins at a needle. Lengths are minima at or below the published ones: issuers lengthen their tokens, and a
# longer one goes whole.
FORMATS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "GitHub Docs, About authentication, token formats; gitleaks github-pat, github-oauth, github-app-token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        # The second form is ghs_APPID_JWT, which GitHub issues since April 2026.
        r"gh[pousr]_(?:[A-Za-z0-9_]{16,}|[0-9]{1,20}_ey)(?:[A-Za-z0-9_\-]*\.[A-Za-z0-9_\-]{8,}){0,4}",
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
            "glwt-",
        ),
        r"gl(?:pat|oas|dt|rtr?|cbt|ptt|ft|imt|agent|soat|ffct|wt)-[A-Za-z0-9_.=\-]{16,}",
    ),
    ("gitleaks gitlab-rrt, runner registration tokens", ("gr1348941",), r"GR1348941[A-Za-z0-9_\-]{16,}"),
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
        r"(?<=[0-9]{6}):(AA[A-Za-z0-9_\-]{32,})",
    ),
    ("npm Docs, About access tokens; gitleaks npm-access-token", ("npm_",), _WORD_START + r"npm_[A-Za-z0-9]{30,}"),
    ("PyPI Docs, API tokens; gitleaks pypi-upload-token", ("pypi-",), _WORD_START + r"pypi-Ag[A-Za-z0-9_\-]{30,}"),
    (
        "Stripe Docs, API keys; gitleaks stripe-access-token",
        ("sk_", "rk_", "whsec_"),
        _WORD_START + r"(?:(?:sk|rk)_(?:org_)?(?:test|live|prod)|whsec)_[A-Za-z0-9]{10,}",
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
        "Databricks Docs, personal access tokens; gitleaks databricks-api-token; OAuth secrets of service principals",
        ("dapi", "dose"),
        _WORD_START + r"(?:dapi|dose)[a-f0-9]{32}(?:-[0-9])?",
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
        "gitleaks artifactory-api-key, artifactory-reference-token: the passwords of many package indexes",
        ("akcp", "cmvmd"),
        _WORD_START + r"(?:AKCp[A-Za-z0-9]{69}|cmVmd[A-Za-z0-9]{59})",
    ),
    (
        "gitleaks prefect-api-token, sentry-user-token, sentry-org-token, openshift-user-token",
        ("pnu_", "sntryu_", "sntrys_", "sha256~"),
        _WORD_START
        + r"(?:pnu_[A-Za-z0-9]{36}|sntryu_[a-f0-9]{64}|sntrys_[A-Za-z0-9+/=_]{40,}|sha256~[A-Za-z0-9_\-]{43})",
    ),
    (
        "LangSmith Docs, API keys: personal access tokens and service keys",
        ("lsv2_",),
        _WORD_START + r"lsv2_(?:pt|sk)_[A-Za-z0-9_]{32,}",
    ),
    (
        "Replicate, Groq, NVIDIA NGC and Docker Hub documentation, API keys and access tokens",
        ("r8_", "gsk_", "nvapi-", "dckr_pat_"),
        _WORD_START
        + r"(?:r8_[A-Za-z0-9]{37}|gsk_[A-Za-z0-9]{40,}|nvapi-[A-Za-z0-9_\-]{20,}|dckr_pat_[A-Za-z0-9_\-]{20,})",
    ),
    (
        "RFC 6750, section 2.1, bearer token in a header: 16 characters or more, since prose has the word too",
        ("bearer",),
        _WORD_START + r"(?i:bearer)[ \t]{1,8}([A-Za-z0-9._~+/\-]{16,}={0,8})",
    ),
    (
        "GNU inetutils, The .netrc file: its words are separated by blanks or line breaks",
        ("machine", "login"),
        (
            r"(?<!\S)(?:machine\s{1,80}\S{1,256}\s{1,80}(?:(?:login|account)\s{1,80}\S{1,256}\s{1,80}){0,2}"
            r"|(?:(?<![^\n])|(?<=\n[ \t])|(?<=\n[ \t]{2})|(?<=\n[ \t]{4}))login\s{1,80}\S{1,256}\s{1,80})"
            r"password\s{1,80}(?!\[redacted\])(\S+)"
        ),
    ),
    (
        "sshpass(1), docker login, MySQL clients and redis-cli: the options that take a password",
        ("sshpass", "docker", "podman", "mysql", "redis-cli"),
        (
            r"(?<![A-Za-z0-9_])(?:sshpass[ \t]+-p[ \t]*|(?:docker|podman)[ \t]+login[^\n|;&]{0,200}?[ \t]-p[ \t=]*"
            r"|mysql(?:admin|dump|import)?[ \t](?:[^\n|;&]{0,200}?[ \t])?-p"
            r"|redis-cli[ \t](?:[^\n|;&]{0,200}?[ \t])?-a[ \t]+)"
            r"[\"']?(?!\[redacted\])((?<=\")[^\"\n]+|(?<=')[^'\n]+|[^\s\"']+)"
        ),
    ),
    (
        "Requests, Basic authentication: HTTPBasicAuth('user', 'password')",
        ("basicauth(",),
        r"(?i:basicauth)\([ \t]{0,8}[\"'][^\"'\n]{0,256}[\"'][ \t]{0,8},[ \t]{0,8}[\"'](?!\[redacted\])([^\"'\n]+)",
    ),
)
# The same, but for where a match begins: before its needle, or far from it.
ELSEWHERE: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "gitleaks azure-ad-client-secret",
        ("q~",),
        r"(?:(?<![A-Za-z0-9_~.\-])|(?<=\\[nrt]))[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.\-]{31,34}",
    ),
    (
        "curl manual, --user; gitleaks curl-auth-user",
        ("curl",),
        (
            r"(?<!\S)(?:-u|--user|--proxy-user)[ =]?[\"']?[^\s:\"'/]{1,64}:"
            r"(?!//|\[redacted\]|(?:[0-9]+|\$\{?[A-Z0-9_]+\}?)(?![^\s\"']))([^\s\"']+)"
        ),
    ),
)
_NEEDLES = tuple(needle for _source, needles, _pattern in (*FORMATS, *ELSEWHERE) for needle in needles)

# Private keys, in the textual encodings of RFC 7468 and OpenSSH.
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_LINE_WIDTHS = (64, 70)
_LONGEST_LINE = 128  # with its prefix and its break


def redact_formats(text: str, lowered: str) -> str:
    """Mask every value in a published format; ``lowered`` is the text in lower case."""
    if not _has_needle(lowered):
        return text
    for _source, needles, pattern in FORMATS:
        found = _may_begin(lowered, needles)
        redacted = _masked_at(found, text, pattern) if found else text
        if redacted is not text:
            text, lowered = redacted, lowercase(redacted)
    for _source, needles, pattern in ELSEWHERE:
        if any(needle in lowered for needle in needles):
            text = compiled(pattern).sub(masked, text)
    return text


def _may_begin(lowered: str, needles: tuple[str, ...]) -> list[int]:
    found = positions(lowered, needles)
    if found and needles == ("sk-",):  # no `--mask-ratio` and no `--task-name` is to cost `import re`
        return [at for at in found if at == 0 or not lowered[at - 1].isalpha() or lowered[at - 2 : at - 1] == "\\"]
    return found


def _masked_at(starts: list[int], text: str, pattern: str) -> str:
    """Mask what the pattern matches at one of ``starts``: far sooner done than looking for it everywhere."""
    match_at = compiled(pattern).match
    pieces: list[str] = []
    done = 0
    for start in starts:
        match = match_at(text, start) if start >= done else None
        if match:
            pieces += (text[done:start], masked(match))
            done = match.end()
    return "".join((*pieces, text[done:])) if pieces else text


def _has_needle(lowered: str) -> bool:
    """Say whether any format may occur: a plain loop, since nearly no text has one and start_run() asks for several."""
    for needle in _NEEDLES:  # noqa: SIM110 - a generator takes three times as long
        if needle in lowered:
            return True
    return False


def redact_private_keys(text: str) -> str:
    """Empty the blocks of RFC 7468 and OpenSSH, keeping their first and last line and the number of lines.

    A block may stand on one line with escaped line breaks, as in a service account's JSON, or lack its end.
    """
    if "PRIVATE KEY" not in text:
        return text
    pieces: list[str] = []
    done = 0
    for begin in compiled(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----").finditer(text):
        end = _end_of_private_key(text, begin.end())
        pieces += (text[done : begin.end()], emptied(text[begin.end() : end]))
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
    return _BASE64.issuperset(word.strip(MARGIN + "=").replace(MARK, ""))


def is_private_key_line(text: str) -> bool:
    """Know a line of a key's block that stands alone, as in a patch (RFC 7468, section 2: 64 columns; OpenSSH: 70)."""
    if len(text) >= _LONGEST_LINE:
        return False
    line = text.strip().lstrip("+-> ")
    if len(line) not in _LINE_WIDTHS:
        line = text.strip()
    if len(line) not in _LINE_WIDTHS or not _BASE64.issuperset(line):
        return False
    digits = sum(map(str.isdigit, line))
    return digits >= 3 and line.lower() != line and line.upper() != line  # noqa: PLR2004 - a word has fewer


def without_key(line: str) -> str:
    """Mask what ``is_private_key_line`` knew, keeping a patch's or a quotation's prefix and the line's break."""
    core = line.strip()
    return line.replace(core, core[: len(core) - len(core.lstrip("+-> "))] + MARK)
