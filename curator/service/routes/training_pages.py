"""The page of trainings: what each taught and what it cost."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from forgetless.curator.report.change import CLASSES, change_class, class_label
from forgetless.curator.report.drawing import bars, drawn
from forgetless.curator.service import training_page
from forgetless.curator.service.problems import Problem
from forgetless.curator.service.rendering import page
from forgetless.curator.service.service import Given
from forgetless.curator.service.trainings import families, read_trainings
from forgetless.curator.store.store import MANIFEST

router = APIRouter(include_in_schema=False)


@router.get("/trainings")
def trainings(service: Given, store: str = "", run: str = "") -> Response:
    """All of a store; `run`: the one that is shown task by task, the newest if not given."""
    if not store:
        names = list(service.stores.paths())
        if names:
            return RedirectResponse(f"/trainings?store={names[0]}", 303)
        return page(service, "no_trainings.html", section="trainings")
    if not (service.stores.path(store) / MANIFEST).is_file():
        return page(service, "no_trainings.html", section="trainings", store=store)
    return _page_of(service, store, run)


def _page_of(service: Given, store: str, run: str) -> HTMLResponse:
    with service.stores.reading(store) as connection:
        found = dict(enumerate(read_trainings(connection), 1))
    if not found:
        return page(service, "no_trainings.html", section="trainings", store=store)
    chosen = next((each for each in found.values() if each.run_id == run), None)
    if run and chosen is None:
        raise Problem(404, f"there is no training {run!r} in {store!r}", "the list names all")
    chosen = chosen or [*found.values()][-1]
    return page(
        service, "trainings.html", section="trainings", store=store, found=found, chosen=chosen,
        numbers={each.run_id: number for number, each in found.items()}, families=families([*found.values()]),
        plane=training_page.plane(found, chosen), path=training_page.path(chosen), steps=training_page.over_steps(chosen),
        tasks=training_page.task_bars(chosen), drawn=drawn, bars=bars, how=training_page.how,
        summary=training_page.summary, COLOURS=training_page.COLOURS,
        change_class=change_class, class_label=class_label, CLASSES=CLASSES,
    )  # fmt: skip
