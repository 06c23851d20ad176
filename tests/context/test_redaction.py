"""What is a secret and what is not, in both directions, and what it costs to ask."""

# ruff: noqa: E501, SIM905 - command lines and tables of cases read best a case a line
from __future__ import annotations

import string
import subprocess
import sys
from pathlib import Path

import pytest

import runcontext.redaction
from runcontext.redaction import MARK, is_secret_name, redact_args, redact_text, redact_url

SOURCE_ROOT = Path(runcontext.redaction.__file__).parents[2]

ALPHANUMERIC = string.ascii_letters + string.digits
# Made of parts, so that no scanner takes this file itself for a leak.
BODY = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3hJ5kL7nP9rS1uV3xY5zA7cD9fG1iK3m"

SECRET_NAMES = """
    password PASSWORD --password passwd pwd passphrase db_password DB_PASSWORD dbPassword PGPASSWORD MYSQL_PWD password1
    DB_PASSWORD_PROD secret client_secret clientSecret SECRET_KEY SECRET_KEY_BASE secrets secret_id token --token -token
    hf_token --hf-token hub_token --hub-token HF_TOKEN HUGGING_FACE_HUB_TOKEN GITHUB_TOKEN GITHUB_TOKEN_2 TOKEN_GITHUB
    hfToken HFToken authToken _authToken access_token accessToken refresh_token id_token push_to_hub_token
    use_auth_token SLACK_BOT_TOKEN TRIGGER_TOKEN api_token api_tokens api_key apikey apiKey APIKey API-KEY x-api-key
    WANDB_API_KEY openai_key access_key aws_secret_access_key --aws-secret-access-key private_key privateKey session_key
    AccountKey SharedAccessKey signing_key credential credentials --credentials auth --auth basic_auth authorization
    Authorization Proxy-Authorization bearer cookie Cookie Set-Cookie signature X-Amz-Signature X-Amz-Security-Token
    X-Amz-Credential sas sas_token SLURM_JWT jwt sessionid DB_PASS sshpass GITHUB_PAT trainer.logger.api_key
    spark.hadoop.fs.s3a.secret.key
""".split()

ORDINARY_NAMES = """
    tokenizer --tokenizer tokenizer_name tokenizer-path max_tokens --max-tokens num_tokens --num-tokens n_tokens
    max_new_tokens token_dim token_dropout --token-dropout token_type token_type_ids token_ids token_level tokens
    tokens_per_sample pad_token --pad_token --pad-token-id pad_token_id eos_token --eos-token bos_token cls_token
    sep_token mask_token --mask-token unk_token add_bos_token image_token image_token_index special_tokens
    additional_special_tokens placeholder_token initializer_token padToken eosTokenId author --author authors author_name
    authority keyboard key keys monkey hotkey sort_key public_key key_dim num_keys keypoint passes num_pass --two-pass
    bypass compass passthrough path pattern patience no-auth --no-password --disable-auth --auth-none auth_type auth_url
    token_file --token-file password_length password_policy credentials_file secret_name secretKeyRef private_key_path
    secretary bearing cookiecutter model_signature signature_def signature_name PWD OLDPWD lr epochs seed
    detokenize subtoken show_token
""".split()

FORMATS = [
    "ghp_" + BODY[:36],
    "gho_" + BODY[:36],
    "ghu_" + BODY[:36],
    "ghs_" + BODY[:36],
    "ghr_" + BODY[:36],
    "github_pat_" + BODY[:22] + "_" + BODY[:59],
    "glpat-" + BODY[:20],
    "gldt-" + BODY[:20],
    "glrt-" + BODY[:20],
    "AKIA" + "ABCDEFGHIJ234567",
    "ASIA" + "ABCDEFGHIJ234567",
    "AIza" + BODY[:35],
    "hf_" + BODY[:34],
    "sk-" + BODY[:48],
    "sk-proj-" + BODY,
    "sk-ant-api03-" + BODY,
    "xoxb-" + "123456789012-" + BODY[:24],
    "xapp-1-" + "A012-345-" + "0a1b2c3d4e5f",
    "npm_" + BODY[:36],
    "pypi-AgEIcHlwaS5vcmc" + BODY,
    "sk_live_" + BODY[:24],
    "rk_live_" + BODY[:24],
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + BODY[:43],
    "dapi" + "0123456789abcdef" * 2,
    "wandb_v1_" + BODY + BODY[:20],
    "hvs." + BODY,
    "ya29." + BODY,
    "GOCSPX-" + BODY[:28],
    "gsk_" + BODY[:52],
    "nvapi-" + BODY,
    "dckr_pat_" + BODY[:27],
    "dop_v1_" + "0123456789abcdef" * 4,
    "SG." + BODY[:22] + "." + BODY[:43],
    "AGE-SECRET-KEY-1" + "Q" * 58,
    "glsa_" + BODY[:32] + "_" + "0a1b2c3d",
]  # fmt: skip - a list of values reads best as one

TEXTS = [
    ("--token X --lr 3", f"--token {MARK} --lr 3"),
    ("--password 'a b' c", f"--password '{MARK}' c"),
    ('--hub-token="a b"', f'--hub-token="{MARK}"'),
    ("docker run -e HF_TOKEN=abc image", f"docker run -e HF_TOKEN={MARK} image"),
    ("export DB_PASSWORD=hunter2", f"export DB_PASSWORD={MARK}"),
    ("PASSWORD=ab'cd x", f"PASSWORD={MARK} x"),
    (r"PASSWORD=a\ b c", f"PASSWORD={MARK} c"),
    ("--token \\\n  abc --lr 3", f"--token \\\n  {MARK} --lr 3"),
    ('"api_key": "a\\"d", "lr": 3', f'"api_key": "{MARK}", "lr": 3'),
    ('{\\"token\\": \\"abc\\", \\"b\\": 1}', f'{{\\"token\\": \\"{MARK}\\", \\"b\\": 1}}'),
    ('"password":\n   "x"', f'"password":\n   "{MARK}"'),
    ("password: hunter2", f"password: {MARK}"),
    ("{token: abc, lr: 3}", f"{{token: {MARK}, lr: 3}}"),
    ('token: str = "abc"', f'token: str = "{MARK}"'),
    ('def f(token: str="abc", lr=3):', f'def f(token: str="{MARK}", lr=3):'),
    ('password = """a\nb"""', f'password = """{MARK}\n"""'),
    ("f(token='abc', lr=3)", f"f(token='{MARK}', lr=3)"),
    ("f('x --token=abc', env='b')", f"f('x --token={MARK}', env='b')"),
    ('os.environ["HF_TOKEN"] = "x"', f'os.environ["HF_TOKEN"] = "{MARK}"'),
    ('os.getenv("DB_PASSWORD", "hunter2")', f'os.getenv("DB_PASSWORD", "{MARK}")'),
    ('command: ["run", "--token", "abc"]', f'command: ["run", "--token", "{MARK}"]'),
    ('client().password = "hunter2"', f'client().password = "{MARK}"'),
    ("password = (\n    'a'\n    'b'\n)", f"password = (\n    '{MARK}'\n    '{MARK}'\n)"),
    ('password = "a" + "b"', f'password = "{MARK}" + "{MARK}"'),
    ("passphrase: correct horse  # why", f"passphrase: {MARK}  # why"),
    ("passphrase = correct horse", f"passphrase = {MARK}"),
    ("passphrase: not so easy", f"passphrase: {MARK}"),
    ("passphrase: true love  # why", f"passphrase: {MARK}  # why"),
    ("a:\n  password: |\n    x\n    y\n  b: 1", f"a:\n  password: |\n    {MARK}\n    \n  b: 1"),
    ("- password: !vault |\n    x\n- b", f"- password: !vault |\n    {MARK}\n- b"),
    ('get(u, cookies={"session": "x", "lang": "en"})', f'get(u, cookies={{"session": "{MARK}", "lang": "{MARK}"}})'),
    ("passwords:\n  - x\n  - y\nb: 1", f"passwords:\n  - {MARK}\n  - \nb: 1"),
    ("tokens = 3\npasswords: [x, y]", f"tokens = 3\npasswords: {MARK}"),
    ("- name: DB_PASSWORD\n  value: x", f"- name: DB_PASSWORD\n  value: {MARK}"),
    ('{"name": "DB_PASSWORD", "value": "x"}', f'{{"name": "DB_PASSWORD", "value": "{MARK}"}}'),
    ('<add key="ClearTextPassword" value="x" />', f'<add key="ClearTextPassword" value="{MARK}" />'),
    ("<password>x y</password>", f"<password>{MARK}</password>"),
    (r"x?a=1\u0026token=abc", rf"x?a=1\u0026token={MARK}"),
    ("x?next=%2Fy%3Faccess_token%3Dabc%26b%3D1", f"x?next=%2Fy%3Faccess_token%3D{MARK}%26b%3D1"),
    ("ENV DB_PASSWORD hunter2", f"ENV DB_PASSWORD {MARK}"),
    ("setenv HF_TOKEN abc", f"setenv HF_TOKEN {MARK}"),
    ("java -Dsecret=abc", f"java -Dsecret={MARK}"),
    ("sshpass -p hunter2 ssh h", f"sshpass -p {MARK} ssh h"),
    ("docker login -u anna -p 'a b' h", f"docker login -u anna -p '{MARK}' h"),
    ("mysql -u root -phunter2 db", f"mysql -u root -p{MARK} db"),
    ("redis-cli -h h -a hunter2", f"redis-cli -h h -a {MARK}"),
    ("machine h\n  login anna\n  password pw", f"machine h\n  login anna\n  password {MARK}"),
    ('requests.get(u, auth=("anna", "pw"))', f'requests.get(u, auth=("{MARK}", "{MARK}"))'),
    ('HTTPBasicAuth("anna", "pw")', f'HTTPBasicAuth("anna", "{MARK}")'),
    ("pretrained=x,token=abc,dtype=float", f"pretrained=x,token={MARK},dtype=float"),
    ("AccountName=a;AccountKey=ab+c==;EndpointSuffix=core", f"AccountName=a;AccountKey={MARK};EndpointSuffix=core"),
    ("FOO=token=abc", f"FOO=token={MARK}"),
    (r"a\nTOKEN=abc\nFOO=1", rf"a\nTOKEN={MARK}\nFOO=1"),
    (r"a\ttoken=abc", rf"a\ttoken={MARK}"),
    ("//npm.example.org/:_authToken=abc", f"//npm.example.org/:_authToken={MARK}"),
    ("Authorization: Bearer xxx", f"Authorization: Bearer {MARK}"),
    ('curl -H "Authorization: token abcdef" x', f'curl -H "Authorization: token {MARK}" x'),
    ('"Authorization": "Basic YTpi",', f'"Authorization": "Basic {MARK}",'),
    ("Authorization: abc", f"Authorization: {MARK}"),
    ("Cookie: a=b; c=d\nHost: h", f"Cookie: {MARK}\nHost: h"),
    ("curl -u anna:pw https://h", f"curl -u anna:{MARK} https://h"),
    ("machine h login anna password pw", f"machine h login anna password {MARK}"),
    ("wandb login " + "a1" * 20, f"wandb login {MARK}"),
    ('wandb.login(key="' + "a1" * 20 + '")', f'wandb.login(key="{MARK}")'),
    ("at https://u:tok@h/x and", f"at https://{MARK}@h/x and"),
    ("pip install git+https://tok@h/x", f"pip install git+https://{MARK}@h/x"),
    ("postgresql://anna:p@ss@h:5432/db", f"postgresql://anna:{MARK}@h:5432/db"),
    ("redis://:pw@h/0", f"redis://:{MARK}@h/0"),
    ("mongodb+srv://anna:pw@h", f"mongodb+srv://anna:{MARK}@h"),
    ("https:\\/\\/u:p@h\\/x", f"https:\\/\\/{MARK}@h\\/x"),
    ("https:/u:p@h/x", f"https:/{MARK}@h/x"),
    ("https://hooks.slack.com/services/" + BODY[:44], f"https://hooks.slack.com/services/{MARK}"),
    (
        '"k": "-----BEGIN PRIVATE KEY-----\\nMIIEv\\n-----END PRIVATE KEY-----\\n"',
        f'"k": "-----BEGIN PRIVATE KEY-----\\n{MARK}\\n-----END PRIVATE KEY-----\\n"',
    ),
    (BODY[:64], MARK),
    ("+" + BODY[:64] + "\n", f"+{MARK}\n"),
]  # fmt: skip - a pair a row

HARMLESS_TEXTS = [
    "def f(token: str | None = None, password: Optional[str] = None, auth: Auth) -> str:",
    "login(token=hf_token, password=password)",
    "token=args.token",
    "self.token = token_from(os.environ)",
    'api_key = os.environ["API_KEY"]',
    "x = f(token=get_token(), b=1)",
    "token = tokens[i]",
    "HF_TOKEN=$HF_TOKEN run",
    'HF_TOKEN="${HF_TOKEN}" run',
    "token: ${{ secrets.GITHUB_TOKEN }}",
    'headers = {"Authorization": f"Bearer {token}"}',
    "https://oauth2:${TOKEN}@gitlab.com/x",
    'f"https://{user}:{password}@host"',
    'tokenizer.pad_token = "<pad>"',
    'if token == self.eos_token or token == "</s>":',
    "for token in tokens: print(token)",
    "signature = inspect.signature(f)",
    "password = None",
    'add_argument("--token", type=str, default=None)',
    'columns = ["token", "label"]',
    'parser.add_argument("--token", "-t")',
    '"-----BEGIN PRIVATE KEY-----" in text\nreturn text',
    'BEGIN = "-----BEGIN PRIVATE KEY-----"\nEND = "-----END PRIVATE KEY-----"\n',
    "-----BEGIN CERTIFICATE-----\n" + BODY + "\n-----END CERTIFICATE-----",
    "class='sk-fading-circle-container'",
    "0123456789abcdef" * 4,
    "commit 0123456789abcdef0123456789abcdef01234567",
    "https://github.com/org/repo.git",
    "git@github.com:org/repo.git",
    "github://org:repo@main/path",
    "contact anna@example.com, //anna@home",
    "image:tag@sha256:0123abc",
    "std::auth::token::Token",
    "machine learning with password protection",
    "permissions:\n  id-token: write\n  secrets: inherit",
    '{"name": "GITHUB_TOKEN", "mode": "deny"}',
    '"credentials": {"envVars": [',
    "credentials: {user: $USER, kind: basic}",
    'echo "$TOKEN" | docker login -u "$USER" --password-stdin 2>&1',
    ': "${HF_TOKEN:?HF_TOKEN must be set}"',
    'run --slack-bot-token "${SLACK_TOKEN:-${OTHER_TOKEN}}"',
    "export HF_TOKEN=<your Hugging Face access token>",
    'echo "Error: --hf-token is required"',
    "docker build --secret id=TOKEN .",
    'curl -u "$USER:$TOKEN" https://h',
    "printf 'x-access-token:%s' x",
    "password: ???",
    '{"password": {"type": "string", "description": "of the user"}}',
    "token: null  # none yet",
    "  token: null, lr: 3",
    "mysql -p db && docker login -u anna --password-stdin",
    '{"name": "epochs", "value": "3"}',
    "x = token\nvalue = 3",
    "- name: DB_PASSWORD\n  valueFrom: {secretKeyRef: {name: db}}",
    "secrets:\n  db: {external: true}",
    "if token:\n    return value",
    "class Token:\n    kind = 1",
    "<token/><b>x</b>",
    "%token_type%=3",
    "the bearer token authenticates",
]

URLS = [
    ("https://u:tok@h/x", f"https://{MARK}@h/x"),
    ("https://tok@h", f"https://{MARK}@h"),
    ("https://tok:x-oauth-basic@h/o/r.git", f"https://{MARK}@h/o/r.git"),
    ("http://u:p@ss@h:8080/x", f"http://{MARK}@h:8080/x"),
    ("HTTPS://u:p@h", f"HTTPS://{MARK}@h"),
    ("git+https://tok@h/x@v1", f"git+https://{MARK}@h/x@v1"),
    ("//u:tok@h/r", f"//{MARK}@h/r"),
    ("//tok@h/r", f"//{MARK}@h/r"),
    ("u:tok@h:o/r", f"u:{MARK}@h:o/r"),
    ("u:tok=@h:o/r", f"u:{MARK}@h:o/r"),
    ("ssh://git:pw@host/r", f"ssh://git:{MARK}@host/r"),
    ("https://u:p/a#s@h/x", f"https://{MARK}@h/x"),
    ("https://h/x?access_token=abc", f"https://h/x?access_token={MARK}"),
    ("https://h/x?a=1&api_key=abc&b=2#f", f"https://h/x?a=1&api_key={MARK}&b=2#f"),
    ("https://h/x?key=abc", f"https://h/x?key={MARK}"),
    ("https://h/x#access_token=abc", f"https://h/x#access_token={MARK}"),
    ("https://a.blob.core.windows.net/c?sv=1&sig=a%3D&se=2", f"https://a.blob.core.windows.net/c?sv=1&sig={MARK}&se=2"),
    (
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=A%2F1&X-Amz-Signature=0a&X-Amz-Date=1",
        f"https://b.s3.amazonaws.com/k?X-Amz-Credential={MARK}&X-Amz-Signature={MARK}&X-Amz-Date=1",
    ),
    ("https://h/ghp_" + BODY[:36], f"https://h/{MARK}"),
]  # fmt: skip - a pair a row

HARMLESS_URLS = [
    "git@host:org/repo",
    "ssh://git@host/r",
    "ssh://git@host:22/r",
    "https://host/org/repo.git",
    "https://host:8443/org/repo@v1",
    "https://host/x?page=2&max_tokens=5",
    "file:///home/anna/repo",
    "/srv/git/repo.git",
    "../repo",
    r"C:\repos\a@b",
    "registry/image:tag@sha256:0123",
    "sqlite:///mlruns.db",
    "",
]

ARGS = [
    (["--token", "X"], ["--token", MARK]),
    (["--token", "--lr", "3"], ["--token", "--lr", "3"]),
    (["--password", "-hunter2!"], ["--password", MARK]),
    (["--token"], ["--token"]),
    (["--token", "</s>"], ["--token", "</s>"]),
    (["--token=a,b=c d"], [f"--token={MARK}"]),
    (["DB_PASSWORD=$ecret (1)"], [f"DB_PASSWORD={MARK}"]),
    (["-e", "HF_TOKEN=a b"], ["-e", f"HF_TOKEN={MARK}"]),
    (["-Dpassword=x"], [f"-Dpassword={MARK}"]),
    (["--env=HF_TOKEN=a b"], [f"--env=HF_TOKEN={MARK}"]),
    (["+trainer.logger.api_key=abc"], [f"+trainer.logger.api_key={MARK}"]),
    (["-H", 'Authorization: Bearer a"b'], ["-H", f"Authorization: Bearer {MARK}"]),
    (["-H", "Cookie: a=\"b\"; c='d'"], ["-H", f"Cookie: {MARK}"]),
    (["-H", "X-Api-Key:abc"], ["-H", f"X-Api-Key:{MARK}"]),
    (["-u", "anna:pw"], ["-u", f"anna:{MARK}"]),
    (["-u", "1000:1000"], ["-u", "1000:1000"]),
    (["-u", "train.py"], ["-u", "train.py"]),
    (['{"token": "x", "lr": 3}'], [f'{{"token": "{MARK}", "lr": 3}}']),
    (["--remote", "https://u:t@h"], ["--remote", f"https://{MARK}@h"]),
    (["--remote=https://u:t@h"], [f"--remote=https://{MARK}@h"]),
    (["wandb", "login", "a1" * 20], ["wandb", "login", MARK]),
    (
        ["aws", "configure", "set", "aws_secret_access_key", "x"],
        ["aws", "configure", "set", "aws_secret_access_key", MARK],
    ),
    (["sh", "-c", "run --token abc --lr 3"], ["sh", "-c", f"run --token {MARK} --lr 3"]),
    (["--model_args", "pretrained=x,token=abc,dtype=f"], ["--model_args", f"pretrained=x,token={MARK},dtype=f"]),
    (["--auth", "none"], ["--auth", "none"]),
    (["--use_auth_token", "True"], ["--use_auth_token", "True"]),
    ([], []),
]  # fmt: skip - a pair a row


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_name_of_a_secret_is_known(name: str) -> None:
    """Every usual spelling of a secret's name is one."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ORDINARY_NAMES)
def test_ordinary_name_is_no_secret(name: str) -> None:
    """A model's vocabulary, a count, a file's name and a look-alike are not secret."""
    assert not is_secret_name(name)


@pytest.mark.parametrize("secret", FORMATS, ids=lambda secret: secret[:8])
@pytest.mark.parametrize(
    "frame", ["{}", "x = '{}'", "a/{}/b", 'say "{}".', "a\\n{}\\n", "k:{},", "({})", "https://h/{}?a=1"]
)
def test_published_format_is_redacted_wherever_it_stands(secret: str, frame: str) -> None:
    """A value in an issuer's format goes without any name beside it, and nothing else does."""
    framed = frame.format(secret)
    assert secret[8:] not in redact_text(framed)
    assert MARK in redact_text(framed)
    assert redact_text(framed).startswith(frame.partition("{}")[0])
    assert redact_args([framed]) == [redact_text(framed)]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_only_the_secret_part_of_a_text_goes(text: str, expected: str) -> None:
    """Name, separator, quotes, scheme and everything around stay; the value becomes the mark."""
    assert redact_text(text) == expected


@pytest.mark.parametrize("text", HARMLESS_TEXTS)
def test_text_without_a_secret_is_not_touched(text: str) -> None:
    """Code that refers to a secret, a type, a placeholder and look-alikes stay as they are."""
    assert redact_text(text) == text


@pytest.mark.parametrize(("url", "expected"), URLS)
def test_address_loses_its_credentials(url: str, expected: str) -> None:
    """Every form in which an address carries a credential loses it, and only it."""
    assert redact_url(url) == expected


@pytest.mark.parametrize("url", HARMLESS_URLS)
def test_address_without_credentials_is_not_touched(url: str) -> None:
    """The user of ssh is part of the address; ports, paths and tags are no passwords."""
    assert redact_url(url) == url


@pytest.mark.parametrize(("args", "expected"), ARGS)
def test_arguments_lose_their_secrets(args: list[str], expected: list[str]) -> None:
    """The secret may be the next word or the rest of this one; a switch hides nothing."""
    assert redact_args(args) == expected


@pytest.mark.parametrize(
    "kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
)
@pytest.mark.parametrize("margin", ["", "+", "    ", "# "])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_private_key_block_is_emptied_line_by_line(kind: str, margin: str, line_break: str) -> None:
    """A block keeps its frame, its number of lines and a patch's column; none of its content."""
    lines = [f"-----BEGIN {kind}-----", BODY, BODY[::-1], BODY[:20] + "==", f"-----END {kind}-----", "after"]
    redacted = redact_text(line_break.join(margin + line for line in lines))
    kept = [margin + lines[0], margin + MARK, margin, margin, margin + lines[4], margin + lines[5]]
    assert redacted == line_break.join(kept)
    assert redact_text(redacted) == redacted


def test_private_key_without_its_end_is_emptied() -> None:
    """A hunk may cut a block: what looks like key material goes, what follows it stays."""
    text = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n{BODY}\n@@ -1,2 +1,3 @@\n more = 1\n"
    assert redact_text(text) == f"-----BEGIN PRIVATE KEY-----\n{MARK}\n\n@@ -1,2 +1,3 @@\n more = 1\n"


@pytest.mark.parametrize(
    "command",
    [
        "python train.py --lr 3 --epochs 10",
        "torchrun --nproc_per_node=8 train.py --max-tokens=4096 --tokenizer=bpe --author anna --mask-ratio 0.75 --task-name x",
    ],
)
def test_ordinary_command_needs_no_regular_expressions(command: str) -> None:
    """The caller does not pay for `import re`, nor for any other module, when there is nothing to look for."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "import runcontext.redaction as module\n"
        "words = sys.argv[2].split(); assert module.redact_args(words) == words\n"
        "assert module.redact_text(sys.argv[2]) == sys.argv[2]\n"
        "assert module.redact_url('https://host/org/repo.git') and module.is_secret_name('HF_TOKEN')\n"
        "assert 're' not in sys.modules, 'imports re'\n"
        "others = {name for name in set(sys.modules) - before if not name.startswith('runcontext.redaction')}\n"
        "assert others <= {'__future__', 'runcontext'}, others\n"
    )
    command_line = [sys.executable, "-I", "-S", "-c", program, str(SOURCE_ROOT), command]
    result = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
