"""Measuring while training: what is learned and lost step by step, and an end to it when too much is lost."""

from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback

from forgetless.curator.progress import note
from forgetless.curator.report.forgetting import retained_share
from forgetless.schemas.training import Training
from forgetless.schemas.training import Watch as Settings
from forgetless.train.asking import Asking
from forgetless.train.evals import Evals
from forgetless.train.evaluate import Measure, figures_of
from forgetless.train.report import Figure

WATCH = "step {}"
"""Phase of the rows in `evals`."""


class Watch(TrainerCallback):
    """Figures of a few questions every so many steps, as rows of `evals`; stops a training that forgets too much.

    Args:
        before: the base's, of the same measures.
    """

    def __init__(
        self,
        settings: Settings,
        evals: Evals,
        asking: Asking,
        wanted: list[Measure],
        before: Sequence[Figure],
    ) -> None:
        self._settings, self._evals, self._asking = settings, evals, asking
        self._wanted, self._before = wanted, before

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """A training that was interrupted just after a measurement acts on it."""
        if state.global_step:
            self.on_step_end(args, state, control, **given)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Measures where it is time."""
        if state.global_step % self._settings.every:
            return
        phase = WATCH.format(state.global_step)
        figures = self._evals.recorded(phase)
        if len(figures) < len(self._wanted):
            figures = figures_of(model, self._asking, self._wanted, f"{self._evals.run_id} {phase}")
            self._evals.record(phase, None, figures)
        kept = retained(self._before, figures)
        budget = self._settings.stop_below
        if budget and kept is not None and kept < budget:
            note(
                f"stopped after {phase}: {kept:.1%} of the retained accuracy is left, less than {budget:.1%}"
            )
            control.should_training_stop = True


def retained(before: Sequence[Figure], after: Sequence[Figure]) -> float | None:
    """Mean of after / before over the retained tasks; None where the base knew none."""
    now = {figure.task: figure.value for figure in after if figure.metric == "accuracy"}
    tasks = [f for f in before if f.metric == "accuracy" and f.role == "retained" and f.value > 0]
    if not tasks:
        return None
    return retained_share([f.value for f in tasks], [now[f.task] for f in tasks])


def few(training: Training, settings: Settings) -> Training:
    """The same with fewer questions."""
    tasks = [
        task.model_copy(update={"limit": min(settings.questions, task.limit or settings.questions)})
        for task in training.tasks
    ]
    return training.model_copy(update={"tasks": tasks})
