"""The verb that has a person decide: review."""

from typing import Annotated

import dupegrid as api
from dupegrid.app.command.flags import Exit, RunDir, emit, option
from dupegrid.core.text import counted

_Port = Annotated[int, option(metavar="N", help="The port to listen on; 0 is any that is free.")]
_NoBrowser = Annotated[bool, option("--no-browser", help="Print the address, and open no browser.")]
_ReadOnly = Annotated[bool, option("--read-only", help="Show the groups, and write no decision.")]


def review(run_dir: RunDir, port: _Port = 0, no_browser: _NoBrowser = False, read_only: _ReadOnly = False) -> None:
    """Decide the pairs of RUN in a browser, a key each.

    Serves a page on this machine alone until Ctrl-C. Decisions go to decisions.parquet; no picture is touched.
    """
    served = api.review(run_dir, port=port, browser=False, read_only=read_only)
    with served, served.ended_by_signals():
        emit({}, [f"review: {served.url} (for you alone; Ctrl-C ends it)"], as_json=False)
        if not no_browser:
            served.open()
        served.wait()
        totals = served.totals()
    decided = f"{counted(sum(totals['decided'].values()), 'pair')} decided, {counted(totals['finished'], 'group')} done"
    emit({}, [f"review ended: {decided}; next: {totals['commands'][0]}"], as_json=False)
    raise Exit  # at once: a thread may still read an original from a disk that does not answer
