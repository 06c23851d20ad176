"""The ci provider, in environments as each system's own documentation gives them."""

from __future__ import annotations

import time
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcontext.record import OutcomeStatus
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers._surroundings.ci_systems import SYSTEMS, CiSystem, CiVcs, vcs_of_environment
from runcontext_providers._surroundings.variables import value_of
from runcontext_providers.ci import CiProvider

COMMIT = "ffac537e6cbbf934b08745a378932722df287a53"
CREDENTIAL = "one-that-must-not-be-told"


class Build(NamedTuple):
    """A build as a system describes it: where that is documented, its variables, and what is to be made of them.

    ``absent`` maps each tag that the build does not have to a part of the reason.
    """

    documented_in: str
    variables: dict[str, str]
    tags: dict[str, str]
    absent: dict[str, str]
    branch: str | None
    repository: str | None


BUILDS = {
    "github-actions": Build(
        "https://docs.github.com/en/actions/reference/workflows-and-actions/variables, Default environment variables",
        {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKFLOW": "My test workflow",
            "GITHUB_JOB": "greeting_job",
            "GITHUB_RUN_ID": "1658821493",
            "GITHUB_RUN_ATTEMPT": "3",
            "GITHUB_RUN_NUMBER": "3",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "octocat/Hello-World",
            "GITHUB_SHA": COMMIT,
            "GITHUB_REF": "refs/heads/feature-branch-1",
            "GITHUB_REF_NAME": "feature-branch-1",
            "GITHUB_HEAD_REF": "",
            "GITHUB_TOKEN": CREDENTIAL,
            "ACTIONS_RUNTIME_TOKEN": CREDENTIAL,
        },
        {
            "cicd.system": "github-actions",
            "cicd.pipeline.name": "My test workflow",
            "cicd.pipeline.run.id": "1658821493",
            "cicd.pipeline.run.url.full": "https://github.com/octocat/Hello-World/actions/runs/1658821493/attempts/3",
            "cicd.pipeline.task.name": "greeting_job",
        },
        {"vcs.change.id": "github-actions tells none in this build: looked at GITHUB_REF"},
        "feature-branch-1",
        "https://github.com/octocat/Hello-World",
    ),
    "gitea-actions": Build(
        "https://docs.gitea.com/usage/actions/actions-variables, Gitea Actions variables",
        {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITEA_ACTIONS": "true",
            "GITHUB_WORKFLOW": "test",
            "GITHUB_JOB": "unit",
            "GITHUB_RUN_ID": "17",
            "GITHUB_SERVER_URL": "https://gitea.example.org",
            "GITHUB_REPOSITORY": "team/project",
            "GITHUB_SHA": COMMIT,
            "GITHUB_REF": "refs/pull/4/head",
            "GITHUB_HEAD_REF": "topic",
            "GITEA_TOKEN": CREDENTIAL,
        },
        {
            "cicd.system": "gitea-actions",
            "cicd.pipeline.name": "test",
            "cicd.pipeline.run.id": "17",
            "cicd.pipeline.task.name": "unit",
            "vcs.change.id": "4",
        },
        {"cicd.pipeline.run.url.full": "gitea-actions has no variable that tells it"},
        "topic",
        "https://gitea.example.org/team/project",
    ),
    "gitlab": Build(
        "https://docs.gitlab.com/ci/variables/predefined_variables/, Predefined variables; for merge request pipelines",
        {
            "CI": "true",
            "GITLAB_CI": "true",
            "CI_PIPELINE_NAME": "Pipeline for merge requests",
            "CI_PIPELINE_ID": "1041",
            "CI_PIPELINE_URL": "https://gitlab.example.com/gitlab-org/gitlab/-/pipelines/1041",
            "CI_JOB_NAME": "rspec",
            "CI_MERGE_REQUEST_IID": "77",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "better-loss",
            "CI_COMMIT_SHA": COMMIT,
            "CI_PROJECT_PATH": "gitlab-org/gitlab",
            "CI_PROJECT_URL": "https://gitlab.example.com/gitlab-org/gitlab",
            "CI_REPOSITORY_URL": f"https://gitlab-ci-token:{CREDENTIAL}@gitlab.example.com/gitlab-org/gitlab.git",
            "CI_JOB_TOKEN": CREDENTIAL,
        },
        {
            "cicd.system": "gitlab",
            "cicd.pipeline.name": "Pipeline for merge requests",
            "cicd.pipeline.run.id": "1041",
            "cicd.pipeline.run.url.full": "https://gitlab.example.com/gitlab-org/gitlab/-/pipelines/1041",
            "cicd.pipeline.task.name": "rspec",
            "vcs.change.id": "77",
        },
        {},
        "better-loss",
        "https://gitlab.example.com/gitlab-org/gitlab.git",
    ),
    "jenkins": Build(
        "https://www.jenkins.io/doc/book/pipeline/jenkinsfile/, Using environment variables; "
        "https://plugins.jenkins.io/git/, Environment Variables",
        {
            "JENKINS_URL": "https://jenkins.example.org/",
            "BUILD_TAG": "jenkins-train-12",
            "BUILD_NUMBER": "12",
            "BUILD_ID": "12",
            "JOB_NAME": "train",
            "BUILD_URL": "https://jenkins.example.org/job/train/12/",
            "STAGE_NAME": "Test",
            "GIT_COMMIT": COMMIT,
            "GIT_BRANCH": "origin/main",
            "GIT_URL": f"https://ada:{CREDENTIAL}@git.example.org/train.git",
        },
        {
            "cicd.system": "jenkins",
            "cicd.pipeline.name": "train",
            "cicd.pipeline.run.id": "12",
            "cicd.pipeline.run.url.full": "https://jenkins.example.org/job/train/12/",
            "cicd.pipeline.task.name": "Test",
        },
        {"vcs.change.id": "jenkins tells none in this build: looked at CHANGE_ID"},
        "main",
        "https://[redacted]@git.example.org/train.git",
    ),
    "buildkite": Build(
        "https://buildkite.com/docs/pipelines/configure/environment-variables, Buildkite environment variables",
        {
            "CI": "true",
            "BUILDKITE": "true",
            "BUILDKITE_PIPELINE_NAME": "My Project",
            "BUILDKITE_PIPELINE_SLUG": "my-project",
            "BUILDKITE_BUILD_ID": "4735ba57-80d0-46e2-8fa0-b28223a86586",
            "BUILDKITE_BUILD_NUMBER": "1514",
            "BUILDKITE_BUILD_URL": "https://buildkite.com/acme-inc/my-project/builds/1514",
            "BUILDKITE_LABEL": ":hammer: Tests",
            "BUILDKITE_PULL_REQUEST": "123",
            "BUILDKITE_COMMIT": COMMIT,
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_REPO": "git@github.com:acme-inc/my-project.git",
            "BUILDKITE_AGENT_ACCESS_TOKEN": CREDENTIAL,
        },
        {
            "cicd.system": "buildkite",
            "cicd.pipeline.name": "My Project",
            "cicd.pipeline.run.id": "4735ba57-80d0-46e2-8fa0-b28223a86586",
            "cicd.pipeline.run.url.full": "https://buildkite.com/acme-inc/my-project/builds/1514",
            "cicd.pipeline.task.name": ":hammer: Tests",
            "vcs.change.id": "123",
        },
        {},
        "main",
        "git@github.com:acme-inc/my-project.git",
    ),
    "circleci": Build(
        "https://circleci.com/docs/reference/variables/, Built-in environment variables",
        {
            "CI": "true",
            "CIRCLECI": "true",
            "CIRCLE_PROJECT_USERNAME": "foo",
            "CIRCLE_PROJECT_REPONAME": "bar",
            "CIRCLE_WORKFLOW_ID": "7e0c8a5f-5f3c-4b0c-8c1a-0b4d8f4d2c51",
            "CIRCLE_BUILD_URL": "https://circleci.com/gh/foo/bar/25",
            "CIRCLE_JOB": "build",
            "CIRCLE_PULL_REQUEST": "https://github.com/foo/bar/pull/19",
            "CIRCLE_SHA1": COMMIT,
            "CIRCLE_BRANCH": "topic",
            "CIRCLE_REPOSITORY_URL": "git@github.com:foo/bar.git",
            "CIRCLE_OIDC_TOKEN": CREDENTIAL,
        },
        {
            "cicd.system": "circleci",
            "cicd.pipeline.name": "foo/bar",
            "cicd.pipeline.run.id": "7e0c8a5f-5f3c-4b0c-8c1a-0b4d8f4d2c51",
            "cicd.pipeline.run.url.full": "https://circleci.com/gh/foo/bar/25",
            "cicd.pipeline.task.name": "build",
            "vcs.change.id": "19",
        },
        {},
        "topic",
        "git@github.com:foo/bar.git",
    ),
    "azure-pipelines": Build(
        "https://learn.microsoft.com/azure/devops/pipelines/build/variables, Build, System and Agent variables",
        {
            "TF_BUILD": "True",
            "BUILD_DEFINITIONNAME": "nightly",
            "BUILD_BUILDID": "2117",
            "SYSTEM_COLLECTIONURI": "https://dev.azure.com/fabrikamfiber/",
            "SYSTEM_TEAMPROJECT": "my project",
            "SYSTEM_TEAMPROJECTID": "1d2a1f1d-1f2c-4f04-9a3c-6c1ab6f10a11",
            "SYSTEM_JOBDISPLAYNAME": "Train",
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "17",
            "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/users/raisa/new-feature",
            "BUILD_SOURCEVERSION": COMMIT,
            "BUILD_SOURCEBRANCH": "refs/pull/17/merge",
            "BUILD_REPOSITORY_URI": "https://dev.azure.com/fabrikamfiber/_git/train",
            "SYSTEM_ACCESSTOKEN": CREDENTIAL,
        },
        {
            "cicd.system": "azure-pipelines",
            "cicd.pipeline.name": "nightly",
            "cicd.pipeline.run.id": "2117",
            "cicd.pipeline.run.url.full": (
                "https://dev.azure.com/fabrikamfiber/1d2a1f1d-1f2c-4f04-9a3c-6c1ab6f10a11/_build/results?buildId=2117"
            ),
            "cicd.pipeline.task.name": "Train",
            "vcs.change.id": "17",
        },
        {},
        "users/raisa/new-feature",
        "https://dev.azure.com/fabrikamfiber/_git/train",
    ),
    "bitbucket-pipelines": Build(
        "https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/, Default variables",
        {
            "CI": "true",
            "BITBUCKET_BUILD_NUMBER": "9",
            "BITBUCKET_PIPELINE_UUID": "{a27b1f5e-2e5d-4ea4-9d86-7c09cc0c7c3a}",
            "BITBUCKET_REPO_FULL_NAME": "team/train",
            "BITBUCKET_PR_ID": "5",
            "BITBUCKET_COMMIT": COMMIT,
            "BITBUCKET_BRANCH": "topic",
            "BITBUCKET_GIT_HTTP_ORIGIN": "http://bitbucket.org/team/train",
            "BITBUCKET_STEP_OIDC_TOKEN": CREDENTIAL,
        },
        {
            "cicd.system": "bitbucket-pipelines",
            "cicd.pipeline.name": "team/train",
            "cicd.pipeline.run.id": "a27b1f5e-2e5d-4ea4-9d86-7c09cc0c7c3a",
            "cicd.pipeline.run.url.full": "https://bitbucket.org/team/train/pipelines/results/9",
            "vcs.change.id": "5",
        },
        {"cicd.pipeline.task.name": "bitbucket-pipelines has no variable that tells it"},
        "topic",
        "http://bitbucket.org/team/train",
    ),
    "teamcity": Build(
        "https://www.jetbrains.com/help/teamcity/predefined-build-parameters.html, Predefined Server Build Parameters",
        {
            "TEAMCITY_VERSION": "2025.11 (build 207946)",
            "TEAMCITY_PROJECT_NAME": "Vision",
            "TEAMCITY_BUILDCONF_NAME": "Train",
            "BUILD_NUMBER": "1.4.33",
            "BUILD_URL": "https://teamcity.example.org/buildConfiguration/Vision_Train/98765",
            "BUILD_VCS_NUMBER": COMMIT,
        },
        {
            "cicd.system": "teamcity",
            "cicd.pipeline.name": "Vision / Train",
            "cicd.pipeline.run.id": "98765",
            "cicd.pipeline.run.url.full": "https://teamcity.example.org/buildConfiguration/Vision_Train/98765",
        },
        {"cicd.pipeline.task.name": "no variable", "vcs.change.id": "no variable"},
        None,
        None,
    ),
    "travis-ci": Build(
        "https://docs.travis-ci.com/user/environment-variables/, Default Environment Variables",
        {
            "CI": "true",
            "TRAVIS": "true",
            "TRAVIS_REPO_SLUG": "owner/project",
            "TRAVIS_BUILD_ID": "247112391",
            "TRAVIS_BUILD_WEB_URL": "https://app.travis-ci.com/owner/project/builds/247112391",
            "TRAVIS_JOB_NAME": "tests",
            "TRAVIS_PULL_REQUEST": "false",
            "TRAVIS_PULL_REQUEST_BRANCH": "",
            "TRAVIS_COMMIT": COMMIT,
            "TRAVIS_BRANCH": "master",
            "TRAVIS_TAG": "",
        },
        {
            "cicd.system": "travis-ci",
            "cicd.pipeline.name": "owner/project",
            "cicd.pipeline.run.id": "247112391",
            "cicd.pipeline.run.url.full": "https://app.travis-ci.com/owner/project/builds/247112391",
            "cicd.pipeline.task.name": "tests",
        },
        {"vcs.change.id": "looked at TRAVIS_PULL_REQUEST"},
        "master",
        None,
    ),
    "woodpecker": Build(
        "https://woodpecker-ci.org/docs/usage/environment, Built-in environment variables",
        {
            "CI": "woodpecker",
            "CI_SYSTEM_NAME": "woodpecker",
            "CI_WORKFLOW_NAME": "release",
            "CI_REPO": "john-doe/my-repo",
            "CI_PIPELINE_NUMBER": "8",
            "CI_PIPELINE_URL": "https://ci.example.com/repos/7/pipeline/8",
            "CI_STEP_NAME": "build package",
            "CI_COMMIT_PULL_REQUEST": "1",
            "CI_COMMIT_SHA": COMMIT,
            "CI_COMMIT_SOURCE_BRANCH": "feature/branch",
            "CI_COMMIT_BRANCH": "main",
            "CI_REPO_CLONE_URL": "https://git.example.com/john-doe/my-repo.git",
            # For compatibility with Drone.
            "DRONE": "true",
        },
        {
            "cicd.system": "woodpecker",
            "cicd.pipeline.name": "release",
            "cicd.pipeline.run.id": "8",
            "cicd.pipeline.run.url.full": "https://ci.example.com/repos/7/pipeline/8",
            "cicd.pipeline.task.name": "build package",
            "vcs.change.id": "1",
        },
        {},
        "feature/branch",
        "https://git.example.com/john-doe/my-repo.git",
    ),
    "drone": Build(
        "https://docs.drone.io/pipeline/environment/reference/, each variable's page",
        {
            "CI": "true",
            "DRONE": "true",
            "DRONE_STAGE_NAME": "build",
            "DRONE_BUILD_NUMBER": "42",
            "DRONE_BUILD_LINK": "https://drone.company.com/octocat/hello-world/42",
            "DRONE_STEP_NAME": "test",
            "DRONE_PULL_REQUEST": "47",
            "DRONE_COMMIT_SHA": COMMIT,
            "DRONE_SOURCE_BRANCH": "feature/develop",
            "DRONE_BRANCH": "main",
            "DRONE_GIT_HTTP_URL": "https://github.com/octocat/hello-world.git",
        },
        {
            "cicd.system": "drone",
            "cicd.pipeline.name": "build",
            "cicd.pipeline.run.id": "42",
            "cicd.pipeline.run.url.full": "https://drone.company.com/octocat/hello-world/42",
            "cicd.pipeline.task.name": "test",
            "vcs.change.id": "47",
        },
        {},
        "feature/develop",
        "https://github.com/octocat/hello-world.git",
    ),
    "aws-codebuild": Build(
        "https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html",
        {
            "CI": "true",
            "CODEBUILD_BUILD_ARN": "arn:aws:codebuild:eu-west-1:111122223333:build/train:b1e6661e-e4f2-4156-9ab9",
            "CODEBUILD_BUILD_ID": "train:b1e6661e-e4f2-4156-9ab9",
            "CODEBUILD_RESOLVED_SOURCE_VERSION": COMMIT,
            "CODEBUILD_SOURCE_REPO_URL": "https://github.com/team/train.git",
            "CODEBUILD_WEBHOOK_TRIGGER": "pr/12",
            "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/topic",
            "CODEBUILD_PUBLIC_BUILD_URL": "https://eu-west-1.codebuild.aws.amazon.com/project/x/build/y",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": f"/v2/credentials/{CREDENTIAL}",
        },
        {
            "cicd.system": "aws-codebuild",
            "cicd.pipeline.name": "train",
            "cicd.pipeline.run.id": "train:b1e6661e-e4f2-4156-9ab9",
            "cicd.pipeline.run.url.full": "https://eu-west-1.codebuild.aws.amazon.com/project/x/build/y",
            "vcs.change.id": "12",
        },
        {"cicd.pipeline.task.name": "looked at CODEBUILD_BATCH_BUILD_IDENTIFIER"},
        "topic",
        "https://github.com/team/train.git",
    ),
    "google-cloud-build": Build(
        "https://docs.cloud.google.com/build/docs/configuring-builds/substitute-variable-values, "
        "Using default substitutions; Mapping substitutions automatically",
        {
            "BUILDER_OUTPUT": "/builder/outputs",
            "BUILD_ID": "5d8f6c2e-3a1b-4f7d-9e0c-2b6a8d4c1f3e",
            "PROJECT_ID": "vision",
            "PROJECT_NUMBER": "1234567890",
            "LOCATION": "europe-west1",
            "TRIGGER_NAME": "on-push",
            "COMMIT_SHA": COMMIT,
            "BRANCH_NAME": "main",
        },
        {
            "cicd.system": "google-cloud-build",
            "cicd.pipeline.name": "on-push",
            "cicd.pipeline.run.id": "5d8f6c2e-3a1b-4f7d-9e0c-2b6a8d4c1f3e",
            "cicd.pipeline.run.url.full": (
                "https://console.cloud.google.com/cloud-build/builds;region=europe-west1/"
                "5d8f6c2e-3a1b-4f7d-9e0c-2b6a8d4c1f3e?project=vision"
            ),
        },
        {"cicd.pipeline.task.name": "no variable", "vcs.change.id": "looked at _PR_NUMBER"},
        "main",
        None,
    ),
}


class TestCiProvider(ProviderContract):
    """It keeps what every provider keeps, whatever this machine's environment says."""

    provider = CiProvider


class TestInABuild(ProviderContract):
    """It keeps it in a build, too."""

    provider = CiProvider(BUILDS["github-actions"].variables)


def test_every_system_has_a_recorded_build() -> None:
    """The builds above are one of each system in the table."""
    assert list(BUILDS) == [system.name for system in SYSTEMS]


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_a_build_is_told_as_its_system_describes_it(build: Build) -> None:
    """Each documented variable becomes its tag, and what the build does not have is absent for a reason."""
    context = resolve_provider(CiProvider(build.variables))
    assert dict(context.tags) == build.tags
    failures = context.outcomes["provider"].failures
    assert failures.keys() == build.absent.keys()
    assert all(reason in failures[tag] for tag, reason in build.absent.items())


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_what_a_build_says_of_the_code(build: Build) -> None:
    """Commit, branch and repository are given with the variables that said them."""
    said = vcs_of_environment(build.variables)
    assert said is not None
    assert said[:4] == (build.tags["cicd.system"], COMMIT, build.branch, build.repository)
    assert all(name in build.variables for name in said.variables.values())
    assert {field for field in ("commit", "branch", "repository_url") if getattr(said, field)} == set(said.variables)


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_no_credential_of_a_build_is_told(build: Build) -> None:
    """Variables that hold the system's tokens are not read, and addresses lose theirs."""
    context = resolve_provider(CiProvider(build.variables))
    assert CREDENTIAL not in str(context.to_json()) + str(vcs_of_environment(build.variables))


def test_outside_of_any_system_there_is_nothing() -> None:
    """Without any system's variables the provider is absent, and the code is nobody's."""
    outcome = resolve_provider(CiProvider({"PATH": "/bin"})).outcomes["provider"]
    assert (outcome.status, outcome.reason) == (OutcomeStatus.ABSENT, "no CI system's variables are set")
    assert vcs_of_environment({"PATH": "/bin"}) is None


def test_ci_alone_names_no_system() -> None:
    """CI=true is set by hand as well: absent, and the reason lists what is known."""
    outcome = resolve_provider(CiProvider({"CI": "true"})).outcomes["provider"]
    assert outcome.status is OutcomeStatus.ABSENT
    assert outcome.reason is not None
    assert outcome.reason.startswith("CI is set, but not by a system that is known here")
    assert all(name in outcome.reason for name in BUILDS)


@pytest.mark.parametrize(
    "variables",
    [
        {"JENKINS_URL": "https://jenkins.example.org/"},
        {"BUILD_ID": "1", "PROJECT_ID": "mine"},
        {"GITHUB_ACTIONS": "false", "GITHUB_TOKEN": CREDENTIAL},
        {"GITHUB_ACTIONS": ""},
        {"CODEBUILD_BUILD_ID": ""},
        {"DRONE_SERVER": "https://drone.example.org", "DRONE_TOKEN": CREDENTIAL},
    ],
    ids=",".join,
)
def test_what_a_systems_tools_are_told_is_no_build(variables: dict[str, str]) -> None:
    """A person's own settings for a system's command line do not make a build of it."""
    assert resolve_provider(CiProvider(variables)).outcomes["provider"].status is OutcomeStatus.ABSENT


def changed(name: str, **variables: str) -> CiVcs:
    """Give what the recorded build of a system says of the code, with other variables; an empty one is as unset."""
    said = vcs_of_environment({**BUILDS[name].variables, **variables})
    assert said is not None
    return said


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("github-actions", {"GITHUB_REF": "refs/tags/v1", "GITHUB_REF_NAME": "v1"}),
        ("jenkins", {"BRANCH_NAME": "v1", "TAG_NAME": "v1"}),
        ("buildkite", {"BUILDKITE_BRANCH": "v1", "BUILDKITE_TAG": "v1"}),
        ("azure-pipelines", {"SYSTEM_PULLREQUEST_SOURCEBRANCH": "", "BUILD_SOURCEBRANCH": "refs/tags/v1"}),
        ("travis-ci", {"TRAVIS_BRANCH": "v1", "TRAVIS_TAG": "v1"}),
        ("woodpecker", {"CI_COMMIT_TAG": "v1"}),
        ("drone", {"DRONE_TAG": "v1"}),
        ("aws-codebuild", {"CODEBUILD_WEBHOOK_TRIGGER": "tag/v1", "CODEBUILD_WEBHOOK_HEAD_REF": "refs/tags/v1"}),
    ],
)
def test_a_build_of_a_tag_has_no_branch(name: str, variables: dict[str, str]) -> None:
    """Several systems put a tag's name where a branch's stands: it is not taken for one."""
    said = changed(name, **variables)
    assert said.branch is None
    assert "branch" not in said.variables
    assert said.commit == COMMIT


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [("buildkite", "BUILDKITE_COMMIT", "HEAD"), ("azure-pipelines", "BUILD_SOURCEVERSION", "1234")],
)
def test_a_commit_that_is_none_is_not_given(name: str, variable: str, value: str) -> None:
    """Only a full hash is a commit: a word or a changeset's number is not."""
    said = changed(name, **{variable: value})
    assert said.commit is None
    assert "commit" not in said.variables


def test_a_sha256_commit_is_one() -> None:
    """A repository may have longer hashes."""
    assert changed("gitlab", CI_COMMIT_SHA="a" * 64).commit == "a" * 64


def test_a_pull_request_is_its_own_branch() -> None:
    """GitHub's ref of a pull request is a merge: the branch is the one that it comes from."""
    said = changed("github-actions", GITHUB_REF="refs/pull/42/merge", GITHUB_HEAD_REF="topic")
    assert (said.branch, said.variables["branch"]) == ("topic", "GITHUB_HEAD_REF")
    variables = {**BUILDS["github-actions"].variables, "GITHUB_REF": "refs/pull/42/merge"}
    assert resolve_provider(CiProvider(variables)).tags["vcs.change.id"] == "42"


def test_a_credential_in_the_address_of_a_build_is_redacted() -> None:
    """Addresses go through redaction, as everywhere."""
    variables = {**BUILDS["gitlab"].variables, "CI_PIPELINE_URL": f"https://ada:{CREDENTIAL}@gitlab.example.com/-/1"}
    context = resolve_provider(CiProvider(variables))
    assert context.tags["cicd.pipeline.run.url.full"] == "https://[redacted]@gitlab.example.com/-/1"


# --- what an environment may hold ------------------------------------------------------------------------------------

VARIABLES = sorted({name for build in BUILDS.values() for name in build.variables})
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["true", "false", "refs/pull/", "refs/heads/", "jenkins-", "//@", "\udcff"]
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(VARIABLES), TEXTS))
def test_nothing_that_variables_hold_breaks_it(variables: dict[str, str]) -> None:
    """Whatever is set to whatever, each fact is captured or absent, and so is what is said of the code."""
    outcome = resolve_provider(CiProvider(variables)).outcomes["provider"]
    assert outcome.status in (OutcomeStatus.CAPTURED, OutcomeStatus.ABSENT), (outcome.reason, outcome.failures)
    said = vcs_of_environment(variables)
    assert (said is None) == (outcome.status is OutcomeStatus.ABSENT)


def patterns_of(system: CiSystem) -> list[tuple[str, str]]:
    """Give the sources of a system that are patterns, with their variables."""
    facts = (getattr(system, field) for field in system._fields if field not in ("name", "source", "marks"))
    return [source for sources in facts for source in sources if isinstance(source, tuple)]


@pytest.mark.parametrize("part", ["/", "/1", "1", "buildId=", "{", ":", "refs/heads/", "\n"], ids=repr)
def test_a_hostile_value_costs_little(part: str) -> None:
    """Every pattern runs in linear time: values as long as Linux takes them, 128 KiB."""
    value = part * (131_000 // len(part)) + "x"
    started = time.process_time()
    for system in SYSTEMS:
        for name, pattern in patterns_of(system):
            value_of({name: value}, ((name, pattern),))
    assert time.process_time() - started < 5
