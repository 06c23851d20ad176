"""Which variables each CI system sets: a table, written from the document that each row names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from runcontext.redaction import redact_url
from runcontext_providers._surroundings.variables import Marks, Sources, is_marked, value_of

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A full SHA-1 or SHA-256 commit: Buildkite's is ``HEAD`` for some builds, Azure's may be a changeset."""

_HEAD = r"refs/heads/(.+)"


class CiSystem(NamedTuple):
    """One CI system: how it is known, and where each fact stands.

    ``variables`` says what marks and sources are. Where ``tag`` is there a tag is built, and what ``branch`` names is
    none.
    """

    name: str
    source: str
    marks: Marks
    pipeline: Sources = ()
    run_id: Sources = ()
    run_url: Sources = ()
    task: Sources = ()
    change: Sources = ()
    commit: Sources = ()
    branch: Sources = ()
    tag: Sources = ()
    repository: Sources = ()


class CiVcs(NamedTuple):
    """What a CI system says about the code it checked out, for where the checkout itself cannot tell.

    ``variables`` maps each field that is not None to the name of the variable that said it. Credentials are
    redacted from ``repository_url``.
    """

    system: str
    commit: str | None
    branch: str | None
    repository_url: str | None
    variables: Mapping[str, str]


_ACTIONS = CiSystem(
    name="github-actions",
    source="GitHub Docs, Variables reference, Default environment variables",
    marks=(("GITHUB_ACTIONS=true", "!GITEA_ACTIONS"),),
    pipeline=("GITHUB_WORKFLOW",),
    run_id=("GITHUB_RUN_ID",),
    run_url=(
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}/attempts/{GITHUB_RUN_ATTEMPT}",
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
    ),
    task=("GITHUB_JOB",),
    change=(("GITHUB_REF", r"refs/pull/([0-9]+)/"),),
    commit=("GITHUB_SHA",),
    branch=("GITHUB_HEAD_REF", ("GITHUB_REF", _HEAD)),
    repository=("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}",),
)

SYSTEMS: tuple[CiSystem, ...] = (
    _ACTIONS,
    _ACTIONS._replace(
        name="gitea-actions",
        source="Gitea Documentation, Gitea Actions variables: those of GitHub, and GITEA_ACTIONS",
        marks=(("GITEA_ACTIONS=true",),),
        # A run's page there goes by a number of its own.
        run_url=(),
    ),
    CiSystem(
        name="gitlab",
        source="GitLab Docs, Predefined CI/CD variables reference",
        marks=(("GITLAB_CI=true",),),
        pipeline=("CI_PIPELINE_NAME", "CI_PROJECT_PATH"),
        run_id=("CI_PIPELINE_ID",),
        run_url=("CI_PIPELINE_URL",),
        task=("CI_JOB_NAME",),
        change=("CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID"),
        commit=("CI_COMMIT_SHA",),
        branch=(
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
            "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME",
            "CI_COMMIT_BRANCH",
        ),
        repository=("{CI_PROJECT_URL}.git",),
    ),
    CiSystem(
        name="jenkins",
        source="Jenkins User Handbook, Using a Jenkinsfile, Using environment variables; Git plugin, Variables",
        marks=(("BUILD_TAG=jenkins-", "JOB_NAME", "BUILD_NUMBER"),),
        pipeline=("JOB_NAME",),
        run_id=("BUILD_NUMBER",),
        run_url=("BUILD_URL",),
        task=("STAGE_NAME",),
        change=("CHANGE_ID",),
        commit=("GIT_COMMIT",),
        branch=("CHANGE_BRANCH", "BRANCH_NAME", "GIT_LOCAL_BRANCH", ("GIT_BRANCH", r"(?:origin/)?(.+)")),
        tag=("TAG_NAME",),
        repository=("GIT_URL",),
    ),
    CiSystem(
        name="buildkite",
        source="Buildkite Documentation, Environment variables, Buildkite environment variables",
        marks=(("BUILDKITE=true",),),
        pipeline=("BUILDKITE_PIPELINE_NAME", "BUILDKITE_PIPELINE_SLUG"),
        run_id=("BUILDKITE_BUILD_ID",),
        run_url=("BUILDKITE_BUILD_URL",),
        task=("BUILDKITE_LABEL", "BUILDKITE_STEP_KEY"),
        change=(("BUILDKITE_PULL_REQUEST", r"([0-9]+)"),),
        commit=("BUILDKITE_COMMIT",),
        branch=("BUILDKITE_BRANCH",),
        tag=("BUILDKITE_TAG",),
        repository=("BUILDKITE_REPO",),
    ),
    CiSystem(
        name="circleci",
        source="CircleCI Docs, Project values and variables, Built-in environment variables",
        marks=(("CIRCLECI=true",),),
        pipeline=("{CIRCLE_PROJECT_USERNAME}/{CIRCLE_PROJECT_REPONAME}",),
        run_id=("CIRCLE_PIPELINE_ID", "CIRCLE_WORKFLOW_ID"),
        run_url=("CIRCLE_BUILD_URL",),
        task=("CIRCLE_JOB",),
        change=("CIRCLE_PR_NUMBER", ("CIRCLE_PULL_REQUEST", r".*/([0-9]+)\Z")),
        commit=("CIRCLE_SHA1",),
        branch=("CIRCLE_BRANCH",),
        tag=("CIRCLE_TAG",),
        repository=("CIRCLE_REPOSITORY_URL",),
    ),
    CiSystem(
        name="azure-pipelines",
        source="Azure Pipelines documentation, Use predefined variables",
        marks=(("TF_BUILD=true",),),
        pipeline=("BUILD_DEFINITIONNAME",),
        run_id=("BUILD_BUILDID",),
        run_url=("{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECTID}/_build/results?buildId={BUILD_BUILDID}",),
        task=("SYSTEM_JOBDISPLAYNAME", "AGENT_JOBNAME"),
        change=("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID"),
        commit=("BUILD_SOURCEVERSION",),
        branch=(
            ("SYSTEM_PULLREQUEST_SOURCEBRANCH", r"(?:refs/heads/)?(.+)"),
            ("BUILD_SOURCEBRANCH", _HEAD),
        ),
        repository=("BUILD_REPOSITORY_URI",),
    ),
    CiSystem(
        name="bitbucket-pipelines",
        source="Bitbucket Support, Variables and secrets, Default variables",
        marks=(("BITBUCKET_BUILD_NUMBER",),),
        pipeline=("BITBUCKET_REPO_FULL_NAME",),
        run_id=(("BITBUCKET_PIPELINE_UUID", r"\{?([^{}]+)"), "BITBUCKET_BUILD_NUMBER"),
        run_url=("https://bitbucket.org/{BITBUCKET_REPO_FULL_NAME}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",),
        change=("BITBUCKET_PR_ID",),
        commit=("BITBUCKET_COMMIT",),
        branch=("BITBUCKET_BRANCH",),
        tag=("BITBUCKET_TAG",),
        repository=("BITBUCKET_GIT_HTTP_ORIGIN", "BITBUCKET_GIT_SSH_ORIGIN"),
    ),
    CiSystem(
        name="teamcity",
        source="TeamCity On-Premises Help, List of Predefined Build Parameters",
        marks=(("TEAMCITY_VERSION",),),
        pipeline=("{TEAMCITY_PROJECT_NAME} / {TEAMCITY_BUILDCONF_NAME}", "TEAMCITY_BUILDCONF_NAME"),
        run_id=(("BUILD_URL", r".*?(?:buildId=|/)([0-9]+)(?:[?&#]|\Z)"), "BUILD_NUMBER"),
        run_url=("BUILD_URL",),
        commit=("BUILD_VCS_NUMBER",),
    ),
    CiSystem(
        name="travis-ci",
        source="Travis CI Docs, Environment Variables, Default Environment Variables",
        marks=(("TRAVIS=true",),),
        pipeline=("TRAVIS_REPO_SLUG",),
        run_id=("TRAVIS_BUILD_ID",),
        run_url=("TRAVIS_BUILD_WEB_URL",),
        task=("TRAVIS_JOB_NAME",),
        change=(("TRAVIS_PULL_REQUEST", r"([0-9]+)"),),
        commit=("TRAVIS_COMMIT",),
        branch=("TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"),
        tag=("TRAVIS_TAG",),
    ),
    CiSystem(
        # Before Drone, whose variables its older versions set as well.
        name="woodpecker",
        source="Woodpecker CI documentation, Environment variables, Built-in environment variables",
        marks=(("CI=woodpecker",), ("CI_SYSTEM_NAME=woodpecker",)),
        pipeline=("CI_WORKFLOW_NAME", "CI_REPO"),
        run_id=("CI_PIPELINE_NUMBER",),
        run_url=("CI_PIPELINE_URL",),
        task=("CI_STEP_NAME",),
        change=("CI_COMMIT_PULL_REQUEST",),
        commit=("CI_COMMIT_SHA",),
        branch=("CI_COMMIT_SOURCE_BRANCH", "CI_COMMIT_BRANCH"),
        tag=("CI_COMMIT_TAG",),
        repository=("CI_REPO_CLONE_URL",),
    ),
    CiSystem(
        name="drone",
        source="Drone documentation, Pipeline, Environment, Reference",
        marks=(("DRONE=true",),),
        pipeline=("DRONE_STAGE_NAME", "DRONE_REPO"),
        run_id=("DRONE_BUILD_NUMBER",),
        run_url=("DRONE_BUILD_LINK",),
        task=("DRONE_STEP_NAME",),
        change=("DRONE_PULL_REQUEST",),
        commit=("DRONE_COMMIT_SHA",),
        branch=("DRONE_SOURCE_BRANCH", "DRONE_BRANCH"),
        tag=("DRONE_TAG",),
        repository=("DRONE_GIT_HTTP_URL", "DRONE_REMOTE_URL"),
    ),
    CiSystem(
        name="aws-codebuild",
        source="AWS CodeBuild User Guide, Environment variables in build environments",
        marks=(("CODEBUILD_BUILD_ID", "CODEBUILD_BUILD_ARN"),),
        pipeline=(("CODEBUILD_BUILD_ID", r"([^:]+):"),),
        run_id=("CODEBUILD_BUILD_ID",),
        run_url=("CODEBUILD_PUBLIC_BUILD_URL",),
        task=("CODEBUILD_BATCH_BUILD_IDENTIFIER",),
        change=(("CODEBUILD_WEBHOOK_TRIGGER", r"pr/([0-9]+)"), ("CODEBUILD_SOURCE_VERSION", r"pr/([0-9]+)")),
        commit=("CODEBUILD_RESOLVED_SOURCE_VERSION",),
        branch=(("CODEBUILD_WEBHOOK_HEAD_REF", _HEAD), ("CODEBUILD_WEBHOOK_TRIGGER", r"branch/(.+)")),
        repository=(("CODEBUILD_SOURCE_REPO_URL", r"(https?://.+)"),),
    ),
    CiSystem(
        name="google-cloud-build",
        source="Cloud Build documentation, Substituting variable values, Using default substitutions",
        marks=(("BUILDER_OUTPUT",), ("BUILD_ID", "PROJECT_ID", "PROJECT_NUMBER", "LOCATION")),
        pipeline=("TRIGGER_NAME",),
        run_id=("BUILD_ID",),
        run_url=(
            "https://console.cloud.google.com/cloud-build/builds;region={LOCATION}/{BUILD_ID}?project={PROJECT_ID}",
        ),
        change=("_PR_NUMBER",),
        commit=("COMMIT_SHA", "REVISION_ID"),
        branch=("_HEAD_BRANCH", "BRANCH_NAME"),
        tag=("TAG_NAME",),
        repository=("_HEAD_REPO_URL",),
    ),
)
"""The systems that are recognised, in the order in which they are looked for. Where a repository has just one
pipeline, it goes by the repository's name."""


def system_of(environment: Mapping[str, str]) -> CiSystem | None:
    """Give the CI system whose marks ``environment`` has, None where there is none."""
    return next((system for system in SYSTEMS if is_marked(environment, system.marks)), None)


def vcs_of_environment(environment: Mapping[str, str]) -> CiVcs | None:
    """Give what the CI system that ``environment`` belongs to says about the code, None where there is no system.

    A build of a tag has no branch, and a commit that is not given in full is none. Of a pull request, the branch is
    the one it comes from, and the commit is what the system checked out, which may be a merge.
    """
    system = system_of(environment)
    if system is None:
        return None
    is_tag = value_of(environment, system.tag) is not None
    found = {
        "commit": value_of(environment, system.commit),
        "branch": None if is_tag else value_of(environment, system.branch),
        "repository_url": value_of(environment, system.repository),
    }
    said = {field: value for field, value in found.items() if value is not None}
    if "commit" in said and _COMMIT.fullmatch(said["commit"][0]) is None:
        del said["commit"]
    values = {field: value for field, (value, _) in said.items()}
    if "repository_url" in values:
        values["repository_url"] = redact_url(values["repository_url"])
    return CiVcs(
        system.name,
        values.get("commit"),
        values.get("branch"),
        values.get("repository_url"),
        {field: variable for field, (_, variable) in said.items()},
    )
