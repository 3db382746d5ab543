"""One file for each noun of the API, and the pages."""

from forgetless.curator.service.routes import (
    assets,
    evals,
    health,
    job_pages,
    jobs,
    login,
    recipes,
    records,
    sql,
    sql_page,
    store_pages,
    stores,
    templates,
    training_pages,
)
from forgetless.curator.service.routes import exports as exports

ROUTERS = [
    each.router
    for each in (
        health,
        jobs,
        stores,
        records,
        sql,
        exports,
        evals,
        recipes,
        templates,
        assets,
        login,
        store_pages,
        job_pages,
        sql_page,
        training_pages,
    )
]
