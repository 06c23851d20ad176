"""A planted secret never survives, whatever its format, its name, its quoting and what stands around it."""

from __future__ import annotations

import json
import shlex
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runcontext.redaction import MARK, is_secret_name, redact_args, redact_text, redact_url

BOUNDED = settings(deadline=None, derandomize=True, max_examples=60)

ALPHANUMERIC = string.ascii_letters + string.digits
HEX = string.digits + "abcdef"
UPPER = string.ascii_uppercase + "234567"
URL_SAFE = ALPHANUMERIC + "_-"
BASE64 = ALPHANUMERIC + "+/"


def one(prefix: str, alphabet: str, shortest: int, longest: int | None = None) -> st.SearchStrategy[str]:
    """Give the tokens that are a prefix and so many characters of an alphabet."""
    return st.text(alphabet, min_size=shortest, max_size=longest or shortest).map(lambda body: prefix + body)


def joined(separator: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Give the tokens whose parts are separated like this."""
    return st.tuples(*parts).map(separator.join)


JWT = joined(".", one("eyJ", URL_SAFE, 20, 40), one("eyJ", URL_SAFE, 20, 90), one("", URL_SAFE, 43))

FORMATS: dict[str, st.SearchStrategy[str]] = {
    # GitHub Docs, "About authentication to GitHub", GitHub's token formats; ghs_APPID_JWT: changelog of April 2026
    "GitHub": st.sampled_from("pousr").flatmap(lambda kind: one(f"gh{kind}_", ALPHANUMERIC, 36)),
    "GitHub fine-grained": joined("_", one("github_pat_", ALPHANUMERIC, 22), one("", ALPHANUMERIC, 59)),
    "GitHub installation": joined("_", one("ghs_", string.digits, 6, 8), JWT),
    # GitLab Docs, "Token overview", token prefixes; routable tokens: work item 388379
    "GitLab": st.sampled_from(["pat", "dt", "rt", "oas", "ptt", "ft", "cbt-1a"]).flatmap(
        lambda kind: one(f"gl{kind}-" if kind != "cbt-1a" else "glcbt-1a_", URL_SAFE, 20, 64)
    ),
    "GitLab routable": joined(".", one("glpat-", URL_SAFE, 27, 60), one("", string.digits + "abc", 2), one("", HEX, 7)),
    # AWS IAM User Guide, "IAM identifiers", unique identifiers
    "AWS key id": st.sampled_from(["AKIA", "ASIA"]).flatmap(lambda kind: one(kind, UPPER, 16)),
    # Google Cloud, "Manage API keys"; Google Identity, "Using OAuth 2.0"
    "GCP API key": one("AIza", URL_SAFE, 35),
    "GCP OAuth": one("ya29.", URL_SAFE, 60, 120),
    "GCP client secret": one("GOCSPX-", URL_SAFE, 28),
    # gitleaks, azure-ad-client-secret
    "Azure client secret": joined("Q~", one("", ALPHANUMERIC + "_~.", 3).map(lambda b: b + "8"), one("", URL_SAFE, 34)),
    # Hugging Face Hub Docs, "User access tokens"
    "Hugging Face": one("hf_", string.ascii_letters, 34),
    # OpenAI and Anthropic API references, "Authentication"
    "OpenAI": joined("T3BlbkFJ", one("sk-", ALPHANUMERIC, 20), one("", ALPHANUMERIC, 20)),
    "OpenAI project": joined("T3BlbkFJ", one("sk-proj-", URL_SAFE, 74), one("", URL_SAFE, 74)),
    "Anthropic": one("sk-ant-api03-", URL_SAFE, 93).map(lambda token: token + "AA"),
    # Slack API, "Token types"
    "Slack": joined("-", st.sampled_from(["xoxb", "xoxp"]), one("", string.digits, 11, 13), one("", ALPHANUMERIC, 24)),
    "Slack app": joined("-", st.just("xapp-1"), one("A", UPPER, 10), one("", string.digits, 13), one("", HEX, 64)),
    # npm Docs, "About access tokens"; PyPI Docs, "API tokens"; Stripe Docs, "API keys"
    "npm": one("npm_", ALPHANUMERIC, 36),
    "PyPI": one("pypi-AgEIcHlwaS5vcmc", URL_SAFE, 60, 120),
    "Stripe": st.sampled_from(["sk_live_", "sk_test_", "rk_live_", "whsec_"]).flatmap(
        lambda kind: one(kind, ALPHANUMERIC, 24, 99)
    ),
    # RFC 7519, section 3
    "JWT": JWT,
    # Databricks Docs, "Personal access tokens"
    "Databricks": one("dapi", HEX, 32),
    # Weights & Biases SDK, long API keys
    "W&B": one("wandb_v1_", ALPHANUMERIC + "_", 77),
}  # fmt: skip - a row a format

FRAMES = [
    "{}",
    "'{}'",
    '"{}"',
    "({})",
    "[{}]",
    "`{}`",
    "<{}>",
    "{},",
    "{}.",
    '{{"k": "{}", "lr": 3}}',
    '{{\\"k\\": \\"{}\\"}}',
    "k: {}",
    "k: '{}'",
    "k: |\n  {}\n",
    "- {}",
    'k = "{}"',
    "K={}",
    "export K={}",
    "export K='{}'",
    'setenv K "{}"',
    "run --opt {} --lr 3",
    "run --opt={} --lr 3",
    'run --opt "{}"',
    "run -o'{}'",
    "https://host/{}/x",
    "https://host/x?k={}&lr=3",
    "https://host/x#k={}",
    "https://{}@host/x",
    "https://u:{}@host/x",
    "git+https://{}@host/x@v1",
    "Authorization: Bearer {}",
    "X-Header: {}\r\nHost: h",
    "first\\n{}\\nlast",
    "+k = {!r}",
    "<k>{}</k>",
    "k={}\u2028",
    "schlüssel→{}←",
]

BENIGN = st.lists(
    st.sampled_from(["train", "the", "model", "with", "lr", "3e-4", "on", "/data/x,", "epoch:", "10", "(seed=1)\n"]),
    max_size=8,
)
ODD = st.text("abc \n\t\"'`\\{}[]()<>=:,;&?#@%$|-_./é\u20ac\0", max_size=30)
AROUND = st.one_of(BENIGN.map(" ".join), ODD)


def fragments(secret: str) -> set[str]:
    """Give what of a secret would be enough to say that it leaked: any twelve characters in a row."""
    return {secret[at : at + 12] for at in range(max(1, len(secret) - 11))}


def leaks(secret: str, text: str) -> list[str]:
    """Give the fragments of ``secret`` that are in ``text``."""
    return [each for each in fragments(secret) if each in text]


@pytest.mark.parametrize("name", FORMATS)
@settings(BOUNDED, max_examples=40)
@given(data=st.data(), frame=st.sampled_from(FRAMES), before=AROUND, after=AROUND)
def test_a_value_in_a_published_format_never_survives(
    name: str, data: st.DataObject, frame: str, before: str, after: str
) -> None:
    """It needs no name: wherever it stands, not a part of it is left."""
    secret = data.draw(FORMATS[name])
    framed = frame.format(secret)
    assert not leaks(secret, redact_text(f"{before} {framed} {after}"))
    assert not leaks(secret, "\n".join(redact_args([before, framed, "--opt", secret, f"--opt={secret}", after])))
    assert not leaks(secret, redact_url(framed))


NAMES = st.sampled_from(
    """
    password PASSWORD db_password dbPassword DB_PASSWORD_PROD passwd passphrase PGPASSWORD secret client_secret
    AZURE_CLIENT_SECRET secret_key token hf_token hub-token GITHUB_TOKEN access_token refreshToken api_key api-key
    apikey WANDB_API_KEY OPENAI_API_KEY aws_secret_access_key AWS_SESSION_TOKEN AccountKey SharedAccessKey private_key
    credential credentials auth basic_auth cookie jwt signature sas_token sessionid trainer.logger.api_key
    """.split()  # noqa: SIM905 - a list of words reads best as text
)
ANY = ALPHANUMERIC + " ,;:=&@/?#!%^*()[]{}<>|~.-+"
VALUES = st.text(ALPHANUMERIC, min_size=12, max_size=40).map(lambda body: f"Zx9{body}y8Q")
QUOTABLE = st.text(ANY, min_size=12, max_size=40).map(lambda body: f"Zx9{body}y8Q")


@BOUNDED
@given(NAMES, VALUES, BENIGN.map(" ".join), BENIGN.map(" ".join))
def test_a_named_value_never_survives(name: str, value: str, before: str, after: str) -> None:
    """The name is enough, in every notation that needs no quotes."""
    for form in (
        f"{name}={value}",
        f"{name}: {value}",
        f"{name} = {value}",
        f"{name}:={value}",
        f"export {name}={value}",
        f"--{name} {value}",
        f"--{name}={value}",
        f"--{name} \\\n    {value}",
        f"-D{name}={value}",
        f"https://host/x?{name}={value}&y=2",
        f"https://host/x?y=2\\u0026{name}={value}",
        f"x?next=https%3A%2F%2Fhost%3F{name}%3D{value}%26y%3D2",
        f"{name}: |\n  {value}\n  {value}\nlr: 3",
        f"  {name}: >-\n      {value}",
        f"{name}:\n  - {value}\n  - {value}\nlr: 3",
        f"{name}: [{value}, {value}]",
        f"{name}: correct {value}",
        f"{name} = correct {value}",
        f"<{name}>{value}</{name}>",
        f"- name: {name}\n  value: {value}",
        f'<add key="{name}" value="{value}" />',
        f"config().{name} = {value}",
        f"f(a={value!r}, {name}={value!r})".replace(f"a={value!r}, ", ""),
    ):
        redacted = redact_text(f"{before}\n{form}\n{after}")
        assert not leaks(value, redacted), form
        assert MARK in redacted


@BOUNDED
@given(NAMES, QUOTABLE)
@example("password", "Zx9 correct horse \\ battery y8Q")
def test_a_quoted_value_never_survives(name: str, value: str) -> None:
    """JSON, TOML, YAML, Python and the shell quote a value in which anything may stand."""
    single = value.replace("\\", "")
    for form in (
        json.dumps({name: value, "lr": 3}),
        json.dumps(json.dumps({name: value})),
        json.dumps([{"name": name, "value": value}]),
        f"{name} = {json.dumps(value)}",
        f"{name}: {json.dumps(value)}",
        f"{name}: '{single}'",
        f"{name} = {value!r}",
        f"{name} = (\n    {value!r}\n)",
        f"{name} = {value!r} + {value!r}",
        f'"{name}": {value!r}, "lr": 3',
        f"{name}={shlex.quote(value)} run",
        f'export {name}="{single}"',
        f"run --{name} {shlex.quote(value)} --lr 3",
        f"run --{name}={shlex.quote(value)} --lr 3",
        f'{name} = """{single}"""',
    ):
        assert not leaks(value, redact_text(form)), form
    assert json.loads(redact_text(json.dumps({name: value, "lr": 3}))) == {name: MARK, "lr": 3}


@BOUNDED
@given(NAMES, QUOTABLE)
def test_an_argument_never_survives(name: str, value: str) -> None:
    """In arguments a value ends where the word does, whatever stands in it."""
    option = f"--{name}"
    assert redact_args([option, value, f"{option}={value}", f"{name}={value}"])[1:] == [
        MARK,
        f"{option}={MARK}",
        f"{name}={MARK}",
    ]


@BOUNDED
@given(
    st.sampled_from(["https", "http", "git+https", "wss"]),
    st.text(ALPHANUMERIC + "-._~!$&*+=%@:", min_size=1).map(lambda u: f"Q7{u}z9"),
)
def test_userinfo_of_http_never_survives(scheme: str, userinfo: str) -> None:
    """Whatever stands before the last `@` of an http address goes."""
    assert redact_url(f"{scheme}://{userinfo}@host/x") == f"{scheme}://{MARK}@host/x"
    assert redact_text(f"see {scheme}://{userinfo}@host/x.") == f"see {scheme}://{MARK}@host/x."


@BOUNDED
@given(st.sampled_from(["ssh", "postgresql", "redis", "mysql+pymysql", "amqp", "ftp"]), VALUES)
def test_a_password_in_an_address_never_survives(scheme: str, password: str) -> None:
    """The user of other schemes is part of the address; the password is not, nor that of an scp-like remote."""
    for address in (f"{scheme}://git:{password}@host/x", f"git:{password}@host:org/repo.git"):
        assert redact_url(address) == address.replace(password, MARK)
        assert redact_text(f"at {address} now") == f"at {address.replace(password, MARK)} now"


@BOUNDED
@given(st.lists(one("", BASE64, 64), min_size=2, max_size=5), st.sampled_from(["", "+", "    ", "# "]), st.booleans())
def test_a_private_key_never_survives(lines: list[str], margin: str, is_on_one_line: bool) -> None:
    """A block goes as lines of a file or of a patch, and on one line as in a service account's JSON."""
    block = ["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""]
    text = "".join(f"{margin}{line}\n" for line in block)
    if is_on_one_line:
        text = json.dumps({"type": "service_account", "private_key": "\n".join(block), "client_email": "a@example.org"})
    redacted = redact_text(text)
    assert not any(leaks(line, redacted) for line in lines)
    assert redacted.count("\n") == text.count("\n")


ORDINARY = st.sampled_from(
    """
    --tokenizer --tokenizer-path --max-tokens --num-tokens --token-dropout --pad-token-id --eos-token --mask-token --lr
    --two-pass --patience --no-auth --token-file --author --key-dim --keyboard --path --signature-def --passes --seed
    """.split()  # noqa: SIM905 - a list of words reads best as text
)
PLAIN = st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=12)


@BOUNDED
@given(st.lists(st.tuples(ORDINARY, PLAIN), max_size=12))
def test_ordinary_options_survive(options: list[tuple[str, str]]) -> None:
    """No combination of ordinary options and plain values loses anything."""
    separate = [word for option in options for word in option]
    joined_words = ["=".join(option) for option in options]
    assert redact_args(separate) == separate
    assert redact_args(joined_words) == joined_words
    assert redact_text(" ".join(separate + joined_words)) == " ".join(separate + joined_words)


FRAGMENTS = st.sampled_from(
    r"""
    password password= --token --token= "api_key": token: token:| name: value: <token> ghp_ eyJ sk- hf_ AKIA : = == :=
    , ; & ? # @ // https:// u:p@ ssh:// Authorization: Bearer Cookie: login machine password curl -u docker -p wandb ( )
    -----BEGIN PRIVATE KEY----- -----END [ ] { } < > ' " """.split()  # noqa: SIM905 - a list of words reads best as text
    + r"""` \ \n \" \u0026 %3F %3D %26 $ + - x 1 host [redacted] x[redacted] [redacted]x [redacted]=""".split()  # noqa: SIM905
    + ["-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", '"""']
)
PIECES = FRAGMENTS | st.sampled_from([" ", "\n", "\r\n", "\t", "a" * 40, "0123456789abcdef" * 3, "\ud800", "\0"])
ANY_TEXT = st.one_of(
    st.text(), st.lists(PIECES, max_size=14).map("".join), st.lists(PIECES | st.text(max_size=3)).map("".join)
)


@settings(BOUNDED, max_examples=500)
@given(ANY_TEXT)
@example("")
@example("\ud800\udfff token=\udc80 \0")
@example("token=[redacted]x")
@example("token: [[redacted]]")
@example("token: [a, [b]]")
@example("token = '[redacted]' + 'b'")
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    """Any text at all is taken without an error, its redacted form is final, and has its lines."""
    for redact in (redact_text, redact_url):
        redacted = redact(text)
        assert redact(redacted) == redacted
        assert redacted.count("\n") == text.count("\n")
    args = redact_args([text, text])
    assert redact_args(args) == args
    assert isinstance(is_secret_name(text), bool)
