"""What a person is told of a context: under which heading, what first, and what to do about what went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runcontext import Conflict, Context, Outcome, OutcomeStatus, RunRecord, RunStatus, registry
from runcontext.presentation import headings, remedies, text, view
from runcontext.presentation.view import Kind
from runcontext.record import AttachmentRecord, Change, RankDifference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runcontext.presentation.view import Row, View

TAGS = Path(__file__).parents[2] / "docs" / "tags.md"


def outcome(
    tags: Mapping[str, str] | None = None,
    status: OutcomeStatus = OutcomeStatus.CAPTURED,
    reason: str | None = None,
    *,
    failures: Mapping[str, str] | None = None,
    at_end: Outcome | None = None,
    redacted: int = 0,
) -> Outcome:
    """Make what one provider said."""
    return Outcome(status, reason, 0.0123, 1_795_382_372_107, "companion", tags or {}, failures or {}, redacted, at_end)


def context(outcomes: Mapping[str, Outcome], **others: Any) -> Context:
    """Make a context of what providers said; tags beside theirs are ``tags``."""
    tags = {tag: value for each in outcomes.values() for tag, value in each.tags.items()}
    fields = {"conflicts": (), "attachments": (), **others, "tags": {**tags, **others.get("tags", {})}}
    return Context(outcomes=outcomes, **fields)


def run(**fields: Any) -> RunRecord:
    """Make a run that ended well."""
    known = {
        "run_id": "0" * 32,
        "run_name": "baseline",
        "experiment_name": "Default",
        "status": RunStatus.FINISHED,
        "start_time": 1_795_382_372_000,
        "end_time": 1_795_382_373_500,
        "tags": {},
        "params": {},
        "metrics": {},
        "parent_run_id": None,
        "last_event_time": 1_795_382_373_500,
        "path": Path("/runs/one"),
    }
    return RunRecord(**{**known, **fields})


def rows(shown: View) -> dict[tuple[str, str], Row]:
    """Give each row of a view by its heading and name."""
    return {(group.title, row.name): row for group in shown.groups for row in group.rows}


# --- headings ---------------------------------------------------------------------------------------------------------


def test_every_built_in_provider_has_a_heading() -> None:
    """Whatever is built in belongs under one of the common headings."""
    assert {headings.title_of_provider(name) for name in registry.BUILT_IN} <= set(headings.TITLES)


def test_what_is_asked_for_first_is_documented() -> None:
    """The table of headings names tags that there are, and families that have members."""
    documented = TAGS.read_text("utf-8")
    for heading in headings._HEADINGS:
        for name in (*heading.first, *heading.families):
            found = f"`{name}" if name.endswith(".") else f"{name}`"
            assert found in documented or name == headings.CHANGED, f"{heading.title}: {name}"


@pytest.mark.parametrize(
    ("tag", "giver", "title"),
    [
        ("mlflow.user", "user", "Who"),
        ("mlflow.user", "caller", "Who"),
        ("git.tree", "git", "Code"),
        ("notebook.name", "notebook", "Code"),
        ("k8s.pod.name", "container", "Machine"),
        ("cloud.region", "cloud", "Machine"),
        ("host.type", "cloud", "Machine"),
        ("gpu.name", "gpu", "Accelerators"),
        ("gpu.memory.peak", "usage", "How it ended"),
        ("process.runtime.version", "python", "Software"),
        ("torch.deterministic", "determinism", "Software"),
        ("environment.variables", "environment", "Software"),
        ("process.pid", "source", "Launch"),
        ("slurm.job.id", "launcher", "Launch"),
        ("cicd.system", "ci", "Launch"),
        ("ranks.differ", "caller", "Launch"),
        ("usage.memory.peak", "usage", "How it ended"),
        ("changed.git.tree", "git", "How it ended"),
        ("mlflow.note.content", "caller", "Run"),
        ("team", "caller", "Tags"),
        ("team", "RUNCONTEXT_TAGS", "Tags"),
        ("queue.name", "queue", "queue"),
    ],
)
def test_a_tag_stands_under_its_heading(tag: str, giver: str, title: str) -> None:
    """A tag goes where its name says, else where its provider belongs; an unknown provider has a heading of its own."""
    assert headings.title_of_tag(tag, giver) == title


def test_headings_keep_their_order() -> None:
    """The common headings come in their order, plugins after them, what the program set last; empty ones never."""
    shown = view.of_context(
        context(
            {
                "queue": outcome({"queue.name": "a"}),
                "host": outcome({"host.name": "n"}),
                "user": outcome({"mlflow.user": "u"}),
            },
            tags={"team": "vision"},
        )
    )
    assert [group.title for group in shown.groups] == ["Who", "Machine", "queue", "Tags"]


def test_facts_stand_in_the_order_in_which_they_are_asked_for() -> None:
    """Under a heading the order is the heading's, not that in which providers answered; the rest comes after."""
    names = ("python.flags", "python.packages.count", "process.runtime.version", "process.runtime.name")
    given = outcome(dict.fromkeys(names, "x"), failures={"python.lockfile": "absent: none"})
    (group,) = view.of_context(context({"python": given})).groups
    first = ["process.runtime.name", "process.runtime.version", "python.packages.count"]
    assert [row.name for row in group.rows] == [*first, "python.flags", "python.lockfile"]


def test_a_provider_that_is_missed_is_named_at_first() -> None:
    """Without a repository and without a GPU that is said with the reason; a provider that nobody misses is not."""
    absent = outcome(status=OutcomeStatus.ABSENT, reason="no repository here")
    shown = rows(view.of_context(context({"git": absent, "ci": absent, "gpu": absent})))
    assert shown["Code", "git"].value == "absent: no repository here"
    assert shown["Code", "git"].is_first
    assert ("Accelerators", "gpu") in shown
    assert ("Launch", "ci") not in shown


def test_a_fact_that_is_not_there_stands_among_those_that_are() -> None:
    """Its reason stands under its heading: at first where it is missed, unless another provider gave the fact."""
    reasons = {
        "mlflow.source.git.branch": "absent: detached",
        "git.describe": "absent: no tag",
        "mlflow.source.git.commit": "absent: unborn",
        "git.tree": "OSError: broken",
    }
    shown = view.of_context(
        context({"git": outcome(failures=reasons), "ci": outcome({"mlflow.source.git.branch": "main"})})
    )
    found = [(row.name, row.value, row.kind, row.is_first) for group in shown.groups for row in group.rows]
    assert found == [
        ("mlflow.source.git.commit", "absent: unborn", Kind.ABSENT, True),
        ("mlflow.source.git.branch", "main", Kind.FACT, True),
        ("mlflow.source.git.branch", "absent: detached", Kind.ABSENT, False),
        ("git.describe", "absent: no tag", Kind.ABSENT, False),
    ]


def test_long_lists_are_not_all_shown_at_first() -> None:
    """Of a hundred params or tags of a plugin the first twenty are shown, and the rest counted."""
    many = {f"p{number}": "1" for number in range(100)}
    shown = view.of_run(run(params=many), context({"plugin": outcome(many)}), process="1 on host")
    assert sum(row.is_first for group in shown.groups if group.title == "Params" for row in group.rows) == 20
    # The process that the run belongs to is one of them.
    assert shown.left_out() == "81 more facts and what 1 provider did"


def test_what_is_left_out_is_counted() -> None:
    """One sentence says how many facts, reasons and providers there are beyond what is shown; nothing says nothing."""
    shown = view.of_context(context({"host": outcome({"host.arch": "amd64"}, failures={"load": "absent: no"})}))
    assert shown.left_out() == "1 more fact, why 1 is not there and what 1 provider did"
    assert view.of_context(context({})).left_out() == ""


# --- start and end, ranks ---------------------------------------------------------------------------------------------


def test_what_changed_stands_beside_its_tag_and_at_the_end() -> None:
    """Both values of a fact that changed are told in both places; one that is gone is absent at the end."""
    ended = outcome({"git.untracked": "3"})
    captured = context(
        {"git": outcome({"git.untracked": "0", "git.state": "merge"}, at_end=ended)},
        tags={"changed.git.untracked": "3", "changed.git.state": "absent"},
        changes=(Change("git.untracked", "git", "0", "3"), Change("git.state", "git", "merge", None)),
    )
    shown = rows(view.of_context(captured))
    for place in (("Code", "git.untracked"), ("How it ended", "changed.git.untracked")):
        assert (shown[place].value, shown[place].kind, shown[place].giver) == ("0 → 3", Kind.CHANGED, "git")
        assert shown[place].is_first
    assert shown["How it ended", "changed.git.state"].value == "merge → absent"


def test_a_tag_that_the_program_set_did_not_change() -> None:
    """Where the program overrode a fact, what its provider found at the end is not the tag's."""
    captured = context(
        {"git": outcome({"git.untracked": "0"})},
        tags={"git.untracked": "9"},
        conflicts=(Conflict("git.untracked", "caller", ("git",)),),
        changes=(Change("git.untracked", "git", "0", "3"),),
    )
    row = rows(view.of_context(captured))["Code", "git.untracked"]
    assert (row.value, row.giver, row.kind) == ("9", "caller", Kind.FACT)


def test_what_is_known_at_the_end_only_has_its_giver() -> None:
    """A tag of the end belongs to the provider that gave it, and what that said of the start is no reason any more."""
    absent = outcome(
        status=OutcomeStatus.ABSENT,
        reason="nothing yet",
        failures={"usage.memory.peak": "absent: not yet"},
        at_end=outcome({"usage.memory.peak": "1048576"}),
    )
    shown = view.of_context(context({"usage": absent}, tags={"usage.memory.peak": "1048576"}))
    assert list(rows(shown)) == [("How it ended", "usage.memory.peak")]
    assert rows(shown)["How it ended", "usage.memory.peak"].giver == "usage"


def test_what_differs_on_other_ranks_is_told_once_for_each_value() -> None:
    """Ranks that agree with each other share a row, with the value here and the value there."""
    differs = {"gpu.driver.version": "535"}
    others = (RankDifference(1, "b", differs), RankDifference(2, None, differs), RankDifference(3, None, {"x": None}))
    captured = context({"gpu": outcome({"gpu.driver.version": "550"})}, tags={"x": "1"}, ranks=others)
    shown = rows(view.of_run(run(), captured))
    assert shown["Other ranks", "gpu.driver.version"].value == "550 here, 535 on rank 1 (b), 2"
    assert shown["Other ranks", "x"].value == "1 here, absent on rank 3"


# --- what went wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("git", "took longer than its limit of 60 s", "timeout = 120 under [tool.runcontext.providers.git]"),
        ("a:b", "took longer than its limit of 60 s", '[tool.runcontext.providers."a:b"]'),
        ("git", "no answer within 5 s, nor by the end of the run", "RUNCONTEXT_TIMEOUT=30"),
        ("git", "no answer by the end of the program", "RUNCONTEXT_TIMEOUT=30"),
        ("queue", "took longer than the deadline of 5 s", "RUNCONTEXT_TIMEOUT=30"),
        ("queue", "ModuleNotFoundError: No module named 'x'", "install what it imports, or install queue-facts again"),
        (
            "queue",
            "MisshapenProviderError: it lacks tags()",
            "it is no provider as it stands: report it to queue-facts",
        ),
        ("queue", "its worker process was ended by SIGSEGV", "it ends the process that it runs in: report it to queue"),
        ("queue", "the companion process ended before it answered", "it ends the process that it runs in"),
        ("queue", "the program's environment changed while it ran: A", 'placement = "companion" under'),
        ("queue", "ValueError: no such luck", "report it to queue-facts"),
        ("other", "ValueError: no such luck", "report it to whoever wrote it"),
        ("host", "ValueError: no such luck", "report it to runcontext"),
        ("host", "PermissionError: /proc/1", "let this user read it"),
        ("RUNCONTEXT_TAGS", "ValueError: not JSON", "set RUNCONTEXT_TAGS to a JSON object of strings, or unset it"),
    ],
)
def test_every_failure_has_a_remedy(name: str, reason: str, remedy: str) -> None:
    """What to do depends on what the reason says; a provider can always be switched off."""
    captured = context({name: outcome(status=OutcomeStatus.FAILED, reason=reason)})
    (problem,) = remedies.problems(captured, {"queue": "queue-facts"})
    assert problem.facts == (("", reason),)
    assert remedy in problem.remedy
    variable = "RUNCONTEXT_PROVIDER_A_B=0" if name == "a:b" else f"RUNCONTEXT_PROVIDER_{name.upper()}=0"
    assert problem.remedy.endswith(f"; {variable} switches it off") or name == "RUNCONTEXT_TAGS"


def test_single_facts_that_failed_are_problems() -> None:
    """Of a partial provider each failed fact is told, absent ones are not; what failed at the end is marked so."""
    captured = context(
        {
            "user": outcome({"mlflow.user": "ada"}, failures={"x": "absent: no x"}),
            "git": outcome(
                {"git.root": "/p"},
                OutcomeStatus.PARTIAL,
                failures={"git.tree": "OSError: disk", "git.lfs": "absent: none", "git.describe": "OSError: too"},
                at_end=outcome(status=OutcomeStatus.TIMED_OUT, reason="no answer after the end of the run"),
            ),
        }
    )
    found = remedies.problems(captured, {})
    assert [(each.provider, each.status) for each in found] == [("git", "partial"), ("git, at the end", "timed out")]
    assert found[0].facts == (("git.tree", "OSError: disk"), ("git.describe", "OSError: too"))


def test_a_provider_that_touched_the_program_is_a_problem() -> None:
    """Facts that are there do not excuse a change of the program's folder."""
    reason = "the program's folder changed from /a to /b while it ran"
    (problem,) = remedies.problems(context({"queue": outcome({"q": "1"}, reason=reason)}), {})
    assert (problem.status, problem.facts) == ("captured", (("", reason),))


# --- the rest of a view -----------------------------------------------------------------------------------------------


def test_a_run_says_how_it_stands() -> None:
    """Name, status and duration head a run; its reason stands under how it ended; a running one has its last event."""
    ended = view.of_run(run(status=RunStatus.FAILED, tags={"end.reason": "ValueError: x"}), context({}))
    assert (ended.title, ended.status, ended.subtitle) == ("baseline", "FAILED", "after 1.5s")
    shown = rows(ended)
    assert shown["How it ended", "status"].value == "FAILED"
    assert shown["How it ended", "reason"].value == "ValueError: x"
    assert ("How it ended", "end.reason") not in shown
    going_on = view.of_run(run(status=RunStatus.RUNNING, end_time=None), context({}))
    assert going_on.subtitle == ""
    assert ("Run", "last event") in rows(going_on)


def test_files_are_told_with_their_sizes() -> None:
    """An attachment among the run's files has its provider; one that was left out is there with its reason."""
    captured = context(
        {},
        attachments=(
            AttachmentRecord(
                "git.patch", "git", Path("/runs/one/artifacts/context/git.patch"), 2_048, "f", "1 line", 1
            ),
            AttachmentRecord("big.patch", "git", None, 20_000_000, "e", "over its cap", 0),
        ),
    )
    shown = rows(view.of_run(run(), captured, files=[("context/git.patch", 2_048), ("model.json", 75)]))
    assert shown["Artifacts", "context/git.patch"][1:3] == ("2 KiB; 1 redacted; 1 line", "git")
    assert shown["Artifacts", "model.json"][1:3] == ("75 bytes", "")
    assert shown["Artifacts", "big.patch"].value == "left out: over its cap"
    assert ("Artifacts", "git.patch") not in shown


def test_providers_tell_what_they_did() -> None:
    """Status, time, place, and notes on what is not plain: reasons, failures, redactions, the end."""
    late = outcome(status=OutcomeStatus.FAILED, reason="OSError: x")
    captured = context(
        {
            "git": outcome({"a": "b"}, OutcomeStatus.PARTIAL, failures={"c": "OSError: y"}, redacted=2, at_end=late),
            "host": outcome(status=OutcomeStatus.PENDING),
            "gpu": outcome(status=OutcomeStatus.DISABLED, reason="switched off by RUNCONTEXT_PROVIDER_GPU=0"),
        }
    )
    shown = view.of_context(captured)
    assert shown.pending == ["host"]
    assert shown.providers == [
        ("git", "partial", "25 ms", "companion", ("1 fact failed", "2 redacted", "at the end: failed: OSError: x")),
        ("host", "pending", "12 ms", "companion", ()),
        ("gpu", "disabled", "12 ms", "companion", ("switched off by RUNCONTEXT_PROVIDER_GPU=0",)),
    ]


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1_023, "1,023 bytes"),
        (1_024, "1 KiB"),
        (1_536, "1.5 KiB"),
        (25_276_514_304, "23.5 GiB"),
        (2**60, "1,024 PiB"),
    ],
)
def test_sizes_are_rounded(count: int, said: str) -> None:
    """The unit is the largest that is filled, one decimal where it says something."""
    assert text.size(count) == said


@pytest.mark.parametrize(
    ("name", "value", "short", "exact"),
    [
        ("memory.total", "25276514304", "23.5 GiB", "25276514304"),
        ("gpu.memory.total", "85899345920,85899345920", "2 times 80 GiB", "85899345920"),
        ("gpu.memory.total", "85899345920,17179869184", "80 GiB, 16 GiB", "85899345920,17179869184"),
        ("gpu.memory.total", "85899345920,", "85899345920,", ""),
        ("gpu.name", "NVIDIA L4,NVIDIA L4", "2 times NVIDIA L4", ""),
        ("gpu.name", ",", ",", ""),
        ("team", "a,a", "a,a", ""),
        ("git.untracked", "1048576", "1048576", ""),
        ("memory.total", "²", "²", ""),
    ],
)
def test_values_are_rounded_for_people(name: str, value: str, short: str, exact: str) -> None:
    """Bytes become units with the exact number beside, equal devices are said once; all else stays as it is."""
    assert text.rounded(name, value) == (short, exact)


def test_tags_that_are_bytes_are_documented_so() -> None:
    """The page of tags calls bytes what is rounded as such."""
    lines = [line for line in TAGS.read_text("utf-8").splitlines() if line.startswith("| `")]
    documented = {line.split("`")[1] for line in lines if "bytes" in line}
    assert documented >= text.BYTES


def test_long_values_are_cut_with_a_mark() -> None:
    """What is cut off is counted."""
    assert text.cut("x" * 400) == "x" * 400
    assert text.cut("x" * 1_500) == "x" * 400 + " ... [1,100 more characters]"


def test_nothing_in_a_value_commands_a_terminal() -> None:
    """Control characters, direction marks and lone surrogates are escapes; line breaks stay only where asked for."""
    assert text.readable("a\nb\t\x1b\u202e\ud800") == "a\\nb\\t\\x1b\\u202e\\ud800"
    assert text.lines("a\nb\r") == "a\nb\\r"
