"""One file for each noun of the API, and the pages."""

from forgetless.curator.service.routes import (
    assets,
    evals,
    health,
    jobs,
    recipes,
    records,
    sql,
    stores,
    templates,
)
from forgetless.curator.service.routes import exports as exports

ROUTERS = [
    each.router for each in (health, jobs, stores, records, sql, exports, evals, recipes, templates, assets)
]
