"""Run one lab headlessly, in this process: export, execute by papermill, say how it ended.

    python -m hierlab.lab.execute '<job as JSON>'

The last line it prints is the outcome as JSON. Nothing it starts outlives it, and it does not outlive whoever started it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hierlab.files import write_json
from hierlab.lab import ledger
from hierlab.lab.errors import Refused
from hierlab.lab.export import exported
from hierlab.lab.job import Job, Outcome
from hierlab.lab.locks import only_one
from hierlab.lab.notebook import Notebook, read_notebook
from hierlab.lab.orphans import end_with_parent
from hierlab.lab.places import lab_file, root, shown
from hierlab.lab.progress import EVENTS
from hierlab.lab.units import THREADS, append_event

NOTEBOOK, STATE = "notebook.ipynb", "run.json"


def execute(job: Job) -> Outcome:
    """Run one job to its end. Whatever goes wrong comes back as an outcome, not as an exception."""
    started = time.monotonic()
    try:
        with only_one(job.folder):
            outcome = _run(job)
            write_json(job.folder / STATE, {**_state(job), "status": outcome.status, "message": outcome.message})
    except Refused as error:
        outcome = Outcome("refused", str(error))
    except OSError as error:
        outcome = Outcome("failed", in_one_line(error, job.folder))
    return Outcome(outcome.status, outcome.message, outcome.source, round(time.monotonic() - started, 1))


def in_one_line(error: OSError, folder: Path | None = None) -> str:
    """What to do about a disk that refuses, at the file the error names or else in the folder."""
    place = error.filename or folder
    what = f"cannot write{f' {shown(place)}' if place else ''}: {error.strerror or error}"
    return f"{what}; free space or permissions there, finished units are kept, run again"


def _run(job: Job) -> Outcome:
    path = lab_file(job.slug)
    notebook = read_notebook(path)
    (job.folder / EVENTS).write_text("")
    write_json(job.folder / STATE, {**_state(job), "status": "running", "message": ""})
    source, before = exported(path), _written(job.folder / ledger.NAME)
    with tempfile.TemporaryDirectory(prefix="hierlab-") as sockets:  # short: the path of a socket file is limited to 107 bytes
        os.environ.update(_environment(job, sockets))
        outcome = _papermill(job, source, notebook)
    if outcome.status == "complete" and _written(job.folder / ledger.NAME) == before:
        return Outcome("failed", f"{shown(path)} wrote no ledger: its last cells must call bench.verdicts()")
    return outcome


def _written(path: Path) -> int | None:
    """When a file was written, to tell this run's ledger from an earlier one's."""
    return path.stat().st_mtime_ns if path.exists() else None


def _papermill(job: Job, source: Path, notebook: Notebook) -> Outcome:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError

    from hierlab.lab.kernel import Kernel

    class Announced(NBClientEngine):
        """Papermill's engine, saying which cell it has come to."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            begin = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int, **more: Any) -> None:
                append_event(job.folder / EVENTS, cell=cell_index + 1, of=len(nb_man.nb.cells))
                begin(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("hierlab", Announced)
    target = job.folder / NOTEBOOK
    parameters = {"scale": job.scale, "seeds": job.seeds, "overrides": dict(job.overrides)}
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters=parameters,
            engine_name="hierlab",
            kernel_name="python3",
            kernel_manager_class=Kernel,
            progress_bar=False,
            start_timeout=180,  # seconds; the defaults give up on a busy machine
            iopub_timeout=60,
            cwd=str(root()),
        )
    except PapermillExecutionError as error:
        return _failed_cell(error, notebook, target)
    except DeadKernelError:
        return Outcome(
            "failed",
            f"the kernel was killed by the system, probably for want of memory; finished units are kept: run again, with fewer --workers "
            f"or smaller settings; executed so far: {shown(target)}",
        )
    return Outcome("complete")


def _failed_cell(error: Any, notebook: Notebook, target: Path) -> Outcome:
    """Name the failing cell by its place in the lab's file."""
    where = next((f":{c.line}" for c in notebook.cells if _same_code(c, error.source, notebook)), "")
    message = " ".join(str(error.evalue).split())
    if error.ename in ("Refused", "UnitFailed"):  # these say themselves what, where, and what to do
        return Outcome("failed", f"{message}; traceback: {shown(target)}")
    return Outcome(
        "failed",
        f"{shown(notebook.path)}{where}: the cell raised {error.ename}: {message[:300]}; traceback: {shown(target)}",
        str(error.source).strip(),
    )


def _same_code(cell: Any, source: str, notebook: Notebook) -> bool:
    import ast

    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return False
    body = [s for s in cell.body if not isinstance(s, ast.Return)]
    return [ast.dump(s) for s in statements] == [ast.dump(s) for s in body]


def _environment(job: Job, sockets: str) -> dict[str, str]:
    return {
        **THREADS,
        "HIERLAB_HEADLESS": "1",
        "HIERLAB_WORKERS": str(job.workers) if job.workers else "",
        "PLOTLY_RENDERER": "plotly_mimetype",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "JUPYTER_RUNTIME_DIR": sockets,
        "IPYTHONDIR": str(Path(sockets) / "ipython"),
        "PYTHONHASHSEED": "0",
        "TQDM_DISABLE": "1",
    }


def _state(job: Job) -> dict[str, Any]:
    record = json.loads(job.to_json())
    return {**{k: record[k] for k in ("slug", "scale", "overrides", "seeds")}, "at": datetime.now(UTC).isoformat(timespec="seconds")}


def main() -> None:
    """Run the job given as the only argument."""
    end_with_parent()
    sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema would compile its grammar, a second for a check nobody asks for
    outcome = execute(Job.from_json(sys.argv[1]))
    print(json.dumps(asdict(outcome)), flush=True)
    sys.exit(0 if outcome.status == "complete" else 1)


if __name__ == "__main__":
    main()
