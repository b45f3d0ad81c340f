"""Identities and derived ids: pods, retries and the control plane derive the same ids without communication."""

import hashlib
import itertools

import pytest

from otel_flyte.tasks import identity
from otel_flyte.tasks.identity import Attempt, Execution

pytestmark = pytest.mark.quick

EXECUTION = Execution("proj", "development", "f1c0ffee0123456789ab")
IN_A_POD = {
    "FLYTE_INTERNAL_EXECUTION_ID": EXECUTION.name,
    "FLYTE_INTERNAL_EXECUTION_PROJECT": EXECUTION.project,
    "FLYTE_INTERNAL_EXECUTION_DOMAIN": EXECUTION.domain,
}
PREFIX = f"s3://bucket/metadata/propeller/{EXECUTION.project}-{EXECUTION.domain}-{EXECUTION.name}"


def attempt_of(path: str, **more: str) -> Attempt:
    attempt = identity.attempt_from_environment(IN_A_POD | more, path)
    assert attempt is not None
    return attempt


# --- trace ids -------------------------------------------------------------------------------------------------------


def test_a_trace_id_follows_the_published_rule() -> None:
    parts = b"\0".join([b"", b"proj", b"development", b"f1c0ffee0123456789ab"])
    digest = hashlib.blake2b(parts, digest_size=16, person=b"flyte.otel.run.v").hexdigest()

    assert f"{EXECUTION.trace_id():032x}" == digest


def test_a_trace_id_never_changes_between_versions() -> None:
    assert f"{EXECUTION.trace_id():032x}" == "5139f3437a93d360a3a54e16296acba6"


def test_the_organisation_is_part_of_the_trace_id_and_is_empty_for_flyte_1() -> None:
    parts = b"\0".join([b"acme", b"proj", b"development", b"f1c0ffee0123456789ab"])
    digest = hashlib.blake2b(parts, digest_size=16, person=b"flyte.otel.run.v").hexdigest()

    assert f"{EXECUTION._replace(org='acme').trace_id():032x}" == digest
    assert attempt_of(f"{PREFIX}/n0/data/0").execution.org == ""


def test_the_organisation_is_exported_only_if_there_is_one() -> None:
    attempt = attempt_of(f"{PREFIX}/n0/data/0/7/1", FLYTE_ATTEMPT_NUMBER="1")
    of_acme = attempt._replace(execution=EXECUTION._replace(org="acme"))

    assert attempt.attributes() == {
        "flyte.run_name": EXECUTION.name,
        "flyte.project": "proj",
        "flyte.domain": "development",
        "flyte.attempt": 1,
        "flyte.node_path": "n0/n7",
        "flyte.action_name": "n0-0-n7",
    }
    assert of_acme.attributes() == {**attempt.attributes(), "flyte.org": "acme"}


def test_executions_that_differ_in_one_part_have_different_traces() -> None:
    executions = [Execution(*parts) for parts in itertools.product(("a", "b", "a\u00e9"), repeat=3)]
    # Only the separator distinguishes these.
    executions += [
        Execution("ab", "", "c"),
        Execution("a", "b", "c"),
        Execution("a", "bc", ""),
        Execution("", "ab", "c"),
    ]

    assert len({execution.trace_id() for execution in set(executions)}) == len(set(executions))


def test_a_map_subtask_has_its_own_trace_from_the_limit_on() -> None:
    def subtask(index: int) -> Attempt:
        return attempt_of(f"{PREFIX}/n0/data/0/{index}/0", INDEX=str(index), BATCH_JOB_ARRAY_INDEX_VAR_NAME="INDEX")

    parts = b"\0".join([b"", b"proj", b"development", b"f1c0ffee0123456789ab", b"n0-0-n3"])
    of_its_own = hashlib.blake2b(parts, digest_size=16, person=b"flyte.otel.map.v").hexdigest()

    assert subtask(2).trace_id(3) == EXECUTION.trace_id()
    assert f"{subtask(3).trace_id(3):032x}" == of_its_own
    assert subtask(4).trace_id(3) not in (EXECUTION.trace_id(), subtask(3).trace_id(3))


def test_all_attempts_of_a_map_subtask_beyond_the_limit_are_in_one_trace() -> None:
    of_attempts = {
        attempt_of(f"{PREFIX}/n0/data/0/700/{number}", INDEX="700", BATCH_JOB_ARRAY_INDEX_VAR_NAME="INDEX").trace_id(
            500
        )
        for number in range(3)
    }

    assert len(of_attempts) == 1


def test_other_attempts_are_in_the_trace_of_their_execution_at_any_limit() -> None:
    assert attempt_of(f"{PREFIX}/n0/data/0").trace_id(0) == EXECUTION.trace_id()


# --- span ids --------------------------------------------------------------------------------------------------------


def test_a_span_id_is_a_digest_of_the_identity_and_the_role() -> None:
    parts = [b"", b"proj", b"development", b"f1c0ffee0123456789ab", b"n0-0-dn1", b"2", b"", b"task"]
    digest = hashlib.blake2b(b"\0".join(parts), digest_size=8, person=b"flyte.otel.span.").hexdigest()

    attempt = attempt_of(f"{PREFIX}/n0/data/0/dn1/2", FLYTE_ATTEMPT_NUMBER="2")

    assert f"{attempt.span_id(identity.ROLE_TASK):016x}" == digest


def test_each_part_of_the_identity_changes_the_span_id() -> None:
    pods = [
        attempt_of(f"{PREFIX}/n0/data/0"),
        attempt_of(f"{PREFIX}/n1/data/0"),
        attempt_of(f"{PREFIX}/n0/data/1"),
        attempt_of(f"{PREFIX}/n0/data/0", FLYTE_ATTEMPT_NUMBER="3"),
        attempt_of(f"{PREFIX}/n0/data/0/dn0/0"),
        attempt_of(f"{PREFIX}/n0/data/1/dn0/0"),
        attempt_of(f"{PREFIX}/n0/data/0/0/0", INDEX="0", BATCH_JOB_ARRAY_INDEX_VAR_NAME="INDEX"),
        attempt_of(f"{PREFIX}/n0/data/0/1/0", INDEX="1", BATCH_JOB_ARRAY_INDEX_VAR_NAME="INDEX"),
        attempt_of(f"{PREFIX}/n0/data/0/1/1", INDEX="1", BATCH_JOB_ARRAY_INDEX_VAR_NAME="INDEX"),
        attempt_of(f"{PREFIX}/n0/data/0", RANK="1"),
        attempt_of(f"{PREFIX}/n0/data/0", RANK="2"),
        identity.attempt_from_environment(
            IN_A_POD | {"FLYTE_INTERNAL_EXECUTION_ID": "other"}, "s3://b/proj-development-other/n0/data/0"
        ),
    ]
    roles = (identity.ROLE_TASK, identity.ROLE_ATTEMPT)

    ids = {pod.span_id(role) for pod in pods if pod for role in roles} | {identity.execution_span_id(EXECUTION)}

    assert len(ids) == 2 * len(pods) + 1


def test_ids_are_valid_for_opentelemetry() -> None:
    attempts = [attempt_of(f"{PREFIX}/n{node}/data/0") for node in range(200)]

    assert all(0 < attempt.span_id(identity.ROLE_TASK) < 1 << 64 for attempt in attempts)
    assert 0 < EXECUTION.trace_id() < 1 << 128


# --- the node, from the output prefix --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "node_path", "node_id", "number"),
    [
        pytest.param("n0/data/0", "n0", "n0", 0, id="top level"),
        pytest.param("n0/data/3", "n0", "n0", 3, id="retried"),
        pytest.param("n0/data/3/", "n0", "n0", 3, id="with a slash at the end"),
        pytest.param("fn0-train/data/0", "fn0-train", "fn0-train", 0, id="named by the user"),
        pytest.param("n0/data/0/dn1/2", "n0/dn1", "n0-0-dn1", 2, id="in a dynamic task"),
        pytest.param("n0/data/4/dn1/2", "n0/dn1", "n0-4-dn1", 2, id="in a retried dynamic task"),
        pytest.param("n1/data/0/n0/0", "n1/n0", "n1-0-n0", 0, id="in a sub-workflow"),
        pytest.param("n0/data/0/7/1", "n0/n7", "n0-0-n7", 1, id="in an array node"),
        pytest.param(
            "n0/data/0/dn2/0/13/1", "n0/dn2/n13", "n0-0-dn2-0-n13", 1, id="in an array node in a dynamic task"
        ),
    ],
)
@pytest.mark.parametrize(
    "base", [PREFIX, PREFIX.replace("metadata/propeller", "my/own/prefix"), PREFIX.replace("s3://bucket", "/tmp/x")]
)
def test_the_output_prefix_has_the_node_and_the_attempt(
    base: str, path: str, node_path: str, node_id: str, number: int
) -> None:
    attempt = attempt_of(f"{base}/{path}")

    assert (attempt.node_path, attempt.node_id, attempt.number) == (node_path, node_id, number)


def test_flytes_own_variable_has_the_attempt() -> None:
    assert attempt_of(f"{PREFIX}/n0/data/0", FLYTE_ATTEMPT_NUMBER="5").number == 5
    assert attempt_of(f"{PREFIX}/n0/data/1", FLYTE_ATTEMPT_NUMBER="").number == 1
    assert attempt_of(f"{PREFIX}/n0/data/1", FLYTE_ATTEMPT_NUMBER="many").number == 1


def test_a_bucket_named_like_the_execution_is_not_mistaken_for_it() -> None:
    inner = f"{EXECUTION.project}-{EXECUTION.domain}-{EXECUTION.name}"

    assert attempt_of(f"s3://x/{inner}/metadata/{inner}/n2/data/1").node_id == "n2"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "s3://bucket/somewhere/else",
        "s3://bucket/metadata/propeller/proj-development-another/n0/data/0",
        f"{PREFIX}/n0",
        f"{PREFIX}/n0/data",
        f"{PREFIX}/n0/data/first",
        f"{PREFIX}/n0/data/0/dn0/first",
        f"{PREFIX}/n0/other/0",
    ],
)
def test_an_output_prefix_of_another_form_still_identifies_the_pod(path: str) -> None:
    attempt = attempt_of(path, FLYTE_ATTEMPT_NUMBER="1")
    elsewhere = attempt_of(f"{path}/elsewhere", FLYTE_ATTEMPT_NUMBER="1")

    assert (attempt.node_path, attempt.node_id, attempt.number) == ("", path, 1)
    assert attempt.span_id(identity.ROLE_TASK) != elsewhere.span_id(identity.ROLE_TASK)


def test_subtasks_of_the_legacy_map_task_are_identified_by_their_prefix_with_the_index() -> None:
    subtasks = [
        attempt_of(f"{PREFIX}/n0/data/0/{index}", BATCH_JOB_ARRAY_INDEX_VAR_NAME="INDEX", INDEX=str(index))
        for index in range(3)
    ]

    assert len({subtask.span_id(identity.ROLE_TASK) for subtask in subtasks}) == 3
    assert len({subtask.trace_id(map_nested=0) for subtask in subtasks}) == 3


# --- unique node ids -------------------------------------------------------------------------------------------------

PROPELLERS_ALPHABET = "abcdefghijklmnopqrstuvwxyz123456"


def hashed(name: str) -> str:
    """Return Propeller's ``FixedLengthUniqueID`` of a long text, computed bit by bit."""
    value = 2166136261
    for byte in name.encode():
        value = (value ^ byte) * 16777619 % 2**32
    bits = f"{value:032b}".ljust(35, "0")
    return "f" + "".join(PROPELLERS_ALPHABET[int(bits[place : place + 5], 2)] for place in range(0, 35, 5))


def test_the_hash_is_that_of_propeller() -> None:
    # From propeller's encoder_test.go.
    assert identity.unique_node_id(["x" * 24], [0]) == hashed("x" * 24) == "fuaa3aji"


@pytest.mark.parametrize(
    ("nodes", "attempts", "unique"),
    [
        pytest.param(["n0"], [0], "n0", id="short"),
        pytest.param(["n" * 20], [0], "n" * 20, id="just short enough"),
        pytest.param(["n" * 21], [0], hashed("n" * 21), id="too long"),
        pytest.param(["n0", "dn0", "n3"], [1, 2, 0], "n0-1-dn0-2-n3", id="nested"),
        pytest.param(
            ["n0", "a-node-with-a-name"], [0, 0], hashed("n0-0-a-node-with-a-name"), id="too long with its parent"
        ),
        pytest.param(
            ["a-node-with-a-long-name", "n1"],
            [2, 0],
            f"{hashed('a-node-with-a-long-name')}-2-n1",
            id="a parent that is too long",
        ),
        pytest.param(
            ["n0", "a-node-with-a-name", "n12345"],
            [0, 1, 0],
            f"{hashed('n0-0-a-node-with-a-name')}-1-n12345",
            id="hashed once in between",
        ),
    ],
)
def test_a_unique_node_id_is_that_of_admin(nodes: list[str], attempts: list[int], unique: str) -> None:
    assert identity.unique_node_id(nodes, attempts) == unique


# --- array index and replica -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "index"),
    [
        ({}, None),
        ({"BATCH_JOB_ARRAY_INDEX_VAR_NAME": "FLYTE_K8S_ARRAY_INDEX", "FLYTE_K8S_ARRAY_INDEX": "0"}, 0),
        ({"BATCH_JOB_ARRAY_INDEX_VAR_NAME": "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX": "12"}, 12),
        ({"BATCH_JOB_ARRAY_INDEX_VAR_NAME": "I", "I": "12", "BATCH_JOB_ARRAY_INDEX_OFFSET": "100"}, 112),
        ({"BATCH_JOB_ARRAY_INDEX_VAR_NAME": "I", "I": "12", "BATCH_JOB_ARRAY_INDEX_OFFSET": "?"}, 12),
        ({"BATCH_JOB_ARRAY_INDEX_VAR_NAME": "I"}, None),
        ({"BATCH_JOB_ARRAY_INDEX_VAR_NAME": "I", "I": "first"}, None),
        ({"FLYTE_K8S_ARRAY_INDEX": "3"}, None),
    ],
)
def test_the_array_index_is_in_the_variable_named_by_another_one(environ: dict[str, str], index: int | None) -> None:
    assert attempt_of(f"{PREFIX}/n0/data/0", **environ).array_index == index


@pytest.mark.parametrize(
    ("environ", "replica"),
    [
        ({}, ""),
        ({"RANK": "3"}, "3"),
        ({"OMPI_COMM_WORLD_RANK": "4"}, "4"),
        ({"_F_WN": "worker-1", "RANK": "3"}, "worker-1"),
        ({"FLYTE_INTERNAL_WORKER_NAME": "worker-2", "_F_WN": "worker-1"}, "worker-2"),
    ],
)
def test_a_replica_is_the_worker_or_the_rank(environ: dict[str, str], replica: str) -> None:
    assert attempt_of(f"{PREFIX}/n0/data/0", **environ).replica == replica


# --- the execution, from the environment -----------------------------------------------------------------------------


@pytest.mark.parametrize("environ", [{}, {"FLYTE_INTERNAL_EXECUTION_ID": "", "FLYTE_INTERNAL_EXECUTION_PROJECT": "p"}])
def test_there_is_neither_execution_nor_attempt_outside_of_pods(environ: dict[str, str]) -> None:
    assert identity.execution_from_environment(environ) is None
    assert identity.attempt_from_environment(environ, f"{PREFIX}/n0/data/0") is None


def test_the_short_variables_have_the_execution_and_the_long_ones_override_them() -> None:
    short = {"_F_NM": "exec", "_F_PRJ": "project", "_F_DM": "domain"}

    assert identity.execution_from_environment(short) == Execution("project", "domain", "exec")
    assert identity.execution_from_environment(short | IN_A_POD) == EXECUTION


# --- the writer of an object -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "node_id", "number", "index"),
    [
        pytest.param("s3://b/k7/{exec}-n0-0/a1b2/00000", "n0", 0, None, id="top level"),
        pytest.param("s3://b/k7/{exec}-n0-3/a1b2/00000", "n0", 3, None, id="retried"),
        pytest.param("s3://b/deep/er/k7/{exec}-n0-0-dn1-2/o0", "n0-0-dn1", 2, None, id="in a dynamic task"),
        pytest.param("s3://b/k7/{exec}-n0-0-n7-1/o0", "n0-0-n7", 1, 7, id="in an array node"),
        pytest.param("/tmp/k7/{exec}-fuaa3aji-0", "fuaa3aji", 0, None, id="with a hashed node"),
    ],
)
def test_the_raw_output_prefix_has_the_attempt_that_wrote_an_object(
    uri: str, node_id: str, number: int, index: int | None
) -> None:
    writer = identity.attempt_from_uri(EXECUTION, uri.replace("{exec}", EXECUTION.name))

    assert writer == Attempt(EXECUTION, "", node_id, number, index)


@pytest.mark.parametrize("path", ["n0/data/2", "n0/data/0/dn1/2", "n0/data/0/7/2"])
def test_readers_of_an_object_derive_the_ids_of_its_writer(path: str) -> None:
    index = {"INDEX": "7", "BATCH_JOB_ARRAY_INDEX_VAR_NAME": "INDEX"} if "/7/" in path else {}
    pod = attempt_of(f"{PREFIX}/{path}", FLYTE_ATTEMPT_NUMBER="2", **index)
    reader = identity.attempt_from_uri(EXECUTION, f"s3://b/k7/{EXECUTION.name}-{pod.node_id}-2/abc/file")

    assert reader is not None
    assert (reader.trace_id(5), reader.span_id("task")) == (pod.trace_id(5), pod.span_id("task"))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://example.org/data.csv",
        "s3://b/k7/another-n0-0/o0",
        "s3://b/shard/{exec}-n0-0/o0",
        "s3://b/k7/{exec}-n0/o0",
        "s3://b/k7/{exec}-n0-first/o0",
        "s3://b/k7/{exec}--0/o0",
        "s3://b/k7/{exec}/o0",
        "s3://b/k7/fq2ab3ji/o0",
    ],
)
def test_another_uri_has_no_writer(uri: str) -> None:
    assert identity.attempt_from_uri(EXECUTION, uri.replace("{exec}", EXECUTION.name)) is None
