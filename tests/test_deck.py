"""The deck "Telemetry" of a task with enabled decks."""
# mypy: allow-untyped-decorators, no-warn-return-any

import re
import sys
from pathlib import Path
from types import ModuleType

import flytekit
import pytest
from flytekit import Deck, FlyteContextManager, dynamic, task
from flytekit.deck import DeckField
from opentelemetry.sdk.trace import TracerProvider

import otel_flyte
from otel_flyte import semconv
from otel_flyte.adapters.flytekit_v1 import decks
from otel_flyte.config import settings
from otel_flyte.recording.otlp_file import read
from otel_flyte.recording.tree import Analysis
from otel_flyte.report import static
from otel_flyte.sdk import kept_spans
from support import pods, usages
from support.browser import CHROMIUM, MISSING, browser
from support.receiver import Receiver
from support.traces import EXECUTION_RESOURCE, Recorder

TRACE = "https://tempo.example.com/trace/{trace_id}"
NAV = re.compile(r'<li onclick="handleLinkClick\(this\)">(.*?)</li>')


def telemetry(html: str) -> str:
    (found,) = re.findall(rf"{decks.BEGIN}(.*?){decks.END}", html, re.DOTALL)
    return str(found)


def rows(html: str) -> list[str]:
    """Return the names in the timeline with their marks."""
    found = re.findall(r'<td class="d\d"><b class="\w*">(.?)</b> (.*?) <i>', telemetry(html))
    return [f"{mark} {name}".strip() for mark, name in found]


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    monkeypatch.setenv(semconv.RAISE_INTERNAL_ERRORS, "1")
    provider = TracerProvider(shutdown_on_exit=False)
    otel_flyte.instrument(tracer_provider=provider)
    return provider


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> object:
    yield
    otel_flyte.uninstrument()
    otel_flyte.instrument()


@task(enable_deck=True)
def well(value: int) -> int:
    Deck("Findings", "<p>mine</p>")
    return value


@task(enable_deck=True)
def badly(value: int) -> int:
    Deck("Findings", "<p>mine</p>")
    if value:
        raise ValueError("<script>alert(1)</script> no result")
    return value


@task
def plain(value: int) -> int:
    return value


@dynamic(enable_deck=True)
def fans_out(value: int) -> int:
    return plain(value=value)


def test_get_deck_has_it_after_a_local_run(local: TracerProvider) -> None:
    with flytekit.new_context() as context:
        well(value=1)
    html = context.get_deck()
    assert isinstance(html, str)
    assert NAV.findall(html)[-1] == "Telemetry"
    assert "Findings" in NAV.findall(html)
    assert rows(html)[0].endswith("well")
    assert rows(html)[0].startswith("✓ task ")
    assert rows(html)[1:4] == ["input translation", "user code", "output translation"]


class Html:
    """The class that IPython displays."""

    def __init__(self, data: str) -> None:
        self.data = data


def test_a_notebook_shows_it(local: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    display = ModuleType("IPython.core.display")
    display.HTML = Html  # type: ignore[attr-defined]
    for name in ("IPython", "IPython.core"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "IPython.core.display", display)
    monkeypatch.setattr("flytekit.deck.deck.ipython_check", lambda: True)
    with flytekit.new_context() as context:
        well(value=1)
    shown = context.get_deck()
    assert isinstance(shown, Html)
    assert "user code" in rows(shown.data)


def test_a_failed_task_has_it_with_the_error(local: TracerProvider) -> None:
    with flytekit.new_context() as context:
        with pytest.raises(ValueError, match="no result"):
            badly(value=1)
        html = context.get_deck()
    assert rows(html)[0].startswith("✗ task ")
    assert "✗ user code" in rows(html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; no result" in telemetry(html)
    assert "<script" not in telemetry(html)


def test_a_dynamic_task_has_it(local: TracerProvider) -> None:
    with flytekit.new_context() as context:
        fans_out(value=1)
    assert any(name.endswith("plain") for name in rows(context.get_deck()))


def test_a_task_without_decks_has_none_and_keeps_no_spans(local: TracerProvider) -> None:
    with flytekit.new_context() as context:
        plain(value=1)
    assert "Telemetry" not in NAV.findall(context.get_deck())
    assert id(local) not in decks._kept


@pytest.mark.quick
@pytest.mark.parametrize("ends_well", [True, False])
def test_user_code_sees_the_same_decks_as_without_otel_flyte(*, ends_well: bool, local: TracerProvider) -> None:
    @task(enable_deck=True)
    def counts(value: int) -> int:
        Deck("Findings", "<p>mine</p>")
        seen.append([deck.name for deck in flytekit.current_context().decks])
        FlyteContextManager.current_context().get_deck()
        seen.append([deck.name for deck in flytekit.current_context().decks])
        if not ends_well:
            raise ValueError("no result")
        return value

    def observed() -> list[list[str]]:
        seen.clear()
        with flytekit.new_context() as context:
            try:
                counts(value=1)
            except ValueError:
                assert not ends_well
            rendered.append(NAV.findall(context.get_deck()))
            seen.append([deck.name for deck in context.user_space_params.decks])
        return list(seen)

    seen: list[list[str]] = []
    rendered: list[list[str]] = []
    ours = observed()
    otel_flyte.uninstrument()
    assert ours == observed()
    with_ours, without = rendered
    assert with_ours == [*without, "Telemetry"]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), []),
        ((DeckField.INPUT, DeckField.OUTPUT), ["Input", "Output"]),
        ((DeckField.INPUT, DeckField.OUTPUT, DeckField.TIMELINE), ["Input", "Output", "Timeline"]),
    ],
)
def test_the_decks_that_are_left_after_a_local_run_are_flytekits_own(
    fields: tuple[DeckField, ...], expected: list[str], local: TracerProvider
) -> None:
    """As flytekit's and its plugins' own tests count them."""

    @task(enable_deck=True, deck_fields=fields)
    def own(value: int) -> int:
        return value

    with flytekit.new_context() as context:
        context.user_space_params._decks = []
        own(value=1)
        assert sorted(deck.name for deck in flytekit.current_context().decks) == expected


@pytest.mark.quick
def test_the_outermost_task_is_shown_and_nested_ones_leave_no_deck(local: TracerProvider) -> None:
    @dynamic(enable_deck=True)
    def outer(value: int) -> int:
        return well(value=well(value=value))

    with flytekit.new_context() as context:
        outer(value=1)
        names = [deck.name for deck in context.user_space_params.decks]
    html = context.get_deck()
    assert "Telemetry" not in names
    assert rows(html)[0].endswith("outer")


@pytest.mark.quick
def test_a_users_deck_of_the_same_name_is_shown(local: TracerProvider) -> None:
    @task(enable_deck=True)
    def own() -> int:
        Deck("Telemetry", "<p>my own</p>")
        return 1

    with flytekit.new_context() as context:
        own()
    assert "<p>my own</p>" in context.get_deck()


@pytest.mark.quick
@pytest.mark.parametrize(("value", "is_shown"), [("false", False), ("0", False), ("true", True), ("", True)])
def test_a_variable_switches_it_off(
    value: str, is_shown: bool, local: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(semconv.OTEL_FLYTE_DECK, value)
    monkeypatch.setattr(settings, "_current", None)
    with flytekit.new_context() as context:
        well(value=1)
    assert ("Telemetry" in NAV.findall(context.get_deck())) is is_shown
    assert (id(local) in decks._kept) is is_shown


def test_many_spans_in_a_loop_are_bounded_and_do_not_hide_the_phases(local: TracerProvider) -> None:
    @task(enable_deck=True)
    def loops() -> int:
        tracer = local.get_tracer("mine")
        for number in range(3 * kept_spans.KEPT):
            tracer.start_span(f"step {number}").end()
        return 1

    with flytekit.new_context() as context:
        loops()
    html = context.get_deck()
    assert {"input translation", "user code", "output translation"} <= set(rows(html))
    assert len(telemetry(html)) < 200_000


def test_a_failed_rendering_does_not_affect_the_task(local: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(semconv.RAISE_INTERNAL_ERRORS)

    def fail(*_: object) -> str:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(decks, "_picture", fail)
    with flytekit.new_context() as context:
        assert well(value=1) == 1
    assert "Findings" in NAV.findall(context.get_deck())


@pytest.mark.parametrize(
    ("name", "first", "among"),
    [
        ("report", "✓ task task_decks.report", "output translation"),
        ("report_failure", "✗ task task_decks.report_failure", "✗ user code"),
    ],
)
def test_a_pod_uploads_it(tmp_path: Path, receiver: Receiver, name: str, first: str, among: str) -> None:
    environment = {
        **receiver.environment("http/protobuf"),
        semconv.RAISE_INTERNAL_ERRORS: "1",
        semconv.OTEL_FLYTE_TRACE_URL: TRACE,
    }
    pod = pods.execute(tmp_path / "pod", f"task_decks.{name}", {"value": 5}, env=environment)
    html = pod.files["deck.html"].decode()
    assert NAV.findall(html)[-1] == "Telemetry"
    assert rows(html)[0] == first
    assert {among, "load", "download", "upload"} <= set(rows(html))
    trace_id = receiver.spans()[0].trace_id
    assert f'href="https://tempo.example.com/trace/{trace_id}"' in telemetry(html)


def test_the_deck_published_by_a_running_task_says_that_it_runs(tmp_path: Path, local: TracerProvider) -> None:
    seen: list[str] = []

    @task(enable_deck=True)
    def publishes() -> int:
        seen.append(str(FlyteContextManager.current_context().get_deck()))
        return 1

    with flytekit.new_context():
        publishes()
    assert "running ·" in seen[0]
    assert rows(seen[0])[-2:] == ["input translation", "· user code"]


@pytest.mark.parametrize("has_curves", [False, True], ids=["by the minute", "curves"])
def test_the_deck_of_ten_hours_is_small(tmp_path: Path, has_curves: bool) -> None:
    path = tmp_path / "long.jsonl"
    minutes = 600
    recorder = Recorder.of_file(path, EXECUTION_RESOURCE)
    values = [minute % 97 + 0.123 for minute in range(minutes)]
    attributes = {
        **usages.node("n0", "train.fit"),
        **usages.quota(gpus=8),
        **usages.usage(),
        **usages.series(
            cpu_cores=values, mem_bytes=[value * 2**25 for value in values], gpu_util=values, gpu_mem_usage=values
        ),
    }
    for index in range(8):
        attributes |= usages.device(index, 0.5, 1.0, 2**30)
    if has_curves:
        text = " ".join(f"{value % 89}/{value % 97 + 10}" for value in range(225))
        gpus = [f"{index}: {text}" for index in range(8)]
        attributes |= usages.curves(step=160.0, cpu=text, memory=text, gpu__utilization=gpus, gpu__memory=gpus)
    with recorder.span("task train.fit", 0, 60 * minutes, attributes):
        for step in range(3000):
            recorder.leaf(f"step {step}", step, step + 1, scope="trainer")
    analysis = Analysis.of(read(path))
    drawn = static.style() + static.picture(analysis.tree, analysis.attempts)
    assert drawn.count("<figure>") == 4
    assert len(drawn.encode()) < 200_000


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_the_deck_of_a_failed_task_opens_in_a_browser(tmp_path: Path, receiver: Receiver) -> None:
    environment = receiver.environment("http/protobuf")
    pod = pods.execute(tmp_path / "pod", "task_decks.report_failure", {"value": 5}, env=environment)
    # flytekit's template loads a font from the network.
    html = re.sub(r"<link[^>]*>", "", pod.files["deck.html"].decode())
    (tmp_path / "deck.html").write_text(html)
    with browser(tmp_path) as tab:
        tab.open(tmp_path / "deck.html")
        tab.run("[...document.querySelectorAll('#flyte-frame-tabs li')].at(-1).click()")
        tab.settle()
        tab.screenshot(tmp_path / "deck.png")
        text = tab.text()
        assert "ValueError: no result" in text
        assert "user code" in text
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        assert (tab.complaints, len(tab.requests)) == ([], 1)
