"""The floor: a FastAPI endpoint that checks the same fields with pydantic, stores nothing and answers 202.

python rivals/bare.py PORT
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class BareBorrower(BaseModel):
    id: str
    name: str
    locale: str
    jurisdiction: str
    time_zones: list[str]
    addresses: dict[str, str]


class BareCase(BaseModel):
    id: str
    product: str
    due_date: str
    stage: str


class Reminder(BaseModel):
    borrower: BareBorrower
    case: BareCase
    template: str
    variables: dict[str, Any]
    route: list[str]
    category: str


app = FastAPI()


@app.post("/v1/notifications", status_code=202)
async def accept(reminder: Reminder) -> dict[str, str]:
    return {"id": reminder.case.id, "state": "accepted"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
